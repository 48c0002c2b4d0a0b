"""A grid that asks for more images than before makes the new ones only."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from measuring import contents, grid

from rain.bench import planned
from rain.bench.cells import Cell, load, path_of
from rain.bench.certificates import load_both
from rain.bench.grid import Grid
from rain.bench.measure import Bench
from rain.bench.plan import prepare
from rain.bench.planned import never_begun
from rain.bench.runners import run

ATTACKS = [
    {"attack": "none"},
    {"attack": "pgd(steps=2)", "access": ["transfer", "adaptive"], "eps": "8/255", "eot": 2},
]


def asked(pictures: Path, examples: int, **changes: Any) -> Grid:
    return grid(pictures, attacks=ATTACKS, size=32, chunk=2, examples=examples, **changes)


def count_measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Cell, int]]:
    """The chunks that are measured from now on."""
    measured: list[tuple[Cell, int]] = []
    real = Bench.measure

    def measure(bench: Bench, cell: Cell, chunk: int, **rest: Any) -> Any:
        measured.append((cell, chunk))
        return real(bench, cell, chunk, **rest)

    monkeypatch.setattr(Bench, "measure", measure)
    return measured


def test_more_images_are_the_files_of_a_fresh_run(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(asked(pictures, 6), tmp_path / "fresh")
    run(asked(pictures, 3), tmp_path / "grown")
    before = contents(tmp_path / "grown")
    measured = count_measured(monkeypatch)
    run(asked(pictures, 6), tmp_path / "grown")
    # Of three images the second chunk has one, and is not that of six.
    assert {chunk for _, chunk in measured} == {1, 2}
    after = contents(tmp_path / "grown")
    assert before.items() <= after.items()
    assert {name: after[name] for name in contents(tmp_path / "fresh")} == contents(tmp_path / "fresh")
    galleries = [
        sorted(path.parent.name for path in (tmp_path / name).glob("*/gallery.npz"))
        for name in ("fresh", "grown")
    ]
    assert galleries[0]
    assert set(galleries[0]) <= set(galleries[1])


def test_fewer_images_need_no_work(pictures: Path, tmp_path: Path) -> None:
    run(asked(pictures, 6), tmp_path)
    plan = prepare(asked(pictures, 4), tmp_path)
    assert plan.work == ()
    assert plan.taken == 2 * len(plan.cells)


def test_what_was_made_otherwise_is_not_taken_over(pictures: Path, tmp_path: Path) -> None:
    run(asked(pictures, 4), tmp_path)
    for path in tmp_path.glob("*/0*.json"):
        content = json.loads(path.read_text())
        content["made_by"]["precision"] = "bf16-mixed"
        path.write_text(json.dumps(content))
    assert prepare(asked(pictures, 6), tmp_path).taken == 0


def test_images_that_shall_be_kept_are_made(pictures: Path, tmp_path: Path) -> None:
    run(asked(pictures, 4), tmp_path)
    plan = prepare(asked(pictures, 6), tmp_path, keep_images="png")
    assert {cell.attack for cell, chunk in plan.work if chunk < 2} == {"pgd(steps=2)"}


def test_pictures_that_are_not_there_are_made(pictures: Path, tmp_path: Path) -> None:
    run(asked(pictures, 4, gallery=0), tmp_path)
    plan = prepare(asked(pictures, 6, gallery=2), tmp_path)
    again = {cell for cell, chunk in plan.work if chunk == 0}
    assert again
    assert all(cell.access in ("transfer", "adaptive") and cell.defense != "none" for cell in again)


def test_a_report_shows_an_attack_once_and_what_differs_twice(pictures: Path, tmp_path: Path) -> None:
    for examples in (4, 6):
        run(asked(pictures, examples), tmp_path)
    results, _ = load_both(tmp_path)
    assert {result.cell.examples for result in results} == {6}
    assert never_begun(tmp_path, results) == []
    few = min(load(tmp_path), key=lambda one: (one.cell.examples, one.cell.attack))
    path = path_of(tmp_path, few.cell, 0)
    content = json.loads(path.read_text())
    content["outcomes"][0]["clean"][0] ^= 1
    path.write_text(json.dumps(content))
    assert {result.cell.examples for result in load_both(tmp_path)[0]} == {4, 6}


def test_cells_of_more_images_that_nobody_began_are_named(pictures: Path, tmp_path: Path) -> None:
    results = run(asked(pictures, 4), tmp_path)
    planned.note(tmp_path, [replace(result.cell, examples=6) for result in results])
    assert len(never_begun(tmp_path, results)) == len(results)
