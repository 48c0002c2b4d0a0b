"""AutoAttack, by the authors' own code in the PyPI package pyautoattack."""

import sys
from collections.abc import Mapping
from importlib import import_module
from logging import getLogger
from typing import Any

import torch
from torch import Generator, Tensor

from rain.adaptive import Expectation, Model
from rain.attacks import averages_of, check_arguments, check_counts, differentiate, margins
from rain.attacks._lowest import Lowest
from rain.errors import OptionError
from rain.images import Images
from rain.registry import ATTACKS, Traits

NORMS = {"linf": "Linf", "l2": "L2"}
VERSIONS = ("standard", "rand")

STEPS = 100
"""Of each APGD of the authors."""

STANDARD_CALLS = 7900
"""Calls of the model for an image that holds: counted with pyautoattack 0.2.0."""

LOSSES = ("ce", "dlr")
"""Of APGD in the version for random models, one run each, as the authors' code names them."""


def _traits(options: Mapping[str, Any]) -> Traits:
    """The standard version ends where one draw is fooled, just; the one for random models does not."""
    if options["version"] == "standard":
        return Traits(stops="boundary")
    return Traits(averages=averages_of(options["draws"]))


def calls(options: Mapping[str, Any]) -> int:
    """Count the calls of the model for an image that holds.

    Of a run of APGD: one to begin with, one for the start, and one for each step. Its point is judged, and
    the clean image once.
    """
    if options["version"] == "standard":
        return STANDARD_CALLS
    runs = len(LOSSES)
    return int(runs * options["draws"] * (options["steps"] + 2) + (runs + 1) * options["judge"])


@ATTACKS.register(traits=_traits, calls=calls)
def autoattack(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    version: str = "standard",
    draws: int = 20,
    judge: int = 20,
    steps: int = STEPS,
    batch: int = 50,
    generator: Generator | None = None,
) -> Images:
    """Run the authors' AutoAttack: the usual yardstick for defences without randomness.

    It needs ``pip install 'rain-defense[attacks]'``.

    Args:
        version: "standard" (APGD, targeted APGD, targeted FAB and Square, one after the other on what still
            holds), or "rand" for random models (APGD with two losses, each on the mean of ``draws`` answers;
            give it the model as it is, not averaged already).
        draws: of "rand": answers that each step averages over.
        judge: of "rand": fresh draws on which each point is judged.
        steps: of "rand": steps of each APGD; the standard version makes 100.
        batch: images in one forward pass.
        generator: sets the seed of the authors' code; the global generators of torch are left as they were.

    Raises:
        OptionError: pyautoattack is not installed, the model has fewer than 4 classes, and what all attacks
            raise.

    Source: Croce, Hein (arXiv 2003.01690); pyautoattack 0.2.0.

    Differs: with fewer than 10 classes, the targeted attacks take all the wrong ones instead of 9. An image
        that holds comes back as it was, in "standard". The authors' "rand" gives an image up at the first
        draw that is fooled, the clean image included, and goes on with the others only. Here every run
        attacks all images, and keeps the point with the highest loss. Of these points and the clean image
        the one comes back whose label has the lowest mean probability over ``judge`` fresh draws. The model
        is averaged before the loss, not after: APGD sets its steps by the loss, and theirs is that of a
        single draw.
    """
    check_arguments(norm, eps)
    check_counts(batch=batch, draws=draws, judge=judge, steps=steps)
    if version not in VERSIONS:
        raise OptionError(f"version must be one of {', '.join(VERSIONS)}, got {version!r}")
    if version == "standard" and steps != STEPS:
        raise OptionError(f"steps is of version=rand; the standard version makes the authors' {STEPS}")
    library = _library()
    if not len(images) or eps == 0:
        return images.clone()
    _, _, logits = differentiate(model, images[:1], lambda logits: -margins(logits, labels[:1]))
    classes = logits.shape[1]
    if classes < 4:
        what = f"AutoAttack needs at least 4 classes, the model has {classes}"
        raise OptionError(f"{what}; take apgd(loss=margin)")
    device = generator.device if generator is not None else "cpu"
    seed = int(torch.randint(2**31, (), generator=generator, device=device))
    # The authors' code seeds the global generators, and ends whatever trace function a debugger or a
    # coverage tool has set.
    tracing = sys.gettrace()
    try:
        with torch.random.fork_rng([images.device] if images.device.type == "cuda" else []):
            if version == "standard":
                return _standard(library, model, images, labels, eps, norm, seed, classes, batch)
            torch.manual_seed(seed)
            return _rand(model, images, labels, eps, norm, draws, judge, steps, batch)
    finally:
        sys.settrace(tracing)


def _standard(
    library: Any,
    model: Model,
    images: Images,
    labels: Tensor,
    eps: float,
    norm: str,
    seed: int,
    classes: int,
    batch: int,
) -> Images:
    """All four attacks, as the authors' code runs them. It is of float32."""
    attack = library.AutoAttack(
        lambda points: model(points.to(images.dtype)).float(),
        device=images.device,
        eps=eps,
        norm=NORMS[norm],
        seed=seed,
        version="standard",
    )
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(9, classes - 1)
    adversarial, _ = attack.run_standard_evaluation(images.float(), labels, batch_size=batch)
    return _where_moved(adversarial, images)


def _rand(
    model: Model,
    images: Images,
    labels: Tensor,
    eps: float,
    norm: str,
    draws: int,
    judge: int,
    steps: int,
    batch: int,
) -> Images:
    """APGD with each loss on all images; the points are judged on fresh draws.

    Few images at a time: the averaged model holds all the draws of a step at once.
    """
    runs = import_module("pyautoattack.autopgd_base")
    averaged = Expectation(model, draws, batch=batch)
    pieces = []
    size = max(1, batch // draws)
    for piece, targets in zip(images.split(size), labels.split(size), strict=True):
        lowest = Lowest(piece)
        rows = torch.arange(len(piece), device=piece.device)
        lowest.keep(rows, piece, _judged(model, piece, targets, judge, batch))
        for loss in LOSSES:
            run = runs.APGDAttack(
                lambda points: averaged(points.to(images.dtype)).float(),
                n_iter=steps,
                norm=NORMS[norm],
                eps=eps,
                loss=loss,
                device=images.device,
                logger=getLogger("auto-attack"),
            )
            points = _where_moved(run.perturb(piece.float(), targets, best_loss=True), piece)
            lowest.keep(rows, points, _judged(model, points, targets, judge, batch))
        pieces.append(lowest.points)
    return torch.cat(pieces)


@torch.no_grad()
def _judged(model: Model, points: Images, labels: Tensor, draws: int, batch: int) -> Tensor:
    """The logarithm of the label's mean probability over fresh draws: the lower, the better a point is."""
    answers = Expectation(model, draws, average="probabilities", batch=batch)(points)
    return answers.log_softmax(1).gather(1, labels[:, None])[:, 0]


def _where_moved(adversarial: Tensor, images: Images) -> Images:
    """The attacked images in the type of the clean ones, bit for bit the clean one where nothing moved."""
    changed = (adversarial != images.float()).flatten(1).any(1)
    return torch.where(changed[:, None, None, None], adversarial.to(images.dtype), images)


def _library() -> Any:
    try:
        return import_module("pyautoattack")
    except ImportError as error:
        what = f"autoattack needs pyautoattack ({error})"
        raise OptionError(f"{what}: pip install 'rain-defense[attacks]'") from None
