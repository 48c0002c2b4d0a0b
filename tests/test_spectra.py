"""Spectra against numpy, filters against what they must do to single waves."""

import math

import numpy as np
import pytest
import torch

from rain.errors import ImageError, OptionError
from rain.spectra import (
    CORNER,
    band_stop,
    decibels,
    energy_above,
    high_pass,
    low_pass,
    radial_coherence,
    radial_spectrum,
)


def noise(count: int = 2, height: int = 24, width: int = 24, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((count, 3, height, width), generator=generator, dtype=torch.float64)


def cosine(rows: int, columns: int, height: int = 24, width: int = 20) -> torch.Tensor:
    """One wave of the cosine transform: its radius is the length of (rows / height, columns / width)."""
    down = torch.cos(torch.pi * rows * (torch.arange(height, dtype=torch.float64) + 0.5) / height)
    across = torch.cos(torch.pi * columns * (torch.arange(width, dtype=torch.float64) + 0.5) / width)
    return (down[:, None] * across).expand(1, 3, height, width)


def spectrum_by_numpy(picture: np.ndarray, bins: int) -> np.ndarray:
    """Pixel by pixel, as the convention says it."""
    _, height, width = picture.shape
    down, across = np.arange(height) + 0.5, np.arange(width) + 0.5
    window = np.outer(np.sin(np.pi * down / height) ** 2, np.sin(np.pi * across / width) ** 2)
    rings: list[list[float]] = [[] for _ in range(bins)]
    for channel in picture:
        mean = np.average(channel, weights=window)
        power = np.abs(np.fft.fft2((channel - mean) * window)) ** 2 / (window**2).sum()
        for row in range(height):
            for column in range(width):
                high = min(row, height - row) / height
                wide = min(column, width - column) / width
                radius = 2 * np.sqrt(high**2 + wide**2)
                if 0 < radius <= 1:
                    rings[math.ceil(radius * bins - 1e-9) - 1].append(power[row, column])
    return np.array([np.mean(ring) for ring in rings])


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 22), (15, 17)])
def test_spectrum_is_numpys(height, width):
    images = noise(2, height, width)
    frequencies, power = radial_spectrum(images, bins=5)
    torch.testing.assert_close(frequencies, torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64))
    for image, row in zip(images, power, strict=True):
        np.testing.assert_allclose(row.numpy(), spectrum_by_numpy(image.numpy(), 5), rtol=1e-9)


def test_white_noise_has_the_power_of_its_variance():
    images = torch.randn((16, 3, 64, 64), generator=torch.Generator().manual_seed(0)) * 0.1
    _, power = radial_spectrum(images, bins=8)
    torch.testing.assert_close(power.mean(0), torch.full((8,), 0.01), rtol=0.1, atol=0)


def test_brightness_and_edges_are_no_detail():
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    _, of_one_colour = radial_spectrum(torch.full((1, 3, 64, 64), 0.7))
    _, of_a_ramp = radial_spectrum(ramp)
    assert of_one_colour.max() < 1e-10
    assert of_a_ramp[0, 8:].max() < 1e-4 * of_a_ramp[0, 0]


def test_a_wave_is_in_its_ring():
    _, power = radial_spectrum(cosine(12, 0, 32, 32), bins=16)
    assert power.argmax() == 5  # radius 12/32, the outer edge of the sixth ring


@pytest.mark.parametrize("function", [radial_spectrum, radial_coherence])
@pytest.mark.parametrize("bins", [0, 13, 2.0, True])
def test_rings_that_may_be_empty_are_refused(function, bins):
    images = [noise()] * (1 if function is radial_spectrum else 2)
    with pytest.raises(OptionError, match=r"from 1 to 12 .* 24 x 24"):
        function(*images, bins=bins)


