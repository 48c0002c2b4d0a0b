"""Files are written while the next chunk is computed: in order, all of them, and an error is told."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from measuring import grid

from rain.bench import working
from rain.bench.cells import path_of
from rain.bench.leases import Leases
from rain.bench.plan import prepare
from rain.bench.runners import run
from rain.bench.sharing import bundles
from rain.bench.working import Failures, work_on
from rain.bench.writing import Writer
from rain.errors import ResultError
from rain.runtime.progress import Board


def wait_for(happened: Callable[[], object]) -> None:
    limit = time.monotonic() + 30
    while not happened() and time.monotonic() < limit:
        time.sleep(0.001)


def refuse() -> None:
    raise OSError(28, "No space left on device")


def test_pieces_are_done_in_order_while_the_block_goes_on() -> None:
    gate, done = Event(), []
    with Writer() as writer:
        writer.put(gate.wait)
        for number in range(3):
            writer.put(lambda number=number: done.append(number))
        assert not done
        gate.set()
    assert done == [0, 1, 2]


def test_no_more_than_a_few_wait() -> None:
    gate, done, handed = Event(), [], []
    with Writer(waiting=2) as writer:

        def hand_over() -> None:
            for number in range(6):
                writer.put(lambda number=number: (gate.wait(), done.append(number)))
                handed.append(number)

        with Writer() as other:
            other.put(hand_over)
            wait_for(lambda: len(handed) == 3)  # one is at work, two wait
            time.sleep(0.05)
            assert len(handed) == 3
            gate.set()
    assert done == list(range(6))


def test_an_error_is_raised_at_the_next_piece_and_nothing_is_done_after_it() -> None:
    done: list[int] = []
    with pytest.raises(OSError, match="No space"), Writer() as writer:  # noqa: PT012
        writer.put(refuse)
        wait_for(lambda: writer._error)
        writer.put(lambda: done.append(1))
    assert not done


def test_an_error_of_the_last_piece_is_raised_at_the_end() -> None:
    with pytest.raises(OSError, match="No space"), Writer() as writer:
        writer.put(refuse)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_was_handed_over_is_done_when_the_block_ends_by_an_error(error: type[BaseException]) -> None:
    gate, done = Event(), []
    with pytest.raises(error), Writer() as writer:  # noqa: PT012
        writer.put(gate.wait)
        writer.put(lambda: done.append(1))
        gate.set()
        raise error
    assert done == [1]


def test_an_error_of_the_block_is_not_hidden_by_one_of_a_piece() -> None:
    with pytest.raises(KeyboardInterrupt), Writer() as writer:  # noqa: PT012
        writer.put(refuse)
        raise KeyboardInterrupt


def test_many_pieces_behind_an_error_do_not_stop_the_block_from_ending() -> None:
    gate = Event()
    with pytest.raises(ValueError, match="mine"), Writer(waiting=2) as writer:  # noqa: PT012
        writer.put(lambda: (gate.wait(), refuse()))
        writer.put(refuse)
        writer.put(refuse)
        gate.set()
        raise ValueError("mine")


def small(pictures: Path) -> Any:
    return grid(pictures, defenses=["none"], attacks=[{"attack": "none"}], examples=6, chunk=1)


def test_a_chunk_is_let_go_only_once_its_file_is_there(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever got it before would compute it again."""
    plan, save = prepare(small(pictures), tmp_path, device="cpu"), working.save
    names = bundles(plan.assets, plan.work)
    own, other = Leases(tmp_path), Leases(tmp_path)
    seen: list[bool] = []

    def slow(folder: Path, cell: Any, chunk: int, *rest: Any) -> Any:
        if chunk == 5:  # the last one: all others are let go by now, and nothing else is computed
            assert not other.claim(names[chunk])
            for number in range(5):
                assert path_of(folder, cell, number).is_file()
                assert other.claim(names[number])
            seen.append(True)
        return save(folder, cell, chunk, *rest)

    monkeypatch.setattr(working, "save", slow)
    with own, other:
        work_on(plan, names, own, Board(), Failures())
        assert seen == [True]
        assert other.claim(names[5])


def test_a_full_disk_ends_the_run_and_what_was_finished_is_kept(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 3:  # the list of what is planned, and two chunks
            refuse()
        exact(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(ResultError, match=r"No space left on device.*What is finished is kept"):
            run(small(pictures), tmp_path, device="cpu")
    left = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert left[:2] == ["00000.json", "00001.json"], "no half file, and no lease"
    assert [name.partition("-")[0] for name in left[2:]] == ["grid"]
    assert all(result.complete for result in run(small(pictures), tmp_path, device="cpu"))


def test_a_run_is_no_further_ahead_of_its_files_than_it_says(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is what a kill loses."""
    monkeypatch.setattr(Writer.__init__, "__defaults__", (2,))
    save, ahead = working.save, []
    measured = working._measured

    def counted(bench: Any, cell: Any, chunk: int, *rest: Any) -> Any:
        ahead.append(chunk - len(list(tmp_path.glob("*/0*.json"))))
        return measured(bench, cell, chunk, *rest)

    def slow(*arguments: Any) -> Any:
        time.sleep(0.02)
        return save(*arguments)

    monkeypatch.setattr(working, "_measured", counted)
    monkeypatch.setattr(working, "save", slow)
    run(small(pictures), tmp_path, device="cpu")
    assert 1 <= max(ahead) <= 3
