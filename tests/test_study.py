"""The page of the study says and draws what its result files hold."""

import importlib
import re
import runpy
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from synthetic import cell

from rain.bench.cells import Outcome, Result
from rain.report import refresh

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "docs" / "study"
MODULES = ("curves", "drawing", "frequencies", "make", "readings", "robustness")


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give the modules beside the figures, which import each other as scripts do."""
    monkeypatch.syspath_prepend(STUDY)
    yield importlib.import_module
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.fixture(scope="module")
def spectra() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "studies" / "frequencies" / "measure_spectra.py"))


def test_the_page_and_its_figures_are_those_of_the_results(study: Any) -> None:
    make: ModuleType = study("make")
    text, figures = make.make()
    assert make.PAGE.read_text() == text, "run: make docs"
    for name, svg in figures.items():
        assert (STUDY / name).read_text() == svg, f"{name}; run: make docs"


def test_a_figure_has_a_place_and_a_paragraph(study: Any) -> None:
    make: ModuleType = study("make")
    text = make.PAGE.read_text()
    assert sorted(path.stem for path in STUDY.glob("*.svg")) == sorted(make.shown(text))
    for name in make.shown(text):
        paragraph = re.search(rf"\(study/{name}\.svg\)\n\n(.+?)\n\n", text, re.DOTALL)
        assert paragraph, name
        assert make.MARKED.search(paragraph[1]), f"{name}: its numbers are generated"


def test_a_figure_that_waits_for_more_images_can_be_drawn(study: Any) -> None:
    svg, facts = study("make").FIGURES["budgets"]()
    assert svg.startswith("<?xml")
    assert facts["budgets.transfer.images"]


def test_a_number_in_the_text_is_generated(study: Any) -> None:
    make: ModuleType = study("make")
    text = refresh.MARKED.sub("", make.PAGE.read_text())
    typed = make.MARKED.sub("", text).replace("95 % intervals", "")
    assert not re.findall(r"(?<!\w)\d+(?:\.\d+)? (?:%|points)", typed)


def test_no_mark_breaks_a_paragraph(study: Any) -> None:
    # A line that begins with a comment is HTML, for Markdown, to its end.
    lines = study("make").PAGE.read_text().splitlines()
    assert [line for line in lines if line.startswith("<!-- study")] == ["<!-- study ablation.table -->"]


def test_a_mark_that_names_no_number_is_said(study: Any) -> None:
    with pytest.raises(LookupError, match=r"no number 'filters\.nothing'"):
        study("make").refresh("<!-- study filters.nothing -->1 %<!-- end -->", {"filters.lite0": "2 %"})


def test_marks_are_written_anew(study: Any) -> None:
    page = "a <!-- study one -->?<!-- end -->, b <!-- study two -->2 %<!-- end -->"
    fresh = study("make").refresh(page, {"one": "1 %", "two": "2 %"})
    assert fresh == "a <!-- study one -->1 %<!-- end -->, b <!-- study two -->2 %<!-- end -->"


BASE = cell(attack="fgsm", access="query", eot=1, draws=3)


def result(*outcomes: Outcome) -> Result:
    return Result(BASE, outcomes, True, {})


def outcome(index: int, clean: tuple[int, ...], robust: tuple[int, ...], queries: int = 0) -> Outcome:
    return Outcome(index, 1, clean, 1, robust, 1, 0.0, queries)


def test_draws_vote(study: Any) -> None:
    votes = study("robustness")._votes
    three = result(outcome(0, (1, 0, 0), (0, 1, 1)), outcome(1, (1, 1, 0), (0, 0, 0)))
    assert votes(three, 1, attacked=False) == {0: 1.0, 1: 1.0}
    assert votes(three, 3, attacked=False) == {0: 0.0, 1: 1.0}
    assert votes(three, 3, attacked=True) == {0: 1.0, 1: 0.0}


def test_an_attack_that_still_asks_has_done_nothing_yet(study: Any) -> None:
    after = study("curves")._after
    attacked = result(outcome(0, (1, 1), (0, 0), 100), outcome(1, (1, 1), (0, 1), 300))
    assert after(attacked, 99) == {0: 1.0, 1: 1.0}
    assert after(attacked, 100) == {0: 0.0, 1: 1.0}
    assert after(attacked, 300) == {0: 0.0, 1: 0.5}


def test_a_perturbation_that_is_larger_than_allowed_does_not_count(study: Any) -> None:
    within = study("curves")._within
    near, far = outcome(0, (1, 1), (0, 0)), outcome(1, (1, 1), (0, 0))
    attacked = result(replace(near, distance=0.5), replace(far, distance=2.0))
    assert within(attacked, 0.4) == {0: 1.0, 1: 1.0}
    assert within(attacked, 0.5) == {0: 0.0, 1: 1.0}
    assert within(attacked, 3.0) == {0: 0.0, 1: 0.0}


def test_a_cell_is_told_by_its_fields(study: Any) -> None:
    readings: ModuleType = study("readings")
    among = [
        Result(replace(BASE, defense=spec), (), True, {}) for spec in ("none", "rain(keep=2, shift=0.0)")
    ]
    assert readings.only(among, defense="rain(shift=0.0, keep=2)") is among[1]
    with pytest.raises(LookupError, match="0 results"):
        readings.only(among, defense="jpeg")
    with pytest.raises(KeyError, match="defence"):
        readings.select(among, defence="none")


def test_a_file_that_is_there_is_not_measured_again(spectra: dict[str, Any], tmp_path: Path) -> None:
    calls: list[int] = []
    for _ in range(2):
        spectra["make"](tmp_path / "one.json", lambda: calls.append(1) or {"energy": 0.5})
    assert len(calls) == 1
    assert (tmp_path / "one.json").read_text() == '{"energy":0.5}\n'


def test_an_interval_is_that_of_a_mean(spectra: dict[str, Any]) -> None:
    values = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    told = spectra["_told"]({"energy": [values[:3], values[3:]]})["energy"]
    assert told["mean"] == [2.5, 0.0]
    assert told["half"] == pytest.approx([1.96 * 1.29099 / 2, 0.0], rel=1e-4)
    assert told["images"] == 4


def test_the_halved_picture_is_shown_with_each_pixel_repeated(spectra: dict[str, Any]) -> None:
    defense = spectra["load_defense"]("rain(shift=0.0, enhancer=bicubic)")
    images = torch.rand((1, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    draw = defense.draw(images, torch.Generator().manual_seed(0))
    repeated = spectra["defended"]("picked", defense, images, draw)
    assert torch.equal(repeated[..., ::2, ::2], repeated[..., 1::2, 1::2])
    assert torch.equal(repeated[..., ::2, ::2], defense.stages(images, draw)["randomized"])
