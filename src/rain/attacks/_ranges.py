"""The options that attacks share by name: of which type each is, and how large it may be.

The attacks themselves refuse what is too small, since that differs; a number without end is the same for all.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from rain.errors import OptionError, shown
from rain.images import MAX_PIXELS

COUNTS = {
    "batch": 10_000,
    "candidates": 10_000,
    "confirm": 10_000,
    "coordinates": 1_000_000,
    "eot": 10_000,
    "epochs": 10_000,
    "every": 1_000_000,
    "fits": 10_000,
    "memories": 100,
    "patience": 10**8,
    "queries": 10**8,
    "restarts": 10_000,
    "rounds": 1000,
    "samples": 10_000,
    "searches": 1000,
    "side": 8000,
    "steps": 1_000_000,
    "targets": 1_000_000,
    "tile": 8000,
    "tries": 10**8,
}
"""Integers, and the largest value of each."""

LARGEST = (3 * MAX_PIXELS) ** 0.5
"""Of a number: no two images are further apart."""

NUMBERS = {
    "confidence": math.inf,
    **dict.fromkeys(
        (
            *("around", "beta", "constant", "decay", "delta", "enough", "exploration", "frequencies"),
            *("momentum", "overshoot", "probe", "radius", "rate", "share", "sigma", "step", "tolerance"),
            *("toward", "weight"),
        ),
        LARGEST,
    ),
}
"""Numbers, and the largest value of each."""

FLAGS = ("abort", "fista", "random_start")


def check_options(attack: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise ``OptionError`` for an option of another type, or of a value without end."""
    parameters = inspect.signature(attack).parameters
    for name, value in options.items():
        if value is None and name in parameters and parameters[name].default is None:
            continue  # it is left to the attack
        fault = _fault(name, value)
        if fault:
            raise OptionError(f"{name} must be {fault}, got {shown(value)}")


def _fault(name: str, value: Any) -> str:
    """What an option must be, if it is not."""
    if name in FLAGS:
        return "" if isinstance(value, bool) else "true or false"
    if name in COUNTS:
        most = COUNTS[name]
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        # What is too small the attack itself refuses.
        least = 0 if name in ("confirm", "targets") else 1
        return "" if is_integer and value <= most else f"an integer of at least {least} and at most {most}"
    if name in NUMBERS:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # An integer of 400 digits is less than infinity, and no float.
        is_float = is_number and (isinstance(value, float) or abs(value) < 2**63)
        if name == "confidence":  # below 0 an image counts as fooled before it is
            return "" if is_float and value >= 0 else "a number of at least 0"
        return "" if is_float and value <= NUMBERS[name] else f"a number of at most {NUMBERS[name]:g}"
    return ""
