"""Who does what of the work on one folder."""

from itertools import count
from pathlib import Path

import torch
from measuring import grid
from models import tiny
from synthetic import cell

from rain.bench.assets import Assets
from rain.bench.cells import Cell, path_of
from rain.bench.leases import Leases
from rain.bench.sharing import Share, bundles
from rain.runtime.progress import Board


class EndlessError(Exception):
    """A share waits where nothing can come."""


def never(seconds: float) -> None:
    raise EndlessError


class Told(Board):
    def __init__(self) -> None:
        self.skipped: list[int] = []
        self.waited: list[int] = []

    def skip(self, number: int) -> None:
        self.skipped.append(number)

    def wait(self, count: int) -> None:
        self.waited.append(count)


def work(pictures: Path) -> list[tuple[Cell, int]]:
    """Four chunks of three cells; transferred attacks on two defences are one bundle."""
    attacks = [
        {"attack": "none", "defenses": ["jpeg"]},
        {"attack": "pgd(steps=3)", "access": "transfer", "eps": "8/255", "defenses": ["jpeg", "median"]},
    ]
    cells = grid(pictures, attacks=attacks, chunk=2).cells
    return [(cell, chunk) for chunk in range(4) for cell in cells]


def share(folder: Path, pictures: Path, leases: Leases, shown: Board | None = None) -> Share:
    chunks = work(pictures)
    names = bundles(Assets(torch.device("cpu")), chunks)
    return Share(folder, chunks, names, leases, shown or Board(), sleep=never)


def finish(folder: Path, pictures: Path, number: int) -> None:
    path = path_of(folder, *work(pictures)[number])
    path.parent.mkdir(exist_ok=True)
    path.touch()


def test_one_alone_does_all_in_order(pictures: Path, tmp_path: Path) -> None:
    with Leases(tmp_path) as leases:
        assert list(share(tmp_path, pictures, leases)) == list(range(12))
        assert not leases.others()
    assert not list(tmp_path.iterdir())


class Counting(Leases):
    """Leases that count how often somebody looks for others."""

    looks = 0

    def others(self) -> set[str]:
        self.looks += 1
        return super().others()


def test_one_alone_looks_for_others_now_and_then(pictures: Path, tmp_path: Path) -> None:
    chunks, seconds = work(pictures), count()
    names = bundles(Assets(torch.device("cpu")), chunks)
    for clock, looks in ((lambda: float(next(seconds)), 4), (lambda: 0.0, 1)):
        with Counting(tmp_path) as leases:
            assert list(Share(tmp_path, chunks, names, leases, Board(), never, clock=clock)) == list(
                range(12)
            )
            assert leases.looks == looks, "by a slow clock one for each chunk number"


