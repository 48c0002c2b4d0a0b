"""DG networks: EDSR as published, checkpoints by way of spandrel, weight cards."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from rain import checkpoints
from rain.enhancers import card
from rain.enhancers.compact import place_pixels
from rain.errors import OptionError, WeightsError
from rain.randomize import draw_choice, pick
from rain.registry import load_enhancer

SMALL = {"features": 8, "blocks": 2}


def rand(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def small_edsr(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return load_enhancer("edsr", **SMALL, **options)


def published_edsr(images: Tensor, state: dict[str, Tensor], blocks: int = 2) -> Tensor:
    """EDSR written a second time, from the paper's figure 3 and the names in the file."""

    def convolve(values: Tensor, name: str) -> Tensor:
        return nn.functional.conv2d(values, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    mean = torch.tensor([0.4488, 0.4371, 0.4040])[:, None, None] * 255
    near = values = convolve(images * 255 - mean, "head.0")
    for block in range(blocks):
        values = values + convolve(convolve(values, f"body.{block}.body.0").relu(), f"body.{block}.body.2")
    values = nn.functional.pixel_shuffle(convolve(near + convolve(values, f"body.{blocks}"), "tail.0.0"), 2)
    return ((convolve(values, "tail.1") + mean) / 255).clamp(0, 1)


# --- EDSR


def test_edsr_baseline_has_the_published_layout_and_cost() -> None:
    model = load_enhancer("edsr")
    layers = [
        "head.0",
        *(f"body.{block}.body.{layer}" for block in range(16) for layer in (0, 2)),
        "body.16",
        "tail.0.0",
        "tail.1",
        "sub_mean",
        "add_mean",
    ]
    assert set(model.state_dict()) == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert model.state_dict()["sub_mean.bias"].tolist() == pytest.approx(
        [-114.444, -111.4605, -103.02], abs=1e-3
    )
    facts = card(model, side=16)
    assert facts["parameters"] == sum(weight.numel() for weight in model.parameters()) == 1_369_859
    # 17.2 billion at 112x112, and the cost grows with the area.
    assert facts["multiply_adds_16x16"] * 49 == pytest.approx(17.2e9, rel=0.002)
    assert facts["data"].startswith("none")


@pytest.mark.parametrize("size", [(5, 8), (2, 2), (7, 3)])
def test_edsr_computes_what_the_paper_says(size: tuple[int, int]) -> None:
    model, images = small_edsr(), rand(2, 3, *size)
    assert model(images).shape == (2, 3, 2 * size[0], 2 * size[1])
    assert torch.allclose(model(images), published_edsr(images, model.state_dict()), atol=1e-5)


def test_edsr_is_clamped_differentiable_and_takes_empty_batches() -> None:
    model = small_edsr()
    leaf = rand(1, 3, 6, 6).requires_grad_()
    enlarged = model(leaf)
    enlarged.sum().backward()
    assert enlarged.min() >= 0
    assert enlarged.max() <= 1
    assert leaf.grad is not None
    assert leaf.grad.abs().sum() > 0
    assert model(leaf[:0]).shape == (0, 3, 12, 12)


@pytest.mark.parametrize("constants", ["all", "none", "rounded"])
def test_edsr_loads_weights_with_or_without_the_mean(tmp_path: Path, constants: str) -> None:
    model = small_edsr()
    state = {
        name: value.clone()
        for name, value in model.state_dict().items()
        if constants != "none" or "mean" not in name
    }
    if constants == "rounded":
        state["sub_mean.bias"] = torch.tensor([-114.444, -111.461, -103.02])
    save_file(state, tmp_path / "own.safetensors", metadata={"data": "DIV2K", "licence": "MIT"})
    again = load_enhancer("edsr", weights=tmp_path / "own.safetensors", **SMALL)
    assert checkpoints.digest(again) == checkpoints.digest(model)
    assert card(again, 8)["data"] == "DIV2K"
    assert card(again, 8)["licence"] == "MIT"


def test_edsr_refuses_weights_of_another_range(tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in small_edsr().state_dict().items()}
    state["sub_mean.bias"] /= 255
    save_file(state, tmp_path / "unit.safetensors")
    with pytest.raises(WeightsError, match=r"sub_mean\.bias is .* another mean or range"):
        load_enhancer("edsr", weights=tmp_path / "unit.safetensors", **SMALL)


def test_edsr_refuses_weights_of_another_size(tmp_path: Path) -> None:
    checkpoints.save(small_edsr(), tmp_path / "small.safetensors", {})
    with pytest.raises(WeightsError, match=r"missing body.10"):
        load_enhancer(f"edsr(weights={tmp_path / 'small.safetensors'})")


def test_edsr_large_scales_its_residuals() -> None:
    torch.manual_seed(0)
    model = load_enhancer("edsr(features=4, blocks=1, residual_scale=0.0)")
    block = model.body[0]
    assert torch.equal(block(rand(1, 4, 3, 3)), rand(1, 4, 3, 3))


def test_edsr_full_has_the_published_layout_and_cost() -> None:
    with torch.device("meta"):
        full, again = load_enhancer("edsr(size=full)"), load_enhancer("edsr(size=full, blocks=2)")
    assert sum(weight.numel() for weight in full.parameters()) == 40_729_603
    assert full.body[31].scale == again.body[1].scale == 0.1
    assert len(again.body) == 3
    baseline = load_enhancer("edsr")
    assert checkpoints.digest_options(baseline) == checkpoints.digest_options(
        load_enhancer("edsr(blocks=16)")
    )
    with pytest.raises(OptionError, match="no size 'ful'; did you mean 'full'"):
        load_enhancer("edsr(size=ful)")


# --- finding weights


def test_unknown_weights_are_named() -> None:
    with pytest.raises(WeightsError, match="ships no weights 'nothing'"):
        load_enhancer("edsr(weights=nothing)")
    model = small_edsr()
    with pytest.raises(WeightsError, match="no such file"):
        checkpoints.find("edsr", "gone.safetensors")
    assert model.card is None


# --- other enhancers


@pytest.mark.parametrize("spec", ["bicubic", "compact(weights=None)"])
def test_enhancers_double_every_size(spec: str) -> None:
    model = load_enhancer(spec)
    for size in [(6, 6), (5, 8), (7, 3)]:
        enlarged = model(rand(2, 3, *size))
        assert enlarged.shape == (2, 3, 2 * size[0], 2 * size[1])
        assert enlarged.min() >= 0
        assert enlarged.max() <= 1


# --- compact


def test_untrained_and_uninformed_compact_is_bicubic() -> None:
    blind = load_enhancer("compact(weights=None, informed=False)")
    assert torch.allclose(blind(rand(2, 3, 9, 6)), load_enhancer("bicubic")(rand(2, 3, 9, 6)), atol=1e-6)


def test_untrained_informed_compact_fills_in_between_the_kept_pixels() -> None:
    """A second computation: of all kept pixels within three steps, the mean with Gaussian weights."""
    image, generator = rand(1, 3, 12, 14), torch.Generator().manual_seed(2)
    choice = draw_choice(image, generator)
    filled = load_enhancer("compact(weights=None)")(pick(image, choice), choice).detach()
    for channel, row, column in [(0, 0, 0), (1, 5, 6), (2, 11, 13), (0, 3, 9)]:
        total = weight = 0.0
        for cell_row in range(6):
            for cell_column in range(7):
                kept = int(choice[0, channel, cell_row, cell_column])
                y, x = 2 * cell_row + kept // 2, 2 * cell_column + kept % 2
                if abs(y - row) <= 3 and abs(x - column) <= 3:
                    near = math.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 0.9**2))
                    total, weight = total + near * float(image[0, channel, y, x]), weight + near
        assert float(filled[0, channel, row, column]) == pytest.approx(total / weight, abs=1e-5)


