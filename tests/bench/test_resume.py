"""A run that is killed in the middle of a chunk and resumed leaves the files of a single run."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from interrupting import finish, said, start
from PIL import Image

GRID = """
dataset = "folder:{root}"
classifier = "models:tiny"
size = 32
defenses = ["none", "rain(enhancer=bicubic)"]
examples = 6
chunk = 2
draws = 2
[[attacks]]
attack = "none"
[[attacks]]
attack = "pgd(steps={steps}, confidence=inf)"
access = ["transfer", "adaptive"]
eps = ["2/255", "8/255"]
eot = 5
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("0*.json")}


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for index in range(6):
        (tmp_path / "pictures" / f"class{index % 3}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(
            tmp_path / "pictures" / f"class{index % 3}" / f"{index}.png"
        )
    path = tmp_path / "grid.toml"
    path.write_text(GRID.format(root=tmp_path / "pictures", steps=30))
    return path


def test_killed_interrupted_and_single_runs_leave_the_same_files(grid: Path, tmp_path: Path) -> None:
    single, other = tmp_path / "single", tmp_path / "other"
    finish(start(single, "run", str(grid)), single)
    complete = contents(single)
    assert len(complete) == 10 * 3

    assert start(other, "run", str(grid), sign=signal.SIGKILL, after=3).wait(300) == -signal.SIGKILL
    # Files are written while the next chunk is computed: a few more may be there by the time of the kill.
    between = contents(other)
    assert 3 <= len(between) < len(complete)
    assert between.items() <= complete.items()
    before = len(between)

    assert start(other, "run", str(grid), sign=signal.SIGINT, after=before + 2).wait(300) == 130
    assert "finished chunks are kept" in said(other).read_text()
    between = contents(other)
    assert before + 2 <= len(between) < len(complete)
    assert between.items() <= complete.items()

    finish(start(other, "run", str(grid)), other)
    assert contents(other) == complete


def test_a_full_disk_is_told_and_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rain.bench.cells import write_file
    from rain.errors import ResultError

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultError, match=r"No space left on device.*What is finished is kept"):
        write_file(tmp_path / "key" / "00000.json", b"{}")
    assert not list((tmp_path / "key").iterdir())
