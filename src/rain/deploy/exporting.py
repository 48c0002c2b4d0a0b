"""``rain.deploy.export``: a hardened classifier as a folder that runs without torch."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rain.calibration import identity
from rain.deploy.comparing import CHECKS, compare, compare_labels, noise, samples_of
from rain.deploy.folders import make_temporary, move
from rain.deploy.graphs import MULTIPLE, modules_of, trace, write
from rain.deploy.manifest import FORMATS, Gate, Graph, Manifest, Origin, digest_file
from rain.deploy.reasons import is_one_by_one, why_not
from rain.errors import ExportError, GateError, ImageError, OptionError, did_you_mean
from rain.files import to_path
from rain.gate import Gated
from rain.hardened import Hardened
from rain.images import MAX_PIXELS, Images, check_images
from rain.networks import duplicate, own_size
from rain.plans import Plan
from rain.seeds import is_integer
from rain.version import __version__

PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino")
"""Whose versions the manifest names, where they are installed."""

LEAST = 16
"""Pictures by which the ranges of 8 bits are found."""


def export(
    hardened: Hardened,
    out: str | Path,
    *,
    format: str = "onnx",
    size: int | tuple[int, int] | None = None,
    int8: Images | None = None,
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
        int8: pictures of the kind that will be classified, (N, 3, H, W) in [0, 1], at least 16 of them, for
            "openvino": the convolutions of classifier and defence then compute in 8 bits. None, the default,
            leaves them in float32.
        classifier, defense: their specs, for the manifest; by default the names of their classes.

    Returns: the manifest, as it is in the folder. Its ``measured`` says how far the logits are from torch's.

    Raises:
        OptionError: no such format, the defence cannot be exported, or size is none, or is needed.
        ExportError: ``torch.export`` or the format cannot take classifier or defence; a package is missing;
            the folder cannot be written, holds other files, or another process exports into it; or the
            exported model answers otherwise.
        GateError: the gate is not calibrated, or for another size, or would refuse all sizes but one.
    """
    if not isinstance(hardened, Hardened):
        raise OptionError(f"export takes what rain.harden gives, got {type(hardened).__name__}")
    if format not in FORMATS:
        raise OptionError(f"no format {format!r}; {did_you_mean(str(format), FORMATS)}")
    reason = why_not(hardened.defense, format)
    if reason:
        raise OptionError(reason)
    sides = _sides(size, hardened.classifier)
    if int8 is not None:
        _check_int8(int8, hardened, format, sides)
    gate = _gate(hardened, sides)
    origin = _origin(hardened, classifier, defense)
    # Its own copy: on the CPU, and in the precision in which everything is checked.
    model = duplicate(hardened).to("cpu", torch.float32)
    assert isinstance(model, Hardened)
    folder = to_path(out)
    with make_temporary(folder) as temporary:
        try:
            exported = _write(model, temporary, format, sides, gate, origin, int8)
            move(temporary, folder, exported)
        except OSError as error:
            why = error.strerror or error
            raise ExportError(f"{error.filename or folder}: cannot be written: {why}") from error
    return exported


def _write(
    model: Hardened,
    folder: Path,
    format: str,
    size: tuple[int, int] | None,
    gate: Gate | None,
    origin: Origin,
    int8: Images | None,
) -> Manifest:
    """Trace, write and check."""
    plans = model.defense.plan()
    batch = 1 if is_one_by_one(model.defense) else None
    behind = model.with_defense(model.defense.defense) if isinstance(model.defense, Gated) else model
    graphs, programs = {}, {}
    for part, module in modules_of(behind, apart=gate is not None or int8 is not None).items():
        programs[part] = trace(part, module, plans, size, batch)
        samples = None if int8 is None else samples_of(behind, part, plans, int8)
        files = write(programs[part], part, format, folder, samples)
        digests = {name: digest_file(folder / name) for name in files}
        graphs[part] = Graph(digests, _inputs(part, plans))
    classes = behind.classify(noise(1, size)).shape[1]
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
        precision="float32" if int8 is None else "int8",
        origin=origin,
        measured={},
    )
    manifest.save(folder)
    measured: dict[str, Any] = {"against": f"torch {torch.__version__}"}
    if int8 is None:
        measured["logit_difference"] = compare(behind, folder, programs, manifest)
        measured["images"] = sum(CHECKS)
    else:
        measured["equal_labels"] = compare_labels(behind, folder, manifest, int8)
        measured["images"] = len(int8)
    manifest = replace(manifest, measured=measured)
    manifest.save(folder)
    return manifest