def test_the_more_pixels_are_kept_the_nearer_is_the_picture() -> None:
    """Each kept pixel stands at its place, and an untrained network fills in between them."""
    image = rand(1, 3, 12, 14)
    errors = []
    for keep in (1, 2, 3):
        choice = draw_choice(image, torch.Generator().manual_seed(2), keep=keep)
        _, kept, values = place_pixels(pick(image, choice), choice)
        assert torch.equal(values, kept * F.pixel_unshuffle(image, 2))
        assert (kept.unflatten(1, (3, 4)).sum(2) == keep).all()
        with torch.no_grad():
            restored = load_enhancer("compact(weights=None)")(pick(image, choice), choice)
        errors.append(float((restored - image).abs().mean()))
    assert errors[2] < errors[1] < errors[0]


def test_mixed_precision_leaves_the_kept_pixels_exact() -> None:
    image = rand(1, 3, 12, 14)
    choice = draw_choice(image, torch.Generator().manual_seed(2))
    enhancer = load_enhancer("compact(weights=None)")
    with torch.autocast("cpu", torch.bfloat16):
        mixed = enhancer(pick(image, choice), choice)
    assert torch.allclose(mixed, enhancer(pick(image, choice), choice), atol=1e-6)


def test_knowing_the_places_helps() -> None:
    """On a slope, bicubic up-sampling of random pixels is rough; filling in at their places is not."""
    slope = (torch.arange(32.0)[:, None] + torch.arange(32.0)).expand(1, 3, -1, -1) / 62
    choice = draw_choice(slope, torch.Generator().manual_seed(0))
    informed = load_enhancer("compact(weights=None)")(pick(slope, choice), choice)
    blind = load_enhancer("compact(weights=None, informed=False)")(pick(slope, choice), choice)
    inner = (..., slice(4, -4), slice(4, -4))
    assert (informed - slope)[inner].abs().mean() < 0.75 * (blind - slope)[inner].abs().mean()


