"""SRCNN: what its three layers compute, and which weight files it reads."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rain import checkpoints
from rain.enhancers import card
from rain.enhancers.bicubic import upsample
from rain.errors import OptionError, WeightsError
from rain.registry import load_enhancer


def rand(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def state_of(outputs: int, inputs: int, middle: int, scale: float = 0.05) -> dict[str, Tensor]:
    """Weights under the names of the ports, with noise in them."""
    generator = torch.Generator().manual_seed(1)
    shapes = {
        "conv1": (outputs, inputs, 9, 9),
        "conv2": (outputs // 2, outputs, middle, middle),
        "conv3": (inputs, outputs // 2, 5, 5),
    }
    state = {}
    for layer, shape in shapes.items():
        state[f"{layer}.weight"] = scale * torch.randn(shape, generator=generator)
        state[f"{layer}.bias"] = scale * torch.randn(shape[0], generator=generator)
    return state


def three_layers(values: Tensor, state: dict[str, Tensor]) -> Tensor:
    """The paper's equations 1 to 3."""
    for layer in ("conv1", "conv2", "conv3"):
        weight = state[f"{layer}.weight"]
        values = F.conv2d(values, weight, state[f"{layer}.bias"], padding=weight.shape[-1] // 2)
        if layer != "conv3":
            values = values.relu()
    return values


@pytest.mark.parametrize("options", ["", "(luminance=true)", "(features=8, middle=5)"])
def test_untrained_srcnn_is_bicubic(options: str) -> None:
    images = rand(2, 3, 9, 6)
    enlarged = load_enhancer(f"srcnn{options}")(images)
    assert torch.allclose(enlarged, load_enhancer("bicubic")(images), atol=1e-6)


def test_srcnn_has_the_published_size() -> None:
    # 9-1-5 with 64 and 32 channels: 8,032 weights on one plane (the paper's count), and 129 biases or less.
    weights = sum(part.numel() for part in load_enhancer("srcnn(luminance=true)").parameters())
    assert weights == 8032 + 64 + 32 + 1
    facts = card(load_enhancer("srcnn"), 16)
    assert facts["multiply_adds_16x16"] == 32 * 32 * (64 * 3 * 81 + 32 * 64 + 3 * 32 * 25)


@pytest.mark.parametrize(("middle", "prefix"), [(1, ""), (5, "module.")])
def test_srcnn_loads_colour_weights_of_any_size(tmp_path: Path, middle: int, prefix: str) -> None:
    state, path = state_of(12, 3, middle), tmp_path / "own.safetensors"
    checkpoints.save({prefix + name: value for name, value in state.items()}, path, {"licence": "MIT"})
    if prefix:
        with pytest.warns(UserWarning, match="which was left out"):
            model = load_enhancer("srcnn", weights=path)
    else:
        model = load_enhancer("srcnn", weights=path)
    images = rand(2, 3, 5, 7)
    expected = three_layers(upsample(images).clamp(0, 1), state).clamp(0, 1)
    assert torch.allclose(model(images), expected, atol=1e-6)
    assert card(model, 8)["licence"] == "MIT"


def test_luminance_weights_leave_the_colour_differences(tmp_path: Path) -> None:
    state, path = state_of(8, 1, 5, scale=0.02), tmp_path / "luminance.safetensors"
    state["conv3.bias"] += 0.5
    checkpoints.save(state, path, {})
    images = 0.3 + 0.4 * rand(1, 3, 6, 6)
    before = upsample(images).clamp(0, 1)
    after = load_enhancer("srcnn", weights=path)(images)
    inner = ((after > 0) & (after < 1)).all(1, keepdim=True).expand_as(after)
    assert inner.any()
    change = after - before
    assert torch.allclose(change[inner], change.mean(1, keepdim=True).expand_as(change)[inner], atol=1e-5)
    # The luminance of the result, 16 to 235, is what the layers say.
    luminance = (16 + 65.481 * after[:, 0] + 128.553 * after[:, 1] + 24.966 * after[:, 2]) / 255
    given = (16 + 65.481 * before[:, 0] + 128.553 * before[:, 1] + 24.966 * before[:, 2]) / 255
    corrected = three_layers(given[:, None], state)[:, 0]
    assert torch.allclose(luminance[inner[:, 0]], corrected[inner[:, 0]], atol=1e-5)


def test_srcnn_refuses_what_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    for state, says in [
        ({"conv1.weight": torch.ones(4, 3, 9, 9)}, "not weights of Srcnn"),
        (state_of(8, 2, 1), r"conv1.* has shape .* Srcnn needs"),
        ({"head.0.weight": torch.ones(4, 3, 3, 3)}, "missing conv1.bias"),
        (state_of(8, 3, 1) | {"conv1.bias": torch.full((8,), float("nan"))}, "NaN"),
    ]:
        checkpoints.save(state, path, {})
        with pytest.raises(WeightsError, match=says):
            load_enhancer("srcnn", weights=path)
    for options, says in [("features=4", "from 6 to 1024"), ("middle=2", "odd"), ("middle=-1", "odd")]:
        with pytest.raises(OptionError, match=says):
            load_enhancer(f"srcnn({options})")
