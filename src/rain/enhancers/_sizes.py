"""Checks of the sizes of untrained networks."""

import math

from rain.errors import OptionError
from rain.seeding import is_integer


def check_integers(enhancer: str, **sizes: object) -> None:
    """Raise ``OptionError`` unless sizes of an enhancer, by their options' names, are integers."""
    for name, value in sizes.items():
        if not is_integer(value):
            raise OptionError(f"{enhancer}: {name} must be an integer, got {value!r}")


def check_number(enhancer: str, name: str, value: object) -> None:
    """Raise ``OptionError`` unless an option of an enhancer is a finite number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):  # type: ignore[arg-type]
        raise OptionError(f"{enhancer}: {name} must be a number, got {value!r}")
