"""Wavelet denoising, which two defences share."""

from collections.abc import Callable
from functools import partial

from rain.defenses._arrays import Picture, load_library


def denoiser(defense: str, sigma: float) -> Callable[[Picture], Picture]:
    """Make the function that denoises one picture.

    Args:
        defense: who needs it, for the error.
        sigma: standard deviation of the noise that is to go, in the unit of the images; 0 takes nothing away.

    Returns: from (H, W, 3) to (H, W, 3).

    Raises:
        OptionError: scikit-image or PyWavelets is not installed.

    Convention: BayesShrink with soft thresholds, Haar wavelets, three levels less than a side allows, in
        YCbCr.

    Source: Chang, Yu, Vetterli, "Adaptive wavelet thresholding" (IEEE TIP 2000), by scikit-image.
    """
    load_library("pywt", defense)
    library = load_library("skimage.restoration", defense)
    return partial(_denoise, function=library.denoise_wavelet, sigma=sigma)


def _denoise(picture: Picture, function: Callable[..., Picture], sigma: float) -> Picture:
    if not sigma:
        return picture
    return function(
        picture,
        sigma=sigma,
        wavelet="db1",
        mode="soft",
        method="BayesShrink",
        convert2ycbcr=True,
        rescale_sigma=True,
        channel_axis=-1,
    )
