"""Smoothing by non-local means."""

from torch import Generator

from rain.adaptive import straight_through
from rain.defense import Defense, Draw
from rain.defenses._arrays import Picture, by_picture, load_library
from rain.images import Images
from rain.options import check_number, check_odd
from rain.registry import DEFENSES


@DEFENSES.register
class Nlm(Defense):
    """Average pixels whose surroundings look alike; the gradient is BPDA's, the identity.

    It needs ``pip install 'rain-defense[defenses]'``, and is slow: hundredths of a second for an image of
    224x224, one after the other, on the CPU, wherever the images are.

    Args:
        search: side of the window in which likeness is searched, in pixels, odd, 3 to 51. The default is
            Xu's 11.
        patch: side of the surroundings that are compared, in pixels, odd, 3 to 21. The default is Xu's 3.
        strength: how unlike two surroundings may be, in grey levels of 255, above 0 (0.01) to 255. The
            default is Xu's 4.

    Raises:
        OptionError: an option is out of range, scikit-image is not installed, or ``torch.export`` traces.

    Source: Buades, Coll, Morel, "A non-local algorithm for image denoising" (CVPR 2005); Xu, Evans, Qi,
        "Feature squeezing" (arXiv 1704.01155), 11-3-4 on ImageNet; BPDA after Athalye et al.
        (arXiv 1802.00420).

    Differs: scikit-image's fast variant compares in RGB. Xu's OpenCV compares lightness and colour apart.
    """

    random = False
    keeps_places = True

    def __init__(self, search: int = 11, patch: int = 3, strength: float = 4.0):
        super().__init__()
        self.search = check_odd(search, "search", 3, 51)
        self.patch = check_odd(patch, "patch", 3, 21)
        self.strength = check_number(strength, "strength", 0.01, 255)
        self._denoise = load_library("skimage.restoration", "nlm").denoise_nl_means

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw nothing."""
        return {}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Smooth one picture after the other."""
        return straight_through(lambda values: by_picture(self._smooth, values, "nlm"), images)

    def _smooth(self, picture: Picture) -> Picture:
        smooth: Picture = self._denoise(
            picture,
            patch_size=self.patch,
            patch_distance=self.search // 2,
            h=self.strength / 255,
            fast_mode=True,
            channel_axis=-1,
        )
        return smooth
