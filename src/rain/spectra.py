"""Spatial frequencies of pictures: radial spectra, sharp filters, and how much of a picture survives.

Convention:
    A frequency is told by its *radius*: the length of (rows, columns), each as a fraction of Nyquist's
    frequency, which is one period in two pixels. 1 is the finest stripe along an axis; the finest
    chequerboard is at the square root of 2, the largest radius there is.

    Spectra are taken of each colour channel with a Hann window, from which the window's mean is taken off, so
    that neither the picture's brightness nor its four edges look like detail. The power is divided by the
    window's energy: white noise of variance v has the power v at every frequency.

    Filters are sharp, and work on the picture mirrored at its edges (a cosine transform), so that nothing of
    one side comes in at the other. They are linear, keep the mean, and are not clamped: near an edge of the
    picture's objects the values may leave [0, 1] a little.

    float16 and bfloat16 are computed in float32, and come back in their own type.
"""

import torch
from torch import Tensor

from rain.errors import ImageError, OptionError
from rain.images import Images

CORNER = 2**0.5
"""The largest radius: both axes at Nyquist's frequency."""

FLOOR = 1e-12
"""Power below this is written as this in decibels: the rounding of 8 bits alone has more."""


def radial_spectrum(images: Images, bins: int = 32) -> tuple[Tensor, Tensor]:
    """Average the power of each image over rings of equal radius, and over the three channels.

    Args:
        images: (N, 3, H, W); also differences of images, whose values are signed.
        bins: rings between radius 0 and 1, from 1 to half of the shorter side. The corners beyond 1 are left
            out, as is the mean (radius 0).

    Shape: returns (bins,), the middles of the rings, and (N, bins), the mean power in each; ``decibels``
        makes dB of it. In float32 at least.

    Raises:
        ImageError: ``images`` are no batch of pictures.
        OptionError: so many rings that one may have no frequency in it.
    """
    _check(images)
    _check_bins(images, bins)
    power = _spectrum(images).abs().square().mean(1)
    ring = _rings(images, bins)
    count = _sums(torch.ones_like(power[:1]), ring, bins)
    return _middles(power, bins), _sums(power, ring, bins) / count


def radial_coherence(images: Images, others: Images, bins: int = 32) -> tuple[Tensor, Tensor]:
    """Say how much of the detail of one batch is the detail of another, ring by ring.

    It is the squared correlation of the two spectra in a ring, over all three channels: 1 where the second is
    the first times a number, near 0 where it is something else, whatever its power.

    Args:
        images, others: (N, 3, H, W), of one shape.
        bins: as in ``radial_spectrum``.

    Shape: returns (bins,), the middles of the rings, and (N, bins), in [0, 1]. Where one of the two has no
        power it is 0.

    Raises:
        ImageError: the shapes differ, or are no batch of pictures.
        OptionError: so many rings that one may have no frequency in it.
    """
    _check(images)
    _check_bins(images, bins)
    if images.shape != others.shape:
        what = f"{tuple(images.shape)} and {tuple(others.shape)}"
        raise ImageError(f"two batches of one shape are compared, got {what}")
    first, second = _spectrum(images), _spectrum(others)
    ring = _rings(images, bins)
    cross = (first * second.conj()).sum(1)
    together = _sums(cross.real, ring, bins).square() + _sums(cross.imag, ring, bins).square()
    powers = [_sums(part.abs().square().sum(1), ring, bins) for part in (first, second)]
    product = powers[0] * powers[1]
    tiny = torch.finfo(product.dtype).tiny
    return _middles(product, bins), (together / product.clamp_min(tiny)).clamp(0, 1)


def energy_above(images: Images, radius: float) -> Tensor:
    """Say which share of the energy of each image, its mean apart, lies above a radius.

    Args:
        images: (N, 3, H, W); also differences of images.
        radius: from 0 to the square root of 2. The corners count.

    Shape: returns (N,), in [0, 1]; 0 for an image of one colour.

    Raises:
        ImageError: ``images`` are no batch of pictures.
        OptionError: no such radius.
    """
    _check(images)
    check_radius(radius)
    power = _spectrum(images).abs().square().sum(1)
    # A picture of one colour has the power of rounding only, and no detail to have shares of.
    whole = power.sum((1, 2))
    high = (_radii(images) > radius).to(power.device)
    above = (power * high).sum((1, 2))
    silent = whole <= FLOOR * power[0].numel() if power.numel() else whole > 0
    return torch.where(silent, torch.zeros_like(whole), above / whole.clamp_min(FLOOR))


def low_pass(images: Images, radius: float) -> Images:
    """Keep what lies at or below a radius.

    Args:
        images: (N, 3, H, W).
        radius: from 0 (only the mean stays) to the square root of 2 (all stays). A picture that was halved
            can hold what is below 0.5.

    Shape: returns (N, 3, H, W), not clamped.

    Raises:
        ImageError: ``images`` are no batch of pictures.
        OptionError: no such radius.
    """
    _check(images)
    check_radius(radius)
    return _filter(images, _mirrored_radii(images) <= radius)


def high_pass(images: Images, radius: float) -> Images:
    """Keep the mean and what lies above a radius: what ``low_pass`` takes away.

    Args:
        images: (N, 3, H, W).
        radius: from 0 (all stays) to the square root of 2.

    Shape: returns (N, 3, H, W), not clamped.

    Raises:
        ImageError: ``images`` are no batch of pictures.
        OptionError: no such radius.
    """
    return band_stop(images, 0.0, radius)


