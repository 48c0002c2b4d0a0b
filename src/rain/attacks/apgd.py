"""APGD, projected gradient descent that sets its own step length."""

from dataclasses import dataclass, fields, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import (
    ascend,
    check_arguments,
    check_counts,
    differentiate,
    keep_lowest,
    margins,
    random_start,
    rivals,
)
from rain.errors import OptionError
from rain.images import Images, project
from rain.registry import ATTACKS, Traits

LOSSES = ("cross_entropy", "margin", "dlr")
MOMENTUM = 0.75
RISES = 0.75
"""The share of steps that must raise the loss, or the step is halved (rho in the paper)."""


@ATTACKS.register(traits=Traits(stops="fooled"))
def apgd(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    steps: int = 100,
    restarts: int = 1,
    loss: str = "cross_entropy",
    targets: int = 0,
    confidence: float = 0.0,
    generator: Generator | None = None,
) -> Images:
    """Ascend the loss with momentum; where that stalls, halve the step and go on from the best point. Nothing to tune but the steps.

    Args:
        model: images to logits. The halving compares losses of different calls: average a random model first
            (``rain.adaptive.Expectation``), or its noise halves the step early. The budget and the choice of
            the best point hold for any model.
        images: (N, 3, H, W) in [0, 1].
        labels: (N,), the right answers.
        eps: budget, for values in [0, 1].
        norm: "linf" or "l2".
        steps: gradient steps in each run.
        restarts: an image that holds in one is tried again in the next.
        loss: "cross_entropy", "margin", or "dlr" (difference of logits ratio: the margin, invariant to their
            scale; needs 3 classes, with targets 4).
        targets: 0 leaves any wrong class. Otherwise there are that many runs in each restart, towards each of
            the wrong classes with the greatest logits on the clean image (or all that there are). With "dlr"
            and 9 it is the second attack of AutoAttack.
        confidence: an image leaves the batch when the best wrong logit is above the right one by more than
            this (see ``pgd``).
        generator: of the random starts; its device need not be that of the images.

    Raises:
        OptionError: an argument out of range, too few classes for "dlr", or the model gives no gradient.

    Source: Croce, Hein (arXiv 2003.01690), algorithm 1, conditions 1 and 2; DLR is their equation 6, with
        targets 7.

    Differs: from the authors' code in the start, uniform in the whole budget; that of all points visited the
        one with the lowest margin is returned; and that fooled images leave.
    """
    check_arguments(norm, eps, loss, LOSSES)
    check_counts(steps=steps, restarts=restarts)
    if not (isinstance(targets, int) and targets >= 0):
        raise OptionError(f"targets must be an integer of at least 0, got {targets!r}")
    best, least = images.clone(), torch.full((len(images),), torch.inf, device=images.device)
    wrong: list[Tensor | None] = [None]
    if targets and len(images):
        with torch.no_grad():
            wrong = list(rivals(model(images), labels, targets).unbind(1))
    for target in wrong * restarts:
        rows = (least >= -confidence).nonzero()[:, 0]
        if len(rows):
            state = _State.begin(rows, random_start(images[rows], norm, eps, generator), 2 * eps)
            _climb(model, images, labels, target, loss, norm, eps, steps, confidence, state, best, least)
    return best


@dataclass
class _State:
    """One run, for the images that are still in it; each field is a tensor with one entry for each of them.

    Args:
        rows: their numbers in the batch.
        point, previous: where they are and were.
        value: the loss at ``point``.
        peak, peak_gradient, peak_value: the point of the run with the highest loss, the gradient and the loss
            there.
        length: of the next step.
        rises: steps since the last checkpoint that raised the loss.
        checked: ``peak_value`` at the last checkpoint.
        halved: whether the step was halved there.
    """

    rows: Tensor
    point: Images
    previous: Images
    value: Tensor
    peak: Images
    peak_gradient: Tensor
    peak_value: Tensor
    length: Tensor
    rises: Tensor
    checked: Tensor
    halved: Tensor

    @classmethod
    def begin(cls, rows: Tensor, start: Images, length: float) -> "_State":
        nothing, never = (
            start.new_full((len(start),), -torch.inf, dtype=torch.float32),
            torch.zeros_like(rows),
        )
        return cls(
            rows, start, start, nothing, start, torch.zeros_like(start), nothing, start.new_full((len(start), 1, 1, 1), length),
            never, nothing, never.bool(),
        )  # fmt: skip

    def __getitem__(self, stay: Tensor) -> "_State":
        return _State(*(getattr(self, field.name)[stay] for field in fields(self)))


