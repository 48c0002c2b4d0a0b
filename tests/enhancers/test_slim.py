"""The slim DG: what it computes, what its files say, and what it costs."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rain
from rain import checkpoints
from rain.enhancers._slim import encode
from rain.enhancers.compact import Compact, place_pixels
from rain.errors import OptionError, WeightsError
from rain.randomize import draw_choice, pick
from rain.registry import load_enhancer
from rain.seeding import generator_for

SPEC = "compact(weights=None, slim=true, features=8, blocks=1)"


def rand(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator_for(1))


def trained(spec: str = SPEC) -> Compact:
    """A slim network whose last layer adds something."""
    torch.manual_seed(0)
    network = load_enhancer(spec)
    assert isinstance(network, Compact)
    nn.init.normal_(network.slim.up.weight, std=0.05)
    return network


@pytest.mark.parametrize("options", ["slim=true", "slim=true, informed=False"])
def test_it_doubles_every_size(options: str) -> None:
    network = trained(f"compact(weights=None, features=8, blocks=1, {options})")
    for size in [(6, 6), (5, 8), (7, 3), (1, 1)]:
        images = rand(2, 3, *size)
        choice = draw_choice(rand(2, 3, 2 * size[0], 2 * size[1]), generator_for(2))
        enlarged = network(images, choice)
        assert enlarged.shape == (2, 3, 2 * size[0], 2 * size[1])
        assert torch.isfinite(enlarged).all()
        assert enlarged.min() >= 0
        assert enlarged.max() <= 1
    assert network(rand(0, 3, 5, 8)).shape == (0, 3, 10, 16)


def test_untrained_it_fills_in_between_the_kept_pixels() -> None:
    """A second computation: the mean with Gaussian weights of what a cell and its neighbours kept."""
    image = rand(1, 3, 12, 14)
    choice = draw_choice(image, generator_for(2))
    filled = load_enhancer(SPEC)(pick(image, choice), choice).detach()
    for channel, row, column in [(0, 0, 0), (1, 5, 6), (2, 11, 13), (0, 3, 9)]:
        total = weight = 0.0
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                cell = (row // 2 + down, column // 2 + across)
                if not (0 <= cell[0] < 6 and 0 <= cell[1] < 7):
                    continue
                kept = int(choice[0, channel, cell[0], cell[1]])
                y, x = 2 * cell[0] + kept // 2, 2 * cell[1] + kept % 2
                near = math.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 0.9**2))
                total += near * float(image[0, channel, y, x])
                weight += near
        assert float(filled[0, channel, row, column]) == pytest.approx(total / weight, abs=1e-5)


def test_untrained_and_uninformed_it_is_bicubic() -> None:
    blind = load_enhancer("compact(weights=None, slim=true, informed=False)")
    images = rand(2, 3, 9, 6)
    assert torch.allclose(blind(images), load_enhancer("bicubic")(images), atol=1e-6)


@pytest.mark.parametrize(("keep", "channels"), [(1, 3), (2, 3), (3, 3), (1, 1)])
def test_it_is_told_what_compact_is_told(keep: int, channels: int) -> None:
    image = rand(2, 3, 12, 14)
    choice = draw_choice(image, generator_for(3), keep=keep, channels=channels)
    picked = pick(image, choice)
    _, mask, values = place_pixels(picked, choice)
    mask_and_values = encode(picked, choice)
    assert torch.equal(mask_and_values[:, :12], mask)
    assert torch.allclose(mask_and_values[:, 12:], values - 0.45 * mask, atol=1e-6)


def test_without_a_choice_each_place_counts_a_quarter() -> None:
    """Bicubic down-sampling keeps no pixel: its mean stands at all places of its cell."""
    images = torch.full((1, 3, 4, 6), 0.7)
    assert torch.allclose(trained(SPEC)(images)[:, :, 2:-2, 2:-2].mean(), torch.tensor(0.7), atol=0.1)
    assert torch.allclose(load_enhancer(SPEC)(images), torch.full((1, 3, 8, 12), 0.7), atol=1e-6)


def test_mixed_precision_leaves_the_interpolation_exact() -> None:
    image = rand(1, 3, 12, 14)
    choice = draw_choice(image, generator_for(2))
    network = load_enhancer(SPEC)
    exact = network(pick(image, choice), choice)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(pick(image, choice), choice)
    assert torch.allclose(mixed, exact, atol=1e-6)


def test_a_kept_pixel_reaches_its_neighbours_and_the_gradient_it() -> None:
    image = rand(1, 3, 16, 16).requires_grad_()
    choice = draw_choice(image, generator_for(2))
    trained()(pick(image, choice), choice)[0, 0, 8, 8].backward()
    assert image.grad is not None
    kept = F.pixel_shuffle(encode(pick(image.detach(), choice), choice)[:, :12], 2) > 0
    assert image.grad[kept].abs().sum() > 0
    assert image.grad[~kept].abs().sum() == 0


def test_a_file_says_that_it_is_slim(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    for options in ("features=8, blocks=2", "features=4, blocks=0, informed=False"):
        network = trained(f"compact(weights=None, slim=true, {options})")
        checkpoints.save(network, path, {"behind": "rain"})
        again = load_enhancer(f"compact(weights={path})")
        assert isinstance(again, Compact)
        assert again.is_slim
        assert again.scale == 2
        assert again.informed == network.informed
        assert checkpoints.digest(again) == checkpoints.digest(network)


def test_a_prefix_of_a_wrapper_is_left_out_of_a_slim_file_too(tmp_path: Path) -> None:
    network = trained()
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    path = tmp_path / "wrapped.safetensors"
    checkpoints.save(state, path, {})
    with pytest.warns(UserWarning, match="'module.', which was left out"):
        again = load_enhancer(f"compact(weights={path})")
    assert checkpoints.digest(again) == checkpoints.digest(network)


def test_a_file_that_is_slim_in_part_is_refused(tmp_path: Path) -> None:
    state = trained().state_dict()
    path = tmp_path / "part.safetensors"
    for broken in (
        {name: tensor for name, tensor in state.items() if "up" not in name},
        state | {"slim.down.weight": torch.zeros(8)},
        state | {"slim.down.weight": torch.zeros(0, 24, 4, 4)},
        state | {"slim.down.weight": torch.zeros(999, 24, 4, 4)},
    ):
        checkpoints.save(broken, path, {})
        with pytest.raises(WeightsError, match="not weights of"):
            load_enhancer(f"compact(weights={path})")


def test_it_is_no_denoiser_and_its_flag_is_one(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="slim doubles the sides"):
        load_enhancer("compact(weights=None, slim=true, scale=1)")
    with pytest.raises(OptionError, match="slim must be true or false"):
        load_enhancer("compact(weights=None, slim=3)")
    path = tmp_path / "own.safetensors"
    checkpoints.save(trained(), path, {})
    with pytest.raises(OptionError, match="is no denoiser"):
        load_enhancer(f"compact(weights={path}, scale=1)")


def test_the_other_networks_are_what_they_were() -> None:
    """Their digests name committed results."""
    network = load_enhancer("compact")
    assert "slim" not in vars(network)
    assert [name for name, _ in network.named_children()] == ["head", "near", "down", "body", "up", "tail"]


def test_the_recipes_network_is_within_its_budget() -> None:
    """At most half a billion multiply-adds for a picture of 224 pixels."""
    config = rain.train.read("fast", images="a", validation="b")
    defense = rain.load_defense(config.defense)
    network = defense.enhancer
    total = 0

    def count(layer: nn.Module, arguments: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d)
        total += output[0, 0].numel() * layer.weight.numel()

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    image = torch.zeros(1, 3, 224, 224)
    with torch.no_grad():
        defense(image, generator=generator_for(0))
    interpolation = 112 * 112 * 24 * 4 * 9
    assert 0 < total + interpolation <= 0.5e9


def test_weights_called_fast_are_the_slim_network_once_they_are_shipped() -> None:
    if "fast" not in checkpoints.shipped("compact"):
        with pytest.raises(WeightsError, match="ships no weights 'fast'"):
            load_enhancer("compact(weights=fast)")
        return
    network = load_enhancer("compact(weights=fast)")
    assert isinstance(network, Compact)
    assert network.is_slim
