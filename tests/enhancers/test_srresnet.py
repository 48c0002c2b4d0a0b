"""SRResNet: what it computes, and that published layouts load by name."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rain import checkpoints
from rain.enhancers import card
from rain.errors import OptionError, WeightsError
from rain.registry import load_enhancer

BLOCKS = 3


def rand(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def small() -> nn.Module:
    """A small network whose statistics are not those of an untrained one."""
    torch.manual_seed(0)
    model = load_enhancer(f"srresnet(features=6, blocks={BLOCKS})")
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.copy_(0.5 + torch.rand(buffer.shape))
    return model


def numbered(name: str) -> str:
    """A name in the port of block1, block2, ...: the body is 2 to 4 here, then come 5 and 6."""
    name = re.sub(r"^body\.(\d+)", lambda match: f"block{int(match[1]) + 2}", name)
    for ours, theirs in [
        (r"^head\.", "block1."),
        (r"^fusion\.", f"block{BLOCKS + 2}."),
        (r"^up\.0\.", f"block{BLOCKS + 3}.0.conv."),
        (r"^up\.2\.", f"block{BLOCKS + 3}.0.prelu."),
        (r"^tail\.", f"block{BLOCKS + 3}.1."),
    ]:
        name = re.sub(ours, theirs, name)
    return name


def named(name: str) -> str:
    """A name in the port of conv_block1, residual_blocks, ...."""
    places = {
        "conv1": "conv_block1.conv_block.0",
        "bn1": "conv_block1.conv_block.1",
        "prelu": "conv_block1.conv_block.2",
        "conv2": "conv_block2.conv_block.0",
        "bn2": "conv_block2.conv_block.1",
    }
    name = re.sub(r"^body\.(\d+)\.(\w+)", lambda m: f"residual_blocks.{m[1]}.{places[m[2]]}", name)
    for ours, theirs in [
        (r"^head\.", "conv_block1.conv_block."),
        (r"^fusion\.", "conv_block2.conv_block."),
        (r"^up\.0\.", "subpixel_convolutional_blocks.0.conv."),
        (r"^up\.2\.", "subpixel_convolutional_blocks.0.prelu."),
        (r"^tail\.", "conv_block3.conv_block.0."),
    ]:
        name = re.sub(ours, theirs, name)
    return name


def by_figure(images: Tensor, state: dict[str, Tensor]) -> Tensor:
    """The network once more, by the paper's figure 4 and the names of the numbered port."""

    def convolve(values: Tensor, name: str) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(values, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def normalise(values: Tensor, name: str) -> Tensor:
        facts = [state[f"{name}.{fact}"] for fact in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(values, *facts)

    near = values = F.prelu(convolve(images, "block1.0"), state["block1.1.weight"])
    for block in range(2, BLOCKS + 2):
        change = normalise(convolve(values, f"block{block}.conv1"), f"block{block}.bn1")
        change = F.prelu(change, state[f"block{block}.prelu.weight"])
        values = values + normalise(convolve(change, f"block{block}.conv2"), f"block{block}.bn2")
    values = near + normalise(convolve(values, f"block{BLOCKS + 2}.0"), f"block{BLOCKS + 2}.1")
    up, last = f"block{BLOCKS + 3}.0", f"block{BLOCKS + 3}.1"
    values = F.prelu(F.pixel_shuffle(convolve(values, f"{up}.conv"), 2), state[f"{up}.prelu.weight"])
    return (convolve(values, last).tanh() + 1) / 2


def test_srresnet_has_the_published_size() -> None:
    facts = card(load_enhancer("srresnet"), 16)
    # 18.1 billion at 112x112: sixteen blocks, and kernels of 9x9 at both ends.
    assert facts["parameters"] == 1_401_749
    assert facts["multiply_adds_16x16"] * 49 == pytest.approx(18.085e9, rel=0.001)


def test_srresnet_computes_what_the_figure_says() -> None:
    model, images = small(), rand(2, 3, 5, 8)
    state = {numbered(name): value for name, value in model.state_dict().items()}
    assert torch.allclose(model(images), by_figure(images, state), atol=1e-5)
    assert model(images[:0]).shape == (0, 3, 10, 16)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_of_the_numbered_port_load(tmp_path: Path, prefix: str) -> None:
    model, path = small(), tmp_path / "generator.safetensors"
    state = {numbered(name): value for name, value in model.state_dict().items()}
    del state["mean"], state["std"]
    checkpoints.save({prefix + name: value for name, value in state.items()}, path, {"data": "VOC2012"})
    if prefix:
        with pytest.warns(UserWarning, match="which was left out"):
            again = load_enhancer("srresnet", weights=path)
    else:
        again = load_enhancer("srresnet", weights=path)
    assert checkpoints.digest(again) == checkpoints.digest(model)
    assert card(again, 8)["data"] == "VOC2012"


@pytest.mark.filterwarnings("ignore:.*which was left out")
@pytest.mark.parametrize("prefix", ["", "net."])
def test_weights_of_the_named_port_load_and_get_normalised_pictures(tmp_path: Path, prefix: str) -> None:
    model, images = small(), rand(1, 3, 6, 6)
    state = {named(name): value for name, value in model.state_dict().items()}
    del state["mean"], state["std"]
    path = tmp_path / "named.safetensors"
    checkpoints.save({prefix + name: value for name, value in state.items()}, path, {})
    again = load_enhancer("srresnet", weights=path)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    assert torch.allclose(again(images), model((images - mean) / std), atol=1e-6)
    # Saved under our names, it still gets such pictures.
    checkpoints.save(again, path, {})
    assert checkpoints.digest(load_enhancer("srresnet", weights=path)) == checkpoints.digest(again)


def test_srresnet_refuses_what_does_not_fit(tmp_path: Path) -> None:
    model, path = small(), tmp_path / "other.safetensors"
    plain = {name: value for name, value in model.state_dict().items() if name not in ("mean", "std")}
    one = {numbered(name): value for name, value in plain.items()}
    for_x4 = {name.replace("block6.1.", "block6.2."): value for name, value in one.items()}
    for_x4["block6.1.conv.weight"] = torch.ones(24, 6, 3, 3)
    other = {named(name): value for name, value in plain.items()}
    other["subpixel_convolutional_blocks.1.conv.weight"] = torch.ones(24, 6, 3, 3)
    for state, says in [
        (for_x4, "for x4 or more .* needs x2"),
        (other, "for x4 or more .* needs x2"),
        ({"conv1.weight": torch.ones(4, 3, 9, 9)}, "not weights of Srresnet"),
        ({"head.0.weight": torch.ones(100_000, 1), "body.0.conv1.weight": torch.ones(1)}, "not weights of"),
    ]:
        checkpoints.save(state, path, {})
        with pytest.raises(WeightsError, match=says):
            load_enhancer("srresnet", weights=path)
    for options in ("features=0", "blocks=0"):
        with pytest.raises(OptionError, match="from 1 to"):
            load_enhancer(f"srresnet({options})")
