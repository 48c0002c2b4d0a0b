"""Several processes that do one run, and several runs on one folder."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from interrupting import finish, said, start
from measuring import grid

from rain.bench.runners import run
from rain.errors import AttackError, ResultError, WorkerError

TESTS = str(Path(__file__).parent.parent)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers find the classifiers of the tests."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [TESTS, os.environ.get("PYTHONPATH")])))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def small(pictures: Path, **changes: Any) -> Any:
    attacks = [
        {"attack": "none"},
        {"attack": "pgd(steps=2)", "access": ["transfer", "adaptive"], "eps": "8/255", "eot": 2},
    ]
    return grid(pictures, **{"chunk": 2, "attacks": attacks, **changes})


def test_two_workers_leave_the_files_of_one_and_a_dead_ones_work_is_taken_over(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = small(pictures, classifier="dying:mortal")
    single, shared = tmp_path / "single", tmp_path / "shared"
    expected = run(asked, single)
    monkeypatch.setenv("DYING_IN", str(shared))
    monkeypatch.setenv("DYING_OF", str(int(signal.SIGKILL)))
    with pytest.warns(UserWarning, match="worker [12] was ended by SIGKILL; the others take over"):
        assert run(asked, shared, workers=2) == expected
    (shared / "died").unlink()
    assert contents(shared) == contents(single)


def test_workers_that_all_die_are_told_in_one_line(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAVES_ELSEWHERE", str(os.getpid()))
    with (
        pytest.warns(UserWarning, match="worker 1 ended with exit code 7"),
        pytest.raises(WorkerError, match=r"all 2 workers ended, and 24 chunks are not done .* fewer workers"),
    ):
        run(small(pictures, classifier="dying:leaving"), tmp_path, workers=2)


def test_what_a_worker_cannot_build_is_one_line(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAILS_ELSEWHERE", str(os.getpid()))
    with pytest.raises(Exception, match="the weights are not here"):
        run(small(pictures, classifier="dying:failing"), tmp_path, workers=2)


def test_a_cell_that_fails_is_told_once_and_the_others_are_done(pictures: Path, tmp_path: Path) -> None:
    attacks = [{"attack": name, "access": "static", "eps": "8/255"} for name in ("hostile:raises", "fgsm")]
    asked = small(pictures, defenses=["none", "jpeg"], attacks=attacks)
    with (
        pytest.warns(UserWarning, match="is left out, the rest goes on") as warned,
        pytest.raises(AttackError, match="2 of 4 cells are not finished"),
    ):
        run(asked, tmp_path, workers=2)
    messages = [str(warning.message) for warning in warned]
    assert len(messages) == len(set(messages))
    assert len(list(tmp_path.glob("*/0*.json"))) == 2 * 4


def test_a_worker_that_cannot_write_ends_the_run_and_what_is_finished_is_kept(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILLS_ELSEWHERE", str(os.getpid()))
    with pytest.raises(ResultError, match="cannot be written: File too large. What is finished is kept"):
        run(small(pictures, classifier="dying:filling"), tmp_path, workers=2)
    assert not list(tmp_path.rglob("*.tmp"))


def test_ctrl_c_ends_all_workers_and_the_next_run_goes_on(grid_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(out, "run", str(grid_file), "--workers", "2")
    wait_for(out, 3)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    text = said(out).read_text()
    assert "finished chunks are kept" in text
    assert "Traceback" not in text
    between = contents(out)
    assert between
    assert all(name.endswith((".json", ".npz")) for name in between)


def test_two_runs_on_one_folder_share_the_work(grid_file: Path, tmp_path: Path) -> None:
    single, shared = tmp_path / "single", tmp_path / "shared"
    finish(start(single, "run", str(grid_file)), single)
    both = [start(shared, "run", str(grid_file)) for _ in range(2)]
    assert [process.wait(300) for process in both] == [0, 0], said(shared).read_text()
    assert contents(shared) == contents(single)


def wait_for(folder: Path, files: int) -> None:
    """Wait until so many chunks are finished."""
    limit = time.monotonic() + 120
    while len(list(folder.glob("*/0*.json"))) < files and time.monotonic() < limit:
        time.sleep(0.01)


@pytest.fixture
def grid_file(pictures: Path, tmp_path: Path) -> Path:
    path = tmp_path / "grid.toml"
    path.write_text(
        f"""
dataset = "csv:{pictures}"
size = 32
classifier = "models:tiny"
defenses = ["none", "rain(enhancer=bicubic)"]
examples = 7
chunk = 1
draws = 2
[[attacks]]
attack = "pgd(steps=3, confidence=inf)"
access = ["transfer", "adaptive"]
eps = ["8/255"]
eot = 2
"""
    )
    return path
