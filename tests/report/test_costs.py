"""What is said of a grid of clean images only."""

from pathlib import Path

from synthetic import cell, result, share, three_columns, unattacked, write
from typer.testing import CliRunner

from rain.bench.cells import Result
from rain.cli.main import app
from rain.report.costs import UNATTACKED, costs
from rain.report.markdown import markdown
from rain.report.page import html

BARE = result(unattacked(defense="none"), share(0.8), share(0.8))


def of(rate: float, defense: str = "rain", **changes: int) -> Result:
    return result(unattacked(defense=defense, **changes), share(rate), share(rate))


def test_a_defence_says_what_it_costs_the_dearest_first() -> None:
    rain, jpeg = costs([BARE, of(0.78, "jpeg"), of(0.6)])
    assert rain.sentence == (
        "rain costs 20.0 points of clean accuracy: it is right on 60.0 % (53.1 to 66.5 %) of 200 images, "
        "the bare classifier on 80.0 %."
    )
    assert jpeg.sentence.startswith("jpeg costs 2.0 points of clean accuracy (which may be noise): ")


def test_averaged_draws_are_said_too() -> None:
    (cost,) = costs([BARE, of(0.6, draws=4)])
    assert "costs 20.0 points of clean accuracy with one draw" in cost.sentence
    assert "With 4 draws averaged it costs 20.0 points" in cost.sentence


def test_no_difference_and_a_gain() -> None:
    same, more = costs([BARE, of(0.8), of(0.9, "jpeg")])
    assert "rain costs no clean accuracy" in same.sentence
    assert "jpeg adds 10.0 points" in more.sentence


def test_without_the_bare_classifier_the_cost_is_unknown() -> None:
    (cost,) = costs([of(0.6)])
    assert "what it costs is unknown, without the bare classifier" in cost.sentence
    (bare,) = costs([BARE])
    assert bare.sentence.startswith("The bare classifier is right on 80.0 %")


def test_where_something_was_attacked_the_verdict_says_it() -> None:
    assert costs(three_columns()) == []
    elsewhere = result(unattacked(defense="none", dataset="folder:there"), share(0.5))
    assert [cost.dataset for cost in costs([*three_columns(), elsewhere])] == ["folder:there"]
    unbounded = result(cell(norm="l2", eps=1000.0, attack="deepfool"), share(0.0))
    assert costs([unbounded]) == []


def test_every_report_says_it(tmp_path: Path) -> None:
    results = [BARE, of(0.6)]
    write(tmp_path, results)
    printed = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert printed.exit_code == 0, printed.output
    flat = " ".join(printed.stdout.split())
    assert flat.startswith(UNATTACKED)
    for text in (flat, markdown(results), html(results, {}).replace("\N{NO-BREAK SPACE}", " ")):
        assert "rain costs 20.0 points of clean accuracy" in text
    assert UNATTACKED not in html(three_columns(), {})
