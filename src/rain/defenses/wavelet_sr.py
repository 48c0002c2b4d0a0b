"""Wavelet denoising, then super-resolution, then back to the size of before."""

import warnings

from torch import Generator, nn

from rain.adaptive import straight_through
from rain.defense import Defense, Draw
from rain.defenses._arrays import by_picture
from rain.defenses._enhancing import build_enhancer, check_enlarged
from rain.defenses._wavelets import denoiser
from rain.defenses.rain import trained_behind, way
from rain.images import Images, resample
from rain.options import check_number
from rain.registry import DEFENSES


@DEFENSES.register
class WaveletSr(Defense):
    """Denoise by wavelets, enlarge by a x2 super-resolution network, and make it small again.

    The gradient of the network and of the way back is exact, that of the denoising BPDA's, the identity. It
    needs ``pip install 'rain-defense[defenses]'``, and denoises on the CPU, wherever the images are.

    Args:
        sigma: of the noise that wavelets take away, in the unit of the images, from 0 (nothing) to 1. The
            default is the authors' 0.02.
        enhancer: a spec of the network (``rain list enhancers``), or a module from (N, 3, h, w) to
            (N, 3, 2h, 2w), both in [0, 1].

    Raises:
        OptionError: ``sigma`` is out of range, there is no such enhancer, it does not double the sides,
            scikit-image or PyWavelets is not installed, or ``torch.export`` traces.

    Convention: the way back is bicubic with antialiasing; clamped to [0, 1].

    Source: Mustafa et al., "Image super-resolution as a defense against adversarial attacks"
        (arXiv 1901.01677); BPDA after Athalye et al. (arXiv 1802.00420).

    Differs: the authors' network is EDSR, here ``enhancer="edsr(weights=PATH)"``; its weights are not
        shipped. The default is ``compact``, trained to enlarge pictures that bicubic has halved. One that
        was trained behind RAIN's picks restores less, and a warning says so.
        The authors classify the enlarged picture; here the size stays.
    """

    random = False
    keeps_places = True

    def __init__(self, sigma: float = 0.02, enhancer: str | nn.Module = "compact(weights=sr)"):
        super().__init__()
        self.sigma = check_number(sigma, "sigma", 0, 1)
        self._denoise = denoiser("wavelet_sr", self.sigma)
        self.enhancer = build_enhancer(enhancer)
        if self.unfit:
            warnings.warn(f"{self.unfit}: it restores less than one that was", stacklevel=2)

    @property
    def unfit(self) -> str:
        """Why the network does not fit here; "" if it does, or none knows."""
        trained = trained_behind(self.enhancer)
        if trained is None or trained.down == "bicubic":
            return ""
        what = f"the network of wavelet_sr was trained for {way(trained.down, trained.keep)}"
        return f"{what}, and not to enlarge a whole picture"

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw nothing."""
        return {}

    def stages(self, images: Images, draw: Draw) -> dict[str, Images]:
        """Give the pictures after the wavelets, "denoised"; the network, "enlarged"; and back, "enhanced"."""
        denoised = straight_through(self._smooth, images)
        enlarged = self.enhancer(denoised)
        check_enlarged(self.enhancer, denoised, enlarged)
        if not images.shape[0]:
            return {"denoised": denoised, "enlarged": enlarged, "enhanced": images.clone()}
        height, width = images.shape[2:]
        enhanced = resample(enlarged, (height, width)).clamp(0, 1)
        return {"denoised": denoised, "enlarged": enlarged, "enhanced": enhanced}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Denoise, enlarge, and make small again."""
        return self.stages(images, draw)["enhanced"]

    def _smooth(self, images: Images) -> Images:
        return by_picture(self._denoise, images, "wavelet_sr")
