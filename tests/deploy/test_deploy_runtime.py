"""An exported model without torch: what it answers, and what it says to what it cannot take."""

import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from handmade import CLASSES, SIZE, WEIGHTS, handmade, logits_of

from rain.deploy import Runtime, engines
from rain.errors import ClassifierError, ExportError, GateError, ImageError, OptionError
from rain.plans import Offsets


def batch_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3, *SIZE), dtype=np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(-1).numpy()


@pytest.fixture
def plain(tmp_path: Path) -> Runtime:
    return Runtime(handmade(tmp_path / "plain"))


@pytest.fixture
def gated(tmp_path: Path) -> Runtime:
    return Runtime(handmade(tmp_path / "gated", threshold=0.8))


# --- answers


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_answer_is_the_models_for_batches_of_any_length(plain: Runtime, count: int) -> None:
    images = batch_of(count)
    draw = plain.draw(images, seed=1)
    assert draw["uniform"].shape == (count, 3)
    np.testing.assert_allclose(plain.answer(images, draw), logits_of(images, draw["uniform"]), atol=1e-5)
    labels, probabilities, agreement = plain.predict(images, seed=1)
    assert (labels.shape, probabilities.shape, agreement.shape) == ((count,), (count, CLASSES), (count,))


def test_predict_averages_the_probabilities_of_its_draws(plain: Runtime) -> None:
    images = batch_of(3)
    generator = np.random.default_rng(5)
    each = softmax(np.stack([logits_of(images, generator.random((3, 3), np.float32)) for _ in range(4)]))
    labels, probabilities, agreement = plain.predict(images, draws=4, seed=5)
    np.testing.assert_allclose(probabilities, each.mean(0), atol=1e-5)
    assert labels.tolist() == each.mean(0).argmax(1).tolist()
    assert agreement.tolist() == (each.argmax(2) == labels).mean(0).tolist()


def test_equal_pictures_get_different_draws_and_every_call_draws_afresh(plain: Runtime) -> None:
    twins = np.repeat(batch_of(1), 4, axis=0)
    first, second = plain.predict(twins, draws=1), plain.predict(twins, draws=1)
    assert len(np.unique(first.probabilities[:, 0])) == 4
    assert not np.array_equal(first.probabilities, second.probabilities)


def test_a_seed_repeats_and_seeds_of_images_do_not_depend_on_the_batch(plain: Runtime) -> None:
    images = batch_of(3)
    whole, again = plain.predict(images, seed=-7), plain.predict(images, seed=np.int64(-7))
    assert np.array_equal(whole.probabilities, again.probabilities)
    together = plain.predict(images, seed=[3, -1, 2**40])
    for row, seed in enumerate([3, -1, 2**40]):
        for own in (seed, [seed], np.array([seed])):
            alone = plain.predict(images[row : row + 1], seed=own)
            np.testing.assert_allclose(alone.probabilities[0], together.probabilities[row], atol=1e-6)


def test_pictures_of_a_list_are_answered_in_their_order(tmp_path: Path) -> None:
    free = Runtime(handmade(tmp_path, size=None, multiple=4))
    pictures = [np.random.default_rng(side).random((3, side, 8)) for side in (8, 12, 8)]
    listed = free.predict(pictures, seed=[1, 2, 3])
    for row, picture in enumerate(pictures):
        alone = free.predict(picture[None], seed=[row + 1])
        np.testing.assert_allclose(listed.probabilities[row], alone.probabilities[0], atol=1e-6)
    with pytest.raises(ImageError, match="multiples of 4 pixels, got 10x8"):
        free.predict(np.zeros((1, 3, 10, 8)))


def test_a_defence_that_is_not_random_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(handmade(tmp_path, random=False))
    calls = count_calls(monkeypatch)
    runtime.predict(batch_of(2), draws=8)
    assert len(calls) == 1


def test_a_model_of_one_image_takes_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(handmade(tmp_path, batch=1))
    images = batch_of(3)
    draw = runtime.draw(images)
    calls = count_calls(monkeypatch)
    np.testing.assert_allclose(runtime.answer(images, draw), logits_of(images, draw["uniform"]), atol=1e-5)
    assert calls == [1, 1, 1]


