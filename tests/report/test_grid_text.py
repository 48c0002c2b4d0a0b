"""A grid that is written from results asks for these results, and for no other."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import cell, result, three_columns, unattacked

from rain.bench.cells import Cell, Result, load
from rain.bench.grid import expand
from rain.report.grid_text import grid_texts
from rain.tables import parse_toml

STUDIES = Path(__file__).parents[2] / "studies"


def cells_of(results: Iterable[Result]) -> set[Cell]:
    """What the written grids ask for, as a run settles it: one draw where nothing is random."""
    results = list(results)
    random = {one.cell.defense for one in results if "yes" in one.made_by.get("defense_random", ())}
    cells = {cell for grid in grid_texts(results) for cell in expand(parse_toml(grid.text)).cells}
    return {one if one.defense in random else replace(one, draws=1, eot=1) for one in cells}


@pytest.mark.parametrize("study", ["nips2017", "nips2017-native", "imagenette96", "gate96-aims", "queries96"])
def test_the_studies_can_be_measured_again(study: str) -> None:
    results = load(STUDIES / study)
    assert cells_of(results) == {one.cell for one in results}


def test_accesses_budgets_and_draws_are_listed() -> None:
    results = [result(unattacked(draws=3), [1]), result(unattacked(defense="none"), [1])]
    for eps in (2 / 255, 0.123):
        for access, eots in (("static", [1]), ("adaptive", [5, 20])):
            results += [result(cell(access=access, eps=eps, eot=eot, draws=3), [1]) for eot in eots]
            bare = result(cell(access=access, eps=eps, eot=1, defense="none"), [1])
            results.append(bare)
    assert cells_of(results) == {one.cell for one in results}
    (grid,) = grid_texts(results)
    assert grid.text.count("[[attacks]]") == 2
    assert (
        'access = ["static", "adaptive"]\neps = ["2/255", 0.123]\nnorm = "linf"\neot = [5, 20]' in grid.text
    )


def test_each_place_and_seed_has_a_grid() -> None:
    results = [*three_columns(), result(cell(size=None), [1]), result(cell(seed=7), [1])]
    grids = grid_texts(results)
    assert [grid.place for grid in grids] == [
        "samples, 224 pixels, small, seed 0",
        "samples, own size, small",
        "samples, 224 pixels, small, seed 7",
    ]
    assert cells_of(results) == {one.cell for one in results}


@pytest.mark.parametrize("name", ['csv:a "b"\n\\c\x7f\x00', "csv:\U0001f600]\n[[attacks]]", "'''"])
def test_a_name_stays_a_name(name: str) -> None:
    results = [result(cell(dataset=name), [1])]
    assert cells_of(results) == {one.cell for one in results}


def test_what_differs_in_two_things_stays_two_entries() -> None:
    results = [result(cell(eps=1 / 255, access="static", eot=1), [1]), result(cell(), [1])]
    results += [result(cell(norm="l2", eps=2.5), [1]), result(cell(), [1, 1])]
    assert cells_of(results) == {one.cell for one in results}
