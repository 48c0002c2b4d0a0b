"""Attacks on a gate, by who knows it: both answers at once, beside the threshold, or below it."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import (
    ascend,
    check_arguments,
    check_counts,
    check_positive,
    check_step,
    differentiate,
    margins,
)
from rain.attacks import random_start as draw_start
from rain.attacks._lowest import Lowest
from rain.errors import LabelError, OptionError
from rain.images import Images, project
from rain.registry import ATTACKS, Traits

Aim = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""What is ascended for each image, (N,).

It depends on how wrong the bare and the defended answer are (in logits, cut at ``enough``), on how far the
score is above the threshold, and on the weight of that.
"""


def _both(bare: Tensor, defended: Tensor, above: Tensor, weight: float) -> Tensor:
    return bare + defended


def _close(bare: Tensor, defended: Tensor, above: Tensor, weight: float) -> Tensor:
    return bare + defended - weight * above.clamp_min(0)


def _below(bare: Tensor, defended: Tensor, above: Tensor, weight: float) -> Tensor:
    return bare - weight * (above + 1).clamp_min(0)


def _above(bare: Tensor, defended: Tensor, above: Tensor, weight: float) -> Tensor:
    return defended - weight * (1 - above).clamp_min(0)


AIMS = {"both": _both, "close": _close, "below": _below, "above": _above}


@ATTACKS.register(traits=Traits(gate="parts"))
def gate(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    aim: str = "both",
    steps: int = 40,
    step: float | None = None,
    weight: float = 1.0,
    enough: float = 3.0,
    random_start: bool = True,
    generator: Generator | None = None,
) -> Images:
    """Attack a defence with a gate step by step, knowing both answers, the score and the threshold.

    Of the points it visits it keeps the one at which the answer that counts is most wrong: the defended one
    where the score is above the threshold, else the bare one.

    Args:
        model: images to both answers and the score: ``rain.adaptive.attackable(hardened, gate="parts")``,
            seeded and averaged as any other.
        aim: "both" answers wrong; "close", both wrong, and their score not above the threshold; "below", the
            bare answer wrong, and the score just below the threshold; "above", the defended answer wrong,
            and the score just above it.
        steps: gradient steps.
        step: length of a step, in the unit of eps; None is 2.5 eps / steps.
        weight: of the score, in logits for each of its widths.
        enough: an answer that is wrong by so many logits is pushed no further.
        random_start: begin at a random point of the budget (uniform) instead of at the image.
        generator: of the random start.

    Raises:
        OptionError: no such aim, a number out of range, or a model that gives no parts.
        LabelError: a label that neither answer knows.
    """
    check_arguments(norm, eps)
    check_counts(steps=steps)
    check_positive(weight=weight, enough=enough)
    if aim not in AIMS:
        raise OptionError(f"aim must be one of {', '.join(AIMS)}, got {aim!r}")
    length = 2.5 * eps / steps if step is None else step
    check_step(length, eps)
    if not len(images):
        return images.clone()

    def objective(answers: Tensor) -> Tensor:
        bare, defended, above = parts_of(answers)
        check_classes(labels, bare.shape[1])
        wrong = [-margins(logits, labels).clamp_min(-enough) for logits in (bare, defended)]
        return AIMS[aim](wrong[0], wrong[1], above, weight)

    lowest, rows = Lowest(images), torch.arange(len(images), device=images.device)
    current = draw_start(images, norm, eps, generator) if random_start else images.clone()
    for _ in range(steps):
        gradient, _, answers = differentiate(model, current, objective)
        lowest.keep(rows, current, margins_that_count(answers, labels))
        current = project(current + length * ascend(gradient, norm), images, norm, eps)
    with torch.no_grad():
        lowest.keep(rows, current, margins_that_count(model(current), labels))
    return lowest.points


def parts_of(answers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split what a gate gives in its view "parts": bare and defended log-probabilities, and the score.

    Raises:
        OptionError: it is something else.
    """
    columns = answers.shape[1]
    if columns < 5 or columns % 2 == 0:
        what = f"this attack is one on a gate, whose parts are an odd number of columns; got {columns}"
        raise OptionError(f'{what}: give it rain.adaptive.attackable(hardened, gate="parts")')
    bare, defended, above = answers.split([columns // 2, columns // 2, 1], 1)
    return bare, defended, above[:, 0]


def check_classes(labels: Tensor, classes: int) -> None:
    """Raise ``LabelError`` for a label that is none of the classes that each answer has."""
    if int(labels.max()) >= classes:
        what = f"label {int(labels.max())}, and each answer of the gate has {classes} classes"
        raise LabelError(f"{what}: is this the view of a gate in parts (rain.adaptive.attackable)?")


def margins_that_count(answers: Tensor, labels: Tensor) -> Tensor:
    """The margins of the answer that the gate lets through, (N,)."""
    bare, defended, above = parts_of(answers)
    return torch.where(above > 0, margins(defended, labels), margins(bare, labels))
