"""Gaussian noise before everything else: the defence that can be certified."""

import warnings

from torch import Generator, Tensor, nn

from rain.defense import Defense, Draw
from rain.defenses._enhancing import build_enhancer
from rain.errors import OptionError
from rain.images import Images
from rain.lattice import LatticeNoise
from rain.options import check_number
from rain.registry import DEFENSES
from rain.specs import parse


@DEFENSES.register
class Smooth(Defense):
    """Add Gaussian noise before everything else, then take it away by a denoiser, if there is one.

    ``hardened.certify(images)`` and ``rain certify`` say within which radius no attack can change the answer
    of many draws. Without a denoiser it is noise alone, before any classifier. For SRd and DG after the noise
    take the chain ``chain(parts=smooth(sigma=0.25)+rain)``: what comes after the noise keeps the certificate.

    Args:
        sigma: standard deviation of the noise, in the unit of the images, from 0.01 to 2; 0.25 by default.
        enhancer: a spec of a denoiser that keeps height and width, such as
            ``compact(scale=1, weights=PATH)``; or a module from (N, 3, H, W) to (N, 3, H, W). It gets the
            noisy image as it is, outside of [0, 1], too. None, the default, for noise alone. One whose card
            names another sigma is warned of.

    Raises:
        OptionError: ``sigma`` is out of range, there is no such enhancer, or it changes height and width.

    Convention: image and noise are multiples of a power of two, so that their sum is exact
        (``rain.lattice``). What is given on is clamped to [0, 1].

    Source: Cohen, Rosenfeld, Kolter, "Certified adversarial robustness via randomized smoothing"
        (arXiv 1902.02918); Salman et al., "Denoised smoothing" (arXiv 2003.01908); Voracek and Hein
        (arXiv 2207.07209) for the noise.
    """

    def __init__(self, sigma: float = 0.25, enhancer: str | nn.Module | None = None):
        super().__init__()
        self.sigma = check_number(sigma, "sigma", 0.01, 2)
        self._noise = LatticeNoise(self.sigma)
        self.enhancer = None if enhancer is None else build_enhancer(enhancer)
        if self.unfit:
            warnings.warn(f"{self.unfit}: it restores less than one that was trained for it", stacklevel=2)

    @property
    def unfit(self) -> str:
        """Why the denoiser does not fit this noise; "" if it does, or none knows."""
        trained = _trained_for(self.enhancer)
        if trained is None or trained == self.sigma:
            return ""
        return f"this denoiser was trained for a sigma of {trained:g}, and this noise has {self.sigma:g}"

    @property
    def smoothing(self) -> LatticeNoise:
        """The noise."""
        return self._noise

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw "noise": (N, 3, H, W), float32, in the unit of the images."""
        noise = self._noise.draw(tuple(images.shape), images.device, generator)
        return {"noise": noise.to(images.device)}

    def stages(self, images: Images, draw: Draw) -> dict[str, Images]:
        """Give the pictures after the noise, "noisy", and after the denoiser, "enhanced"; both in [0, 1]."""
        # Half precision has too few digits for the lattice.
        wide = images if images.dtype.itemsize >= 4 else images.float()
        noisy = (self._noise.round(wide) + draw["noise"].to(wide.dtype)).to(images.dtype)
        shown = noisy.clamp(0, 1)
        if self.enhancer is None or not images.shape[0]:
            return {"noisy": shown, "enhanced": shown}
        return {"noisy": shown, "enhanced": self._denoised(noisy).clamp(0, 1)}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Add the noise of the draw, then denoise."""
        return self.stages(images, draw)["enhanced"]

    def target(self, images: Images, draw: Draw) -> Images:
        """What a perfect denoiser would give: the images."""
        return images

    def _denoised(self, noisy: Tensor) -> Tensor:
        assert self.enhancer is not None
        denoised: object = self.enhancer(noisy)
        if isinstance(denoised, Tensor) and denoised.shape == noisy.shape:
            return denoised
        answer = tuple(denoised.shape) if isinstance(denoised, Tensor) else type(denoised).__name__
        what = f"{type(self.enhancer).__name__} gave {answer} for {tuple(noisy.shape)}"
        advice = "for a network that doubles the sides take chain(parts=smooth+rain(enhancer=...))"
        raise OptionError(f"the denoiser of smooth must keep height and width: {what}; {advice}")


def _trained_for(enhancer: nn.Module | None) -> float | None:
    """The sigma that a denoiser was trained for; None where its card does not say it."""
    card: dict[str, str] = getattr(enhancer, "card", None) or {}
    try:
        name, options = parse(card.get("behind", ""))
        return float(options.get("sigma", 0.25)) if name == "smooth" else None
    except (ValueError, TypeError, AttributeError, OptionError):
        return None  # a card is free text: of one that says something else nothing is known
