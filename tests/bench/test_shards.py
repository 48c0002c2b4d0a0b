"""Parts of a run that are done somewhere else."""

from pathlib import Path

import pytest
from measuring import grid

from rain.bench.grid import Grid
from rain.bench.plan import prepare
from rain.bench.runners import run
from rain.bench.shards import Shard, restrict, shares
from rain.bench.sharing import bundles
from rain.errors import OptionError


@pytest.mark.parametrize(
    "text", ["", "3", "0/8", "9/8", "3/0", "-1/8", "1/2/3", "a/b", "1/1000000", "\u0663/8", "3 /8"]
)
def test_what_is_no_shard_is_told(text: str) -> None:
    with pytest.raises(OptionError, match="a shard is its number and how many there are, 3/8; got"):
        Shard.read(text)


def small(pictures: Path) -> Grid:
    attacks = [
        {"attack": "none"},
        {"attack": "pgd(steps=1)", "access": ["transfer", "static"], "eps": "8/255"},
    ]
    return grid(pictures, chunk=2, attacks=attacks)


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_shards_are_the_whole_and_share_nothing(pictures: Path, tmp_path: Path, count: int) -> None:
    plan = prepare(small(pictures), tmp_path)
    parts = [restrict(plan, Shard(number + 1, count)).work for number in range(count)]
    assert sorted(map(str, (item for part in parts for item in part))) == sorted(map(str, plan.work))
    names = [set(bundles(plan.assets, part)) for part in parts]
    assert sum(map(len, names)) == len(set.union(*names)), "no bundle is cut"
    if count == 2:
        assert {chunk for _, chunk in parts[0]} == {0, 1}, "and most chunks are whole"


def test_a_shard_is_the_same_whatever_is_done(pictures: Path, tmp_path: Path) -> None:
    asked = small(pictures)
    fresh = restrict(prepare(asked, tmp_path / "fresh"), Shard(2, 3)).work
    results = run(asked, tmp_path / "some", shard="1/3")
    assert results
    assert restrict(prepare(asked, tmp_path / "some"), Shard(2, 3)).work == fresh
    assert not restrict(prepare(asked, tmp_path / "some"), Shard(1, 3)).work


def test_a_shard_without_work_is_no_error(pictures: Path, tmp_path: Path) -> None:
    asked = grid(pictures, defenses=["none"], attacks=[{"attack": "none"}], chunk=7)
    assert [len(run(asked, tmp_path / str(number), shard=f"{number}/3")) for number in (1, 2, 3)] == [0, 1, 0]


def test_shares_cost_about_the_same() -> None:
    costs = [1.0, 1.0, 1.0, 1.0, 8.0, 5.0]
    assert shares("abcdef", costs, 2) == [1, 1, 1, 1, 1, 2]
    assert shares("aabbcc", [0.0] * 6, 3) == [1, 1, 2, 2, 3, 3]
    assert shares("abca", [1.0, 1, 1, 1], 2) == [1, 2, 2, 1]
