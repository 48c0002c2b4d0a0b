"""Several attacks, and of what they find the worst for each image."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from rain.adaptive import Expectation, Model
from rain.attacks import check_arguments, check_counts
from rain.attacks._lowest import Lowest
from rain.errors import OptionError
from rain.images import Images
from rain.registry import ATTACKS, Traits, load_attack, options_in_full, traits_of
from rain.seeding import keyword_for
from rain.specs import apart, innermost, write

MOST = 32
"""Attacks, at most."""

ORDER = ("gradients", "scores", "labels")

STOPS = ("never", "fooled", "boundary")
"""From the attack that goes on longest."""


def _traits(options: Mapping[str, Any]) -> Traits:
    """What at least one of the attacks does; it ends as late as the latest, and makes the most steps."""
    specs = apart(str(options["attacks"]))
    every = [traits_of(attack) for attack in specs]
    steps = [_steps(attack) for attack in specs]
    return Traits(
        follows=any(one.follows for one in every),
        sees=min((one.sees for one in every), key=ORDER.index),
        stops=min(map(_stops, specs), key=STOPS.index),
        targeted=all(one.targeted for one in every),
        steps=max(steps) if all(steps) else 0,
        averages=max(one.averages for one in every),
    )


def _stops(attack: str) -> str:
    """Where one of the attacks lets an image go; one that asks for more than a success goes on."""
    return "never" if _option(attack, "confidence") > 0 else traits_of(attack).stops


def _steps(attack: str) -> int:
    return int(_option(attack, "steps")) or traits_of(attack).steps


def _option(attack: str, name: str) -> float:
    """An option of the attack that does the work; 0 where it has none of that name, or leaves it open."""
    value = options_in_full(write(*innermost(attack))).get(name)
    return float(value) if isinstance(value, int | float) else 0.0


@ATTACKS.register(traits=_traits)
def worst(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    attacks: str = "fgsm+pgd",
    judge: int = 20,
    batch: int = 40,
    generator: Generator | None = None,
) -> Images:
    """Make several attacks, and return for each image the point that is worst for the model.

    Args:
        attacks: specs with "+" between them, at most 32: "pgd(steps=40)+apgd(loss=dlr)". Each attacks all the
            images.
        judge: fresh draws on which each point is judged; 1 is enough for a model without randomness.
        batch: images in one forward pass of the judge.
        generator: of the attacks.

    Raises:
        OptionError: an argument out of range, an attack on a gate, and what the attacks raise.

    Convention: the worst point is the one whose label has the lowest mean probability. The clean image is
        one of the points.
    """
    check_arguments(norm, eps)
    check_counts(judge=judge, batch=batch)
    specs = apart(attacks)
    if len(specs) > MOST:
        raise OptionError(f"attacks must be at most {MOST}, got {len(specs)}")
    for spec in specs:
        if traits_of(spec).gate:
            raise OptionError(f"attack {spec!r} is one on a gate: it stands alone")
    inner = [partial(load_attack(spec), eps=eps, norm=norm) for spec in specs]
    judged = Expectation(model, judge, average="probabilities", batch=batch)
    lowest = Lowest(images)
    rows = torch.arange(len(images), device=images.device)
    lowest.keep(rows, images, _label_score(judged, images, labels))
    for attack in inner:
        points = attack(model, images, labels, **keyword_for(attack, generator))
        lowest.keep(rows, points, _label_score(judged, points, labels))
    return lowest.points


@torch.no_grad()
def _label_score(judged: Model, points: Images, labels: Tensor) -> Tensor:
    """The logarithm of the label's mean probability."""
    if not len(points):
        return torch.zeros(0, device=points.device)
    return judged(points).log_softmax(1).gather(1, labels[:, None])[:, 0]
