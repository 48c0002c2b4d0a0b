"""DeepFool, the nearest boundary of the linearised model, again and again."""

import torch
from torch import Tensor

from rain.adaptive import Model
from rain.attacks import ascend, check_counts, check_gradient, margins, rivals
from rain.attacks._minimising import Smallest, check_minimising
from rain.errors import OptionError
from rain.images import Images
from rain.registry import ATTACKS, Traits

NUDGE = 1e-6
"""Added to each step, so that an image that lies on a boundary crosses it."""


@ATTACKS.register(traits=Traits(stops="boundary"))
def deepfool(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "l2",
    steps: int = 50,
    candidates: int = 10,
    overshoot: float = 0.02,
) -> Images:
    """Step to the nearest boundary of the linearised model until the label changes.

    It finds a small perturbation for few gradients.

    Args:
        model: images to logits. Against a random one a single lucky draw ends the search: average it first
            (``rain.adaptive.Expectation``).
        eps: an image that nothing within it fools comes back as it was; may be ``math.inf``.
        steps: at most, each with one backward pass for each candidate.
        candidates: wrong classes that are looked at, those with the greatest logits on the clean image.
        overshoot: the perturbation is this much longer than what the linearised model asks for, to arrive
            beyond the boundary.

    Source: Moosavi-Dezfooli, Fawzi, Frossard (arXiv 1511.04599), algorithm 2, and for "linf" equations 10 to
        12.

    Differs: from the paper, which has no box: each point is brought into [0, 1], and the next linearisation
        is made there. The first class is the right one, not the model's answer, so that an image that is
        fooled already comes back as it was.
    """
    check_minimising(norm, eps)
    check_counts(steps=steps, candidates=candidates)
    if not overshoot >= 0:
        raise OptionError(f"overshoot must be at least 0, got {overshoot!r}")
    smallest, total = Smallest(images, norm, eps), torch.zeros_like(images)
    rows = torch.arange(len(images), device=images.device)
    wrong = torch.zeros(len(images), 0, dtype=torch.long, device=images.device)
    for step in range(steps + 1):
        points = (images[rows] + (1 + overshoot) * total[rows]).clamp(0, 1)
        if not len(rows):
            break
        logits, points = _classify(model, points, step < steps)
        fooled = smallest.offer(rows, points.detach(), margins(logits.detach(), labels[rows]))
        rows = rows[~fooled]
        if step == steps or not len(rows):
            break
        if step == 0:
            wrong = wrong.new_zeros(len(images), min(candidates, logits.shape[1] - 1))
            wrong[rows] = rivals(logits.detach()[~fooled], labels[rows], candidates)
        if fooled.any():
            # To ask again about the images that go on is cheaper than backward passes through the others.
            logits, points = _classify(model, points.detach()[~fooled], True)
        total[rows] += _nearest(logits, points, labels[rows], wrong[rows], norm)
    return smallest.best


def _classify(model: Model, points: Images, graph: bool) -> tuple[Tensor, Images]:
    points = points.requires_grad_(graph)
    with torch.set_grad_enabled(graph):
        logits = model(points)
    if graph:
        check_gradient(logits)
    return logits, points


def _nearest(logits: Tensor, points: Images, labels: Tensor, wrong: Tensor, norm: str) -> Images:
    """The step to the nearest boundary, of the linearised model, between the label and the wrong classes."""
    with torch.enable_grad():
        gaps = logits.gather(1, labels[:, None]) - logits.gather(1, wrong)
    nearest, direction = torch.full_like(gaps[:, 0], torch.inf), torch.zeros_like(points)
    for number, gap in enumerate(gaps.unbind(1)):
        with torch.enable_grad():
            loss = -gap.sum()
        (gradient,) = torch.autograd.grad(loss, points, retain_graph=number + 1 < gaps.shape[1])
        flat = gradient.flatten(1)
        # The dual norm: how fast the gap closes along the steepest direction of length 1.
        slope = flat.abs().sum(1) if norm == "linf" else flat.norm(dim=1)
        length = gap.detach().abs() / slope.clamp_min(torch.finfo(slope.dtype).tiny)
        nearer = (slope > 0) & (length < nearest)
        nearest = torch.where(nearer, length, nearest)
        direction = torch.where(nearer[:, None, None, None], gradient, direction)
    # A label that no candidate's gradient leads away from stays where it is.
    length = torch.where(nearest.isfinite(), nearest + NUDGE, 0)
    return ascend(direction, norm) * length[:, None, None, None]
