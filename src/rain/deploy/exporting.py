"""``rain.deploy.export``: a hardened classifier as a folder that runs without torch."""

import os
import shutil
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from rain.calibration import identity
from rain.defense import Hardened, duplicate, own_size
from rain.deploy.graphs import MULTIPLE, modules_of, trace, write
from rain.deploy.manifest import FORMATS, NAME, PARTS, Gate, Graph, Manifest, Origin, digest_file
from rain.deploy.reasons import is_one_by_one, why_not
from rain.deploy.runtime import Runtime
from rain.errors import ExportError, OptionError, did_you_mean
from rain.files import to_path
from rain.gate import Gated
from rain.plans import Plan
from rain.seeds import is_integer
from rain.version import __version__

PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino")
"""Whose versions the manifest names, where they are installed."""

FILES = frozenset(f"{part}{suffix}" for part in PARTS for suffix in (".onnx", ".xml", ".bin", ".pt2"))
"""Every file that an exported model may have besides its manifest."""

CHECKS = (1, 3)
"""How many images the batches have on which the exported model is compared with torch."""

CLOSE = 1e-4
"""How far logits may differ from torch's, in units of the largest of them, if that is above 1."""

FAR = 1e-2
"""From here on it is another model."""


def export(
    hardened: Hardened,
    out: str | Path,
    *,
    format: str = "onnx",
    size: int | tuple[int, int] | None = None,
    classifier: str = "",
    defense: str = "",
) -> Manifest:
    """Write a hardened classifier as a folder for ``rain.deploy.Runtime``.

    Any number of images is a batch of it. Draws are inputs of its graph: it never holds one. Without a gate
    there is one graph. With a gate there are two, the defence and the classifier, since the classifier is
    asked alone, too: so its weights are on the disk and in memory once, and no pass of it is in vain.

    Args:
        hardened: by ``rain.harden``; is not changed.
        out: the folder; it is made, and an exported model that is in it gives way.
        format: "onnx", "openvino" or "torch" (a program of ``torch.export``, which ``Runtime`` does not run).
        size: side of the images in pixels, or (height, width); None for what the classifier sees; 0 for any
            size whose sides are multiples of four.
        classifier, defense: their specs, for the manifest; by default the names of their classes.

    Returns: the manifest, as it is in the folder. Its ``measured`` says how far the logits are from torch's.

    Raises:
        OptionError: no such format, the defence cannot be exported, or size is none, or is needed.
        ExportError: ``torch.export`` or the format cannot take classifier or defence; a package is missing;
            the folder cannot be written, or holds other files; or the exported model answers otherwise.
        GateError: the gate is not calibrated, or for another size.
    """
    if not isinstance(hardened, Hardened):
        raise OptionError(f"export takes what rain.harden gives, got {type(hardened).__name__}")
    if format not in FORMATS:
        raise OptionError(f"no format {format!r}; {did_you_mean(str(format), FORMATS)}")
    reason = why_not(hardened.defense, format)
    if reason:
        raise OptionError(reason)
    sides = _sides(size, hardened.classifier)
    gate = _gate(hardened, sides)
    origin = _origin(hardened, classifier, defense)
    # Its own copy: on the CPU, and in the precision in which everything is checked.
    model = duplicate(hardened).to("cpu", torch.float32)
    assert isinstance(model, Hardened)
    folder = to_path(out)
    temporary = _open(folder)
    try:
        exported = _write(model, temporary, format, sides, gate, origin)
        _move(temporary, folder, exported)
    except OSError as error:
        why = error.strerror or error
        raise ExportError(f"{error.filename or folder}: cannot be written: {why}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return exported


def _write(
    model: Hardened,
    folder: Path,
    format: str,
    size: tuple[int, int] | None,
    gate: Gate | None,
    origin: Origin,
) -> Manifest:
    """Trace, write and check."""
    plans = model.defense.plan()
    batch = 1 if is_one_by_one(model.defense) else None
    behind = Hardened(model.classifier, model.defense.defense) if isinstance(model.defense, Gated) else model
    graphs, programs = {}, {}
    for part, module in modules_of(behind, apart=gate is not None).items():
        programs[part] = trace(part, module, plans, size, batch)
        files = write(programs[part], part, format, folder)
        digests = {name: digest_file(folder / name) for name in files}
        graphs[part] = Graph(digests, _inputs(part, plans))
    example = _pictures(1, size)
    classes = behind.classify(example).shape[1]
    manifest = Manifest(
        format=format,
        graphs=graphs,
        size=size,
        multiple=1 if size else MULTIPLE,
        batch=batch,
        classes=classes,
        categories=tuple(getattr(model.classifier, "categories", ())),
        preprocessing=_preprocessing(model.classifier, size),
        draws=plans,
        random=model.defense.random,
        independent=model.defense.independent,
        gate=gate,
        origin=origin,
        measured={},
    )
    manifest.save(folder)
    difference = _compare(behind, folder, programs, manifest)
    against = f"torch {torch.__version__}"
    measured = {"logit_difference": difference, "images": sum(CHECKS), "against": against}
    manifest = replace(manifest, measured=measured)
    manifest.save(folder)
    return manifest


def _compare(
    model: Hardened, folder: Path, programs: Mapping[str, ExportedProgram], manifest: Manifest
) -> float:
    """How far the logits of the exported model are from torch's, at most, on the same images and draws.

    Raises:
        ExportError: it answers otherwise.
    """
    generator = np.random.default_rng(0)
    farthest, scale = 0.0, 1.0
    for count in CHECKS:
        images = _pictures(count, manifest.size)
        size = (images.shape[2], images.shape[3])
        draw = {name: plan.sample(generator, count, size) for name, plan in manifest.draws.items()}
        inputs = images, {name: torch.from_numpy(tensor) for name, tensor in draw.items()}
        with torch.no_grad():
            expected = model.answer(*inputs).numpy()
        if manifest.format == "torch":
            logits = _by_torch(programs, *inputs, one_by_one=manifest.batch == 1)
        else:
            logits = Runtime(folder).defended(images.numpy(), draw)
        farthest = max(farthest, float(np.abs(logits - expected).max()))
        scale = max(scale, float(np.abs(expected).max()))
    what = f"the exported model's logits differ from torch's by up to {farthest:.2g}"
    if not farthest <= FAR * scale:
        raise ExportError(f"{what}: it is another model; take another format")
    if farthest > CLOSE * scale:
        warnings.warn(f"{what}: labels may differ where two classes are nearly as likely", stacklevel=4)
    return farthest


@torch.no_grad()
def _by_torch(
    programs: Mapping[str, ExportedProgram], images: Tensor, draw: dict[str, Tensor], *, one_by_one: bool
) -> Any:
    """Logits behind the defence, by the traced programs."""
    if one_by_one and len(images) > 1:
        rows = range(len(images))
        each = [_by_torch(programs, images[row : row + 1], _row(draw, row), one_by_one=True) for row in rows]
        return np.concatenate(each)
    if "hardened" in programs:
        return programs["hardened"].module()(images, draw).numpy()
    return programs["classifier"].module()(programs["defense"].module()(images, draw)).numpy()


def _row(draw: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    return {name: tensor[row : row + 1] if len(tensor) > 1 else tensor for name, tensor in draw.items()}


def _pictures(count: int, size: tuple[int, int] | None) -> Tensor:
    """Images to compare on: noise, the same every time, of a size that was not traced if that is free."""
    sides = size or (12 * MULTIPLE, 18 * MULTIPLE)
    return torch.rand((count, 3, *sides), generator=torch.Generator().manual_seed(count))


def _inputs(part: str, plans: Mapping[str, Plan]) -> dict[str, str]:
    """Names and types of a graph's inputs."""
    inputs = {"images": "float32"}
    if part != "classifier":
        inputs |= {f"draw_{name}": plan.type for name, plan in plans.items()}
    return inputs


# --- what the manifest says


def _sides(size: object, classifier: nn.Module) -> tuple[int, int] | None:
    """Height and width in pixels; None for any.

    Raises:
        OptionError: it is none, or the classifier does not say what it sees.
    """
    if size is None:
        own = own_size(classifier)
        if own is None:
            what = "this classifier does not say what size it sees"
            raise OptionError(f"{what}: give size=224, or another side in pixels; 0 for any size")
        return own, own
    if is_integer(size) and isinstance(size, int):
        size = (size, size) if size else None
    if size is None:
        return None
    if isinstance(size, tuple) and len(size) == 2:
        height, width = size
        if is_integer(height) and is_integer(width) and min(height, width) >= 2:
            return int(height), int(width)
    what = "size must be a number of pixels, (height, width), or 0 for any size"
    raise OptionError(f"{what}; got {size!r}")


def _gate(hardened: Hardened, size: tuple[int, int] | None) -> Gate | None:
    """When the defence overrules the classifier.

    Raises:
        GateError: the gate is not calibrated, or for another size.
    """
    gate = hardened.defense
    if not isinstance(gate, Gated):
        return None
    gate.check_calibrated()
    if size is not None:
        gate.check_size(*size)
    origin = gate.calibration.origin if gate.calibration is not None else ""
    share = None if gate.is_fixed else gate.share
    return Gate(gate.score, gate.threshold, share, gate.sizes, origin)


def _origin(hardened: Hardened, classifier: str, defense: str) -> Origin:
    inner = hardened.defense.defense if isinstance(hardened.defense, Gated) else hardened.defense
    return Origin(
        classifier=classifier or type(hardened.classifier).__name__,
        defense=defense or type(inner).__name__,
        classifier_digest=identity(hardened.classifier),
        defense_digest=identity(inner),
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    versions = {"rain": __version__}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _preprocessing(classifier: nn.Module, size: tuple[int, int] | None) -> str:
    """What is done with a picture before it enters, in words."""
    colour = "RGB, 8-bit values divided by 255; mean and std are the model's own"
    side = own_size(classifier)
    if size is None:
        return f"{colour}; any size whose sides are multiples of {MULTIPLE}"
    if size == (side, side):
        how = "bicubic with antialiasing"
        return f"{colour}; the shorter side resized to {side} pixels ({how}), then the centre {side}x{side}"
    return f"{colour}; {size[0]} pixels high and {size[1]} wide"


# --- the folder


def _open(folder: Path) -> Path:
    """Make the folder, and one within it to write into.

    Raises:
        ExportError: it cannot be made or written, or holds other files.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in folder.iterdir())
        if names and NAME not in names:
            what = f"holds other files ({', '.join(names[:3])})"
            raise ExportError(f"{folder}: {what}; give a folder that is new, empty or of an exported model")
        return Path(mkdtemp(prefix=".export-", dir=folder))
    except OSError as error:
        raise ExportError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _move(temporary: Path, folder: Path, manifest: Manifest) -> None:
    """Put the files in their place. The manifest goes first and comes last: without it there is no model.

    Raises:
        OSError: a file cannot be written.
    """
    (folder / NAME).unlink(missing_ok=True)
    names = [name for graph in manifest.graphs.values() for name in graph.files]
    for old in folder.iterdir():
        if old.name in FILES and old.name not in names:
            old.unlink()
    for name in [*names, NAME]:
        os.replace(temporary / name, folder / name)
