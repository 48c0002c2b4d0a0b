"""The filters as defences: what they take away, and that they are rulers, not randomness."""

import pytest
import torch

import rain
from rain.errors import OptionError


def stripes(period: int) -> torch.Tensor:
    """Vertical stripes, so many pixels wide from dark to dark."""
    place = torch.arange(32) + 0.5
    wave = 0.5 + 0.3 * torch.cos(2 * torch.pi * place / period)
    return wave.expand(1, 3, 32, 32)


def test_low_pass_takes_fine_stripes_and_leaves_coarse_ones():
    low_pass = rain.load_defense("low_pass(radius=0.5)")
    torch.testing.assert_close(low_pass(stripes(8)), stripes(8))
    torch.testing.assert_close(low_pass(stripes(2)), torch.full((1, 3, 32, 32), 0.5))


def test_band_stop_takes_its_band_only():
    band_stop = rain.load_defense("band_stop(low=0.2, high=0.4)")
    torch.testing.assert_close(band_stop(stripes(16)), stripes(16))
    torch.testing.assert_close(band_stop(stripes(8)), torch.full((1, 3, 32, 32), 0.5))
    torch.testing.assert_close(band_stop(stripes(4)), stripes(4))


def test_an_overshoot_is_clamped():
    edge = torch.zeros(1, 3, 32, 32)
    edge[..., 13:] = 1.0
    filtered = rain.load_defense("low_pass(radius=0.3)")(edge)
    assert 0 == filtered.min() < filtered.max() == 1


@pytest.mark.parametrize(
    "spec", ["low_pass(radius=2)", "low_pass(radius=-1)", "band_stop(low=0.6, high=0.5)"]
)
def test_what_is_no_radius_is_refused(spec: str):
    with pytest.raises(OptionError, match=r"square root of 2|low up to high"):
        rain.load_defense(spec)


@pytest.mark.parametrize("spec", ["low_pass", "band_stop"])
def test_an_attacker_goes_through_a_filter(spec: str):
    defense = rain.load_defense(spec)
    assert (defense.random, defense.differentiable) == (False, True)
    images = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    images.requires_grad_()
    defense(images).square().sum().backward()
    # Of a projection, the gradient of the squared length is twice what is left.
    torch.testing.assert_close(images.grad, 2 * defense(images.detach()), rtol=1e-3, atol=1e-4)
