"""Several processes that do one run, and several runs on one folder."""

import multiprocessing
import os
import pickle
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from interrupting import said, start
from measuring import contents, grid

from rain.bench import workers as module
from rain.bench.plan import prepare
from rain.bench.runners import run
from rain.bench.sharing import bundles
from rain.bench.workers import Worker, _Crew, order_of, rebuild
from rain.bench.working import Failures
from rain.errors import ResultError, WorkerError
from rain.runtime.progress import Board

TESTS = str(Path(__file__).parent.parent)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers find the classifiers of the tests."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [TESTS, os.environ.get("PYTHONPATH")])))


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
    with pytest.warns(UserWarning, match="worker [12] was ended by SIGKILL; the others take over"):
        assert run(asked, shared, workers=2) == expected
    (shared / "died").unlink()
    for half in shared.rglob("*.tmp"):  # it may have been killed while it wrote
        half.unlink()
    assert contents(shared) == contents(single)


class Ended:
    """A process that has ended."""

    def __init__(self, exitcode: int):
        self.exitcode = exitcode

    def join(self, timeout: float = 0) -> None:
        pass

    def is_alive(self) -> bool:
        return False


def crew_of(*messages: list[tuple[Any, ...]], exitcode: int = 0) -> tuple[_Crew, Failures]:
    """Workers that tell something, and end."""
    failures = Failures()
    crew = _Crew(Board(), failures)
    for number, told in enumerate(messages, 1):
        here, there = multiprocessing.Pipe()
        for message in told:
            there.send(message)
        there.close()
        crew._workers.append(Worker(number, Ended(exitcode), here))
    return crew, failures


def test_workers_that_all_die_are_told_in_one_line(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = prepare(small(pictures), tmp_path)
    monkeypatch.setattr(module, "_Crew", lambda *arguments: crew_of([("begin", 0)], [], exitcode=-9)[0])
    monkeypatch.setattr(_Crew, "start", lambda *arguments: None)
    with (
        pytest.warns(UserWarning, match="was ended by SIGKILL; the others take over what it was at"),
        pytest.raises(WorkerError, match=r"all 2 workers ended, and 36 chunks are not done .* fewer workers"),
    ):
        module.work_together(plan, bundles(plan.assets, plan.work), 2, Board(), Failures())


def test_what_a_worker_raises_ends_the_run_with_one_line() -> None:
    crew, _ = crew_of([])
    with pytest.raises(ResultError, match="the disk is full"):
        crew._hear(crew._workers[0], "error", ResultError("the disk is full"))


def told_by_worker(asked: Any, folder: Path) -> list[tuple[Any, ...]]:
    """What a worker tells of a run, in this process."""
    plan = prepare(asked, folder)
    order = module.order_of(plan, bundles(plan.assets, plan.work), 2, 0)
    here, there = multiprocessing.Pipe()
    module.serve(pickle.loads(pickle.dumps(order)), there)
    there.close()
    messages = []
    while here.poll():
        try:
            messages.append(here.recv())
        except EOFError:
            break
    return messages


def test_a_worker_tells_of_each_piece(pictures: Path, tmp_path: Path) -> None:
    asked = small(pictures, examples=2, defenses=["none"])
    messages = [message for message in told_by_worker(asked, tmp_path) if message[0] != "units"]
    assert messages == [(kind, number) for number in range(3) for kind in ("begin", "end")]


def test_what_a_worker_cannot_write_or_build_is_told(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    asked = small(pictures, examples=2, defenses=["none"])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        kind, error = told_by_worker(asked, tmp_path)[-1]
    assert kind == "error"
    assert isinstance(error, ResultError)
    assert "No space left on device. What is finished is kept" in str(error)
    assert not list(tmp_path.rglob("*.tmp"))

    def absent(order: object) -> None:
        raise OSError("the weights are not here")

    monkeypatch.setattr(module, "rebuild", absent)
    ((kind, error),) = told_by_worker(asked, tmp_path)
    assert kind == "error"
    assert isinstance(error, WorkerError)
    assert "the weights are not here" in str(error)


def test_who_is_ended_while_he_tells_of_an_error_is_silent(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    plan = prepare(small(pictures), tmp_path)
    order = module.order_of(plan, bundles(plan.assets, plan.work), 2, 0)
    handlers = {sign: signal.getsignal(sign) for sign in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(module, "serve", end)
    try:
        module._work(order, multiprocessing.Pipe()[0])
    finally:
        for sign, handler in handlers.items():
            signal.signal(sign, handler)


def test_a_cell_that_fails_is_told_to_all_and_left_alone(pictures: Path, tmp_path: Path) -> None:
    attacks = [{"attack": name, "access": "static", "eps": "8/255"} for name in ("dying:raising", "fgsm")]
    asked = small(pictures, defenses=["none"], attacks=attacks)
    messages = told_by_worker(asked, tmp_path)
    (cell, error) = next(message[1:] for message in messages if message[0] == "failure")
    assert cell.attack == "dying:raising"
    assert len([message for message in messages if message[0] == "warning"]) == 1
    assert len(list(tmp_path.glob("*/0*.json"))) == 4

    crew, failures = crew_of(
        [("failure", cell, error), ("warning", "left out", UserWarning)],
        [("warning", "left out", UserWarning)],
    )
    with pytest.warns(UserWarning, match="left out") as warned:
        crew.follow()
    assert [str(one.message) for one in warned].count("left out") == 1
    assert failures.has(cell)


def test_ctrl_c_ends_all_workers_and_two_runs_go_on_and_share_the_work(
    grid_file: Path, tmp_path: Path
) -> None:
    single, out = tmp_path / "single", tmp_path / "out"
    run(grid_file, single)
    process = start(out, "run", str(grid_file), "--workers", "2")
    wait_for(out, 3)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    text = said(out).read_text()
    assert "finished chunks are kept" in text
    assert "Traceback" not in text
    between = contents(out)
    assert between.items() < contents(single).items()

    both = [start(out, "run", str(grid_file)) for _ in range(2)]
    assert [process.wait(300) for process in both] == [0, 0], said(out).read_text()
    assert contents(out) == contents(single)


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


def test_a_worker_keeps_the_images_that_the_plan_keeps(pictures: Path, tmp_path: Path) -> None:
    plan = prepare(small(pictures), tmp_path, keep_images="float")
    assert rebuild(order_of(plan, ["one"] * len(plan.work), 2, 0)).keeps == "float"
