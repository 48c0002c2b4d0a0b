"""Noise before everything else, and a denoiser behind it."""

import warnings

import pytest
import torch
from models import tiny

import rain
from rain import checkpoints
from rain.errors import OptionError
from rain.promises import check_promises

UNTRAINED = "compact(scale=1, weights=None)"


class Spy(torch.nn.Module):
    """A denoiser that remembers what it got, and gives back grey."""

    def forward(self, noisy):
        self.noisy = noisy
        return torch.full_like(noisy, 0.5)


def test_the_denoiser_gets_the_noisy_image_as_it_is():
    """Clamped to [0, 1], noise would be lost that it could use."""
    defense = rain.load_defense("smooth", sigma=0.25, enhancer=Spy())
    images = torch.rand(2, 3, 8, 8)
    draw = defense.draw(images, torch.Generator().manual_seed(0))
    assert torch.equal(defense.transform(images, draw), torch.full_like(images, 0.5))
    assert defense.enhancer.noisy.min() < 0
    torch.testing.assert_close(defense.enhancer.noisy, images + draw["noise"], atol=1e-5, rtol=0)


def test_an_untrained_denoiser_leaves_the_noisy_image():
    images = torch.rand(2, 3, 9, 8)
    alone, denoised = (rain.load_defense("smooth", enhancer=enhancer) for enhancer in (None, UNTRAINED))
    outputs = [one(images, generator=torch.Generator().manual_seed(3)) for one in (alone, denoised)]
    torch.testing.assert_close(*outputs)


@pytest.mark.parametrize("spec", ["smooth", f"smooth(enhancer={UNTRAINED})"])
def test_it_is_what_it_says_of_itself(spec: str):
    check_promises(rain.load_defense(spec), torch.rand(1, 3, 16, 16))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_it_keeps_the_type_of_the_images(dtype: torch.dtype):
    images = torch.rand(1, 3, 8, 8)
    defense = rain.load_defense("smooth")
    draw = defense.draw(images, torch.Generator().manual_seed(0))
    output = defense.transform(images.to(dtype), draw)
    assert output.dtype == dtype
    torch.testing.assert_close(output.float(), defense.transform(images, draw), atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "sigma must be"),
        ({"sigma": "loud"}, "sigma must be"),
        ({"enhancer": "compact(scale=1)"}, "no denoiser"),
    ],
)
def test_an_option_out_of_range_is_refused(options: dict[str, object], message: str):
    with pytest.raises(OptionError, match=message):
        rain.load_defense("smooth", **options)


@pytest.mark.parametrize("enhancer", ["bicubic", "compact"])
def test_a_network_that_enlarges_is_refused_and_the_chain_is_named(enhancer: str):
    defense = rain.load_defense("smooth", enhancer=enhancer)
    with pytest.raises(OptionError, match=r"keep height and width.*chain\(parts=smooth\+rain"):
        defense(torch.rand(1, 3, 8, 8))


def test_rain_refuses_a_denoiser_in_the_place_of_its_dg():
    defense = rain.load_defense(f"rain(enhancer={UNTRAINED})")
    with pytest.raises(OptionError, match="double height and width"):
        defense(torch.rand(1, 3, 8, 8))


def test_a_denoiser_is_found_in_its_file_again(tmp_path):
    network = rain.load_enhancer("compact(scale=1, weights=None, head=8, near=1, features=8, blocks=1)")
    with torch.no_grad():
        network.tail.weight.normal_(0, 0.01)
    path = tmp_path / "denoiser.safetensors"
    checkpoints.save(network, path, {})
    loaded = rain.load_enhancer(f"compact(weights={path})")
    assert loaded.scale == 1
    noisy = torch.rand(1, 3, 9, 7)
    assert torch.equal(loaded(noisy), network(noisy))


def test_a_scale_that_is_none_is_refused():
    with pytest.raises(OptionError, match="scale must be"):
        rain.load_enhancer("compact(scale=3, weights=None)")


def test_it_stands_before_any_classifier():
    hardened = rain.harden(tiny(), "smooth", sigma=0.1)
    prediction = hardened.predict(torch.rand(2, 3, 16, 16), draws=4, seed=0)
    assert prediction.probabilities.shape == (2, 5)


@pytest.mark.parametrize(
    ("behind", "sigma", "warned"),
    [
        ("smooth(sigma=0.5)", 0.5, False),
        ("smooth(sigma=0.5)", 0.25, True),
        ("smooth", 0.25, False),
        ("smooth", 0.5, True),
        ("rain", 0.5, False),
        ("no spec)", 0.5, False),
    ],
)
def test_a_denoiser_of_another_sigma_is_warned_of(tmp_path, behind: str, sigma: float, warned: bool):
    path = tmp_path / "denoiser.safetensors"
    checkpoints.save(rain.load_enhancer(UNTRAINED), path, {"behind": behind})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        rain.load_defense("smooth", sigma=sigma, enhancer=f"compact(scale=1, weights={path})")
    words = [str(one.message) for one in told if "trained for a sigma of" in str(one.message)]
    assert len(words) == warned
