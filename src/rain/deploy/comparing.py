"""An exported model against the model that it is of: on the same images, with the same draws."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from rain.deploy.graphs import MULTIPLE
from rain.deploy.manifest import Manifest
from rain.deploy.runtime import Runtime, row_of
from rain.errors import ExportError
from rain.hardened import Hardened
from rain.images import Images
from rain.plans import Plan

CHECKS = (1, 3)
"""How many images the batches have on which the logits are compared."""

CLOSE = 1e-4
"""How far logits may differ from torch's, in units of the largest of them, if that is above 1."""

FAR = 1e-2
"""From here on it is another model."""

SAME = 0.9
"""Of fewer equal labels than this share, a model of 8 bits is warned of."""


def compare(
    model: Hardened, folder: Path, programs: Mapping[str, ExportedProgram], manifest: Manifest
) -> float:
    """How far the logits of the exported model are from torch's, at most, on the same images and draws.

    Raises:
        ExportError: it answers otherwise.
    """
    generator = np.random.default_rng(0)
    farthest, scale = 0.0, 1.0
    for count in CHECKS:
        images = noise(count, manifest.size)
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
        warnings.warn(f"{what}: labels may differ where two classes are nearly as likely", stacklevel=5)
    return farthest


@torch.no_grad()
def _by_torch(
    programs: Mapping[str, ExportedProgram], images: Tensor, draw: dict[str, Tensor], *, one_by_one: bool
) -> Any:
    """Logits behind the defence, by the traced programs."""
    if one_by_one and len(images) > 1:
        each = []
        for row in range(len(images)):
            each.append(_by_torch(programs, images[row : row + 1], row_of(draw, row), one_by_one=True))
        return np.concatenate(each)
    if "hardened" in programs:
        return programs["hardened"].module()(images, draw).numpy()
    return programs["classifier"].module()(programs["defense"].module()(images, draw)).numpy()


def noise(count: int, size: tuple[int, int] | None) -> Tensor:
    """Images to compare on: noise, the same every time, of a size that was not traced if that is free."""
    sides = size or (12 * MULTIPLE, 18 * MULTIPLE)
    return torch.rand((count, 3, *sides), generator=torch.Generator().manual_seed(count))


@torch.no_grad()
def compare_labels(model: Hardened, folder: Path, manifest: Manifest, images: Images) -> float:
    """The share of images that a model of 8 bits gives the label of torch, with the same draws.

    Args:
        model: the classifier behind the defence, without a gate.
        folder: of the exported model.
        manifest: of it.
        images: (N, 3, H, W) in [0, 1].
    """
    runtime, equal = Runtime(folder), 0
    size = (images.shape[2], images.shape[3])
    for place, image in enumerate(images.split(1)):
        draw = _drawn(manifest.draws, place, size)
        expected = model.answer(image, {name: torch.from_numpy(array) for name, array in draw.items()})
        equal += int(runtime.defended(image.numpy(), draw).argmax() == expected.argmax())
    share = equal / len(images)
    if share < SAME:
        what = f"in 8 bits {100 * share:.0f} % of the labels behind the defence are those of float32"
        warnings.warn(f"{what}: measure its accuracy, or leave int8 out", stacklevel=5)
    return share


@torch.no_grad()
def samples_of(model: Hardened, part: str, plans: Mapping[str, Plan], images: Images) -> list[dict[str, Any]]:
    """Inputs of a graph, of single images, by which it is brought to 8 bits.

    The classifier gets each image as it is and behind the defence, since both will be asked of it.

    Args:
        model: the classifier behind the defence, without a gate.
        part: "classifier" or "defense".
        plans: of the draw.
        images: (N, 3, H, W) in [0, 1].
    """
    samples: list[dict[str, Any]] = []
    size = (images.shape[2], images.shape[3])
    for place, image in enumerate(images.split(1)):
        draw = _drawn(plans, place, size)
        if part == "defense":
            named = {f"draw_{name}": array for name, array in draw.items()}
            samples.append({"images": image.numpy(), **named})
            continue
        tensors = {name: torch.from_numpy(array) for name, array in draw.items()}
        samples.append({"images": image.numpy()})
        samples.append({"images": model.defense.transform(image, tensors).numpy()})
    return samples


def _drawn(plans: Mapping[str, Plan], seed: int, size: tuple[int, int]) -> dict[str, Any]:
    """A draw for one image, the same for the same seed."""
    generator = np.random.default_rng(seed)
    return {name: plan.sample(generator, 1, size) for name, plan in plans.items()}
