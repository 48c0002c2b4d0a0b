"""Checks of options that several defences have."""

import math

from rain.errors import OptionError
from rain.seeding import is_integer


def check_number(value: object, name: str, low: float, high: float) -> float:
    """Check that an option is a number from ``low`` to ``high``.

    Raises:
        OptionError: it is none.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(value, int | float) and is_number and math.isfinite(value) and low <= value <= high:
        return float(value)
    raise OptionError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")


def check_integer(value: object, name: str, low: int, high: int) -> int:
    """Check that an option is an integer from ``low`` to ``high``.

    Raises:
        OptionError: it is none.
    """
    if isinstance(value, int) and is_integer(value) and low <= value <= high:
        return value
    raise OptionError(f"{name} must be an integer from {low} to {high}, got {value!r}")


def check_odd(value: object, name: str, low: int, high: int) -> int:
    """Check that an option is an odd integer from ``low`` to ``high``.

    Raises:
        OptionError: it is none.
    """
    if isinstance(value, int) and is_integer(value) and low <= value <= high and value % 2:
        return value
    raise OptionError(f"{name} must be an odd integer from {low} to {high}, got {value!r}")
