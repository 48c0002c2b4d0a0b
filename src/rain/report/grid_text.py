"""The grid that asks for results, written from them: who gets results can measure them again.

Never imports torch.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from rain.bench.cells import Cell, Result
from rain.bench.columns import grouped
from rain.bench.metrics import fraction_text, place_text
from rain.specs import fraction

AXES = ("eot", "access", "eps", "attack")
"""Along these, entries that are otherwise equal become one, in this order."""


class GridText(NamedTuple):
    """A grid as TOML, and where it measures."""

    place: str
    text: str


@dataclass(frozen=True)
class Entry:
    """One ``[[attacks]]``: every combination of what it lists.

    Args:
        eot, draws: empty where no defence of the entry is random, or nothing is averaged.
    """

    attack: tuple[str, ...]
    access: tuple[str, ...]
    eps: tuple[float, ...]
    norm: str
    eot: tuple[int, ...]
    draws: tuple[int, ...]
    examples: int
    chunk: int
    defenses: tuple[str, ...]


def grid_texts(results: Iterable[Result]) -> list[GridText]:
    """Write a grid for each place and seed: read again, it gives the cells of these results and no other.

    A defence without randomness takes the draws of the others in the grid, which a run leaves out again.
    """
    results = list(results)
    steady = {result.cell.defense for result in results if "no" in result.made_by.get("defense_random", ())}
    steady |= {"none"}
    places = grouped(results, lambda one: (place_text(one.cell), one.cell.seed))
    texts = []
    for (place, seed), group in places.items():
        seeds = {other for where, other in places if where == place}
        title = f"{place}, seed {seed}" if len(seeds) > 1 else place
        texts.append(GridText(title, _grid([one.cell for one in group], steady)))
    return texts


def _grid(cells: Sequence[Cell], steady: AbstractSet[str]) -> str:
    """Write the grid of one place and seed."""
    entries = _merged(_entries(cells, steady))
    defenses = tuple(sorted({cell.defense for cell in cells}, key=lambda name: (name != "none", name)))
    first = cells[0]
    top: dict[str, Any] = {
        "dataset": first.dataset,
        "size": first.size or "native",
        "classifier": first.classifier,
        "defenses": defenses,
        "examples": _usual([entry.examples for entry in entries]),
        "chunk": _usual([entry.chunk for entry in entries]),
        "draws": _usual([entry.draws for entry in entries if entry.draws]) or (1,),
        "seed": first.seed,
    }
    parts = [_lines(top), *(f"[[attacks]]\n{_lines(_own(entry, top))}" for entry in entries)]
    return "\n".join(parts)


def _entries(cells: Iterable[Cell], steady: AbstractSet[str]) -> list[Entry]:
    """An entry for each attack, budget and access, with the defences that met it."""
    entries: list[Entry] = []
    for same in grouped(cells, _question).values():
        cell = same[0]
        random = [one for one in same if one.defense not in steady]
        by_draws = grouped(random, lambda one: (one.eot, one.draws))
        rest = [one.defense for one in same if one.defense in steady]
        for (eot, draws), alike in (by_draws or {(1, 1): []}).items():
            names = {*rest, *(one.defense for one in alike)}
            entries.append(
                Entry(
                    attack=(cell.attack,),
                    access=(cell.access,),
                    eps=(cell.eps,),
                    norm=cell.norm,
                    eot=(eot,) if alike and cell.access == "adaptive" else (),
                    draws=(draws,) if alike else (),
                    examples=cell.examples,
                    chunk=cell.chunk,
                    defenses=tuple(sorted(names, key=lambda name: (name != "none", name))),
                )
            )
    return entries


def _question(cell: Cell) -> tuple[Any, ...]:
    return cell.attack, cell.norm, cell.eps, cell.access, cell.examples, cell.chunk


def _merged(entries: Iterable[Entry]) -> list[Entry]:
    """Write entries as one that differ along one axis only. Those without an attack stay alone."""
    for axis in AXES:
        merged: dict[Entry, list[Entry]] = {}
        for entry in entries:
            alike = merged.setdefault(_without(axis, entry), [])
            partner = next((other for other in alike if _may_join(axis, entry, other)), None)
            if partner is None:
                alike.append(entry)
            else:
                alike[alike.index(partner)] = _together(axis, partner, entry)
        entries = [entry for alike in merged.values() for entry in alike]
    return list(entries)


def _without(axis: str, entry: Entry) -> Entry:
    """What entries share that may become one."""
    blank: Mapping[str, Any] = {"access": (), "eot": ()} if axis == "access" else {axis: ()}
    # What measures clean images has no budget to list, and no attack beside it.
    return entry if entry.attack == ("none",) else replace(entry, **blank)


def _may_join(axis: str, entry: Entry, other: Entry) -> bool:
    """Whether one entry can list both: who averages over nothing takes any eot, but lists none."""
    if axis == "eot":
        return bool(entry.eot and other.eot)
    return axis != "access" or not (entry.eot and other.eot) or entry.eot == other.eot


def _together(axis: str, entry: Entry, other: Entry) -> Entry:
    changes: dict[str, Any] = {axis: (*getattr(entry, axis), *getattr(other, axis))}
    if axis == "access":
        changes["eot"] = entry.eot or other.eot
    return replace(entry, **changes)


def _own(entry: Entry, top: Mapping[str, Any]) -> dict[str, Any]:
    """What an entry says that the top of the grid does not."""
    if entry.attack == ("none",):
        own: dict[str, Any] = {"attack": "none"}
    else:
        eps = tuple(_eps(value, entry.norm) for value in entry.eps)
        own = {"attack": entry.attack, "access": entry.access, "eps": eps, "norm": entry.norm}
        if entry.eot:
            own["eot"] = entry.eot
    for name in ("defenses", "examples", "chunk", "draws"):
        value = getattr(entry, name)
        if value and value != top[name]:
            own[name] = value
    return own


def _eps(value: float, norm: str) -> str | float:
    """A budget as people write it, where that is the very same number."""
    text = fraction_text(value) if norm == "linf" else ""
    return text if text and fraction(text) == value else value


def _usual(values: Sequence[Any]) -> Any:
    """The value that most entries have; None of nothing."""
    return max(values, key=values.count, default=None)


def _lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {_value(value)}\n" for name, value in table.items())


def _value(value: Any) -> str:
    """A value in TOML; a list of one is that one."""
    if isinstance(value, tuple):
        return _value(value[0]) if len(value) == 1 else f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
