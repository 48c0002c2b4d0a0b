"""What a result file remembers of how its numbers were made, and what must be equal where.

Never imports torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from rain.bench.cells import Cell, Result

COLUMN = ("classifier", "defense")


@dataclass(frozen=True)
class Fact:
    """One thing that reproduces a number.

    Args:
        of: the fields of a cell that it belongs to. Cells that agree in these must agree in it; with none,
            all must.
        refused: whether a run refuses a folder where it is another one now. The checklist warns of every one.
    """

    of: tuple[str, ...] = ()
    refused: bool = False


FACTS = {
    "rain": Fact(),
    "revision": Fact(),
    "python": Fact(),
    "torch": Fact(),
    "pillow": Fact(),
    "device": Fact(),
    "batches": Fact(),
    "data_digest": Fact(("dataset",), refused=True),
    "left_out": Fact(("dataset", "examples"), refused=True),
    "classifier_weights": Fact(("classifier",), refused=True),
    "classifier_options": Fact(("classifier",), refused=True),
    "defense_weights": Fact(COLUMN, refused=True),
    "defense_random": Fact(COLUMN),
    "unfit": Fact(COLUMN),
    "gate_threshold": Fact(COLUMN, refused=True),
    "precision": Fact(COLUMN),
    "attack": Fact(("attack",)),
    "attack_traits": Fact(("attack",)),
    "images_against": Fact(("attack",)),
    "attack_library": Fact(("attack",), refused=True),
    "attack_files": Fact(("attack",), refused=True),
    "plugin_code": Fact((*COLUMN, "attack"), refused=True),
}
"""All facts by name. What makes them is ``rain.bench.assets.Assets.made_by``."""


class Difference(NamedTuple):
    """A fact that has several values where it should have one.

    Args:
        name: of the fact.
        defense: the one that it belongs to; "" where it belongs to several.
        values: all of them, sorted.
    """

    name: str
    defense: str
    values: tuple[str, ...]


def differences(results: Iterable[Result]) -> list[Difference]:
    """Find the facts in which results differ that should not."""
    results = list(results)
    names = sorted({name for result in results for name in result.made_by})
    unequal = []
    for name in names:
        fact = FACTS.get(name, Fact())
        for alike in _alike(_touched(name, results), fact.of):
            values = {value for result in alike for value in result.made_by.get(name, ())}
            if len(values) > 1:
                defense = alike[0].cell.defense if "defense" in fact.of else ""
                unequal.append(Difference(name, defense, tuple(sorted(values))))
    return unequal


def refused_fact(result: Result, now: Mapping[Cell, Mapping[str, str]]) -> str:
    """Name the first fact that is another one now, of those that a run refuses; "" for none.

    Args:
        result: made before.
        now: what would make each of the cells that are to be measured.
    """
    for name, fact in FACTS.items():
        if not fact.refused:
            continue
        alike = next(
            (cell for cell in now if _belongs(cell, fact.of) == _belongs(result.cell, fact.of)), None
        )
        value = now[alike].get(name) if alike else None
        if value and {value, *result.made_by.get(name, ())} != {value}:
            return name.replace("_", " ")
    return ""


def _touched(name: str, results: Sequence[Result]) -> list[Result]:
    """The results that a fact says something about: without an attack there is no precision to speak of."""
    if name != "precision":
        return list(results)
    return [result for result in results if result.cell.attack != "none" and result.cell.access != "transfer"]


def _belongs(cell: Cell, fields: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(getattr(cell, field) for field in fields)


def _alike(results: Iterable[Result], fields: tuple[str, ...]) -> list[list[Result]]:
    ordered = sorted(results, key=lambda result: _belongs(result.cell, fields))
    return [list(group) for _, group in groupby(ordered, key=lambda result: _belongs(result.cell, fields))]
