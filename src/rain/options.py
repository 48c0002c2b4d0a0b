"""Checks of options, the same for every plug-in: an option has a range, and what lies outside is refused.

Never imports torch.
"""

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