def _climb(
    model: Model, images: Images, labels: Tensor, target: Tensor | None, loss: str, norm: str, eps: float, steps: int, confidence: float,
    state: _State, best: Images, least: Tensor,
) -> None:  # fmt: skip
    """One run of algorithm 1; what it finds is written into ``best`` and ``least``."""
    checkpoint, ahead = 0, _checkpoints(steps)
    for step in range(steps):
        own, other = labels[state.rows], target[state.rows] if target is not None else None
        gradient, value, logits = differentiate(
            model, state.point, partial(_losses, own=own, other=other, loss=loss)
        )
        margin, value = margins(logits, own), value.float()
        keep_lowest(best, least, state.rows, state.point, margin)
        higher = value > state.peak_value
        state = replace(
            state,
            rises=state.rises + (value > state.value) * (step > 0),
            value=value,
            peak=_where(higher, state.point, state.peak),
            peak_gradient=_where(higher, gradient, state.peak_gradient),
            peak_value=torch.where(higher, value, state.peak_value),
            checked=value if step == 0 else state.checked,
        )
        if step in ahead:
            state, gradient = _check(state, gradient, RISES * (step - checkpoint))
            checkpoint = step
        stay = margin >= -confidence
        state, gradient = state[stay], gradient[stay]
        if not len(state.rows):
            return
        clean = images[state.rows]
        point = project(state.point + state.length * ascend(gradient, norm), clean, norm, eps)
        if step:
            moved = (
                state.point
                + MOMENTUM * (point - state.point)
                + (1 - MOMENTUM) * (state.point - state.previous)
            )
            point = project(moved, clean, norm, eps)
        state = replace(state, point=point, previous=state.point)
    with torch.no_grad():
        keep_lowest(best, least, state.rows, state.point, margins(model(state.point), labels[state.rows]))


def _check(state: _State, gradient: Tensor, enough: float) -> tuple[_State, Tensor]:
    """Halve the step and go back to the peak where too few steps rose, or where neither the peak nor the step has changed since the last check."""
    halve = (state.rises < enough) | (~state.halved & (state.peak_value <= state.checked))
    changed = replace(
        state,
        point=_where(halve, state.peak, state.point),
        value=torch.where(halve, state.peak_value, state.value),
        length=_where(halve, state.length / 2, state.length),
        rises=torch.zeros_like(state.rises),
        checked=state.peak_value,
        halved=halve,
    )
    return changed, _where(halve, state.peak_gradient, gradient)


def _checkpoints(steps: int) -> set[int]:
    """The steps before which the length is checked, farther apart at first (section 3.2 of the paper), in exact hundredths of all steps."""
    shares = [0, 22]
    while shares[-1] < 100:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 3, 6))
    return {-(-share * steps // 100) for share in shares[1:-1]}


def _losses(logits: Tensor, own: Tensor, other: Tensor | None, loss: str) -> Tensor:
    """The loss of each image, to be ascended: away from the class ``own``, towards the class ``other`` if there is one.

    Raises:
        OptionError: too few classes for "dlr".
    """
    if loss == "cross_entropy":
        return (
            F.cross_entropy(logits, own, reduction="none")
            if other is None
            else -F.cross_entropy(logits, other, reduction="none")
        )
    gap = (
        margins(logits, own)
        if other is None
        else (logits.gather(1, own[:, None]) - logits.gather(1, other[:, None]))[:, 0]
    )
    if loss == "margin":
        return -gap
    needed = 3 if other is None else 4
    if logits.shape[1] < needed:
        raise OptionError(
            f'loss "dlr" needs at least {needed} classes here, the model has {logits.shape[1]}; take "margin"'
        )
    top = logits.sort(dim=1, descending=True).values
    scale = top[:, 0] - (top[:, 2] if other is None else (top[:, 2] + top[:, 3]) / 2)
    return -gap / scale.clamp_min(1e-12 if scale.dtype.itemsize > 2 else 1e-4)


def _where(which: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(which[:, None, None, None], yes, no)