def test_a_weight_file_says_how_large_the_network_is(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = load_enhancer("compact(weights=None, informed=False, head=4, near=1, features=6, blocks=3)")
    checkpoints.save(small, tmp_path / "small.safetensors", {"data": "none"})
    again = load_enhancer(f"compact(weights={tmp_path / 'small.safetensors'})")
    assert checkpoints.digest(again) == checkpoints.digest(small)
    assert not again.informed
    assert again.card == {"data": "none"}


def test_weights_of_something_else_are_refused_by_compact(tmp_path: Path) -> None:
    checkpoints.save(small_edsr(), tmp_path / "edsr.safetensors", {})
    with pytest.raises(WeightsError, match="not weights of Compact"):
        load_enhancer(f"compact(weights={tmp_path / 'edsr.safetensors'})")


def test_both_shipped_weights_load_and_differ_in_what_they_know() -> None:
    assert load_enhancer("compact").informed
    assert not load_enhancer("compact(weights=blind)").informed


def test_untrained_compact_of_scale_4_is_bicubic_and_knows_no_picks() -> None:
    network, bicubic = load_enhancer("compact(scale=4, weights=None)"), load_enhancer("bicubic(scale=4)")
    assert (network.scale, network.informed) == (4, False)
    for size in [(6, 6), (5, 8), (7, 3), (1, 1)]:
        images = rand(2, 3, *size)
        assert network(images).shape == (2, 3, 4 * size[0], 4 * size[1])
        assert torch.allclose(network(images), bicubic(images), atol=1e-6)
    assert network(rand(0, 3, 5, 8)).shape == (0, 3, 20, 32)


def test_a_weight_file_says_its_scale(tmp_path: Path) -> None:
    options = "weights=None, head=4, near=1, features=6, blocks=2"
    for scale in (1, 2, 4):
        network, path = load_enhancer(f"compact(scale={scale}, {options})"), tmp_path / f"{scale}.safetensors"
        torch.nn.init.normal_(network.tail.weight, std=0.05)
        checkpoints.save(network, path, {})
        again = load_enhancer(f"compact(weights={path})")
        assert again.scale == scale
        images = rand(1, 3, 5, 6)
        assert torch.equal(again(images), network(images))


@pytest.mark.parametrize(
    ("own", "scale", "says"),
    [
        (2, 4, "doubles the sides: give weights=PATH of one of scale 4"),
        (1, 4, "keeps the sides: give weights=PATH of one of scale 4"),
        (4, 1, "is no denoiser, it makes the sides four times as large"),
        (2, 1, "is no denoiser, it doubles the sides"),
    ],
)
def test_a_file_of_another_scale_is_refused(tmp_path: Path, own: int, scale: int, says: str) -> None:
    path = tmp_path / "own.safetensors"
    network = load_enhancer(f"compact(scale={own}, weights=None, head=4, near=1, features=4, blocks=1)")
    checkpoints.save(network, path, {})
    with pytest.raises(OptionError, match=says):
        load_enhancer(f"compact(weights={path}, scale={scale})")


def test_a_scale_that_there_is_not_is_refused() -> None:
    for spec in ("bicubic(scale=3)", "bicubic(scale=1)", "compact(weights=None, scale=8)"):
        with pytest.raises(OptionError, match="scale must be"):
            load_enhancer(spec)
    with pytest.raises(OptionError, match="slim doubles the sides: leave it out where scale = 4"):
        load_enhancer("compact(weights=None, slim=true, scale=4)")


# --- spandrel


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Write an untrained network of the Compact architecture, by its own names.

    It has 3x3 convolutions, PReLUs and a pixel shuffle.
    """
    pytest.importorskip("spandrel")

    def write(
        scale: int = 2, channels: int = 3, metadata: dict[str, str] | None = None, **extra: Tensor
    ) -> Path:
        torch.manual_seed(0)
        layers = [
            nn.Conv2d(channels, 8, 3),
            nn.PReLU(8),
            nn.Conv2d(8, 8, 3),
            nn.PReLU(8),
            nn.Conv2d(8, channels * scale**2, 3),
        ]
        state = nn.ModuleDict({"body": nn.ModuleList(layers)}).state_dict()
        path = tmp_path / "compact.safetensors"
        save_file({name: value.clone() for name, value in state.items()} | extra, path, metadata=metadata)
        return path

    return write


def test_spandrel_loads_runs_and_differentiates(checkpoint: Callable[..., Path]) -> None:
    model = load_enhancer(f"spandrel:{checkpoint(metadata={'licence': 'MIT'})}")
    leaf = rand(2, 3, 5, 7).requires_grad_()
    enlarged = model(leaf)
    enlarged.sum().backward()
    assert enlarged.shape == (2, 3, 10, 14)
    assert enlarged.min() >= 0
    assert enlarged.max() <= 1
    assert leaf.grad is not None
    assert leaf.grad.abs().sum() > 0
    assert model(leaf[:0]).shape == (0, 3, 10, 14)
    facts = card(model, 8)
    assert facts["licence"] == "MIT"
    assert "Compact" in facts["architecture"]
    assert facts["parameters"] > 0


def test_spandrel_pads_to_what_the_architecture_wants(checkpoint: Callable[..., Path]) -> None:
    model = load_enhancer(f"spandrel:{checkpoint()}")
    seen = []
    model.network.register_forward_pre_hook(lambda network, arguments: seen.append(arguments[0]))
    model._requirements = type(model._requirements)(minimum=8, multiple_of=4)
    images = rand(1, 3, 5, 10)
    assert model(images).shape == (1, 3, 10, 20)
    assert torch.equal(seen[0], nn.functional.pad(images, (0, 2, 0, 3), mode="replicate"))


def test_spandrel_refuses_what_does_not_fit(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    for arguments, says in [
        ({"scale": 4}, "x4; detail generation needs 3 to 3 at x2"),
        ({"extra": torch.ones(1)}, "spandrel cannot load it"),
        ({"bad": torch.tensor([float("nan")])}, "NaN"),
    ]:
        with pytest.raises(WeightsError, match=says):
            load_enhancer(f"spandrel:{checkpoint(**arguments)}")
    save_file({"something": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="no architecture that spandrel knows"):
        load_enhancer(f"spandrel:{tmp_path / 'other.safetensors'}")
    torch.save({"a": torch.ones(1)}, tmp_path / "pickle.pth")
    with pytest.raises(WeightsError, match=r"this is a pickle.*Convert it"):
        load_enhancer(f"spandrel:{tmp_path / 'pickle.pth'}")
    with pytest.raises(OptionError, match="write spandrel:PATH"):
        load_enhancer("spandrel")


def test_spandrel_missing_says_what_to_install(
    checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint()
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(WeightsError, match=r"pip install"):
        load_enhancer(f"spandrel:{path}")


@pytest.mark.parametrize("prefix", ["model.", "module.generator."])
def test_spandrel_knows_an_architecture_behind_a_prefix(
    checkpoint: Callable[..., Path], tmp_path: Path, prefix: str
) -> None:
    state, _ = checkpoints.read(checkpoint())
    path = tmp_path / "wrapped.safetensors"
    save_file({f"{prefix}{name}": tensor for name, tensor in state.items()}, path)
    with pytest.warns(UserWarning, match=f"begin with '{prefix}'"):
        wrapped = load_enhancer(f"spandrel:{path}")
    images = torch.rand(1, 3, 8, 8)
    assert torch.equal(wrapped(images), load_enhancer(f"spandrel:{checkpoint()}")(images))
