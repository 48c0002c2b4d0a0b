"""A sharp low-pass filter: what lies in the low frequencies alone."""

from torch import Generator

from rain.defense import Defense, Draw
from rain.images import Images
from rain.registry import DEFENSES
from rain.spectra import check_radius, low_pass


@DEFENSES.register
class LowPass(Defense):
    """Take away all detail finer than a radius: no protection, but a ruler of where accuracy lies.

    Args:
        radius: what stays, as a fraction of Nyquist's frequency, from 0 (one colour) to the square root of 2
            (everything). A picture that was halved can hold what is below 0.5.

    Raises:
        OptionError: no such radius.

    Convention: that of ``rain.spectra``; then clamped to [0, 1].

    Source: Yin et al., "A Fourier perspective on model robustness in computer vision" (arXiv 1906.08988),
        who filter so to see what a classifier uses.
    """

    random = False
    keeps_places = True

    def __init__(self, radius: float = 0.5):
        super().__init__()
        check_radius(radius)
        self.radius = radius

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw nothing."""
        return {}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Filter."""
        return low_pass(images, self.radius).clamp(0, 1)