def test_threads_may_share_a_model(plain: Runtime) -> None:
    batches = [batch_of(3, seed) for seed in range(8)]
    alone = [plain.predict(images, seed=1).probabilities for images in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda images: plain.predict(images, seed=1).probabilities, batches))
    assert all(np.array_equal(*pair) for pair in zip(alone, together, strict=True))


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each run of a graph has, from now on."""
    calls: list[int] = []
    run = engines.Onnx.run

    def counted(self: engines.Onnx, inputs: Any) -> Any:
        calls.append(len(inputs["images"]))
        return run(self, inputs)

    monkeypatch.setattr(engines.Onnx, "run", counted)
    return calls


# --- a gate


def test_a_gate_asks_further_draws_only_of_what_is_flagged(
    gated: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = batch_of(6)
    generator = np.random.default_rng(2)
    bare = logits_of(images)
    first = logits_of(images, generator.random((6, 3), np.float32))
    suspicion = np.abs(softmax(bare) - softmax(first)).sum(1)
    rows = np.flatnonzero(suspicion > 0.8)
    assert 0 < len(rows) < 6
    calls = count_calls(monkeypatch)
    prediction = gated.predict(images, draws=3, seed=2)
    # Bare, defence and classifier of all; then defence and classifier of the flagged, twice.
    assert calls == [6, 6, 6, *[len(rows)] * 4]
    np.testing.assert_allclose(prediction.suspicion, suspicion, atol=1e-5)
    assert np.flatnonzero(prediction.flagged).tolist() == rows.tolist()
    assert prediction.bare.tolist() == bare.argmax(1).tolist()
    further = [logits_of(images[rows], generator.random((len(rows), 3), np.float32)) for _ in range(2)]
    mean = softmax(np.stack([first[rows], *further])).mean(0)
    np.testing.assert_allclose(prediction.probabilities[rows], mean, atol=1e-5)
    others = ~prediction.flagged
    np.testing.assert_allclose(prediction.probabilities[others], softmax(bare)[others], atol=1e-5)


def test_what_a_gate_says_of_an_image_does_not_depend_on_the_batch(gated: Runtime) -> None:
    images, seeds = batch_of(6), list(range(6))
    together = gated.predict(images, seed=seeds)
    alone = [gated.predict(images[row : row + 1], seed=[seed]) for row, seed in enumerate(seeds)]
    for name in ("probabilities", "suspicion", "agreement"):
        parts = np.concatenate([getattr(each, name) for each in alone])
        np.testing.assert_allclose(getattr(together, name), parts, atol=1e-5)


def test_answer_and_classify_of_a_gate_are_the_parts_of_it(gated: Runtime, plain: Runtime) -> None:
    images = batch_of(6)
    draw = gated.draw(images, seed=2)
    bare, defended = logits_of(images), logits_of(images, draw["uniform"])
    np.testing.assert_allclose(gated.classify(images), bare, atol=1e-5)
    np.testing.assert_allclose(gated.defended(images, draw), defended, atol=1e-5)
    flagged = gated.predict(images, draws=1, seed=2).flagged
    expected = np.where(flagged[:, None], defended, bare)
    np.testing.assert_allclose(gated.answer(images, draw), expected, atol=1e-5)
    assert gated.predict(images[:0]).flagged.shape == (0,)
    with pytest.raises(OptionError, match="export it with a gate"):
        plain.classify(images)


def test_a_gate_refuses_sizes_that_it_was_not_calibrated_on(tmp_path: Path) -> None:
    folder = handmade(tmp_path, threshold=0.5, size=None)
    text = (folder / "rain.json").read_text()
    (folder / "rain.json").write_text(text.replace('"sizes": []', '"sizes": [[8, 8]]'))
    with pytest.raises(GateError, match="calibrated on pictures of 8x8, these are 8x12"):
        Runtime(folder).predict(batch_of(1))
    runtime, images = Runtime(folder), batch_of(1)
    draw = runtime.draw(images)
    with pytest.raises(GateError, match="calibrated on pictures of 8x8"):
        runtime.answer(images, draw)
    # Neither of the two answers that it compares is the gate's.
    assert runtime.classify(images).shape == runtime.defended(images, draw).shape == (1, CLASSES)


# --- what it cannot take


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 3, 8, 12), np.uint8), "astype.numpy.float32. / 255"),
        (np.full((1, 3, 8, 12), 255.0), "divide by 255"),
        (np.full((1, 3, 8, 12), -2.0), "before any normalisation"),
        (np.full((1, 3, 8, 12), np.nan), "contain NaN"),
        (np.full((1, 3, 8, 12), np.inf), r"must lie in \[0, 1\]"),
        (np.zeros((1, 8, 12, 3)), r"transpose\(0, 3, 1, 2\)"),
        (np.zeros((3, 8, 12)), r"image\[None\]"),
        (np.zeros((8, 12, 3)), r"transpose\(2, 0, 1\)\[None\]"),
        (np.zeros((1, 1, 8, 12)), r"\(N, 3, H, W\)"),
        (np.zeros((1, 3, 1, 12)), "at least 2 pixels"),
        (np.zeros((1, 3, 12, 8)), "takes images of 8x12, got 12x8"),
        (torch.zeros(1, 3, 8, 12), r"got Tensor; make one by images.numpy\(\)"),
        ("picture.png", "got str"),
        ([], "no picture"),
        ([np.zeros((8, 12, 3))], r"images\[0\] must be a numpy array \(3, H, W\)"),
        ([torch.zeros(3, 8, 12)], r"images\[0\] must be a numpy array"),
    ],
)
def test_images_that_break_the_convention_are_told_so(plain: Runtime, images: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        plain.predict(images)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_any_floating_point_is_taken(plain: Runtime, kind: Any) -> None:
    images = batch_of(2)
    expected = plain.predict(images, seed=1).probabilities
    answer = plain.predict(images.astype(kind).transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2), seed=1)
    np.testing.assert_allclose(answer.probabilities, expected, atol=0.02 if kind is np.float16 else 1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws must be a positive integer"),
        ({"draws": True}, "draws must be"),
        ({"seed": 1.5}, "seed must be an integer of 64 bits"),
        ({"seed": 2**63}, "seed must be an integer of 64 bits"),
        ({"seed": [1]}, "seed has 1 values for 2 images"),
        ({"seed": [1, "a"]}, r"seed\[1\] must be"),
    ],
)
def test_bad_options_are_told(plain: Runtime, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        plain.predict(batch_of(2), **options)


def test_a_draw_for_something_else_is_refused(plain: Runtime) -> None:
    images = batch_of(2)
    with pytest.raises(ImageError, match=r"holds \['noise'\], this model needs \['uniform'\]"):
        plain.answer(images, {"noise": np.zeros((2, 3))})
    with pytest.raises(ImageError, match=r"must have shape \(2, 3\), got \(3, 3\)"):
        plain.answer(images, plain.draw(batch_of(3)))


def test_copies_are_drawn_together(plain: Runtime) -> None:
    assert plain.draw(batch_of(6), seed=1, copies=3)["uniform"].shape == (6, 3)
    with pytest.raises(OptionError, match="6 images are no 4 repetitions"):
        plain.draw(batch_of(6), copies=4)
    with pytest.raises(OptionError, match="one seed for all of them"):
        plain.draw(batch_of(2), seed=[1, 2], copies=2)


def test_seeds_of_images_are_refused_where_the_images_share_a_draw(tmp_path: Path) -> None:
    draws = {"uniform": Offsets(0.5, shared=True)}
    runtime = Runtime(handmade(tmp_path, independent=False, draws=draws))
    assert runtime.draw(batch_of(3), seed=1)["uniform"].shape == (1, 2)
    with pytest.raises(OptionError, match="share a draw"):
        runtime.draw(batch_of(3), seed=[1, 2, 3])


def test_answers_that_are_no_numbers_are_no_class(plain: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = np.zeros((2, CLASSES), np.float32)
    broken[1, 2] = np.nan
    monkeypatch.setattr(engines.Onnx, "run", lambda *_: broken)
    with pytest.raises(ClassifierError, match="NaN or infinite logits for images 1 of a batch of 2"):
        plain.predict(batch_of(2))


# --- the folder


def test_a_folder_that_is_no_model_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"nowhere.rain.json: No such file.*rain export wrote"):
        Runtime(tmp_path / "nowhere")
    (tmp_path / "rain.json").write_text('{"format": 1')
    with pytest.raises(ExportError, match="not the manifest of an exported model"):
        Runtime(tmp_path)
    (tmp_path / "rain.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ExportError, match="not text in UTF-8"):
        Runtime(tmp_path)


def test_the_manifest_itself_may_be_named(tmp_path: Path) -> None:
    runtime = Runtime(handmade(tmp_path) / "rain.json", threads=1)
    assert repr(runtime) == "Runtime(mean behind fade, onnx)"


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_a_damaged_graph_is_found_before_it_is_run(tmp_path: Path, damage: str) -> None:
    path = handmade(tmp_path) / "hardened.onnx"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-9] if damage == "truncated" else content.replace(b"logits", b"digits"))
    with pytest.raises(ExportError, match=r"hardened.onnx: .*export the model again"):
        Runtime(tmp_path)


CHANGES: list[dict[str, Any]] = [
    {"rain_export": 2},
    {"classes": 1},
    {"classes": "many"},
    {"size": [8]},
    {"size": [8, -2]},
    {"batch": 7},
    {"format": "pickle"},
    {"draws": {"uniform": {"kind": "exec"}}},
    {"draws": {"uniform": {"kind": "uniform", "shape": ["depth"]}}},
    {"draws": {"uniform": {"kind": "cells", "channels": 10**9}}},
    {"draws": {"uniform": {"kind": "offsets", "fraction": "wide"}}},
    {"gate": {"score": "l1", "threshold": "high", "share": 1, "sizes": [], "origin": ""}},
    {"graphs": {}},
    {"graphs": {"hardened": {"files": {}, "inputs": {}}}},
    {"graphs": {"hardened": {"files": "", "inputs": {}}}},
    {"draws": {}},
    {"draws": {"uniform": {"kind": "offsets", "fraction": True}}},
    {"gate": {"score": "l1", "threshold": math.nan, "share": 0.5, "sizes": [], "origin": ""}},
    {"graphs": {"hardened": {"files": {"../hardened.onnx": "0"}, "inputs": {}}}},
    {"graphs": {"hardened": {"files": {"/etc/passwd": "0"}, "inputs": {}}}},
    {"unheard": 1},
    {"origin": 3},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_a_manifest_that_says_something_else_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    file = handmade(tmp_path) / "rain.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(ExportError, match=r"rain.json: not the manifest of an exported model"):
        Runtime(tmp_path)


def test_what_cannot_run_here_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = handmade(tmp_path)
    with pytest.raises(OptionError, match='format="openvino" for bfloat16'):
        Runtime(folder, precision="bfloat16")
    with pytest.raises(OptionError, match="did you mean 'float32'"):
        Runtime(folder, precision="float23")
    with pytest.raises(OptionError, match="threads must be a positive integer"):
        Runtime(folder, threads=0)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"pip install onnxruntime, or 'rain-defense\[onnx\]'"):
        Runtime(folder)


def test_a_graph_that_the_runtime_cannot_read_is_told(tmp_path: Path) -> None:
    file = handmade(tmp_path) / "rain.json"
    (tmp_path / "hardened.onnx").write_bytes(b"no graph")
    fields = json.loads(file.read_text())
    from rain.deploy.manifest import digest_file

    fields["graphs"]["hardened"]["files"]["hardened.onnx"] = digest_file(tmp_path / "hardened.onnx")
    file.write_text(json.dumps(fields))
    with pytest.raises(ExportError, match="cannot be opened here"):
        Runtime(tmp_path)


def test_a_program_of_torch_is_left_to_torch(tmp_path: Path) -> None:
    folder = handmade(tmp_path, format="torch")
    with pytest.raises(ExportError, match=r"torch.export.load\(.*Runtime"):
        Runtime(folder)


def test_the_runtime_never_imports_torch(tmp_path: Path) -> None:
    plain, gated = handmade(tmp_path / "plain"), handmade(tmp_path / "gated", threshold=0.1)
    code = f"""
import sys
import numpy as np
import rain
from rain.deploy import Runtime
images = np.zeros((2, 3, {SIZE[0]}, {SIZE[1]}))
for folder in ({str(plain)!r}, {str(gated)!r}):
    runtime = Runtime(folder)
    runtime.predict(images, seed=[1, 2])
    runtime.predict(list(images))
try:
    runtime.predict(images * 300 + 2)
except rain.RainError:
    pass
heavy = sorted({{"torch", "torchvision", "PIL", "safetensors", "onnx"}} & set(sys.modules))
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert WEIGHTS.shape == (3, CLASSES)
