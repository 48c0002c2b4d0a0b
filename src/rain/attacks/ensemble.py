"""Transfer: images that fool other classifiers, all at once, by any attack."""

from functools import lru_cache
from typing import Any

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import check_arguments
from rain.errors import OptionError
from rain.images import Images
from rain.registry import ATTACKS, CLASSIFIERS, Traits, load_attack, load_classifier
from rain.seeding import keyword_for
from rain.specs import apart

MOST = 32
"""Classifiers, at most: all are kept."""


@ATTACKS.register(traits=Traits(follows=False))
def ensemble(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    classifiers: str = "torchvision/squeezenet1_1",
    attack: str = "pgd(steps=40, confidence=inf)",
    generator: Generator | None = None,
) -> Images:
    """Attack the mean of other classifiers' logits, and hope that it transfers.

    Use it with access "transfer": the model is never asked.

    Args:
        model: not looked at.
        labels: (N,), the right answers, by the numbers of the classes that all the classifiers share with the
            model.
        norm: "linf" or "l2", as far as the attack knows it.
        classifiers: specs of the classifiers, at most 32, joined by "+":
            "torchvision/resnet18+torchvision/squeezenet1_1(weights=PATH)". They are built when there is an
            image to attack, kept, and given images as the model would be; each brings its own preprocessing.
        attack: spec of the attack on their mean. One that stops at the first success transfers badly: give it
            all its steps, if it has a ``confidence``.
        generator: of the attack.

    Raises:
        UnknownNameError: no such classifier or attack.
        OptionError: an argument out of range, an option that a classifier or the attack cannot take,
            classifiers that do not have the same number of classes, or not the classes of the labels.
        WeightsError: a classifier's weights are missing, or do not fit.

    Source: Dong et al. (arXiv 1710.06081), algorithm 2: ensemble in logits, with equal weights; Liu et al.
    (arXiv 1611.02770) for the idea.

    Differs: any attack, where the paper has momentum (mifgsm).
    """
    check_arguments(norm, eps)
    specs = apart(classifiers)
    if len(specs) > MOST:
        raise OptionError(f"classifiers must be at most {MOST}, got {len(specs)}")
    for spec in specs:
        name, _, options = CLASSIFIERS.look_up(spec)
        CLASSIFIERS.check_options(name, options)
    craft = load_attack(attack)

    highest = int(labels.max()) if len(labels) else 0

    def mean(batch: Images) -> Tensor:
        logits = [_classifier(spec, batch.device, batch.dtype)(batch.clone()) for spec in specs]
        classes = [answer.shape[1] for answer in logits]
        if len(set(classes)) > 1:
            counts = ", ".join(map(str, classes))
            raise OptionError(f"classifiers {classifiers}: they have {counts} classes; all need the same")
        if highest >= classes[0]:
            what = f"classifiers {classifiers}: they have {classes[0]} classes"
            raise OptionError(f"{what}, and there is a label {highest}")
        return torch.stack(logits).mean(0)

    surrogate = mean if len(images) else _nothing
    return craft(surrogate, images, labels, eps=eps, norm=norm, **keyword_for(craft, generator))


def _nothing(images: Images) -> Tensor:
    """What stands for the classifiers when an empty batch only asks whether the options can be taken."""
    return images.flatten(1)[:, :2]


@lru_cache(maxsize=16)
def _classifier(spec: str, device: torch.device, dtype: torch.dtype) -> Any:
    # Untrained weights, which nothing may hang on, must not move the global generator.
    with torch.random.fork_rng(devices=[]):
        return load_classifier(spec).eval().requires_grad_(False).to(device, dtype)
