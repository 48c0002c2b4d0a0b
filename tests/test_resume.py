"""A run that is killed in the middle of a chunk and resumed leaves the files of a single run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
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


def start(grid: Path, out: Path) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from rain.cli import main; main()", "run", str(grid), "--out", str(out)]
    with said(out).open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=file, preexec_fn=interruptible)


def interruptible() -> None:
    """A background job of a shell ignores Ctrl-C, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def said(out: Path) -> Path:
    return out.with_suffix(".stderr")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.json")}


def interrupted(grid: Path, out: Path, after: int, sign: signal.Signals) -> int:
    """Start a run and send a signal once so many chunks are finished: the next one is then being computed."""
    process = start(grid, out)
    while process.poll() is None and len(contents(out)) < after:
        time.sleep(0.01)
    process.send_signal(sign)
    return process.wait(60)


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for index in range(6):
        (tmp_path / "pictures" / f"class{index % 3}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / "pictures" / f"class{index % 3}" / f"{index}.png")
    path = tmp_path / "grid.toml"
    path.write_text(GRID.format(root=tmp_path / "pictures", steps=30))
    return path


def test_killed_interrupted_and_single_runs_leave_the_same_files(grid: Path, tmp_path: Path) -> None:
    assert start(grid, tmp_path / "single").wait(120) == 0, said(tmp_path / "single").read_text()
    complete = contents(tmp_path / "single")
    assert len(complete) == 10 * 3

    other = tmp_path / "other"
    assert interrupted(grid, other, 3, signal.SIGKILL) == -signal.SIGKILL
    between = contents(other)
    assert 3 <= len(between) < len(complete)
    assert between.items() <= complete.items()

    assert interrupted(grid, other, len(between) + 2, signal.SIGINT) == 130
    assert "finished chunks are kept" in said(other).read_text()

    assert start(grid, other).wait(120) == 0, said(other).read_text()
    assert contents(other) == complete


def test_a_full_disk_is_told_and_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rain.errors import ResultError
    from rain.results import write_file

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultError, match=r"No space left on device.*What is finished is kept"):
        write_file(tmp_path / "key" / "00000.json", b"{}")
    assert not list((tmp_path / "key").iterdir())
