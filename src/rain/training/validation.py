"""What a training run is measured by: agreement, accuracy, robust accuracy and PSNR on validation images, and PSNR and SSIM as published."""

import math
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rain.defense import Defense
from rain.errors import RecipeError
from rain.images import Images
from rain.registry import load_dataset
from rain.seeding import generator_for
from rain.training.objective import Objective, divergence

BATCH = 20
SHEET = 6
"""Pictures on a contact sheet."""

SUMS = ("squared_error", "kl", "agreement", "accuracy", "robust")


@torch.no_grad()
def validate(
    objective: Objective, images: Images, labels: Tensor, fabric: Any
) -> tuple[dict[str, float], Tensor | None]:
    """Measure an objective's defence and classifier on fixed images with fixed draws.

    Args:
        images, labels: (N, 3, side, side) and (N,), on the CPU; -1 for no label.
        fabric: whose processes share the work.

    Returns: means over the images, and a contact sheet (None for a classifier without a defence). With a
        classifier: "kl" (nats, from the classifier's answer to the clean image), "agreement" (with that
        answer); with labels "accuracy"; with an attack "robust", the accuracy (agreement without labels)
        behind the defence, with one draw, under the recipe's own attack, whose access is the recipe's, too:
        made on the bare classifier with "transfer", on this very draw with "known". It is there to choose
        weights by, and says nothing about other attackers. With an enhancer: "psnr" in dB against the clean
        image.
    """
    config = objective.config
    objective.train(False)
    sums = dict.fromkeys(SUMS, 0.0)
    labelled = bool((labels >= 0).all())
    sheet: Tensor | None = None

    def add(name: str, values: Tensor) -> None:
        sums[name] += float(values.cpu().double().sum())  # not every accelerator has doubles

    for number in range(0, math.ceil(len(images) / BATCH)):
        if number % fabric.world_size != fabric.global_rank:
            continue
        batch = slice(BATCH * number, BATCH * (number + 1))
        clean, known = (
            fabric.to_device(images[batch]).contiguous(memory_format=torch.channels_last),
            fabric.to_device(labels[batch]),
        )
        draws = generator_for(config.seed, "validation", number)
        draw = objective.defense.draw(clean, draws)
        restored = objective.defense.transform(clean, draw)
        if config.trains == "enhancer":
            add(
                "squared_error",
                (restored - objective.defense.target(clean, draw)).square().flatten(1).mean(1),
            )  # type: ignore[operator]
            if number == 0:
                sheet = contact_sheet(objective.defense, clean[:SHEET], draw)
        if objective.classifier is None:
            continue
        logits = objective.classify(restored)
        wanted = objective.classify(clean) if config.trains == "enhancer" else logits
        if config.trains == "enhancer":
            add("kl", divergence(wanted, logits))
            add("agreement", logits.argmax(1) == wanted.argmax(1))
        truth = known if labelled else wanted.argmax(1)
        if labelled:
            add("accuracy", logits.argmax(1) == known)
        if objective.attack is not None:
            attacked = objective.attacked(clean, truth, 1.0, draws)
            add("robust", objective.answer(attacked, draws).argmax(1) == truth)
    totals = fabric.all_reduce(torch.tensor(list(sums.values()), dtype=torch.float64), reduce_op="sum")
    asked = known_sums(objective, labelled=labelled)
    measured = {
        name: total / len(images) for name, total in zip(SUMS, totals.tolist(), strict=True) if name in asked
    }
    if "squared_error" in measured:
        measured["psnr"] = -10 * math.log10(max(measured.pop("squared_error"), 1e-12))
    if "robust" in measured and "accuracy" in measured:
        measured["balance"] = (measured["accuracy"] + measured["robust"]) / 2
    return measured, sheet


def known_sums(objective: Objective, *, labelled: bool) -> set[str]:
    """Which of ``SUMS`` an objective can tell."""
    names = set()
    if objective.config.trains == "enhancer":
        names |= {"squared_error"} | ({"kl", "agreement"} if objective.classifier is not None else set())
    if objective.classifier is not None:
        names |= ({"accuracy"} if labelled else set()) | (
            {"robust"} if objective.attack is not None else set()
        )
    return names


def contact_sheet(defense: Defense, images: Images, draw: Any) -> Tensor:
    """Lay out a column for each image: as it is, after SRd (at twice its size), after DG. Shape: (3, H, W), on the CPU."""
    height, width = images.shape[2:]
    own = {name: value[: len(images)] if value.ndim > 1 else value for name, value in draw.items()}
    stages = [images, *defense.stages(images, own).values()]
    rows = [F.interpolate(stage.float().cpu(), (height, width), mode="nearest") for stage in stages]
    return torch.cat([torch.cat(list(F.pad(row, (2, 2, 2, 2), value=1.0)), 2) for row in rows], 1).clamp(0, 1)


def check_sr_sets(folders: tuple[str, ...]) -> None:
    """Raise ``DatasetError`` if one is missing, and ``RecipeError`` if the library that measures is: hours before they are needed."""
    for folder in folders:
        load_dataset(f"pictures:{folder}")
    try:
        import_module("torchmetrics")
    except ImportError as error:
        raise RecipeError(
            f'sr_sets needs torchmetrics ({error}): pip install "rain-defense[train]"'
        ) from None


@torch.no_grad()
def sr_quality(defense: Defense, folders: tuple[str, ...], device: torch.device) -> dict[str, float]:
    """Measure PSNR (dB) and SSIM on Y as super-resolution papers do, with the defence's own degradation, a fixed draw for each picture.

    Args:
        folders: of pictures, such as Set5 and Set14.

    Convention: Y of YCbCr (BT.601), sides cut to even, two border pixels left out, data range 1; means over
        the pictures of a folder.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    quality: dict[str, float] = {}
    for folder in folders:
        pictures = load_dataset(f"pictures:{folder}")
        pairs = []
        for number in range(len(pictures)):
            image = pictures[number][0].to(device)[None]
            image = image[..., : image.shape[2] // 2 * 2, : image.shape[3] // 2 * 2]
            draw = defense.draw(image, generator_for(0, "sr", number))
            restored, target = (
                luma(part)[..., 2:-2, 2:-2].cpu()
                for part in (defense.transform(image, draw), defense.target(image, draw))
            )  # type: ignore[operator]
            psnr = peak_signal_noise_ratio(restored, target, data_range=1.0)
            pairs.append(
                (float(psnr), float(structural_similarity_index_measure(restored, target, data_range=1.0)))
            )
        name = Path(folder).name
        quality[f"psnr_{name}"], quality[f"ssim_{name}"] = (
            sum(values) / len(pairs) for values in zip(*pairs, strict=True)
        )
    return quality


def luma(images: Images) -> Tensor:
    """Y of YCbCr (BT.601, 16 to 235 of 255): (N, 3, H, W) in [0, 1] to (N, 1, H, W)."""
    weights = images.new_tensor([65.481, 128.553, 24.966]) / 255
    return (images * weights[:, None, None]).sum(1, keepdim=True) + 16 / 255
