"""HDRnet: the grid, how pixels look into it, and weight files."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from rain import checkpoints
from rain.enhancers import card
from rain.enhancers.hdrnet import Guide, slice_grid
from rain.errors import OptionError, WeightsError
from rain.registry import load_enhancer

SMALL = {"side": 64, "width": 1, "bins": 3}


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_untrained_hdrnet_is_bicubic() -> None:
    images = rand(2, 3, 9, 6)
    model = load_enhancer("hdrnet")
    assert torch.allclose(model(images), load_enhancer("bicubic")(images), atol=1e-5)
    assert model(images[:0]).shape == (0, 3, 18, 12)
    facts = card(model, 16)
    # What the low network costs does not depend on the picture.
    assert 0 < facts["multiply_adds_16x16"] < 11e6


def test_a_pixel_looks_up_its_place_and_its_brightness() -> None:
    """A second computation: at the centres of cells the grid's own values, half-way their means."""
    grid = rand(1, 2, 3, 2, 2)
    centres = (2 * torch.arange(3.0) + 1) / 6
    for bin_, place in enumerate(centres):
        # 2x2 pixels on 2x2 cells: each pixel's centre is its cell's.
        sliced = slice_grid(grid, place.expand(1, 2, 2))
        assert torch.allclose(sliced, grid[:, :, bin_], atol=1e-6)
    between = slice_grid(grid, torch.full((1, 2, 2), 1 / 3))
    assert torch.allclose(between, (grid[:, :, 0] + grid[:, :, 1]) / 2, atol=1e-6)
    # Beyond the outermost centres values are held.
    assert torch.allclose(slice_grid(grid, torch.ones(1, 2, 2)), grid[:, :, 2], atol=1e-6)
    # 1 pixel in the middle of 2x2 cells: their mean.
    middle = slice_grid(grid, centres[:1, None, None])
    assert torch.allclose(middle[..., 0, 0], grid[:, :, 0].mean((2, 3)), atol=1e-6)


def test_places_are_exact_in_half_precision() -> None:
    grid, guide = (
        torch.arange(200.0).view(1, 1, 1, 1, 200).bfloat16(),
        torch.full((1, 1, 800), 0.5).bfloat16(),
    )
    columns = slice_grid(grid.expand(1, 1, 3, 2, 200), guide)[0, 0, 0]
    assert columns.dtype == torch.bfloat16
    exact = ((torch.arange(800) + 0.5) / 4 - 0.5).clamp(0, 199)
    torch.testing.assert_close(columns, exact.bfloat16())


def test_the_guide_starts_as_the_mean_of_the_colours() -> None:
    images = rand(2, 3, 4, 5)
    assert torch.allclose(Guide()(images), images.mean(1), atol=1e-6)


def test_a_change_that_depends_on_brightness_is_made() -> None:
    """Dark pixels are kept, bright ones turned to green, as the grid's bins say."""
    model = load_enhancer("hdrnet", **SMALL)
    bias = torch.eye(3, 4).flatten()[:, None].repeat(1, 3)
    bias[:, 2] = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])
    model.coefficients.bias.data = bias.flatten()
    dark, bright = torch.full((1, 3, 4, 4), 0.1), torch.full((1, 3, 4, 4), 0.95)
    with torch.no_grad():
        assert torch.allclose(model(dark), torch.full((1, 3, 8, 8), 0.1), atol=1e-5)
        assert torch.allclose(model(bright)[0, :, 3, 3], torch.tensor([0.0, 1.0, 0.0]), atol=1e-5)


@pytest.mark.parametrize("options", [SMALL, {"side": 128, "width": 2, "bins": 4}])
def test_a_file_says_how_large_the_network_is(tmp_path: Path, options: dict[str, int]) -> None:
    torch.manual_seed(0)
    model, path = load_enhancer("hdrnet", **options), tmp_path / "small.safetensors"
    torch.nn.init.normal_(model.coefficients.weight, std=0.1)
    checkpoints.save(model, path, {"data": "none"})
    again = load_enhancer("hdrnet", weights=path)
    assert checkpoints.digest(again) == checkpoints.digest(model)
    assert (again.side, again.bins) == (options["side"], options["bins"])
    assert again.card == {"data": "none"}
    images = rand(1, 3, 16, 12)
    assert torch.equal(again(images), model(images))
    assert not torch.allclose(again(images), load_enhancer("bicubic")(images), atol=1e-3)


def test_hdrnet_refuses_what_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    state = load_enhancer("hdrnet", **SMALL).state_dict()
    for wrong, says in [
        ({"low.0.weight": torch.ones(1)}, "not weights of Hdrnet"),
        (state | {"whole.5.weight": torch.ones(32, 7)}, "whole.5.weight has shape"),
        (state | {"coefficients.bias": torch.full((36,), float("inf"))}, "NaN or infinite"),
    ]:
        checkpoints.save(wrong, path, {})
        with pytest.raises(WeightsError, match=says):
            load_enhancer("hdrnet", weights=path)
    for options, says in [
        ("side=100", "multiple of 64"),
        ("width=0", "from 1 to 64"),
        ("bins=1", "from 2 to 64"),
    ]:
        with pytest.raises(OptionError, match=says):
            load_enhancer(f"hdrnet({options})")
