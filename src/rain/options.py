"""Checks of options, the same for every plug-in: an option has a range, and what lies outside is refused.

Never imports torch.
"""

import inspect
from collections.abc import Callable, Mapping
from types import NoneType
from typing import get_args

from rain.errors import OptionError, shown
from rain.seeds import is_integer


def check_number(value: object, name: str, low: float, high: float) -> float:
    """Check that an option is a number from ``low`` to ``high``.

    Raises:
        OptionError: it is none.
    """
    # The comparison comes first: an integer of 400 digits is no float.
    if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
        return float(value)
    raise OptionError(f"{name} must be a number from {low:g} to {high:g}, got {shown(value)}")


def check_integer(value: object, name: str, low: int, high: int) -> int:
    """Check that an option is an integer from ``low`` to ``high``.

    Raises:
        OptionError: it is none.
    """
    if isinstance(value, int) and is_integer(value) and low <= value <= high:
        return value
    raise OptionError(f"{name} must be an integer from {low} to {high}, got {shown(value)}")


def check_odd(value: object, name: str, low: int, high: int) -> int:
    """Check that an option is an odd integer from ``low`` to ``high``.

    Raises:
        OptionError: it is none.
    """
    if isinstance(value, int) and is_integer(value) and low <= value <= high and value % 2:
        return value
    raise OptionError(f"{name} must be an odd integer from {low} to {high}, got {shown(value)}")


def check_flag(value: object, name: str) -> bool:
    """Check that an option is true or false.

    Raises:
        OptionError: it is neither.
    """
    if isinstance(value, bool):
        return value
    raise OptionError(f"{name} must be true or false, got {shown(value)}")


WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "text", NoneType: "None"}


def of_another_type(definition: Callable[..., object], options: Mapping[str, object]) -> str:
    """Say which option is not of the type that a signature names; "" if all are, or it names none.

    For an error that says what to write, in the place of what Python says of a wrong type.
    """
    parameters = inspect.signature(definition).parameters
    for name, value in options.items():
        annotation = parameters[name].annotation if name in parameters else None
        kinds = get_args(annotation) or (annotation,)
        if all(kind in WORDS for kind in kinds) and not any(_is_of(value, kind) for kind in kinds):
            return f"{name} must be {' or '.join(WORDS[kind] for kind in kinds)}, got {shown(value)}"
    return ""


def _is_of(value: object, kind: type) -> bool:
    """Whether a value is of a type; an integer is a number, true and false are none."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)
