"""What a training run is measured by, on validation images: agreement, accuracy, robust accuracy and PSNR."""

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from rain.defense import Defense, Draw
from rain.images import Images
from rain.seeding import generator_for
from rain.training.learners import target_of
from rain.training.objective import Objective, divergence

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Measures = dict[str, float]
"""What a run measures, by name; ``validate`` and ``sr_quality`` say which names there are."""

BATCH = 20
SHEET = 6
"""Pictures on a contact sheet."""

SUMS = ("squared_error", "kl", "agreement", "accuracy", "robust")
"""What is measured of each image and summed over them."""


@torch.no_grad()
def validate(
    objective: Objective, images: Images, labels: Tensor, fabric: "Fabric"
) -> tuple[Measures, Images | None]:
    """Measure an objective's defence and classifier on fixed images with fixed draws.

    Args:
        objective: what is measured.
        images, labels: (N, 3, side, side) and (N,), on the CPU; -1 for no label.
        fabric: whose processes share the work.

    Returns: means over the images, and a contact sheet (None for a classifier without a defence). With a
        classifier that stands still: "kl" (nats, from its answer to the clean image), "agreement" (with that
        answer); with labels "accuracy"; with an attack "robust", the accuracy (agreement without labels)
        behind the defence, with one draw, under the recipe's own attack, whose access is the recipe's, too:
        made on the bare classifier with "transfer", on this very draw with "known". It is there to choose
        weights by, and says nothing about other attackers. With an enhancer: "psnr" in dB against the clean
        image.
    """
    objective.train(False)
    config, defense = objective.config, objective.defense
    sums = dict.fromkeys(SUMS, 0.0)
    labelled = bool((labels >= 0).all())
    sheet: Images | None = None
    for number in range(fabric.global_rank, math.ceil(len(images) / BATCH), fabric.world_size):
        batch = slice(BATCH * number, BATCH * (number + 1))
        clean = fabric.to_device(images[batch]).contiguous(memory_format=torch.channels_last)
        own_labels = fabric.to_device(labels[batch]) if labelled else None
        generator = generator_for(config.seed, "validation", number)
        draw = defense.draw(clean, generator)
        for name, values in _of_each_image(objective, clean, own_labels, draw, generator).items():
            sums[name] += float(values.cpu().double().sum())  # not every accelerator has doubles
        if number == 0 and config.moves_enhancer:
            sheet = contact_sheet(defense, clean[:SHEET], draw)
    means = {name: total / len(images) for name, total in _over_processes(sums, fabric).items()}
    return _as_reported({name: means[name] for name in measured(objective, labelled=labelled)}), sheet


def _over_processes(sums: Measures, fabric: "Fabric") -> Measures:
    """Add up what the processes measured."""
    if fabric.world_size == 1:
        return sums  # Fabric would bring them to the device, and Apple's has no doubles
    totals = fabric.all_reduce(torch.tensor(list(sums.values()), dtype=torch.float64), reduce_op="sum")
    return dict(zip(sums, totals.tolist(), strict=True))


def measured(objective: Objective, *, labelled: bool) -> tuple[str, ...]:
    """Which of ``SUMS`` an objective can be measured by, in their order."""
    config, has_classifier = objective.config, objective.classifier is not None
    # The answers of a classifier that moves are nothing to agree with.
    has_reference = has_classifier and not config.moves_classifier
    possible = {
        "squared_error": config.moves_enhancer,
        "kl": has_reference,
        "agreement": has_reference,
        "accuracy": has_classifier and labelled,
        "robust": has_classifier and objective.attack is not None,
    }
    return tuple(name for name in SUMS if possible[name])


def _of_each_image(
    objective: Objective, clean: Images, labels: Tensor | None, draw: Draw, generator: Generator
) -> dict[str, Tensor]:
    """Measure a batch: of those of ``SUMS`` that the objective can be measured by, the values (N,)."""
    config = objective.config
    values: dict[str, Tensor] = {}
    restored = objective.defense.transform(clean, draw)
    if config.moves_enhancer:
        error = restored - target_of(objective.defense, clean, draw)
        values["squared_error"] = error.square().flatten(1).mean(1)
    if objective.classifier is None:
        return values
    logits = clean_logits = objective.classify(restored)
    if not config.moves_classifier:
        clean_logits = objective.classify(clean)
        values["kl"] = divergence(clean_logits, logits)
        values["agreement"] = logits.argmax(1) == clean_logits.argmax(1)
    if labels is not None:
        values["accuracy"] = logits.argmax(1) == labels
    if objective.attack is not None:
        targets = clean_logits.argmax(1) if labels is None else labels
        adversarial = objective.attacked(clean, targets, 1.0, generator)
        values["robust"] = objective.answer(adversarial, generator).argmax(1) == targets
    return values


def _as_reported(means: Measures) -> Measures:
    """Give the squared error as PSNR, and add "balance", the mean of accuracy and robust accuracy."""
    measures = dict(means)
    if "squared_error" in measures:
        measures["psnr"] = -10 * math.log10(max(measures.pop("squared_error"), 1e-12))
    if "robust" in measures and "accuracy" in measures:
        measures["balance"] = (measures["accuracy"] + measures["robust"]) / 2
    return measures


def contact_sheet(defense: Defense, images: Images, draw: Draw) -> Tensor:
    """Lay out a column for each image: as it is, after SRd (enlarged to its size), after DG.

    Args:
        defense: between ``images`` and what is shown of them.
        images: the first of a batch.
        draw: of the whole batch.

    Shape: (3, H, W), on the CPU.
    """
    height, width = images.shape[2:]
    own_draw = {name: value[: len(images)] if value.ndim > 1 else value for name, value in draw.items()}
    rows = []
    for stage in [images, *defense.stages(images, own_draw).values()]:
        enlarged = F.interpolate(stage.float().cpu(), (height, width), mode="nearest")
        framed = F.pad(enlarged, (2, 2, 2, 2), value=1.0)
        rows.append(torch.cat(list(framed), 2))
    return torch.cat(rows, 1).clamp(0, 1)