def test_two_take_other_chunks_and_what_shares_attacked_images_stays_together(
    pictures: Path, tmp_path: Path
) -> None:
    done: list[list[int]] = [[], []]
    with Leases(tmp_path) as first, Leases(tmp_path) as second:
        shares = [iter(share(tmp_path, pictures, leases)) for leases in (first, second)]
        for turn in range(12):
            number = next(shares[turn % 2])
            done[turn % 2].append(number)
            finish(tmp_path, pictures, number)
        for each in shares:
            assert not list(each)
    assert sorted(done[0] + done[1]) == list(range(12))
    assert {number // 3 for number in done[0]} == {0, 2}
    assert {number // 3 for number in done[1]} == {1, 3}


def test_with_one_chunk_two_share_its_bundles(pictures: Path, tmp_path: Path) -> None:
    with Leases(tmp_path) as first, Leases(tmp_path) as second:
        chunks = work(pictures)[:3]
        names = bundles(Assets(torch.device("cpu")), chunks)
        one, two = (
            iter(Share(tmp_path, chunks, names, leases, Board(), sleep=never)) for leases in (first, second)
        )
        assert next(one) == 0
        assert next(two) == 1
        finish(tmp_path, pictures, 0)
        finish(tmp_path, pictures, 1)
        assert next(two) == 2, "it has the same attacked images"


def test_what_another_did_meanwhile_is_left_out(pictures: Path, tmp_path: Path) -> None:
    told = Told()
    with Leases(tmp_path) as leases:
        numbers = iter(share(tmp_path, pictures, leases, told))
        assert next(numbers) == 0
        for number in (1, 5, 6, 7, 8):
            finish(tmp_path, pictures, number)
        assert list(numbers) == [2, 3, 4, 9, 10, 11]
    assert sorted(told.skipped) == [1, 5, 6, 7, 8]


def test_who_has_nothing_left_waits_and_inherits(pictures: Path, tmp_path: Path) -> None:
    told, other = Told(), Leases(tmp_path)
    chunks = work(pictures)
    names = bundles(Assets(torch.device("cpu")), chunks)
    assert other.claim(names[4])

    def sleep(seconds: float) -> None:
        assert len(told.waited) < 4
        if len(told.waited) == 3:
            other.close()

    with Leases(tmp_path) as leases:
        numbers = list(Share(tmp_path, chunks, names, leases, told, sleep))
    assert numbers[-2:] == [4, 5]
    assert sorted(numbers) == list(range(12))
    assert told.waited == [2, 2, 2]


def test_a_run_that_ends_early_lets_its_leases_go(pictures: Path, tmp_path: Path) -> None:
    with Leases(tmp_path) as leases:
        assert next(iter(share(tmp_path, pictures, leases))) == 0
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def cheap(count: int, attack: str = "none", **changes: object) -> list[tuple[Cell, int]]:
    """Chunks of one image each; nobody reads the images."""
    about = cell(defense="none", attack=attack, draws=1, eot=1, examples=count, chunk=1, **changes)
    return [(about, chunk) for chunk in range(count)]


def names_of(chunks: list[tuple[Cell, int]]) -> list[str]:
    assets = Assets(torch.device("cpu"))
    assets.take({"small": tiny()})
    return bundles(assets, chunks)


def test_cheap_chunks_are_claimed_several_at_a_time_where_there_are_many() -> None:
    many = cheap(1024, access="none", eps=0.0)
    assert len(set(names_of(many))) == 128
    assert len(set(names_of(cheap(200, access="none", eps=0.0)))) == 67
    assert len(set(names_of(cheap(100, access="none", eps=0.0)))) == 100, "enough for all who work"
    assert len(set(names_of(cheap(1024, "pgd(steps=40)", access="static")))) == 1024
    # What is left of a cell has the names that it had.
    assert names_of(many[500:]) == names_of(many)[500:]


def test_chunks_that_are_claimed_together_are_done_once_and_let_go_together(tmp_path: Path) -> None:
    chunks = cheap(256, access="none", eps=0.0)
    names, done = names_of(chunks), []
    with Leases(tmp_path) as first, Leases(tmp_path) as second:
        shares = [
            iter(Share(tmp_path, chunks, names, leases, Board(), sleep=never)) for leases in (first, second)
        ]
        for turn in range(256):
            number = next(shares[turn % 2])
            done.append(number)
            path = path_of(tmp_path, *chunks[number])
            path.parent.mkdir(exist_ok=True)
            path.touch()
            held = [len(list((tmp_path / ".leases").iterdir()))]
            assert held[0] <= 2
        for each in shares:
            assert not list(each)
    assert sorted(done) == list(range(256))
    assert not (tmp_path / ".leases").exists()


def test_of_chunks_that_are_claimed_together_a_dead_ones_rest_is_inherited(tmp_path: Path) -> None:
    chunks = cheap(256, access="none", eps=0.0)
    names = names_of(chunks)
    dead = Leases(tmp_path)
    numbers = iter(Share(tmp_path, chunks, names, dead, Board(), sleep=never))
    path = path_of(tmp_path, *chunks[next(numbers)])
    path.parent.mkdir()
    path.touch()
    assert next(numbers) == 1
    dead.close()
    with Leases(tmp_path) as heir:
        assert list(Share(tmp_path, chunks, names, heir, Board(), sleep=never)) == list(range(1, 256))


def test_a_chunk_that_others_finish_in_the_middle_of_a_round_is_passed_over(tmp_path: Path) -> None:
    """A bundle is struck off at once, with chunks that this round has yet to come to."""
    dear = cell(examples=1, chunk=1)
    many = [(cell(attack="none", access="none", eps=0.0, examples=6, chunk=1), chunk) for chunk in range(6)]
    chunks = [(dear, 0), *many]
    names = ["dear", *(f"bundle {chunk // 3}" for _, chunk in many)]
    done = []

    def finish(number: int) -> None:
        path = path_of(tmp_path, *chunks[number])
        path.parent.mkdir(exist_ok=True)
        path.touch()

    with Leases(tmp_path) as leases:
        for number in Share(tmp_path, chunks, names, leases, Board(), sleep=never):
            if number == 0:
                for other in (1, 2, 3):
                    finish(other)
            done.append(number)
            finish(number)
    assert done == [0, 4, 5, 6]
