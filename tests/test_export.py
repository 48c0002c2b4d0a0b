"""A hardened classifier in other hands: torch.export and ONNX with a batch of any length, torch.func."""

from pathlib import Path
from typing import Any

import pytest
import torch
from models import tiny
from torch import Generator, Tensor
from torch.func import functional_call, grad, vmap

import rain
from rain.defense import Draw
from rain.errors import ClassifierError, ImageError, OptionError
from rain.hardened import Pure
from rain.tracing import is_channels_last, value_of

COMPACT = "enhancer=compact(weights=None, head=4, near=1, features=4, blocks=1)"
EDSR = "enhancer=edsr(weights=None, features=4, blocks=1)"
SPECS = [
    f"rain({COMPACT})",
    f"rain(keep=2, {COMPACT})",
    "rain(enhancer=bicubic)",
    f"rain({EDSR})",
    "rain(preset=released, enhancer=bicubic)",
    f"rain(preset=no_pick, {COMPACT})",
    "resize_pad",
    "none",
]
EXPORTED = [SPECS[0], *SPECS[3:5], *SPECS[6:]]
"""Bicubic is among them, with a shift that a batch shares: each one takes a second."""

UNSHARED = [spec for spec in SPECS if "released" not in spec]


def batch_of(count: int) -> Tensor:
    return torch.rand(count, 3, 17, 20, generator=Generator().manual_seed(count))


def exported(hardened: rain.Hardened, images: Tensor) -> torch.export.ExportedProgram:
    """As the guide says it."""
    draw = hardened.defense.draw(images)
    batch = torch.export.Dim("batch", min=1)
    shapes = {name: {0: batch} if len(tensor) == len(images) else None for name, tensor in draw.items()}
    return torch.export.export(Pure(hardened), (images, draw), dynamic_shapes=({0: batch}, shapes))


@pytest.mark.parametrize("spec", EXPORTED)
def test_export_serves_batches_of_any_length(spec: str) -> None:
    hardened = rain.harden(tiny(), spec)
    program = exported(hardened, batch_of(3)).module()
    for count in (1, 2, 7):
        images = batch_of(count)
        draw = hardened.defense.draw(images, Generator().manual_seed(count))
        with torch.no_grad():
            assert torch.allclose(program(images, draw), hardened.answer(images, draw), atol=1e-6)


def test_export_of_the_whole_draws_afresh_in_the_graph() -> None:
    hardened = rain.harden(tiny(), "rain(enhancer=bicubic)")
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(hardened, (batch_of(3),), dynamic_shapes={"images": {0: batch}}).module()
    images = batch_of(5)
    first, second = program(images), program(images)
    assert first.shape == (5, 5)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("jpeg", "real encoder.* cannot be exported"),
        ("rain(down=scale, enhancer=bicubic)", "down = .scale. draws"),
    ],
)
def test_what_cannot_be_exported_says_why(spec: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        exported(rain.harden(tiny(), spec), batch_of(3))


@pytest.mark.parametrize("spec", [f"rain({COMPACT})", "resize_pad"])
@pytest.mark.filterwarnings("ignore")
def test_onnx_gives_the_same_logits_for_batches_of_any_length(spec: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    hardened, path = rain.harden(tiny(), spec), tmp_path / "hardened.onnx"
    torch.onnx.export(exported(hardened, batch_of(3)), (), path, dynamo=True, verbose=False)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    for count in (1, 2, 7):
        images = batch_of(count)
        draw = hardened.defense.draw(images)
        assert names == ["images", *[f"draw_{name}" for name in draw]]
        inputs = [images.numpy(), *[tensor.numpy() for tensor in draw.values()]]
        (logits,) = session.run(None, dict(zip(names, inputs, strict=True)))
        with torch.no_grad():
            assert torch.allclose(torch.from_numpy(logits), hardened.answer(images, draw), atol=1e-5)


# --- torch.func


def loss_of(pure: Pure, images: Tensor, draw: Draw) -> Tensor:
    return pure(images, draw).square().sum()


@pytest.mark.parametrize("spec", [*SPECS, "jpeg", "rain(down=scale, enhancer=bicubic)"])
def test_func_grad_is_autograds_gradient(spec: str) -> None:
    hardened, images = rain.harden(tiny(), spec), batch_of(3)
    pure, draw = Pure(hardened), hardened.defense.draw(images, Generator().manual_seed(0))
    leaf = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss_of(pure, leaf, draw), leaf)
    assert torch.equal(grad(lambda batch: loss_of(pure, batch, draw))(images), expected)

    def of_whole(batch: Tensor) -> Tensor:
        return hardened(batch, generator=Generator().manual_seed(0)).square().sum()

    assert torch.equal(grad(of_whole)(images), expected)


@pytest.mark.parametrize("spec", UNSHARED)
def test_vmap_over_images_is_the_batch(spec: str) -> None:
    hardened, images = rain.harden(tiny(), spec), batch_of(3)
    pure, draw = Pure(hardened), hardened.defense.draw(images)

    def of_one(image: Tensor, draw: dict[str, Tensor]) -> Tensor:
        return pure(image[None], {name: tensor[None] for name, tensor in draw.items()})[0]

    def loss_of_one(image: Tensor, draw: dict[str, Tensor]) -> Tensor:
        return of_one(image, draw).square().sum()

    assert torch.allclose(vmap(of_one)(images, draw), pure(images, draw), atol=1e-6)
    each = vmap(grad(loss_of_one))(images, draw)
    together = grad(lambda batch: loss_of(pure, batch, draw))(images)
    assert torch.allclose(each, together, atol=1e-5)
    whole = vmap(lambda image: hardened(image[None])[0], randomness="different")(images)
    assert whole.shape == (3, 5)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec != "none"])