def test_no_ring_is_empty():
    for side in (2, 5, 8, 31, 96):
        for other in (side, side + 1, side + 3):
            _, power = radial_spectrum(noise(1, side, other), bins=side // 2)
            assert power.isfinite().all()


def test_coherence_knows_the_same_detail():
    images = noise()
    _, same = radial_coherence(images, 0.3 + 0.5 * images, bins=6)
    _, other = radial_coherence(images, noise(seed=1), bins=4)
    _, silent = radial_coherence(images, torch.zeros_like(images), bins=4)
    torch.testing.assert_close(same, torch.ones_like(same))
    assert other.mean() < 0.1
    assert (silent == 0).all()


def test_coherence_falls_where_detail_is_lost():
    images = noise(2, 64, 64)
    blurred = low_pass(images, 0.5) + 0.01 * noise(2, 64, 64, seed=1)
    _, coherence = radial_coherence(images, blurred, bins=8)
    assert coherence[:, :3].min() > 0.95
    assert coherence[:, 5:].max() < 0.2


def test_coherence_compares_batches_of_one_shape():
    with pytest.raises(ImageError, match="one shape"):
        radial_coherence(noise(2), noise(1), bins=4)


def test_low_pass_keeps_low_waves_and_takes_high_ones():
    low, high = cosine(6, 5), cosine(12, 15)  # radii 0.35 and 0.90
    mixed = 0.5 + 0.2 * low + 0.1 * high
    torch.testing.assert_close(low_pass(mixed, 0.6), 0.5 + 0.2 * low)
    torch.testing.assert_close(high_pass(mixed, 0.6), 0.5 + 0.1 * high)


def test_band_stop_takes_a_band():
    waves = [cosine(2, 2), cosine(12, 0), cosine(20, 18)]  # radii 0.13, 0.5, 1.22
    mixed = 0.5 + sum(waves)
    torch.testing.assert_close(band_stop(mixed, 0.3, 0.7), 0.5 + waves[0] + waves[2])
    torch.testing.assert_close(band_stop(mixed, 0.5, 0.7), mixed)  # what is at low stays
    torch.testing.assert_close(band_stop(mixed, 0.4, 0.5), mixed - waves[1])  # what is at high goes


@pytest.mark.parametrize(("height", "width"), [(24, 24), (9, 14), (2, 2)])
def test_filters_at_their_ends(height, width):
    images = noise(2, height, width)
    mean = images.mean((2, 3), keepdim=True).expand_as(images)
    torch.testing.assert_close(low_pass(images, CORNER), images)
    torch.testing.assert_close(low_pass(images, 0.0), mean)
    torch.testing.assert_close(high_pass(images, 0.0), images)
    torch.testing.assert_close(high_pass(images, CORNER), mean)
    torch.testing.assert_close(band_stop(images, 0.4, 0.4), images)


def test_a_filter_twice_is_the_filter():
    images = noise(1, 15, 18)
    for filtered in (low_pass(images, 0.5), band_stop(images, 0.2, 0.6)):
        torch.testing.assert_close(filtered.mean((2, 3)), images.mean((2, 3)))
    torch.testing.assert_close(low_pass(low_pass(images, 0.5), 0.5), low_pass(images, 0.5))
    both = low_pass(images, 0.5) + high_pass(images, 0.5) - images.mean((2, 3), keepdim=True)
    torch.testing.assert_close(both, images)


def test_nothing_of_one_side_comes_in_at_the_other():
    images = torch.zeros((1, 3, 32, 32))
    images[..., :16] = 1.0
    filtered = low_pass(images, 0.4)
    assert (filtered[..., 0] - 1).abs().max() < 0.1
    assert filtered[..., -1].abs().max() < 0.1


def test_the_share_of_high_energy():
    # Noise is everywhere, so that a ring holds the share of its area in the square of all frequencies.
    images = torch.randn((8, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    share = energy_above(images, 0.5)
    assert abs(share.mean() - (1 - torch.pi * 0.25 / 4)) < 0.02
    assert (energy_above(images, CORNER) < 1e-6).all()
    torch.testing.assert_close(energy_above(images, 0.0), torch.ones(8))
    assert energy_above(low_pass(images, 0.3), 0.5).max() < 0.02


def test_pictures_of_one_colour_and_none_have_no_detail():
    assert (energy_above(torch.full((2, 3, 8, 8), 0.3), 0.0) == 0).all()
    nothing = torch.zeros((0, 3, 8, 8))
    assert energy_above(nothing, 0.5).shape == (0,)
    assert low_pass(nothing, 0.5).shape == nothing.shape
    assert radial_spectrum(nothing, bins=4)[1].shape == (0, 4)


def test_each_image_is_by_itself():
    images = noise(3)
    torch.testing.assert_close(energy_above(images, 0.5)[1:2], energy_above(images[1:2], 0.5))
    torch.testing.assert_close(radial_spectrum(images, 8)[1][1:2], radial_spectrum(images[1:2], 8)[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_filters_keep_the_type(dtype):
    images = noise().to(dtype)
    assert low_pass(images, 0.5).dtype == dtype
    assert radial_spectrum(images, 4)[1].dtype == torch.float32


def test_filters_pass_the_gradient():
    images = noise(1, 6, 7).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: low_pass(x, 0.5), images)
    assert torch.autograd.gradcheck(lambda x: band_stop(x, 0.2, 0.8), images)


@pytest.mark.parametrize("radius", [-0.1, 1.5, float("nan"), "0.5", True])
def test_a_radius_that_is_none_is_refused(radius):
    for function in (low_pass, high_pass, energy_above):
        with pytest.raises(OptionError, match="square root of 2"):
            function(noise(), radius)


def test_a_band_that_is_none_is_refused():
    with pytest.raises(OptionError, match="low up to high"):
        band_stop(noise(), 0.7, 0.3)


@pytest.mark.parametrize("images", [torch.rand(3, 8, 8), torch.rand(1, 1, 8, 8), torch.rand(1, 3, 1, 8)])
def test_no_pictures_are_refused(images):
    for function in (radial_spectrum, lambda x: low_pass(x, 0.5)):
        with pytest.raises(ImageError, match="shape"):
            function(images)


def test_bytes_are_refused():
    with pytest.raises(ImageError, match="255"):
        low_pass(torch.zeros((1, 3, 8, 8), dtype=torch.uint8), 0.5)


def test_decibels():
    power = torch.tensor([1.0, 100.0, 0.0])
    torch.testing.assert_close(decibels(power), torch.tensor([0.0, 20.0, -120.0]))
    torch.testing.assert_close(decibels(power, power), torch.zeros(3))
