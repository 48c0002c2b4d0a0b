"""Specs: how a thing and its options are written in one line, ``rain(enhancer=bicubic, shift=0.0)``.

Grids, results and the command line write them so.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Any

from rain.errors import OptionError, shown

NORMS = ("linf", "l2")
"""linf: the largest absolute difference. l2: Euclidean, over all values of an image."""

LONGEST = 20_000
"""Characters of a spec, those of all specs in it included."""

DEEPEST = 32
"""Brackets within one another in a spec."""

LARGEST = 2**63
"""No integer in a spec is as large, or smaller than what 64 bits hold."""

PRECISIONS = ("auto", "32-true", "bf16-mixed")
"""What to compute in; ``rain.runtime.precision`` says what each is."""


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """Split ``name(key=value, ...)`` into the name and its options.

    Values are Python literals or fractions (``4/255``); ``true`` and ``false`` may be written small, as in
    TOML; anything else is text.

    Raises:
        OptionError: the brackets hold something else than ``key=value`` pairs, the spec is too long, or its
            brackets stand too deep in one another.
    """
    check_size(spec)
    name, options = _parsed(spec)
    # Who changes a list among them must not change what the next one gets.
    return name, {key: deepcopy(value) for key, value in options.items()}


@lru_cache(4096)
def _parsed(spec: str) -> tuple[str, dict[str, Any]]:
    if not spec.endswith(")") or "(" not in spec:
        return spec, {}
    start = _opening(spec)
    name, inside = spec[:start], spec[start + 1 : -1]
    pairs = [part for part in _split(inside) if part.strip()]
    may_be_path = ":" in name or "/" in name
    if may_be_path and not all(re.match(r"\s*\w+\s*=", pair) for pair in pairs):
        return spec, {}  # the path itself ends in brackets
    if "(" in name and not may_be_path:
        raise OptionError(f"{shown(spec)}: a bracket is opened that is not closed")
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not key.isidentifier():
            raise OptionError(f"{shown(spec)}: write options as name(key=value, key=value)")
        if key in options:
            raise OptionError(f"{shown(spec)}: {key} is given twice")
        options[key] = _value(value)
        if isinstance(options[key], int) and not -LARGEST <= options[key] < LARGEST:
            raise OptionError(f"{shown(spec)}: {key} is no integer of 64 bits")
    return name.strip(), options


def check_size(spec: str) -> None:
    """Raise ``OptionError`` for a spec that nobody writes: each bracket costs a look at all within."""
    if not isinstance(spec, str):
        raise OptionError(f"a spec is text, name(option=value), got {shown(spec)}")
    if len(spec) > LONGEST:
        raise OptionError(f"{shown(spec)} is longer than the {LONGEST} characters that a spec may have")
    depth = deepest = 0
    if spec.count("(") > DEEPEST:
        for letter in spec:
            depth += (letter == "(") - (letter == ")")
            deepest = max(deepest, depth)
    if deepest > DEEPEST:
        raise OptionError(f"{shown(spec)} has more than {DEEPEST} brackets within one another")


def split(head: str) -> tuple[str, str, str]:
    """Split a spec's head into name, separator and argument.

    Of ``torchvision/resnet50``, the separator is "/"; of ``folder:pictures/val``, it is ":".

    Returns: all three; separator and argument are empty where there is only a name. The first of "/" and ":"
        counts, so that an argument may be a path.
    """
    place = next((place for place, letter in enumerate(head) if letter in "/:"), len(head))
    return head[:place], head[place : place + 1], head[place + 1 :]


def write(name: str, options: Mapping[str, Any]) -> str:
    """Write a spec in its one canonical form: options sorted by name. ``parse`` reads it back.

    Raises:
        OptionError: a value that a spec cannot hold: a list, a table, or text with a comma outside of
            brackets or unbalanced brackets.
    """
    pairs = []
    for key, value in sorted(options.items()):
        if not can_be_written(value):
            kinds = "a number, True, False, None, or text without commas outside of brackets"
            raise OptionError(f"{name}: option {key} = {shown(value)} must be {kinds}")
        pairs.append(f"{key}={number(value) if isinstance(value, float) else value}")
    return f"{name}({', '.join(pairs)})" if pairs else name


def nesting(spec: str) -> list[tuple[str, dict[str, Any]]]:
    """The names and options of the attacks within one another, the outermost first.

    Of ``targeted(attack=pgd(steps=40))``, these are targeted and pgd.
    """
    name, options = parse(spec)
    inner = options.get("attack")
    return [(name, options), *(nesting(inner) if isinstance(inner, str) else [])]


def apart(text: str) -> list[str]:
    """Split several specs in one text at each "+" that no bracket encloses."""
    parts: list[str] = []
    for piece in text.split("+"):
        if parts and parts[-1].count("(") > parts[-1].count(")"):
            parts[-1] += f"+{piece}"
        else:
            parts.append(piece)
    return [part.strip() for part in parts]


def chain(parts: Sequence[str]) -> str:
    """The canonical spec of the defences, at least one, one after the other: of one, its own."""
    return canonical(write("chain", {"parts": "+".join(parts)}) if len(parts) > 1 else parts[0])


def canonical(spec: str) -> str:
    """One spelling for a spec, and of a chain for each of its parts, so that one thing has one key."""
    name, options = parse(spec)
    parts = options.get("parts")
    if name == "chain" and isinstance(parts, str):
        options["parts"] = "+".join(canonical(part) for part in apart(parts))
    return write(name, options)


def defense_within(spec: str) -> str:
    """The canonical spec of the defence behind a gate: ``rain`` of ``gated(defense=rain, share=0.02)``."""
    _, options = parse(spec)
    return canonical(str(options.get("defense", "rain")))


def innermost(spec: str) -> tuple[str, dict[str, Any]]:
    """The name and options of the attack that does the work."""
    return nesting(spec)[-1]


def number(value: float) -> str:
    """Write a number as a reader of papers expects it: grey levels as ``n/255``, everything else as it is."""
    levels = round(value * 255) if 0 < value < 1 else 0
    return f"{levels}/255" if levels and value == levels / 255 else str(value)


def fraction(text: str) -> float:
    """Read ``4/255``, ``0.5`` or ``inf``.

    Raises:
        OptionError: it is not a number.
    """
    above, slash, below = text.partition("/")
    try:
        return float(above) / float(below) if slash else float(text)
    except (ValueError, ZeroDivisionError):
        raise OptionError(f"{shown(text)} is not a number; write 4/255 or 0.0157") from None


def _opening(spec: str) -> int:
    """Find the bracket that the last one closes.

    Raises:
        OptionError: there is none.
    """
    depth = 0
    for place in reversed(range(len(spec))):
        depth += (spec[place] == ")") - (spec[place] == "(")
        if depth == 0:
            return place
    raise OptionError(f"{shown(spec)}: a bracket is closed that was not opened")


def _split(text: str) -> list[str]:
    """Split at the commas that no bracket encloses, so that an option may be a spec with options.

    Unbalanced brackets give no part.
    """
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            return []
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts if depth == 0 else []


def can_be_written(value: object) -> bool:
    """Whether a spec can hold a value: a number, True, False, None, or text with commas in brackets only."""
    if isinstance(value, str):
        return _split(value) == [value]
    return isinstance(value, bool | int | float | None)


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    try:
        return fraction(text)
    except OptionError:
        return text
