"""The plot of the README shows every accuracy with its interval, in few bytes, the same each time."""

import re
from xml.etree import ElementTree

from synthetic import of_cell, three_columns

from rain.bench.cells import Result
from rain.report.verdict_plot import DEFENSES, verdict_plot


def measured() -> list[Result]:
    bare, *_ = three_columns(bare=0.05)
    defended = [three_columns(defense=defense)[1:] for defense in DEFENSES if defense != "none"]
    return [bare, *(one for pair in defended for one in pair)]


def test_plot_is_small_and_the_same_each_time() -> None:
    svg = verdict_plot(measured(), 4 / 255)
    assert svg == verdict_plot(measured(), 4 / 255)
    assert len(svg) < 60_000
    ElementTree.fromstring(svg)
    assert not re.search(r"<script|@import|url\((?!#)", svg)


def test_plot_says_its_numbers_and_what_attackers_know() -> None:
    svg = verdict_plot(measured(), 4 / 255)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>|<tspan[^>]*>([^<]*)</tspan>", svg)
    words = [first or second for first, second in texts]
    for word in ("no defence", "JPEG", "resize and pad", "RAIN", "adaptive", "transfer", "66", "62"):
        assert word in words


def test_other_budgets_are_left_out() -> None:
    others = [of_cell(one, eps=1 / 255) for one in three_columns(adaptive=0.43)]
    assert verdict_plot([*measured(), *others], 4 / 255) == verdict_plot(measured(), 4 / 255)