def test_vmap_over_draws(spec: str) -> None:
    hardened, images = rain.harden(tiny(), spec), batch_of(3)
    pure, draws = Pure(hardened), [hardened.defense.draw(images) for _ in range(4)]
    stacked = {name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}
    several = vmap(lambda draw: pure(images, draw))(stacked)
    assert torch.allclose(several, torch.stack([pure(images, draw) for draw in draws]), atol=1e-6)


@pytest.mark.parametrize("spec", ["jpeg", "rain(down=scale, enhancer=bicubic)"])
def test_vmap_of_what_is_not_made_of_tensors_alone_is_refused_by_torch(spec: str) -> None:
    hardened = rain.harden(tiny(), spec)
    with pytest.raises(RuntimeError, match="vmap"):
        vmap(lambda image: hardened(image[None])[0], randomness="different")(batch_of(3))


def test_functional_call_and_the_gradient_of_the_weights() -> None:
    hardened, images = rain.harden(tiny(), f"rain({COMPACT})"), batch_of(3)
    pure, draw = Pure(hardened), hardened.defense.draw(images)
    weights: dict[str, Any] = {name: value.detach() for name, value in pure.named_parameters()}
    assert torch.equal(functional_call(pure, weights, (images, draw)), pure(images, draw))
    zeroed = {name: torch.zeros_like(value) for name, value in weights.items()}
    assert (functional_call(pure, zeroed, (images, draw)) == 0).all()
    gradients = grad(lambda own: functional_call(pure, own, (images, draw)).square().sum())(weights)
    loss_of(pure, images, draw).backward()
    for name, value in pure.named_parameters():
        assert value.grad is not None
        assert torch.allclose(gradients[name], value.grad, atol=1e-6)


def test_outside_of_transforms_the_checks_are_as_ever() -> None:
    hardened, images = rain.harden(tiny(), "rain(enhancer=bicubic)"), batch_of(3)
    draw = dict(hardened.defense.draw(images))
    draw["choice"] = draw["choice"] + 4
    with pytest.raises(ImageError, match="choice must hold integers 0-3"):
        hardened.answer(images, draw)
    with pytest.raises(ImageError, match=r"must lie in \[0, 1\]"):
        hardened(images + 1)
    with pytest.raises(ImageError, match="divide by 255"):
        grad(lambda batch: hardened(batch).sum())(images * 255)


def test_answer_checks_what_the_classifier_answers() -> None:
    hardened = rain.harden(torch.nn.Identity(), "rain(enhancer=bicubic)")
    images = batch_of(2)
    with pytest.raises(ClassifierError, match="at least two"):
        hardened.answer(images, hardened.defense.draw(images))


def test_a_number_is_read_where_there_is_one() -> None:
    assert value_of(torch.tensor(2.5)) == 2.5
    values: list[float | None] = []

    def remember(number: Tensor) -> Tensor:
        values.append(value_of(number))
        assert not is_channels_last(number.expand(1, 3, 2, 2))
        return number

    vmap(remember)(torch.arange(3.0))
    assert values == [None]
    with pytest.raises(RuntimeError, match="meta"):
        value_of(torch.zeros((), device="meta"))
    assert is_channels_last(torch.zeros(1, 3, 4, 4).to(memory_format=torch.channels_last))