def _inputs(part: str, plans: Mapping[str, Plan]) -> dict[str, str]:
    """Names and types of a graph's inputs."""
    inputs = {"images": "float32"}
    if part != "classifier":
        inputs |= {f"draw_{name}": plan.type for name, plan in plans.items()}
    return inputs


# --- what the manifest says


def _check_int8(images: Images, hardened: Hardened, format: str, size: tuple[int, int] | None) -> None:
    """Check the pictures by which a model is brought to 8 bits, and that this can be done.

    Raises:
        OptionError: another format, any size, too few pictures, or a defence that answers itself.
        ImageError: the pictures break the convention, or have another size than the model.
    """
    if format != "openvino":
        raise OptionError(f'int8 goes with format="openvino", not with {format!r}')
    if size is None:
        raise OptionError("int8 needs one size: give it, in the place of 0")
    inner = hardened.defense.defense if isinstance(hardened.defense, Gated) else hardened.defense
    if inner.answers_itself:
        name = type(inner).__name__
        raise OptionError(f"{name} cannot be brought to 8 bits: it answers by more than one picture")
    check_images(images, "int8")
    if len(images) < LEAST:
        what = f"int8 needs at least {LEAST} pictures of the kind that will be classified"
        raise OptionError(f"{what}, these are {len(images)}")
    if tuple(images.shape[2:]) != size:
        own = "x".join(map(str, images.shape[2:]))
        raise ImageError(f"int8 holds pictures of {own}, the model takes {size[0]}x{size[1]}: resize them")


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
        in_pixels = is_integer(height) and is_integer(width)
        if in_pixels and height * width > MAX_PIXELS:
            raise OptionError(f"size is at most {MAX_PIXELS:,} pixels in all, got {height}x{width}")
        if in_pixels and min(height, width) >= 2:
            return int(height), int(width)
    what = "size must be a number of pixels, (height, width), or 0 for any size"
    raise OptionError(f"{what}; got {size!r}")


def _gate(hardened: Hardened, size: tuple[int, int] | None) -> Gate | None:
    """When the defence overrules the classifier.

    Raises:
        GateError: the gate is not calibrated, or for another size, or would refuse all sizes but one.
    """
    gate = hardened.defense
    if not isinstance(gate, Gated):
        return None
    gate.check_calibrated()
    if size is None:
        _check_sizes(gate.sizes)
    else:
        gate.check_size(*size)
    origin = gate.calibration.origin if gate.calibration is not None else ""
    share = None if gate.is_fixed else gate.share
    return Gate(gate.score, gate.threshold, share, gate.sizes, origin)


def _check_sizes(sizes: tuple[tuple[int, int], ...]) -> None:
    """Raise ``GateError`` for a gate that leaves a model of any size fewer than two of them."""
    served = [size for size in sizes if not any(side % MULTIPLE for side in size)]
    if not sizes or len(served) > 1:
        return
    own = ", ".join(f"{height}x{width}" for height, width in sizes)
    reason = "would take no others" if served else f"takes multiples of {MULTIPLE} pixels"
    what = f"this gate was calibrated on pictures of {own}, and a model of any size {reason}"
    raise GateError(f"{what}: give that size in the place of 0, or calibrate on pictures of many sizes")


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
