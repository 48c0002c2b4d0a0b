"""What a result file may hold, as tables: whoever sends one may have written anything into it.

Never imports torch. A table, since a schema's library takes no text with lone surrogates, which is what the
name of a file is that is no UTF-8.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from types import MappingProxyType
from typing import Any, NamedTuple

from rain.errors import OptionError, shown
from rain.specs import LONGEST, NORMS, check_size, parse

FILE_BYTES = 64 * 2**20
"""Of a result file, at most."""

GALLERY = "gallery.npz"
"""Pictures of a cell, beside its chunks."""

GALLERY_BYTES = 128 * 2**20
"""Of the arrays of a gallery, at most."""

MOST = 10**12
"""What no count of a cell exceeds."""

SIDE = 8000
"""Of the squares as which images enter, in pixels, at most: no picture that is read has more pixels."""

DRAWS = 10_000
"""Of one image, at most: those that score it, or that an attacker averages over at a step."""

FARTHEST = 10**6
"""The largest budget, and the largest distance."""

SEEDS = 2**63

LABELS = 10**9
"""Classes of a classifier, at most."""

TEXT = 1_000_000
"""Characters of a fact, at most: the indices of damaged images are one."""

FACTS = 100
"""Facts that a file says of how it was made, at most."""

ACCESSES = ("transfer", "frozen", "static", "adaptive", "known", "query")
"""What the attacker knows.

- transfer: attacks the bare classifier and hopes.
- frozen: attacks through the defence with its randomness fixed to one draw of his own, and hopes.
- static: attacks through the defence, ignoring that it is random.
- adaptive: attacks through the defence, averaging over its randomness (EOT) and passing over what has no
  gradient (BPDA).
