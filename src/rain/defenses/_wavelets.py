"""Wavelet denoising, which two defences share."""

from collections.abc import Callable
from functools import partial

import numpy as np

from rain.defenses._arrays import Picture, load_library


def denoiser(defense: str, sigma: float) -> Callable[[Picture], Picture]:
    """Make the function that denoises one picture.

    Args:
        defense: who needs it, for the error.
        sigma: standard deviation of the noise that is to go, in the unit of the images; 0 takes nothing away.

    Returns: from (H, W, 3) to (H, W, 3).

    Raises:
        OptionError: scikit-image or PyWavelets is not installed.

    Convention: BayesShrink with soft thresholds, Haar wavelets, three levels less than a side allows. Each
        channel of YCbCr is denoised as if it went from 0 to 1. So did scikit-image in 2018, by which both
        defences were published; with the same ``sigma`` today's takes less from the brightness.

    Source: Chang, Yu, Vetterli, "Adaptive wavelet thresholding" (IEEE TIP 2000), by scikit-image.
    """
    load_library("pywt", defense)
    denoise = load_library("skimage.restoration", defense).denoise_wavelet
    to_ycbcr = load_library("skimage.color", defense).rgb2ycbcr
    return partial(_denoise, denoise=denoise, to_ycbcr=to_ycbcr, sigma=sigma)


def _denoise(
    picture: Picture, denoise: Callable[..., Picture], to_ycbcr: Callable[[Picture], Picture], sigma: float
) -> Picture:
    if not sigma:
        return picture
    spans = np.ptp(to_ycbcr(picture), axis=(0, 1))  # the library divides by them
    return denoise(
        picture,
        sigma=list(sigma * spans),
        wavelet="db1",
        mode="soft",
        method="BayesShrink",
        convert2ycbcr=True,
        rescale_sigma=False,
        channel_axis=-1,
    )
