"""Defences one after the other."""

from rain.chain import Chain
from rain.errors import OptionError
from rain.registry import DEFENSES
from rain.specs import apart


@DEFENSES.register
def chain(parts: str = "jpeg+rain") -> Chain:
    """Apply defences one after the other.

    Args:
        parts: their specs, with "+" between them: ``chain(parts=jpeg(quality=50)+rain)``. In a grid,
            ``["jpeg(quality=50)", "rain"]`` among the defences is the same; in Python,
            ``rain.Chain("jpeg(quality=50)", "rain")``.

    Raises:
        OptionError, UnknownNameError: as the loaders of the parts do; or a part is gated.

    Convention: an attacker gets BPDA for the parts that have no gradient, and the gradient of the others.
    """
    if not isinstance(parts, str):
        raise OptionError(
            f'parts of a chain are specs with "+" between them, such as jpeg+rain, got {parts!r}'
        )
    return Chain(*apart(parts))
