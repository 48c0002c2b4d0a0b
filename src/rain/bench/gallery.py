"""The pictures that a report shows of an attack.

They say what went in, what was changed, what the defence made of it, and what was answered.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from rain.bench.schema import GALLERY_BYTES
from rain.hardened import Hardened
from rain.images import Images

DRAWS = 8
"""Draws over which the shown probability is averaged."""


PIXEL_BYTES = 4 * 3 + 3 * 4
"""What a pixel takes in a gallery: four pictures of bytes, and a perturbation of floats."""


def most_pictures(images: Images) -> int:
    """How many images of this size a gallery can hold, so that a report will read it."""
    height, width = images.shape[2:]
    return int(GALLERY_BYTES // (PIXEL_BYTES * height * width + 10_000))


@torch.no_grad()
def draw_gallery(
    bare: Hardened,
    model: Hardened,
    images: Images,
    adversarial: Images,
    labels: Tensor,
    indices: Sequence[int],
    names: Sequence[str],
    generator: Generator,
) -> bytes:
    """Make a gallery of k images as an .npz file.

    Args:
        bare, model: the classifier without and with the defence.
        images, adversarial: (k, 3, H, W) in [0, 1].
        labels: (k,), the right answers.
        indices: k, in the dataset.
        names: of the classes; empty if they are not known.
        generator: of the draw that is shown and of those that are averaged.

    Returns: arrays clean, adversarial, enhanced, for RAIN also randomized (k, H, W, 3; uint8); perturbation
        (k, H, W, 3; float32); index (k,); says (k, 4): the bare and then the defended classifier's answers,
        each to the clean and to the attacked image; truth (k,).
    """
    stages = model.defense.stages(adversarial, model.defense.draw(adversarial, generator))
    answers = [
        _answers(hardened, batch, names, generator)
        for hardened in (bare, model)
        for batch in (images, adversarial)
    ]
    arrays: dict[str, Any] = {
        "clean": levels(images),
        "adversarial": levels(adversarial),
        **{stage: levels(pictures) for stage, pictures in stages.items()},
        "perturbation": (adversarial - images).permute(0, 2, 3, 1).float().cpu().numpy(),
        "index": np.array(indices),
        "says": np.array(answers).T,
        "truth": np.array([_class_name(names, label) for label in labels.tolist()]),
    }
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _answers(hardened: Hardened, images: Images, names: Sequence[str], generator: Generator) -> list[str]:
    """The likeliest class of each image, and how sure the classifier is of it."""
    draws = DRAWS if hardened.defense.random else 1
    each = [hardened(images, generator=generator).float().softmax(1) for _ in range(draws)]
    probabilities, labels = torch.stack(each).mean(0).max(1)
    pairs = zip(labels.tolist(), probabilities.tolist(), strict=True)
    return [f"{_class_name(names, label)} ({100 * probability:.0f} %)" for label, probability in pairs]


def _class_name(names: Sequence[str], label: int) -> str:
    return names[label] if names else str(label)


def levels(images: Images) -> Any:
    """Turn (k, 3, H, W) in [0, 1] into (k, H, W, 3), uint8."""
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
