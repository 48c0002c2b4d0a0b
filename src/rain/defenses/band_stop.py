"""A sharp band-stop filter: all but one band of frequencies."""

from torch import Generator

from rain.defense import Defense, Draw
from rain.images import Images
from rain.registry import DEFENSES
from rain.spectra import band_stop, check_band


@DEFENSES.register
class BandStop(Defense):
    """Take away one band of frequencies: no protection, but a ruler of where accuracy lies.

    Args:
        low: the lower radius of the band, as a fraction of Nyquist's frequency, from 0. With 0 all but the
            mean colour goes up to ``high``: a high-pass filter.
        high: the upper radius, from ``low`` to the square root of 2.

    Raises:
        OptionError: no such band.

    Convention: that of ``rain.spectra``; then clamped to [0, 1].

    Source: as ``low_pass``.
    """

    random = False
    keeps_places = True

    def __init__(self, low: float = 0.5, high: float = 1.0):
        super().__init__()
        check_band(low, high)
        self.low, self.high = low, high

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw nothing."""
        return {}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Filter."""
        return band_stop(images, self.low, self.high).clamp(0, 1)
