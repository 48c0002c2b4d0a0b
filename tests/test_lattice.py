"""Noise whose law is known exactly."""

import mpmath
import numpy as np
import pytest
import torch
from scipy.special import ndtr

from rain.lattice import CELLS, RANDOM, SHORTFALL, LatticeNoise, alias_table, rounded_gaussian

POINTS = np.arange(-(2 ** (CELLS - 1)), 2 ** (CELLS - 1))


def law_of(table: torch.Tensor) -> np.ndarray:
    """How many of the 2**62 uniform integers give each point of the lattice."""
    room = 2 ** (RANDOM - CELLS)
    thresholds = (table >> CELLS).numpy()
    aliases = (torch.arange(2**CELLS) ^ (table & (2**CELLS - 1))).numpy()
    law = thresholds.copy()
    np.add.at(law, aliases, room - thresholds)
    return law


@pytest.mark.parametrize("sigma", [0.25, 0.12])
def test_the_table_has_the_law_of_a_rounded_gaussian(sigma: float):
    spacing = LatticeNoise(sigma).step / sigma
    law = law_of(alias_table(spacing))
    assert np.array_equal(law, rounded_gaussian(spacing))
    assert law.sum() == 2**RANDOM
    assert law.min() >= 0
    # Where the difference of two values of the distribution function is exact enough to compare with.
    low = -np.abs(POINTS) * spacing
    masses = ndtr(low + spacing / 2) - ndtr(low - spacing / 2)
    assert np.abs(masses - law / 2.0**RANDOM).sum() / 2 < 5e-12


def test_the_law_is_as_near_to_a_gaussian_as_it_says():
    """Against many digits, at some points of the lattice."""
    mpmath.mp.dps = 40
    spacing = LatticeNoise(0.12).step / 0.12
    law = rounded_gaussian(spacing)
    step = mpmath.mpf(spacing)
    some = [*range(1, 40), *range(40, 2**17, 1999)]
    differences = []
    for point in some:
        mass = mpmath.ncdf((point + 0.5) * step) - mpmath.ncdf((point - 0.5) * step)
        differences.append(float(abs(mass * 2**RANDOM - int(law[point + 2 ** (CELLS - 1)]))))
    assert np.mean(differences) * 2**CELLS / 2 / 2**RANDOM < SHORTFALL / 2
    # What the other points have too much or too little, the middle has too little or too much.
    middle = mpmath.ncdf(step / 2) - mpmath.ncdf(-step / 2)
    assert float(abs(middle * 2**RANDOM - int(law[2 ** (CELLS - 1)]))) / 2**RANDOM < SHORTFALL / 2


def test_what_is_drawn_is_what_the_table_says():
    """In plain words: a column's own point below its threshold, and its alias from there on."""
    noise = LatticeNoise(0.25)
    table = alias_table(noise.step / noise.sigma).tolist()
    drawn = noise.draw((2000,), torch.device("cpu"), torch.Generator().manual_seed(2))
    uniform = torch.randint(0, 2**RANDOM, (2000,), generator=torch.Generator().manual_seed(2)).tolist()
    for integer, value in zip(uniform, drawn.tolist(), strict=True):
        column = integer % 2**CELLS
        threshold, way = divmod(table[column], 2**CELLS)
        point = column if integer // 2**CELLS < threshold else column ^ way
        assert value == (point - 2 ** (CELLS - 1)) * noise.step


@pytest.mark.parametrize("sigma", [0.01, 0.12, 0.25, 0.5, 2.0])
def test_image_and_noise_add_up_exactly(sigma: float):
    """Otherwise the last bits of the sum would tell of the image."""
    noise = LatticeNoise(sigma)
    images = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    rounded = noise.round(images)
    drawn = noise.draw((2, 3, 20, 20), torch.device("cpu"), torch.Generator().manual_seed(1))
    noisy = rounded + drawn
    assert torch.equal(noisy.double(), rounded.double() + drawn.double())
    assert torch.equal((noisy.double() / noise.step).round() * noise.step, noisy.double())
    assert (rounded - images).abs().max() <= noise.step / 2
    largest = torch.tensor(2.0 ** (CELLS - 1) * noise.step)
    assert torch.equal((largest + 1) + noise.step - (largest + 1), torch.tensor(noise.step))


def test_the_noise_has_its_sigma_and_follows_its_seed():
    noise, cpu = LatticeNoise(0.25), torch.device("cpu")
    first, again, other = (
        noise.draw((50_000,), cpu, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.mean() == pytest.approx(0, abs=4 * 0.25 / 50_000**0.5)
    assert first.std() == pytest.approx(0.25, rel=0.02)
    assert (first > 2 * 0.25).float().mean() == pytest.approx(ndtr(-2), rel=0.15)


def test_rounding_changes_no_distance_by_more_than_the_slack():
    noise = LatticeNoise(0.5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        first, second = torch.rand(2, 1, 3, 9, 9, generator=generator)
        near = first + 0.01 * (second - first)
        before = (first - near).double().norm()
        after = (noise.round(first) - noise.round(near)).double().norm()
        assert abs(float(before - after)) <= noise.slack(3 * 9 * 9)


def test_gradients_pass_the_rounding():
    images = torch.rand(1, 3, 4, 4, requires_grad=True)
    LatticeNoise(0.25).round(images).sum().backward()
    assert torch.equal(images.grad, torch.ones_like(images))