- known: attacks through the very draw that will judge him: a bound on all of these.
- query: sees scores or labels only.
"""


class Kind(NamedTuple):
    """What a value must be.

    Args:
        fits: whether a value is of this kind.
        words: what errors call it.
        schema: the same as JSON Schema, as far as that can say it (``rain.bench.published``).
    """

    fits: Callable[[Any], bool]
    words: str
    schema: Mapping[str, Any] = MappingProxyType({})


def integer(low: int, high: int) -> Kind:
    """An integer from ``low`` to ``high``."""
    schema = {"type": "integer", "minimum": low, "maximum": high}
    words = f"an integer from {low} to {high}"
    return Kind(lambda value: type(value) is int and low <= value <= high, words, schema)


def real(high: float) -> Kind:
    """A number from 0 to ``high``."""
    schema = {"type": "number", "minimum": 0, "maximum": high}

    def fits(value: Any) -> bool:
        # The comparison refuses NaN, too.
        return type(value) in (int, float) and 0 <= value <= high

    return Kind(fits, f"a number up to {high:g}", schema)


def text(longest: int) -> Kind:
    """Text."""
    schema = {"type": "string", "maxLength": longest}
    words = f"text of up to {longest} letters"
    return Kind(lambda value: type(value) is str and len(value) <= longest, words, schema)


def choice(*choices: str) -> Kind:
    """One of some words."""
    words = f"one of {', '.join(choices)}"
    return Kind(lambda value: type(value) is str and value in choices, words, {"enum": list(choices)})


def maybe(kind: Kind) -> Kind:
    """Something, or null."""
    schema = {"anyOf": [kind.schema, {"type": "null"}]}
    return Kind(lambda value: value is None or kind.fits(value), f"{kind.words}, or null", schema)


def listed(kind: Kind) -> Kind:
    """A list of some kind, of any length."""
    schema = {"type": "array", "items": kind.schema}

    def fits(value: Any) -> bool:
        return type(value) is list and all(map(kind.fits, value))

    return Kind(fits, f"a list of {kind.words}", schema)


def table(keys: Kind, values: Kind, most: int) -> Kind:
    """A table of at most so many entries."""

    def fits(value: Any) -> bool:
        is_small = type(value) is dict and len(value) <= most
        return is_small and all(map(keys.fits, value)) and all(map(values.fits, value.values()))

    schema = {
        "type": "object",
        "maxProperties": most,
        "propertyNames": keys.schema,
        "additionalProperties": values.schema,
    }
    return Kind(fits, f"a table of up to {most} texts", schema)


def _is_spec(value: Any) -> bool:
    try:
        check_size(value)
    except OptionError:
        return False
    return True


def _can_be_parsed(value: str) -> bool:
    try:
        parse(value)
    except OptionError:
        return False
    return True


SPEC = Kind(
    lambda value: type(value) is str and _is_spec(value),
    "a spec of a usual length and depth",
    {"type": "string", "maxLength": LONGEST},
)
NAME = Kind(
    lambda value: SPEC.fits(value) and _can_be_parsed(value),
    "a spec of a usual length and depth, name(option=value)",
    SPEC.schema,
)
FLAG = Kind(lambda value: type(value) is bool, "true or false", {"type": "boolean"})
ANSWER = integer(0, LABELS)
COUNT = integer(1, MOST)
SCORE = Kind(
    lambda value: type(value) is float and isfinite(value),
    "a finite number with a point",
    {"type": "number"},
)
LIST = Kind(lambda value: type(value) is list, "a list", {"type": "array"})

CELL = {
    "dataset": SPEC,
    "size": maybe(integer(1, SIDE)),
    "classifier": NAME,
    "defense": NAME,
    "attack": NAME,
    "norm": choice(*NORMS),
    "eps": real(FARTHEST),
    "access": choice(*ACCESSES, "none"),
    "eot": integer(1, DRAWS),
    "draws": integer(1, DRAWS),
    "seed": integer(-SEEDS, SEEDS - 1),
    "examples": COUNT,
    "chunk": COUNT,
}

OUTCOME = {
    "index": integer(0, MOST),
    "label": ANSWER,
    "clean": listed(ANSWER),
    "clean_mean": ANSWER,
    "robust": listed(ANSWER),
    "robust_mean": ANSWER,
    "distance": real(FARTHEST),
    "queries": maybe(integer(0, MOST)),
    "flat": FLAG,
    "clean_suspicion": listed(SCORE),
    "robust_suspicion": listed(SCORE),
}

MAY_MISS = frozenset({"queries", "flat", "clean_suspicion", "robust_suspicion"})
"""The fields of an outcome that older files, or those without a gate, do not have."""

CHUNK = {
    "chunk": integer(0, MOST),
    "outcomes": LIST,
    "made_by": table(text(TEXT), text(TEXT), FACTS),
}


CERTIFIED = {
    "dataset": SPEC,
    "size": maybe(integer(1, SIDE)),
    "classifier": NAME,
    "defense": NAME,
    "sigma": real(FARTHEST),
    "n0": COUNT,
    "n": COUNT,
    "alpha": real(1),
    "seed": integer(-SEEDS, SEEDS - 1),
    "examples": COUNT,
    "chunk": COUNT,
}

CERTIFIED_IMAGE = {
    "index": integer(0, MOST),
    "label": ANSWER,
    "answer": integer(-1, LABELS),
    "radius": real(FARTHEST),
    "guess": ANSWER,
    "votes": integer(0, MOST),
}

CERTIFIED_CHUNK = {"chunk": CHUNK["chunk"], "images": CHUNK["outcomes"], "made_by": CHUNK["made_by"]}


PROOF = {
    "dataset": SPEC,
    "size": maybe(integer(1, SIDE)),
    "classifier": NAME,
    "defense": NAME,
    "attack": NAME,
    "norm": choice(*NORMS),
    "eps": real(FARTHEST),
    "access": choice(*ACCESSES),
    "eot": integer(1, DRAWS),
    "inside": integer(1, DRAWS),
    "planted": integer(1, DRAWS),
    "draws": integer(1, DRAWS),
    "seed": integer(-SEEDS, SEEDS - 1),
    "examples": COUNT,
    "chunk": COUNT,
}

PROVEN_IMAGE = {"index": integer(0, MOST), "fit": FLAG, "found": FLAG, "random_found": FLAG}

PROOF_CHUNK = {"chunk": CHUNK["chunk"], "images": CHUNK["outcomes"], "made_by": CHUNK["made_by"]}


def fault_of_proof(content: Any) -> str:
    """Name the first thing in a file of a proof that is not as it should be; empty when all is."""
    fault = _fault(content.get("proof"), PROOF, "proof") or _fault_of_fields(content, PROOF_CHUNK)
    if fault:
        return fault
    faults = (_fault(row, PROVEN_IMAGE, f"image {number}") for number, row in enumerate(content["images"]))
    return next(filter(None, faults), "")


KEPT = {
    "format": integer(1, MOST),
    "chunk": integer(0, MOST),
    "form": choice("png", "float"),
    "images": Kind(lambda value: type(value) is list, "a list"),
    "made_by": CHUNK["made_by"],
}

PLANNED = {"format": integer(0, MOST), "cells": LIST}

KEPT_IMAGE = {
    "index": integer(0, MOST),
    "label": ANSWER,
    "rounding": real(1),
    "distance": real(FARTHEST),
}


def fault_of_certificates(content: Any) -> str:
    """Name the first thing in a file of certificates that is not as it should be; empty when all is."""
    fault = _fault(content.get("certified"), CERTIFIED, "certified") or _fault_of_fields(
        content, CERTIFIED_CHUNK
    )
    if fault:
        return fault
    faults = (_fault(row, CERTIFIED_IMAGE, f"image {number}") for number, row in enumerate(content["images"]))
    return next(filter(None, faults), "")


def fault_of_kept(content: Mapping[str, Any]) -> str:
    """Name the first thing in a list of kept images that is not as it should be; empty when all is."""
    fault = _fault(content.get("source"), CELL, "source") or _fault_of_fields(content, KEPT)
    if fault:
        return fault
    faults = (_fault(row, KEPT_IMAGE, f"image {number}") for number, row in enumerate(content["images"]))
    return next(filter(None, faults), "")


def fault_of_planned(content: Mapping[str, Any]) -> str:
    """Name the first thing in a list of planned cells that is not as it should be; empty when all is."""
    fault = _fault(content, PLANNED, "the file")
    if fault:
        return fault
    faults = (_fault(row, CELL, f"cell {number}") for number, row in enumerate(content["cells"]))
    return next(filter(None, faults), "")


def fault_of(content: Any) -> str:
    """Name the first thing in a result file that is not as it should be; empty when all is."""
    if type(content) is not dict:
        return f"{shown(content)} is no table"
    fault = _fault(content.get("cell"), CELL, "cell") or _fault_of_fields(content, CHUNK)
    if fault:
        return fault
    draws = content["cell"]["draws"]
    for number, row in enumerate(content["outcomes"]):
        fault = _fault_of_outcome(row, draws)
        if fault:
            return f"outcome {number}: {fault}"
    return ""


def _fault(row: Any, fields: Mapping[str, Kind], name: str) -> str:
    """Hold a table against its fields, of which it must have all and no other."""
    if type(row) is not dict:
        return f"{name} is {shown(row)}, not a table"
    surplus = row.keys() - fields.keys()
    if surplus:
        return f"{name} has {shown(min(surplus))}, which is no field"
    return _fault_of_fields(row, fields)


def _fault_of_fields(row: Mapping[str, Any], fields: Mapping[str, Kind]) -> str:
    for name, kind in fields.items():
        if name not in row:
            if name in MAY_MISS:
                continue
            return f"without {name}"
        if not kind.fits(row[name]):
            return f"{name} is {shown(row[name])}, not {kind.words}"
    return ""


def _fault_of_outcome(row: Any, draws: int) -> str:
    fault = _fault(row, OUTCOME, "it")
    if fault:
        return fault
    for name in ("clean", "robust"):
        if len(row[name]) != draws:
            return f"{name} has {len(row[name])} answers for {draws} draws"
    for name in ("clean_suspicion", "robust_suspicion"):
        if len(row.get(name, ())) not in (0, draws):
            return f"{name} has {len(row[name])} scores for {draws} draws"
    return ""
