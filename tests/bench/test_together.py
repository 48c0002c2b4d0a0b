"""Two who prove, certify or judge into one folder share the work; what a dead one held is done, too."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Lock, Thread
from typing import Any, NamedTuple

import pytest
from measuring import contents, grid

from rain.bench import certificates, certifying, proofs, proving, replaying, runners, sharing
from rain.bench.certifying import Numbers
from rain.bench.grid import clean_cell
from rain.bench.leases import MACHINE, lease_name


class Kind(NamedTuple):
    """A kind of work.

    Args:
        prepare: a plan, from the pictures, a folder of kept images, and the folder of its results.
        run: does a plan.
        place: where a finished chunk lies.
        saver: the module whose ``save`` writes it.
    """

    prepare: Callable[[Path, Path, Path], Any]
    run: Callable[[Any], Any]
    place: Callable[..., Path]
    saver: Any


def to_prove(pictures: Path, kept: Path, out: Path) -> Any:
    attack = {"attack": "pgd(steps=1)", "access": "adaptive", "eps": "16/255"}
    asked = grid(pictures, defenses=["jpeg", "median"], attacks=[attack], chunk=1)
    return proving.prepare(asked, out, examples=3, inside=4, device="cpu")


def to_certify(pictures: Path, kept: Path, out: Path) -> Any:
    images = f"csv:{pictures}"
    cell = clean_cell(images, "models:tiny", "smooth(sigma=0.12)", size=None, examples=4, chunk=1)
    plan, _ = certifying.prepare([cell], out, Numbers(n0=4, n=8), device="cpu")
    return plan


def to_judge(pictures: Path, kept: Path, out: Path) -> Any:
    return replaying.prepare(kept, out, defenses=["none", "jpeg"], classifiers=["models:tiny"], device="cpu")


KINDS = {
    "prove": Kind(to_prove, proving.run, proofs.path_of, proofs),
    "certify": Kind(to_certify, certifying.run, certificates.path_of, certifying),
    "replay": Kind(to_judge, replaying.run, replaying.path_of, replaying),
}


@pytest.fixture(scope="module")
def kept(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    attack = {"attack": "pgd(steps=1)", "access": "transfer", "eps": "8/255"}
    asked = grid(pictures, defenses=["none"], attacks=[attack], examples=3, chunk=1, gallery=0)
    runners.run(asked, folder, keep_images="png")
    return folder


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def saved(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, int]]:
    """The chunks that were written, each as often as it was."""
    chunks: list[tuple[Any, int]] = []
    lock, save = Lock(), kind.saver.save

    def saving(folder: Path, cell: Any, chunk: int, *rest: Any) -> Any:
        with lock:
            chunks.append((cell, chunk))
        return save(folder, cell, chunk, *rest)

    monkeypatch.setattr(kind.saver, "save", saving)
    monkeypatch.setattr(sharing, "LOOK", 0.01)
    return chunks


def test_two_make_each_chunk_once_and_both_tell_all(
    kind: Kind, saved: list[tuple[Any, int]], pictures: Path, kept: Path, tmp_path: Path
) -> None:
    whole = kind.run(kind.prepare(pictures, kept, tmp_path / "single"))
    assert whole
    single, out = list(saved), tmp_path / "shared"
    saved.clear()
    plans = [kind.prepare(pictures, kept, out) for _ in range(2)]
    assert all(len(plan.work) == len(single) for plan in plans)
    ready, results = Barrier(2), {}

    def work(number: int) -> None:
        ready.wait(60)
        results[number] = kind.run(plans[number])

    threads = [Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(map(str, saved)) == sorted(map(str, single))
    assert results == {0: whole, 1: whole}
    assert contents(out) == contents(tmp_path / "single"), "and no lease is left"


def test_what_a_dead_one_held_is_done_by_who_comes_next(
    kind: Kind, saved: list[tuple[Any, int]], pictures: Path, kept: Path, tmp_path: Path
) -> None:
    plan = kind.prepare(pictures, kept, tmp_path)
    cell, chunk = plan.work[0]
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait(60)
    lease = tmp_path / ".leases" / f"{lease_name(cell.key, chunk)}.0.lease"
    lease.parent.mkdir()
    lease.write_text(f"000000000007 {dead.pid} {'0' * 16} {MACHINE}\n")
    kind.run(plan)
    assert sorted(map(str, saved)) == sorted(map(str, plan.work))
    assert kind.place(tmp_path, cell, chunk).is_file()
    assert not lease.parent.exists()


def test_who_fails_lets_the_rest_go(
    kind: Kind, pictures: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process takes it at once, though this one lives on."""

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    plan = kind.prepare(pictures, kept, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(kind.saver, "save", full)
        with pytest.raises(OSError, match="No space") as caught:
            kind.run(plan)
    assert not (tmp_path / ".leases").exists(), caught
    kind.run(plan)
    assert all(kind.place(tmp_path, cell, chunk).is_file() for cell, chunk in plan.work)
