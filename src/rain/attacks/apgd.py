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
    margins,
    random_start,
    rivals,
)
from rain.attacks._ascent import Settings
from rain.attacks._lowest import Lowest
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
    """Ascend the loss with momentum; where that stalls, halve the step and go on from the best point.

    There is nothing to tune but the number of steps.

    Args:
        model: images to logits. The halving compares losses of different calls: average a random model first
            (``rain.adaptive.Expectation``), or its noise halves the step early. The budget and the choice of
            the best point hold for any model.
        steps: gradient steps in each run.
        restarts: an image that holds in one is tried again in the next.
        loss: "cross_entropy", "margin", or "dlr" (difference of logits ratio: the margin, invariant to their
            scale; needs 3 classes, with targets 4).
        targets: 0 leaves any wrong class. Otherwise there are that many runs in each restart, towards each of
            the wrong classes with the greatest logits on the clean image (or all that there are). With "dlr"
            and 9 it is the second attack of AutoAttack.
        confidence: an image leaves the batch when the best wrong logit is above the right one by more than
            this (see ``pgd``).
        generator: of the random starts.

    Raises:
        OptionError: too few classes for "dlr", and what all attacks raise.

    Source: Croce, Hein (arXiv 2003.01690), algorithm 1, conditions 1 and 2; DLR is their equation 6, with
        targets 7.

    Differs: from the authors' code in the start, uniform in the whole budget; that of all points visited the
        one with the lowest margin is returned; and that fooled images leave.
    """
    check_arguments(norm, eps, loss, LOSSES)
    check_counts(steps=steps, restarts=restarts)
    if not (isinstance(targets, int) and targets >= 0):
        raise OptionError(f"targets must be an integer of at least 0, got {targets!r}")
    settings = Settings(eps, norm, steps, loss, confidence)
    lowest = Lowest(images)
    runs: list[Tensor | None] = [None]
    if targets and len(images):
        with torch.no_grad():
            runs = list(rivals(model(images), labels, targets).unbind(1))
    for target in runs * restarts:
        rows = (lowest.margins >= -confidence).nonzero()[:, 0]
        if len(rows):
            start = random_start(images[rows], norm, eps, generator)
            toward = None if target is None else target[rows]
            points, least = _run(model, start, images[rows], labels[rows], toward, settings)
            lowest.keep(rows, points, least)
    return lowest.points


@dataclass(frozen=True)
class _State:
    """Where a run is, for the images that are still in it: tensors with one entry for each of them.

    Args:
        rows: their numbers in the batch.
        point, previous: where they are and were.
        gradient, value: of the loss, at ``point``.
        peak, peak_gradient, peak_value: the point of the run with the highest loss, the gradient and the loss
            there.
        length: of the next step.
        rises: steps since the last checkpoint that raised the loss.
        checked: ``peak_value`` at the last checkpoint; at first the loss at the start.
        halved: whether the step was halved there.
    """

    rows: Tensor
    point: Images
    previous: Images
    gradient: Tensor
    value: Tensor
    peak: Images
    peak_gradient: Tensor
    peak_value: Tensor
    length: Tensor
    rises: Tensor
    checked: Tensor
    halved: Tensor

    def __getitem__(self, stay: Tensor) -> "_State":
        return _State(*(getattr(self, field.name)[stay] for field in fields(self)))


def _run(
    model: Model, start: Images, images: Images, labels: Tensor, targets: Tensor | None, settings: Settings
) -> tuple[Images, Tensor]:
    """One run of algorithm 1.

    Args:
        start: (N, 3, H, W), where it begins.
        targets: (N,), the classes that it goes to; None is away from the labels.

    Returns: of the points visited those with the lowest margins, and these margins (N,).
    """
    lowest, checkpoints, last_checkpoint = Lowest(images), _checkpoints(settings.steps), 0
    state = _begin(start, 2 * settings.eps)
    for step in range(settings.steps):
        state, margin = _evaluate(state, model, labels, targets, settings.loss, first=step == 0)
        lowest.keep(state.rows, state.point, margin)
        if step in checkpoints:
            state = _check(state, RISES * (step - last_checkpoint))
            last_checkpoint = step
        state = state[margin >= -settings.confidence]
        if not len(state.rows):
            return lowest.points, lowest.margins
        state = _move(state, images[state.rows], settings, first=step == 0)
    with torch.no_grad():
        lowest.keep(state.rows, state.point, margins(model(state.point), labels[state.rows]))
    return lowest.points, lowest.margins


