"""A grid that asks for more images than before makes the new ones only."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from measuring import contents, grid
from synthetic import cell, result, write

from rain.bench import certificates, planned
from rain.bench.cells import Cell, load, path_of
from rain.bench.certificates import CertifiedCell, CertifiedImage, load_both
from rain.bench.checks import check
from rain.bench.grid import Grid
from rain.bench.measure import Bench
from rain.bench.plan import prepare
from rain.bench.planned import never_begun
from rain.bench.runners import run
from rain.bench.taking_over import load_each_once

ATTACKS = [
    {"attack": "none"},
    {"attack": "pgd(steps=2)", "access": ["transfer", "adaptive"], "eps": "8/255", "eot": 2},
]


def asked(pictures: Path, examples: int, **changes: Any) -> Grid:
    return grid(pictures, attacks=ATTACKS, size=32, chunk=2, examples=examples, **changes)


def certified(index: int, radius: float) -> CertifiedImage:
    return CertifiedImage(index=index, label=0, answer=0, radius=radius, guess=0, votes=100)


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


def test_a_report_shows_an_attack_once_and_names_what_differs(pictures: Path, tmp_path: Path) -> None:
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
    results, _ = load_both(tmp_path)
    assert [
        (one.cell.examples, one.aside) for one in results if one.cell == replace(few.cell, examples=6)
    ] == [(6, (4,))]
    assert {(one.cell.examples, one.aside) for one in results} == {(6, ()), (6, (4,))}


def test_a_folder_that_grew_off_a_chunk_shows_the_cell_of_most_images(tmp_path: Path) -> None:
    """The third chunk of 25 images has five, and its answers are not those of ten."""
    late = [0] * 5
    small = result(cell(chunk=10), [1] * 20 + late)
    large = result(cell(chunk=10), [1] * 20 + [1] * 20)
    write(tmp_path, [small, large])
    (one,) = load_each_once(tmp_path)
    assert (one.cell, one.aside) == (large.cell, (25,))
    (finding,) = [finding for finding in check([one]) if "another number" in finding.text]
    assert finding.level == "note"
    assert finding.text.startswith(
        "1 of 1 cells were measured with another number of images, too (25): of each"
    )
    assert "let examples be a multiple of chunk" in finding.text


def test_a_cell_that_lags_behind_a_smaller_one_is_named(tmp_path: Path) -> None:
    """Two chunks of 40 images are taken over, the others are still to be made."""
    small = result(cell(chunk=10), [1] * 25)
    large = replace(small, cell=cell(chunk=10, examples=40), outcomes=small.outcomes[:20], complete=False)
    write(tmp_path, [small, large])
    planned.note(tmp_path, [large.cell])
    (one,) = load_each_once(tmp_path)
    assert (one.cell, one.aside) == (small.cell, (40,))
    assert never_begun(tmp_path, [one]) == []
    assert "run the grid of more images again" in " ".join(finding.text for finding in check([one]))


def test_certificates_of_a_folder_that_grew_are_those_of_most_images(tmp_path: Path) -> None:
    about = CertifiedCell("samples", 32, "small_resnet", "gaussian", 0.25, 10, 100, 0.001, 0, 3, 2)
    for examples, radius in ((3, 0.1), (4, 0.2)):
        for number in (0, 1):
            larger = replace(about, examples=examples)
            images = [certified(index, radius * number) for index in larger.indices(number)]
            certificates.save(tmp_path, larger, number, images, {})
    assert [len(one.images) for one in certificates.load_certified(tmp_path)] == [4]


def test_cells_of_more_images_that_nobody_began_are_named(pictures: Path, tmp_path: Path) -> None:
    results = run(asked(pictures, 4), tmp_path)
    planned.note(tmp_path, [replace(result.cell, examples=6) for result in results])
    assert len(never_begun(tmp_path, results)) == len(results)
