"""A part of a run that is done somewhere else: shard 3 of 8 has the same chunks on every machine."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from rain.bench.plan import Plan
from rain.bench.sharing import bundles
from rain.bench.workload import pieces
from rain.errors import OptionError, shown

MOST = 100_000
"""Shards of a run, at most."""


@dataclass(frozen=True)
class Shard:
    """One of the parts into which a run is cut.

    Args:
        number: from 1 to ``count``.
        count: of the parts.
    """

    number: int
    count: int

    @classmethod
    def read(cls, text: str) -> Self:
        """Read ``3/8``.

        Raises:
            OptionError: it is something else.
        """
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text, re.ASCII)
        number, count = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= number <= count <= MOST:
            raise OptionError(f"a shard is its number and how many there are, 3/8; got {shown(text)}")
        return cls(number, count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def restrict(plan: Plan, shard: Shard) -> Plan:
    """Leave to a plan what of its work is a shard's.

    All shards are about as much work. It does not matter what is done already: each machine, and each folder,
    gives a shard the same chunks. Those that share their attacked images are in one shard, and most shards
    have all cells of their chunks.
    """
    cells = dict.fromkeys(plan.cells)
    work = [(cell, chunk) for cell in cells for chunk in range(cell.chunks)]
    work.sort(key=lambda item: item[1])
    numbers = shares(
        bundles(plan.assets, work), [piece.estimate for piece in pieces(plan.assets, work)], shard.count
    )
    mine = {item for item, number in zip(work, numbers, strict=True) if number == shard.number}
    return replace(plan, work=tuple(item for item in plan.work if item in mine))


def shares(names: Sequence[str], costs: Sequence[float], count: int) -> list[int]:
    """Cut work into runs of neighbours that cost about the same.

    Args:
        names: of the bundles that are not cut, one for each piece.
        costs: of the pieces.
        count: of the shares.

    Returns: for each piece the number of its share, from 1.
    """
    by_name = dict.fromkeys(names, 0.0)
    for name, cost in zip(names, costs, strict=True):
        by_name[name] += cost
    total, before = sum(by_name.values()), 0.0
    number_of = {}
    for place, (name, cost) in enumerate(by_name.items()):
        # Where all of it costs nothing, each counts the same.
        middle = (before + cost / 2) / total if total else (place + 0.5) / len(by_name)
        number_of[name] = 1 + min(count - 1, int(middle * count))
        before += cost
    return [number_of[name] for name in names]
