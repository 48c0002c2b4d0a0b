"""Claims of work by several runs on one folder."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rain.bench import leases as module
from rain.bench.leases import MACHINE, Leases, lease_name
from rain.errors import ResultError

NAME = lease_name("0123456789abcdef", 3)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def others(folder: Path, clock: Clock) -> Leases:
    return Leases(folder, clock=clock, patience=60)


def is_over_after(watcher: Leases, clock: Clock, seconds: float) -> bool:
    """Look at a lease once a second for so long."""
    for _ in range(int(seconds)):
        if watcher.claim(NAME):
            return True
        clock.now += 1
    return watcher.claim(NAME)


def silence(folder: Path, content: str = f"000000000000 1 token {MACHINE}x\n") -> Path:
    """The lease of somebody on another machine who died."""
    path = folder / ".leases" / f"{NAME}.0.lease"
    path.parent.mkdir()
    path.write_text(content)
    return path


def test_one_of_two_gets_the_work_and_the_other_gets_it_when_it_is_let_go(tmp_path: Path) -> None:
    with Leases(tmp_path) as first, Leases(tmp_path) as second:
        assert first.claim(NAME)
        assert first.claim(NAME)
        assert not second.claim(NAME)
        assert second.others() == {NAME}
        assert not first.others()
        first.release(NAME)
        assert second.claim(NAME)
    assert not list(tmp_path.iterdir())


def test_a_lease_without_a_sign_of_life_is_taken_over_by_one_alone(tmp_path: Path) -> None:
    silence(tmp_path)
    clock = Clock()
    watchers = [others(tmp_path, clock) for _ in range(3)]
    for _ in range(60):
        assert not any(watcher.claim(NAME) for watcher in watchers)
        clock.now += 1
    assert [watcher.claim(NAME) for watcher in watchers] == [True, False, False]
    watchers[0].close()
    assert not (tmp_path / ".leases").exists()


def test_who_gives_signs_of_life_keeps_his_lease(tmp_path: Path) -> None:
    with Leases(tmp_path, beat=0.01) as holder:
        assert holder.claim(NAME)
        clock = Clock()
        watcher = others(tmp_path, clock)
        file = tmp_path / ".leases" / f"{NAME}.0.lease"
        for _ in range(5):
            before = file.read_bytes()
            limit = time.monotonic() + 20
            while file.read_bytes() == before and time.monotonic() < limit:
                time.sleep(0.005)
            clock.now += 59
            assert not watcher.claim(NAME)


def test_a_watcher_who_was_asleep_does_not_take_that_for_silence(tmp_path: Path) -> None:
    silence(tmp_path)
    clock = Clock()
    watcher = others(tmp_path, clock)
    assert not watcher.claim(NAME)
    clock.now += 3600
    assert not watcher.claim(NAME)


@pytest.mark.parametrize("year", [0, 4_000_000_000])
def test_times_of_day_and_of_files_play_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, year: int
) -> None:
    path = silence(tmp_path)
    clock = Clock()
    watcher = others(tmp_path, clock)
    assert not watcher.claim(NAME)
    monkeypatch.setattr(time, "time", lambda: float(year))
    os.utime(path, (year, year))
    assert not is_over_after(watcher, clock, 58)
    os.utime(path, (year + 5, year + 5))
    assert is_over_after(watcher, clock, 4)


def test_the_lease_of_a_process_of_this_machine_that_died_is_over_at_once(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from rain.bench.leases import Leases\n"
        f"assert Leases(Path(sys.argv[1])).claim({NAME!r}); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == 9
    with Leases(tmp_path) as heir:
        assert heir.others() == {NAME}
        assert heir.claim(NAME)
    assert not list(tmp_path.iterdir())


def test_a_holder_who_wakes_late_takes_nothing_from_his_heir(tmp_path: Path) -> None:
    sleeper = Leases(tmp_path, beat=1e6)
    assert sleeper.claim(NAME)
    clock = Clock()
    heir = others(tmp_path, clock)
    assert is_over_after(heir, clock, 61)
    sleeper.close()
    third = others(tmp_path, clock)
    assert not third.claim(NAME)
    heir.close()
    assert third.claim(NAME)
    third.close()


@pytest.mark.parametrize("content", ["", "nonsense", "1 -1 x y", "1 0 x " + MACHINE, "9" * 5000, "\0" * 10])
def test_a_lease_of_nonsense_is_over_in_time(tmp_path: Path, content: str) -> None:
    silence(tmp_path, content)
    clock = Clock()
    watcher = others(tmp_path, clock)
    assert not is_over_after(watcher, clock, 59)
    assert is_over_after(watcher, clock, 2)
    watcher.close()


def test_links_are_not_followed(tmp_path: Path) -> None:
    results, elsewhere = tmp_path / "results", tmp_path / "elsewhere"
    (results / ".leases").mkdir(parents=True)
    target = elsewhere / "victim"
    elsewhere.mkdir()
    (results / ".leases" / f"{NAME}.0.lease").symlink_to(target)
    clock = Clock()
    with others(results, clock) as watcher:
        is_over_after(watcher, clock, 61)
    assert not target.exists()


def test_a_folder_of_leases_elsewhere_is_refused(tmp_path: Path) -> None:
    results, elsewhere = tmp_path / "results", tmp_path / "elsewhere"
    elsewhere.mkdir()
    results.mkdir()
    (results / ".leases").symlink_to(elsewhere)
    with pytest.raises(ResultError, match="a link that leads out of"):
        Leases(results).claim(NAME)
    assert not list(elsewhere.iterdir())


def test_where_no_lease_can_be_written_the_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(ResultError, match=r"No space left on device.*What is finished is kept"):
        Leases(tmp_path).claim(NAME)
    assert not list((tmp_path / ".leases").iterdir())
