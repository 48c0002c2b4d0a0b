"""A run leaves word of what it is to measure, and a report names what of it is missing."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from measuring import grid
from synthetic import cell, result, share, three_columns, unattacked, write
from typer.testing import CliRunner

from rain.bench import planned
from rain.bench.cells import load
from rain.bench.checks import check
from rain.bench.grid import Grid
from rain.bench.merging import merge
from rain.bench.plan import prepare
from rain.bench.runners import measure, run
from rain.cli.main import app
from rain.errors import ResultError
from rain.report.markdown import markdown
from rain.report.page import html

JPEG = cell(defense="jpeg", eot=1)


def record(folder: Path) -> Path:
    (path,) = planned.files(folder)
    return path


def small(pictures: Path, **changes: Any) -> Grid:
    attacks = [{"attack": "none"}, {"attack": "fgsm", "access": "transfer", "eps": "8/255"}]
    usual = {"attacks": attacks, "defenses": ["none", "jpeg"], "examples": 2, "chunk": 1, "gallery": 0}
    return grid(pictures, **usual | changes)


def report(folder: Path, *options: str) -> str:
    outcome = CliRunner().invoke(app, ["report", str(folder), *options])
    assert outcome.exit_code == 0, (outcome.output, outcome.exception)
    return outcome.output


def test_a_run_says_what_it_is_to_measure(pictures: Path, tmp_path: Path) -> None:
    plan = prepare(small(pictures), tmp_path, device="cpu")
    assert not planned.files(tmp_path), "whoever only looks at a grid leaves nothing"
    results = measure(plan)
    assert set(planned.load(tmp_path)) == set(plan.cells)
    assert planned.never_begun(tmp_path, results) == []
    before = record(tmp_path).read_bytes()
    record(tmp_path).unlink()
    run(small(pictures), tmp_path, device="cpu")
    assert not planned.files(tmp_path), "nothing was to be done"
    shutil.rmtree(tmp_path / plan.cells[0].key)
    run(small(pictures), tmp_path, device="cpu")
    assert record(tmp_path).read_bytes() == before


def test_what_never_began_is_told(pictures: Path, tmp_path: Path) -> None:
    results = run(small(pictures), tmp_path, device="cpu")
    assert "no result" not in report(tmp_path)
    (lost,) = [one.cell for one in results if one.cell.defense == "jpeg" and one.cell.attack == "fgsm"]
    shutil.rmtree(tmp_path / lost.key)
    text = " ".join(report(tmp_path).split())
    assert "warning: 1 cell of the grid has no result (jpeg at eps 8/255 (linf) by fgsm, transfer)" in text
    assert "run the same grid again" in text
    for kind in ("markdown", "html"):
        report(tmp_path, f"--{kind}", str(tmp_path / kind))
        assert "1 cell of the grid has no result" in (tmp_path / kind).read_text()
    run(small(pictures), tmp_path, device="cpu")
    assert "no result" not in report(tmp_path)


def test_a_defence_of_which_nothing_is_there_is_told(tmp_path: Path) -> None:
    """It has no name in the report."""
    results = three_columns()
    write(tmp_path, results)
    planned.note(tmp_path, [*(one.cell for one in results), JPEG, unattacked(defense="jpeg")])
    text = " ".join(report(tmp_path).split())
    assert "2 cells of the grid have no result (" in text
    assert "jpeg without an attack" in text


def test_many_missing_cells_are_counted_and_a_few_are_named() -> None:
    missing = [cell(defense="jpeg", eps=levels / 255) for levels in (1, 2, 3, 4, 5)]
    (finding,) = [one for one in check([], missing) if "no result" in one.text]
    assert finding.text.startswith("5 cells of the grid have no result (jpeg at eps 1/255")
    assert "; and 2 more): run" in finding.text
    # Cells that differ in what is not said are named once.
    (finding,) = check([], [cell(examples=count) for count in (1, 2, 3, 4)])
    assert "more" not in finding.text


def test_a_part_that_was_begun_is_not_missing(pictures: Path, tmp_path: Path) -> None:
    """It is unfinished, which the report says by another line."""
    results = run(small(pictures), tmp_path, device="cpu")
    shutil.rmtree(tmp_path / results[0].cell.key / "nothing", ignore_errors=True)
    next((tmp_path / results[0].cell.key).glob("00000.json")).unlink()
    assert planned.never_begun(tmp_path, load(tmp_path)) == []
    assert "not finished" in report(tmp_path)


def test_a_folder_of_before_says_nothing(tmp_path: Path) -> None:
    write(tmp_path, three_columns())
    assert planned.load(tmp_path) == []
    assert "no result" not in report(tmp_path)


def test_two_grids_in_one_folder_are_both_remembered(tmp_path: Path) -> None:
    planned.note(tmp_path, [JPEG])
    planned.note(tmp_path, [cell(), JPEG])
    planned.note(tmp_path, [JPEG, cell()])
    assert len(planned.files(tmp_path)) == 2
    assert sorted(one.defense for one in planned.load(tmp_path)) == ["jpeg", "rain"]


def test_shards_remember_the_whole_grid_and_a_merge_takes_it_along(pictures: Path, tmp_path: Path) -> None:
    run(small(pictures), tmp_path / "whole", device="cpu")
    for number in (1, 2):
        run(small(pictures), tmp_path / str(number), shard=f"{number}/2", device="cpu")
    merge([tmp_path / "1", tmp_path / "2"], tmp_path / "all")
    assert record(tmp_path / "all").read_bytes() == record(tmp_path / "whole").read_bytes()


def with_content(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return spoil


def no_json(path: Path) -> None:
    path.write_text("<script>")


def linked(path: Path) -> None:
    secret = path.parents[2] / "secret.json"
    shutil.move(path, secret)
    path.symlink_to(secret)


HOSTILE = [
    (no_json, "not a list of planned cells"),
    (linked, "a link that leads out of"),
    (with_content(lambda content: content.update(format=2)), "its format is 2"),
    (with_content(lambda content: content.update(cells=3)), "cells is 3, not a list"),
    (with_content(lambda content: content.update(more=3)), "'more', which is no field"),
    (with_content(lambda content: content["cells"][0].update(eps=float("nan"))), "NaN"),
    (with_content(lambda content: content["cells"][0].update(access="<b>")), "access is '<b>'"),
    (with_content(lambda content: content["cells"][0].update(examples=10**30)), "examples"),
    (with_content(lambda content: content["cells"][0].update(seed=5)), "does not hold what its name says"),
    (with_content(lambda content: content["cells"].append("rain")), "cell 1 is 'rain', not a table"),
]


@pytest.mark.parametrize(("spoil", "words"), HOSTILE)
def test_lists_of_others_are_refused(tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    folder = tmp_path / "results"
    write(folder, three_columns())
    planned.note(folder, [JPEG])
    spoil(record(folder))
    with pytest.raises(ResultError) as caught:
        planned.load(folder)
    assert words in str(caught.value)
    with pytest.raises(ResultError):
        merge([folder], tmp_path / "all")
    outcome = CliRunner().invoke(app, ["report", str(folder)])
    assert outcome.exit_code == 1
    assert len(outcome.stderr.splitlines()) == 1


def test_names_of_others_are_escaped(tmp_path: Path) -> None:
    hostile = "mine:<script>alert(1)</script>[red]"
    results = three_columns()
    missing = [replace(JPEG, defense=hostile, attack=hostile)]
    page = html(results, {}, missing=missing)
    assert "<script>alert(1)" not in page
    assert "no result" in page
    assert "<script>alert(1)" not in markdown(results, missing=missing)
    write(tmp_path, results)
    planned.note(tmp_path, missing)
    assert "[red]" in " ".join(report(tmp_path).split())


def test_thousands_of_cells_take_no_time(tmp_path: Path) -> None:
    planned.note(tmp_path, [replace(JPEG, seed=number) for number in range(5000)])
    assert len(planned.never_begun(tmp_path, [result(JPEG, share(0.5))])) >= 4999
