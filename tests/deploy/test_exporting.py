"""A hardened classifier as a folder: equal to torch, for any batch; and what cannot be exported says why."""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import seeing, tiny
from torch import Tensor, nn

import rain
from rain.defense import Defense
from rain.deploy import Runtime, export
from rain.deploy.reasons import NO_WORD, ONE_BY_ONE, REASONS, why_not
from rain.errors import ExportError, GateError, ImageError, OptionError
from rain.gate import Gated
from rain.hardened import Hardened
from rain.images import enter
from rain.registry import DEFENSES, load_defense

COMPACT = "rain(enhancer=compact(weights=None, head=4, near=1, features=4, blocks=1))"
SLIM = "rain(enhancer=compact(weights=None, slim=true, features=4, blocks=1))"
SIZE = (20, 24)
NIPS2017 = Path(__file__).parents[3] / "shared" / "data" / "nips2017"


class Pooled(nn.Module):
    """Five classes of any size, with nothing in it that fixes one."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.layer = nn.Conv2d(3, 5, 3, padding=1)
        self.layer.weight.data = torch.randn(self.layer.weight.shape, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images).relu().mean((2, 3))


class Silent(Defense):
    """A random defence of somebody who has not heard of plans."""

    def draw(self, images: Tensor, generator: Any = None) -> dict[str, Tensor]:
        return {"noise": torch.rand(images.shape, generator=generator)}

    def transform(self, images: Tensor, draw: Any) -> Tensor:
        return (images + draw["noise"]) / 2


class Crops(Defense):
    """It answers by two pictures."""

    random = False

    def draw(self, images: Tensor, generator: Any = None) -> dict[str, Tensor]:
        return {}

    def transform(self, images: Tensor, draw: Any) -> Tensor:
        return images

    def answer(self, classify: Any, images: Tensor, draw: Any, *, copies: int = 1) -> Tensor:
        return classify(images) + classify(images.flip(3))


class Branching(nn.Module):
    """A classifier whose way depends on its values."""

    def forward(self, images: Tensor) -> Tensor:
        if images.mean() > 0.5:
            images = 1 - images
        return images.mean((2, 3))


def batch_of(count: int, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(count))


def needs_onnx() -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")


# --- equal to torch


def assert_same(runtime: Runtime, hardened: Hardened, images: Tensor) -> None:
    """The same logits for a draw of torch's and one of NumPy's."""
    for draw in (hardened.defense.draw(images), runtime.draw(images.numpy())):
        arrays = {name: np.asarray(tensor) for name, tensor in draw.items()}
        tensors = {name: torch.as_tensor(tensor) for name, tensor in draw.items()}
        with torch.no_grad():
            expected = hardened.answer(images, tensors).numpy()
        logits = runtime.answer(images.numpy(), arrays)
        np.testing.assert_allclose(logits, expected, atol=1e-4)
        assert (logits.argmax(1) == expected.argmax(1)).all()


@pytest.mark.parametrize("spec", [COMPACT, SLIM])
def test_onnx_is_torch_for_any_batch_and_any_size(tmp_path: Path, spec: str) -> None:
    needs_onnx()
    hardened = rain.harden(Pooled(), spec)
    manifest = export(hardened, tmp_path / "out", size=0, classifier="pooled")
    assert manifest.size is None
    assert manifest.measured["logit_difference"] < 1e-4
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"hardened.onnx", "rain.json"}
    runtime = Runtime(tmp_path / "out")
    assert runtime.manifest == manifest
    assert repr(runtime) == "Runtime(pooled behind Rain, onnx)"
    for count, size in ((1, (20, 24)), (2, (40, 16)), (5, (8, 8))):
        assert_same(runtime, hardened, batch_of(count, size))
    twins = batch_of(1).numpy().repeat(3, 0)
    answers = runtime.answer(twins, runtime.draw(twins))
    assert not np.array_equal(answers[0], answers[1])


def test_a_pick_from_four_by_four_is_exported_for_one_size(tmp_path: Path) -> None:
    needs_onnx()
    size = (21, 26)  # of which neither side consists of whole cells
    dg = COMPACT.removeprefix("rain(enhancer=compact(").removesuffix("))")
    hardened = rain.harden(tiny(), f"rain(down=pixel, cell=4, enhancer=compact(scale=4, {dg}))")
    manifest = export(hardened, tmp_path / "one", size=size)
    assert json.loads((tmp_path / "one" / "rain.json").read_text())["draws"]["choice"]["cell"] == 4
    assert manifest.measured["logit_difference"] < 1e-4
    runtime = Runtime(tmp_path / "one")
    for count in (1, 3):
        assert_same(runtime, hardened, batch_of(count, size))
    assert runtime.draw(batch_of(8, size).numpy())["choice"].max() == 15
    with pytest.raises(ExportError, match="give a size"):
        export(rain.harden(Pooled(), "rain(down=pixel, cell=4, enhancer=bicubic)"), tmp_path / "any", size=0)


def test_onnx_with_a_gate_is_two_graphs_and_torchs_answer(tmp_path: Path) -> None:
    needs_onnx()
    gate = load_defense("gated", defense="rain(down=pixel, enhancer=bicubic)", threshold=0.015, score="l1")
    hardened = rain.harden(tiny(), gate)
    manifest = export(hardened, tmp_path, size=SIZE)
    assert list(manifest.graphs) == ["classifier", "defense"]
    assert manifest.gate is not None
    assert (manifest.gate.threshold, manifest.gate.share) == (0.015, None)
    runtime = Runtime(tmp_path)
    images = batch_of(6)
    assert_same(runtime, hardened, images)
    draw = hardened.defense.draw(images, torch.Generator().manual_seed(1))
    arrays = {name: tensor.numpy() for name, tensor in draw.items()}
    assert isinstance(hardened.defense, Gated)
    with torch.no_grad():
        bare, defended = (
            hardened.classify(images),
            hardened.defense.defense.answer(hardened.classify, images, draw),
        )
        flagged = hardened.defense.flags(bare, defended)
    assert 0 < int(flagged.sum()) < 6
    np.testing.assert_allclose(runtime.classify(images.numpy()), bare.numpy(), atol=1e-5)
    np.testing.assert_allclose(runtime.defended(images.numpy(), arrays), defended.numpy(), atol=1e-5)
    assert runtime.predict(images.numpy()).bare.tolist() == bare.argmax(1).tolist()


def test_openvino_is_torch(tmp_path: Path) -> None:
    needs_onnx()
    pytest.importorskip("openvino")
    hardened = rain.harden(tiny(), COMPACT)
    manifest = export(hardened, tmp_path, format="openvino", size=SIZE)
    assert list(manifest.graphs["hardened"].files) == ["hardened.xml", "hardened.bin"]
    assert {path.name for path in tmp_path.iterdir()} == {"hardened.xml", "hardened.bin", "rain.json"}
    runtime = Runtime(tmp_path, threads=1)
    for count in (1, 3):
        assert_same(runtime, hardened, batch_of(count))


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_a_defence_that_does_nothing_is_taken(tmp_path: Path, format: str) -> None:
    needs_onnx()
    if format == "openvino":
        pytest.importorskip("openvino")
    hardened = rain.harden(tiny(), load_defense("gated", defense="none", threshold=0.1))
    export(hardened, tmp_path, format=format, size=SIZE)
    assert_same(Runtime(tmp_path), hardened, batch_of(2))


def test_8_bits_say_how_often_the_label_is_torchs(tmp_path: Path) -> None:
    needs_onnx()
    pytest.importorskip("nncf")
    hardened = rain.harden(tiny(), COMPACT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        manifest = export(hardened, tmp_path, format="openvino", size=SIZE, int8=batch_of(16))
    assert manifest.precision == "int8"
    assert manifest.measured["images"] == 16
    assert 0.5 <= manifest.measured["equal_labels"] <= 1
    runtime, images = Runtime(tmp_path), batch_of(5)
    assert runtime.predict(images.numpy(), seed=1).labels.shape == (5,)
    with torch.no_grad():
        bare = hardened.classify(images).numpy()
    assert np.abs(runtime.classify(images.numpy()) - bare).max() < 0.1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"format": "onnx"}, OptionError, "int8 goes with format=.openvino."),
        ({"size": 0}, OptionError, "int8 needs one size"),
        ({"int8": torch.zeros(15, 3, *SIZE)}, OptionError, "at least 16 pictures .* these are 15"),
        ({"int8": torch.zeros(16, 3, 8, 8)}, ImageError, "pictures of 8x8, the model takes 20x24"),
        ({"int8": torch.full((16, 3, *SIZE), 255.0)}, ImageError, "divide by 255"),
        ({"defense": Crops()}, OptionError, "Crops cannot be brought to 8 bits"),
    ],
)
def test_what_cannot_be_brought_to_8_bits_is_told(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    hardened = rain.harden(tiny(), options.pop("defense", "noise"))
    choice: dict[str, Any] = {"format": "openvino", "size": SIZE, "int8": torch.zeros(16, 3, *SIZE)}
    with pytest.raises(error, match=message):
        export(hardened, tmp_path, **(choice | options))


def test_a_program_of_torch_is_torch(tmp_path: Path) -> None:
    hardened = rain.harden(tiny(), "rain(preset=released, enhancer=bicubic)")
    manifest = export(hardened, tmp_path, format="torch", size=SIZE)
    program = torch.export.load(tmp_path / manifest.graphs["hardened"].main).module()
    images = batch_of(3)
    generator = np.random.default_rng(0)
    draw = {name: torch.from_numpy(plan.sample(generator, 3, SIZE)) for name, plan in manifest.draws.items()}
    with torch.no_grad():
        assert torch.allclose(program(images, draw), hardened.answer(images, draw), atol=1e-5)


@pytest.mark.parametrize("spec", ["median", "low_pass"])
def test_what_onnx_has_no_word_for_is_a_program_of_torch(tmp_path: Path, spec: str) -> None:
    manifest = export(rain.harden(tiny(), spec), tmp_path, format="torch", size=SIZE)
    assert manifest.measured["logit_difference"] < 1e-4
    assert manifest.batch == (1 if spec == "median" else None)


def test_the_given_model_stays_and_may_be_in_half_precision(tmp_path: Path) -> None:
    hardened = rain.harden(tiny(), "noise").half().requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in hardened.state_dict().items()}
    manifest = export(hardened, tmp_path, format="torch", size=SIZE)
    assert manifest.graphs["hardened"].inputs == {"images": "float32", "draw_noise": "float32"}
    after = hardened.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


# --- what the manifest says


def test_the_manifest_says_what_the_model_is(tmp_path: Path) -> None:
    classifier = seeing(24)
    classifier.categories = ("a", "b", "c", "d", "é")
    hardened = rain.harden(classifier, "resize_pad")
    export(hardened, tmp_path, format="torch", classifier="mine:net", defense="resize_pad")
    fields = json.loads((tmp_path / "rain.json").read_text())
    assert fields["size"] == [24, 24]
    assert fields["categories"] == ["a", "b", "c", "d", "é"]
    assert fields["classes"] == 5
    assert "shorter side resized to 24" in fields["preprocessing"]
    assert fields["draws"] == {"uniform": {"kind": "uniform", "shape": [3]}}
    assert (fields["origin"]["classifier"], fields["origin"]["defense"]) == ("mine:net", "resize_pad")
    assert fields["origin"]["versions"]["rain"] == rain.__version__
    assert len(fields["origin"]["classifier_digest"]) == 33
    assert fields["measured"]["images"] == 4


# --- what cannot be exported


@pytest.mark.parametrize(
    "name", [name for name in DEFENSES.names() if name not in ("quilting", "gated", "chain")]
)
def test_every_defence_can_be_exported_or_says_why(name: str) -> None:
    """Those that can are traced one by one in tests/test_export.py."""
    defense = load_defense(name)
    for format in ("onnx", "torch"):
        reason = why_not(defense, format)
        is_listed = name in REASONS or (name in NO_WORD and format != "torch")
        assert bool(reason) is is_listed
        assert name in reason or not is_listed


def test_the_lists_name_defences_and_the_guide_names_them_all() -> None:
    page = (Path(__file__).parents[2] / "docs" / "guide" / "export.md").read_text()
    assert all(f"`{name}`" in page for name in (*REASONS, *NO_WORD, *ONE_BY_ONE))
    assert {*REASONS, *NO_WORD, *ONE_BY_ONE} < set(DEFENSES.names())


@pytest.mark.parametrize(
    ("defense", "message"),
    [
        ("jpeg", "jpeg cannot be exported: it runs a real encoder"),
        ("jpeg+rain(enhancer=bicubic)", "jpeg cannot be exported"),
        ("nlm", "library of arrays"),
        ("low_pass", 'low_pass cannot be exported for onnx: .* format="torch" takes it'),
        ("rain(down=scale, enhancer=bicubic)", "draws the size of the picture"),
        (Silent(), r"Silent does not say how it draws: give it a method plan\(\)"),
    ],
)
def test_what_cannot_be_exported_says_why(tmp_path: Path, defense: Any, message: str) -> None:
    if isinstance(defense, str) and "+" in defense:
        defense = rain.Chain(*defense.split("+"))
    with pytest.raises(OptionError, match=message):
        export(rain.harden(tiny(), defense), tmp_path / "out", size=SIZE)
    assert not (tmp_path / "out").exists()


def test_an_answer_of_its_own_is_exported_but_not_behind_a_gate(tmp_path: Path) -> None:
    manifest = export(rain.harden(tiny(), Crops()), tmp_path, format="torch", size=SIZE)
    assert manifest.measured["logit_difference"] < 1e-4
    gate = load_defense("gated", defense=Crops(), threshold=0.1)
    with pytest.raises(OptionError, match="Crops behind a gate cannot be exported"):
        export(rain.harden(tiny(), gate), tmp_path, format="torch", size=SIZE)


def test_a_classifier_that_cannot_be_traced_is_told(tmp_path: Path) -> None:
    hardened = rain.harden(Branching(), "rain(enhancer=bicubic)")
    with pytest.raises(ExportError, match=r"the classifier cannot be exported by torch.export: \w+"):
        export(hardened, tmp_path, size=SIZE)
    assert not list(tmp_path.iterdir())


# --- options and folders


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "onx"}, "did you mean 'onnx'"),
        ({"size": -1}, "size must be"),
        ({"size": True}, "size must be"),
        ({"size": 24.0}, "size must be"),
        ({"size": (24, 1)}, "size must be"),
        ({}, "does not say what size it sees: give size=224"),
    ],
)
def test_bad_options_are_told(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        export(rain.harden(tiny(), "none"), tmp_path, **options)


def test_only_what_is_hardened_is_exported(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"export takes what rain.harden gives, got Tiny"):
        export(tiny(), tmp_path)


def test_a_gate_must_be_calibrated_for_the_size(tmp_path: Path) -> None:
    hardened = rain.harden(tiny(), "none", gate=0.02)
    with pytest.raises(GateError, match="not calibrated"):
        export(hardened, tmp_path, size=SIZE)
    hardened = rain.harden(tiny(), "rain(enhancer=bicubic)", gate=0.5)
    hardened.calibrate(batch_of(20), seed=0)
    with pytest.raises(GateError, match="calibrated on pictures of 20x24, these are 32x32"):
        export(hardened, tmp_path, size=32)
    manifest = export(hardened, tmp_path, format="torch", size=SIZE)
    assert manifest.gate is not None
    assert (manifest.gate.share, manifest.gate.sizes) == (0.5, (SIZE,))


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "hardened.onnx").write_text("mine")
    with pytest.raises(ExportError, match=r"holds other files \(hardened.onnx\)"):
        export(rain.harden(tiny(), "none"), tmp_path, size=SIZE)
    assert (tmp_path / "hardened.onnx").read_text() == "mine"
    with pytest.raises(ExportError, match=r"hardened.onnx: a file, and the exported model is a folder"):
        export(rain.harden(tiny(), "none"), tmp_path / "hardened.onnx", size=SIZE)


def test_an_earlier_model_gives_way_only_to_a_whole_one(tmp_path: Path) -> None:
    gate = load_defense("gated", defense="none", threshold=0.1)
    export(rain.harden(tiny(), gate), tmp_path, format="torch", size=SIZE)
    (tmp_path / "notes.txt").write_text("mine")
    before = (tmp_path / "rain.json").read_bytes()
    with pytest.raises(ExportError, match="the classifier cannot be exported"):
        export(rain.harden(Branching(), "none"), tmp_path, format="torch", size=SIZE)
    assert (tmp_path / "rain.json").read_bytes() == before
    export(rain.harden(tiny(), "noise"), tmp_path, format="torch", size=SIZE)
    assert {path.name for path in tmp_path.iterdir()} == {"hardened.pt2", "notes.txt", "rain.json"}


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hardened = rain.harden(tiny(), "none")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExportError, match=r"pip install onnxscript, or 'rain-defense\[export\]'"):
        export(hardened, tmp_path, size=SIZE)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not NIPS2017.is_dir(), reason="needs the NIPS 2017 images")
@pytest.mark.parametrize("gate", [None, 0.02])
@pytest.mark.parametrize(("format", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_400_real_images_get_the_labels_of_torch(
    tmp_path: Path, format: str, package: str, gate: float | None
) -> None:
    pytest.importorskip(package)
    hardened = rain.harden(rain.load_classifier("efficientnet_lite0"), "rain", gate=gate)
    export(hardened, tmp_path, format=format)
    runtime, pictures = Runtime(tmp_path), rain.load_dataset(f"csv:{NIPS2017}")
    for start in range(0, 400, 8):
        images = torch.stack([enter(pictures[start + row][0], 224) for row in range(8)])
        assert_same(runtime, hardened, images)
