"""The targeted variant of any attack: it looks for one wrong answer, not for any."""

from functools import partial
from numbers import Integral

import numpy as np
import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import check_arguments
from rain.attacks._intake import check_labels
from rain.errors import OptionError, shown
from rain.images import Images
from rain.registry import ATTACKS, Traits, load_attack
from rain.seeding import keyword_for

MOST_CLASSES = 10**9

TARGETS = ("least_likely", "second", "next")


@ATTACKS.register(traits=Traits(targeted=True))
def targeted(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    attack: str = "pgd",
    target: str | int | Tensor = "least_likely",
    generator: Generator | None = None,
) -> Images:
    """Drive each image to one class, by an attack that knows nothing of targets.

    The attack is given another model: two logits, the greatest of all other classes and that of the target.
    Where the second is above the first, the classifier says the target, and to the attack the image is
    fooled.

    Args:
        attack: spec of the attack, with its options.
        target: "least_likely" or "second", the likeliest wrong class (of the model's answer to the clean
            image, which costs a query), "next" (the label plus one), the number of a class, or, in
            Python, a tensor, array or list of one for each image; an image of that class is left as it is.
        generator: of the attack.

    Raises:
        OptionError: no such target, or what the attack raises.
        LabelError: the targets are not one class number for each image.

    Source: Carlini and Wagner (arXiv 1608.04644), section III, for the kinds of targets; their loss f6 is the
        difference of these two logits.

    Differs: an attack that ascends the cross-entropy ascends that of the two logits, not that of all classes
        with the target's sign turned.
    """
    check_arguments(norm, eps)
    targets = _targets(model, images, labels, target)
    untargeted = partial(load_attack(attack), eps=eps, norm=norm)
    # An empty batch shows whether the attack takes its options.
    untargeted(lambda empty: empty.flatten(1)[:, :2], images[:0], labels[:0])
    options = keyword_for(untargeted, generator)
    adversarial = images.clone()
    # An attack may drop images from its batch; those with one target in common can share a model all the
    # same.
    for number in targets.unique().tolist():
        rows = ((targets == number) & (labels != number)).nonzero()[:, 0]
        if len(rows):
            zeros = torch.zeros_like(labels[rows])
            points = untargeted(_towards(model, number), images[rows], zeros, **options)
            adversarial[rows] = points.detach()
    return adversarial


def _targets(model: Model, images: Images, labels: Tensor, target: str | int | Tensor) -> Tensor:
    if isinstance(target, Tensor | np.ndarray | list | tuple) and np.ndim(target) > 0:
        return check_labels(target, images, "targets")
    number = target.item() if isinstance(target, Tensor | np.ndarray) else target
    if isinstance(number, Integral) and not isinstance(number, bool) and 0 <= number < MOST_CLASSES:
        return torch.full_like(labels, int(number))
    if not isinstance(target, str) or target not in TARGETS:
        what = f"target must be the number of a class or one of {', '.join(TARGETS)}"
        raise OptionError(f"{what}, got {shown(target)}")
    if not len(images):
        return labels
    with torch.no_grad():
        logits = model(images)
    if target == "next":
        return (labels + 1) % logits.shape[1]
    if target == "least_likely":
        return logits.scatter(1, labels[:, None], torch.inf).argmin(1)
    return logits.scatter(1, labels[:, None], -torch.inf).argmax(1)


def _towards(model: Model, number: int) -> Model:
    """Two logits: of the best other class, and of the target."""

    def two(images: Images) -> Tensor:
        logits = model(images)
        if number >= logits.shape[1]:
            raise OptionError(f"target {number} is none of the model's {logits.shape[1]} classes")
        own = logits[:, number]
        others = torch.cat([logits[:, :number], logits[:, number + 1 :]], 1).amax(1)
        return torch.stack([others, own], 1)

    return two