def _begin(start: Images, length: float) -> _State:
    count, zeros = len(start), torch.zeros_like(start)
    rows = torch.arange(count, device=start.device)
    lowest = start.new_full((count,), -torch.inf, dtype=torch.float32)
    return _State(
        rows=rows,
        point=start,
        previous=start,
        gradient=zeros,
        value=lowest,
        peak=start,
        peak_gradient=zeros,
        peak_value=lowest,
        length=start.new_full((count, 1, 1, 1), length),
        rises=torch.zeros_like(rows),
        checked=lowest,
        halved=torch.zeros_like(rows, dtype=torch.bool),
    )


def _evaluate(
    state: _State, model: Model, labels: Tensor, targets: Tensor | None, loss: str, *, first: bool
) -> tuple[_State, Tensor]:
    """Take the loss and its gradient at the point, and remember the peak; returns the margins, too."""
    own = labels[state.rows]
    other = None if targets is None else targets[state.rows]
    objective = partial(_losses, own=own, other=other, loss=loss)
    gradient, value, logits = differentiate(model, state.point, objective)
    value = value.float()
    higher = value > state.peak_value
    evaluated = replace(
        state,
        gradient=gradient,
        value=value,
        peak=_where(higher, state.point, state.peak),
        peak_gradient=_where(higher, gradient, state.peak_gradient),
        peak_value=torch.where(higher, value, state.peak_value),
        rises=state.rises if first else state.rises + (value > state.value),
        checked=value if first else state.checked,
    )
    return evaluated, margins(logits, own)


def _check(state: _State, enough: float) -> _State:
    """Halve the step and go back to the peak, where one of the two conditions of the paper says so.

    Condition 1: too few steps raised the loss. Condition 2: neither the step nor the peak has changed since
    the last checkpoint.
    """
    few_rises = state.rises < enough
    stalled = ~state.halved & (state.peak_value <= state.checked)
    halve = few_rises | stalled
    return replace(
        state,
        point=_where(halve, state.peak, state.point),
        gradient=_where(halve, state.peak_gradient, state.gradient),
        value=torch.where(halve, state.peak_value, state.value),
        length=_where(halve, state.length / 2, state.length),
        rises=torch.zeros_like(state.rises),
        checked=state.peak_value,
        halved=halve,
    )


def _move(state: _State, clean: Images, settings: Settings, *, first: bool) -> _State:
    """Step along the gradient, and but for the first time on in the direction of the step before."""
    ahead = state.point + state.length * ascend(state.gradient, settings.norm)
    point = project(ahead, clean, settings.norm, settings.eps)
    if not first:
        inertia = (1 - MOMENTUM) * (state.point - state.previous)
        mixed = state.point + MOMENTUM * (point - state.point) + inertia
        point = project(mixed, clean, settings.norm, settings.eps)
    return replace(state, point=point, previous=state.point)


def _checkpoints(steps: int) -> set[int]:
    """The steps before which the length is checked, farther apart at first (section 3.2 of the paper)."""
    # In exact hundredths of all steps.
    shares = [0, 22]
    while shares[-1] < 100:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 3, 6))
    return {-(-share * steps // 100) for share in shares[1:-1]}


def _losses(logits: Tensor, own: Tensor, other: Tensor | None, loss: str) -> Tensor:
    """The loss of each image, to be ascended: away from the class ``own``, or towards the class ``other``.

    Raises:
        OptionError: too few classes for "dlr".
    """
    if loss == "cross_entropy":
        if other is None:
            return F.cross_entropy(logits, own, reduction="none")
        return -F.cross_entropy(logits, other, reduction="none")
    if other is None:
        gap = margins(logits, own)
    else:
        gap = (logits.gather(1, own[:, None]) - logits.gather(1, other[:, None]))[:, 0]
    return -gap if loss == "margin" else -gap / _spread(logits, 3 if other is None else 4)


def _spread(logits: Tensor, needed: int) -> Tensor:
    """What the DLR loss divides by: the greatest logit minus the third, or the mean of third and fourth."""
    if logits.shape[1] < needed:
        what = f'loss "dlr" needs at least {needed} classes here, the model has {logits.shape[1]}'
        raise OptionError(f'{what}; take "margin"')
    top = logits.sort(dim=1, descending=True).values
    other = top[:, 2] if needed == 3 else (top[:, 2] + top[:, 3]) / 2
    return (top[:, 0] - other).clamp_min(1e-12 if logits.dtype.itemsize > 2 else 1e-4)


def _where(which: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(which[:, None, None, None], yes, no)
