"""The plot of mixed traffic is the same each time, small, and shows the attacker who knows first."""

import re
from xml.etree import ElementTree

from synthetic import of_cell, three_columns

from rain.bench.cells import Result
from rain.report.stream_plot import stream_plot


def measured(**changes: float) -> list[Result]:
    bare, *others = three_columns(**changes)
    return [bare, of_cell(bare, access="transfer"), *others, *three_columns(defense="jpeg", transfer=0.3)[1:]]


def words(svg: str) -> list[str]:
    texts = re.findall(r"<text[^>]*>([^<]*)</text>|<tspan[^>]*>([^<]*)</tspan>", svg)
    return [first or second for first, second in texts]


def test_the_plot_is_small_and_the_same_each_time() -> None:
    svg = stream_plot(measured(), 4 / 255)
    assert svg == stream_plot(measured(), 4 / 255)
    assert len(svg) < 100_000
    ElementTree.fromstring(svg)
    assert not re.search(r"<script|@import|url\((?!#)", svg)


def test_the_plot_says_what_is_in_it() -> None:
    texts = words(stream_plot(measured(), 4 / 255))
    for word in ("no defence", "JPEG", "RAIN", "accuracy, %", "ahead of no defence, points"):
        assert word in texts
    adaptive, transfer = (
        "adaptive: the attacker knows the defence",
        "transfer: he does not know that it is there",
    )
    assert texts.index(adaptive) < texts.index(transfer)


def test_a_ring_stands_only_where_it_is_shown_that_a_defence_pays() -> None:
    never = [one for one in measured(transfer=0.0) if one.cell.defense != "jpeg"]
    assert "stroke-width: 1.6" not in stream_plot(never, 4 / 255)
    assert "stroke-width: 1.6" in stream_plot(measured(), 4 / 255)


def test_other_defences_and_budgets_are_left_out() -> None:
    others = [of_cell(one, eps=1 / 255) for one in three_columns(adaptive=0.43)]
    unnamed = three_columns(defense="mine:defence")[1:]
    assert stream_plot([*measured(), *others, *unnamed], 4 / 255) == stream_plot(measured(), 4 / 255)


def test_where_only_other_accesses_were_measured_they_are_drawn() -> None:
    static = [of_cell(one, access="static") for one in three_columns(adaptive=None)]
    assert "static" in words(stream_plot(static, 4 / 255))
