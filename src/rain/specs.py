"""Specs: how a thing and its options are written in one line, ``rain(enhancer=bicubic, shift=0.0)``, in grids, results and on the command line."""

import ast
from collections.abc import Mapping
from typing import Any

from rain.errors import OptionError


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """Split ``name(key=value, ...)`` into the name and its options; values are Python literals, anything else is a string.

    Raises:
        OptionError: the brackets hold something else than ``key=value`` pairs.
    """
    if not spec.endswith(")") or "(" not in spec:
        return spec, {}
    name, _, inside = spec[:-1].partition("(")
    options: dict[str, Any] = {}
    for pair in filter(str.strip, inside.split(",")):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not key.isidentifier():
            raise OptionError(f"{spec!r}: write options as name(key=value, key=value)")
        try:
            options[key] = float("inf") if value == "inf" else ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[key] = value
    return name.strip(), options


def write(name: str, options: Mapping[str, Any]) -> str:
    """Write a spec in its one canonical form: options sorted by name. ``parse`` reads it back.

    Raises:
        OptionError: a value that a spec cannot hold (a list, a table, or text with a comma or bracket).
    """
    for key, value in options.items():
        if not isinstance(value, bool | int | float | str) or (isinstance(value, str) and set(value) & set(",()")):
            raise OptionError(f"{name}: option {key} = {value!r} must be a number, true, false, or text without commas and brackets")
    pairs = ", ".join(f"{key}={value}" for key, value in sorted(options.items()))
    return f"{name}({pairs})" if pairs else name