def band_stop(images: Images, low: float, high: float) -> Images:
    """Take away what lies above one radius, up to another; the mean stays.

    Args:
        images: (N, 3, H, W).
        low, high: 0 <= low <= high, to the square root of 2. What is at ``low`` stays, what is at ``high``
            goes.

    Shape: returns (N, 3, H, W), not clamped.

    Raises:
        ImageError: ``images`` are no batch of pictures.
        OptionError: no such band.
    """
    _check(images)
    check_band(low, high)
    radii = _mirrored_radii(images)
    return _filter(images, (radii <= low) | (radii > high))


def decibels(power: Tensor, reference: Tensor | float = 1.0) -> Tensor:
    """Write power as decibels: 10 times the decimal logarithm of power / reference.

    Args:
        power: from 0; what is below ``FLOOR`` counts as that.
        reference: of the same shape, or a number; treated likewise.

    Shape: returns the shape of the two together.
    """
    base = torch.as_tensor(reference, dtype=power.dtype, device=power.device)
    return 10 * (power.clamp_min(FLOOR) / base.clamp_min(FLOOR)).log10()


def check_radius(radius: float, name: str = "radius") -> None:
    """Raise ``OptionError``, about ``name``, unless ``radius`` lies between 0 and the square root of 2."""
    # Written out as 1.4143, the corner's own radius is a little more than the corner.
    if isinstance(radius, bool) or not isinstance(radius, int | float) or not 0 <= radius <= 1.415:
        what = "a fraction of Nyquist's frequency from 0 to the square root of 2"
        raise OptionError(f"{name} must be {what}, got {radius!r}")


def check_band(low: float, high: float) -> None:
    """Raise ``OptionError`` unless the radii ``low`` and ``high`` bound a band."""
    check_radius(low, "low")
    check_radius(high, "high")
    if low > high:
        raise OptionError(f"a band reaches from low up to high, got low={low!r} and high={high!r}")


def _spectrum(images: Images) -> Tensor:
    """Transform the windowed images, scaled so that white noise has the power of its variance."""
    wide = _wide(images)
    window = _hann(images.shape[2], wide)[:, None] * _hann(images.shape[3], wide)
    mean = (wide * window).sum((2, 3), keepdim=True) / window.sum()
    if not images.shape[0]:
        return torch.complex(wide, wide)
    return torch.fft.fft2((wide - mean) * window) / window.square().sum().sqrt()


def _hann(side: int, like: Tensor) -> Tensor:
    """Half a pixel in from both ends, so that no pixel has the weight 0."""
    place = (torch.arange(side, device=like.device, dtype=like.dtype) + 0.5) / side
    return (torch.pi * place).sin().square()


def _filter(images: Images, kept: Tensor) -> Images:
    """Keep some frequencies of the mirrored images."""
    height, width = images.shape[2:]
    if not images.shape[0]:
        return images.clone()
    wide = _wide(images)
    mirrored = torch.cat([wide, wide.flip(2)], 2)
    mirrored = torch.cat([mirrored, mirrored.flip(3)], 3)
    spectrum = torch.fft.rfft2(mirrored) * kept.to(images.device)
    filtered = torch.fft.irfft2(spectrum, s=(2 * height, 2 * width))
    return filtered[:, :, :height, :width].to(images.dtype)


def _radii(images: Images) -> Tensor:
    """The radius of each frequency of ``fft2``, (H, W), on the CPU."""
    height, width = images.shape[2:]
    return _lengths(
        torch.fft.fftfreq(height, dtype=torch.float64), torch.fft.fftfreq(width, dtype=torch.float64)
    )


def _mirrored_radii(images: Images) -> Tensor:
    """The radius of each frequency of ``rfft2`` of the images mirrored to twice their sides, on the CPU."""
    height, width = images.shape[2:]
    rows = torch.fft.fftfreq(2 * height, dtype=torch.float64)
    return _lengths(rows, torch.fft.rfftfreq(2 * width, dtype=torch.float64))


def _lengths(rows: Tensor, columns: Tensor) -> Tensor:
    """Rounded, so that (0.3, 0.4) is at 0.5 and on the side of an edge where it belongs."""
    return (2 * torch.hypot(rows[:, None], columns)).round(decimals=9)


def _rings(images: Images, bins: int) -> Tensor:
    """The ring of each frequency, (H * W,); what is in none of them is in one more."""
    # A ring holds its outer edge: that of the last one is Nyquist's own frequency.
    ring = (_radii(images).flatten() * bins).round(decimals=7).ceil().long() - 1
    return torch.where((ring < 0) | (ring >= bins), bins, ring).to(images.device)


def _sums(values: Tensor, ring: Tensor, bins: int) -> Tensor:
    """Add up (N, H, W) over rings: (N, bins)."""
    sums = values.new_zeros(values.shape[0], bins + 1)
    return sums.index_add(1, ring, values.flatten(1))[:, :bins]


def _middles(like: Tensor, bins: int) -> Tensor:
    return (torch.arange(bins, device=like.device, dtype=like.dtype) + 0.5) / bins


def _wide(images: Images) -> Tensor:
    """There is no Fourier transform in half precision on CPUs."""
    return images.float() if images.dtype in (torch.float16, torch.bfloat16) else images


def _check(images: Tensor) -> None:
    """Check the shape alone: a difference of two images has values below 0."""
    if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 2:
        raise ImageError(f"images must have shape (N, 3, H, W), at least 2 pixels, got {tuple(images.shape)}")
    if not images.dtype.is_floating_point:
        raise ImageError(f"images must be floating point, got {images.dtype}; use images.float() / 255")


def _check_bins(images: Images, bins: int) -> None:
    most = min(images.shape[2:]) // 2
    if type(bins) is not int or not 1 <= bins <= most:
        height, width = images.shape[2:]
        what = f"bins must be an integer from 1 to {most} (half of the shorter side)"
        raise OptionError(f"{what} for images of {height} x {width}, got {bins!r}")
