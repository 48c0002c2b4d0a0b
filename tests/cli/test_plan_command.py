"""``rain plan``, ``rain merge`` and shards, as they are typed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rain.bench.estimate import read_need, table
from rain.cli.main import app

GRID = """
dataset = "{dataset}"
classifier = "models:tiny"
size = 32
defenses = ["none", "jpeg"]
examples = 6
chunk = 2
[[attacks]]
attack = "none"
[[attacks]]
attack = "fgsm"
access = "static"
eps = "4/255"
"""


def rain(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_a_plan_needs_no_dataset_and_leaves_what_it_measured(pictures: Path, tmp_path: Path) -> None:
    file, path = tmp_path / "grid.toml", tmp_path / "need.json"
    file.write_text(GRID.format(dataset="imagenet:nowhere"))
    options = ["--dataset", f"csv:{pictures}", "--examples", 500, "--chunks", "5,50", "--workers", "2"]
    done = rain("plan", file, *options, "--json", path, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert table(read_need(path), [5, 50], [2]) in done.output
    assert json.loads(path.read_text())["sizes"] == [[500, 4]]
    assert "| 50 | 10 | 40 |" in done.output


def test_what_was_measured_goes_to_the_output(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text(GRID.format(dataset=f"csv:{pictures}"))
    done = rain("plan", file, "--examples", 4, "--json", "-", "--device", "cpu")
    assert json.loads(done.stdout)["sizes"] == [[4, 4]]
    assert not Path("-").exists()


@pytest.mark.parametrize("text", ["0", "5,,6", "a", "-1", "9999999999", ",", "\u0663"])
def test_numbers_that_are_none_are_one_line(tmp_path: Path, text: str) -> None:
    done = rain("plan", "demo", "--chunks", text)
    assert done.exit_code == 1
    assert "error: --chunks takes numbers from 1 with commas between them" in done.output


def test_shards_are_typed_and_merged(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text(GRID.format(dataset=f"csv:{pictures}"))
    for number in (1, 2):
        done = rain("run", file, "--out", tmp_path / str(number), "--shard", f"{number}/2")
        assert done.exit_code == 0, done.output
        assert f"shard {number}/2 is done; " in done.output
        assert "chunks of the grid are not in" in done.output
    done = rain("merge", tmp_path / "1", tmp_path / "2", "--out", tmp_path / "all")
    assert done.exit_code == 0, done.output
    assert "12 chunks, 12 of them new" in done.output
    assert done.output.endswith("12 of them new\n")
    again = rain("run", file, "--out", tmp_path / "all", "--shard", "1/2")
    assert "nothing to measure" in again.output


def test_what_is_no_shard_is_one_line(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text(GRID.format(dataset=f"csv:{pictures}"))
    done = rain("run", file, "--out", tmp_path / "out", "--shard", "9/8")
    assert done.exit_code == 1
    assert done.output.endswith("error: a shard is its number and how many there are, 3/8; got '9/8'\n")
    assert not (tmp_path / "out").exists()


def test_more_workers_than_there_is_work_are_no_faster(pictures: Path, tmp_path: Path) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text(GRID.format(dataset=f"csv:{pictures}"))
    out = tmp_path / "need.json"
    assert rain("plan", grid, "--json", out).exit_code == 0
    need = replace(read_need(out), seconds=1000.0, bundle_seconds=2.0)
    text = table(need, chunks=(3,), workers=(1, 10, 1000))
    assert "| 1 | 17 minutes |" in text
    assert "| 10 | 100 s |" in text
    assert "| 1000 | 6 s |" in text  # a chunk of three images


def test_where_nothing_can_be_written_is_told_before_the_work(pictures: Path, tmp_path: Path) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text(GRID.format(dataset=f"csv:{pictures}"))
    outcome = rain("plan", grid, "--json", tmp_path)
    assert outcome.exit_code == 1
    assert "cannot be written" in outcome.stderr
