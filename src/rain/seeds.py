"""Seeds that a user gives: one for a batch, or one for each image. Never imports torch."""

from collections.abc import Sequence
from numbers import Integral

from rain.errors import OptionError


def is_integer(value: object) -> bool:
    """Whether it is an integer, of any library; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_seed(seed: object, what: str = "seed") -> int:
    """Check a seed; ``what`` is how the error calls it.

    Raises:
        OptionError: it is no integer of 64 bits.
    """
    if isinstance(seed, Integral) and is_integer(seed):
        number = int(seed)
        if -(2**63) <= number < 2**63:
            return number
    kinds = "an integer of 64 bits, from -2**63 to 2**63 - 1"
    if what == "seed":
        kinds += ", or a list of one for each image"
    raise OptionError(f"{what} must be {kinds}, got {seed!r}")


def seeds_of(seed: object, count: int) -> list[int] | None:
    """Check the seeds of ``count`` images; None if ``seed`` is not one for each of them.

    Raises:
        OptionError: a seed is no integer of 64 bits, or there is not one for each image.
    """
    seeds = as_list(seed)
    if seeds is None:
        return None
    if len(seeds) != count:
        raise OptionError(f"seed has {len(seeds)} values for {count} images: give one for each image")
    return [check_seed(value, f"seed[{place}]") for place, value in enumerate(seeds)]


def as_number(seed: object) -> object:
    """A number out of a tensor or an array without axes; anything else as it is."""
    is_alone = getattr(seed, "ndim", None) == 0
    return seed.tolist() if is_alone and hasattr(seed, "tolist") else seed


def as_list(seed: object) -> list[object] | None:
    """The seeds of several images; None if this is no list of them, but a number."""
    if is_integer(seed) or isinstance(seed, str | bytes):
        return None
    # Tensors and NumPy's arrays; without an axis they are a single number.
    values = seed.tolist() if hasattr(seed, "tolist") else seed
    return list(values) if isinstance(values, Sequence) else None
