"""Attacks of ART, the Adversarial Robustness Toolbox, by name."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rain.adaptive import Model
from rain.attacks._libraries import Run, Theirs, constructed, find, library, made, takes
from rain.entries import About
from rain.images import Images
from rain.registry import ATTACKS

PACKAGE = "adversarial-robustness-toolbox"
POWERS = {"linf": float("inf"), "l2": 2}
GIVEN = ("eps", "norm", "verbose", "summary_writer", "targeted")

LABELS = ("BoundaryAttack", "GeoDA", "GRAPHITEBlackbox", "HopSkipJump", "SignOPTAttack")
SCORES = ("PixelAttack", "SimBA", "SquareAttack", "ThresholdAttack", "ZooAttack")
"""Attacks that need no gradients."""


@ATTACKS.register(argument="/NAME")
def art(name: str) -> tuple[Callable[..., Any], About]:
    """An attack of ART: art/SquareAttack, or art/SquareAttack(max_iter=100) with options of its constructor.

    It needs ``pip install adversarial-robustness-toolbox``.

    Args:
        name: of the class in ``art.attacks.evasion``.

    Raises:
        UnknownNameError: ART has no such attack.
        OptionError: ART is not installed, or the attack does not take the options.

    Convention: ART is given logits, and cross-entropy for the loss. It asks the model once more, for the
        number of classes. Where an attack takes no eps, an image counts where it came within the budget;
        elsewhere it comes back as it was. Attacks are not targeted.
    """
    spec = f"art/{name}"
    home = library("art.attacks.evasion", PACKAGE)
    definition: Any = find(home, name, library("art.attacks", PACKAGE).EvasionAttack, spec)
    first, *_ = inspect.signature(definition).parameters
    theirs = Theirs(
        spec=spec,
        definition=definition,
        given=(first, *GIVEN),
        minimises="eps" not in inspect.signature(definition).parameters,
        norms=(),
        sees=_sees(definition),
        follows=True,
        build=lambda *arguments: _build(theirs, *arguments),
    )
    return made(theirs, PACKAGE)


def _sees(definition: Any) -> str:
    """What is known of an attack's name, or else gradients: the class tree does not say it of all."""
    if definition.__name__ in LABELS:
        return "labels"
    return "scores" if definition.__name__ in SCORES else "gradients"


def _build(
    theirs: Theirs, model: Model, images: Images, eps: float, norm: str, options: Mapping[str, Any]
) -> Run:
    classification = library("art.estimators.classification", PACKAGE)
    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    seen = classification.PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        tuple(images.shape[1:]),
        classes,
        clip_values=(0, 1),
        device_type="gpu" if images.device.type == "cuda" else "cpu",
    )
    more = {"eps": eps, "norm": POWERS[norm], "verbose": False, "targeted": False}
    attack = constructed(theirs, seen, **options, **{key: more[key] for key in takes(theirs, more)})
    return partial(_run, attack)


def _run(attack: Any, images: Images, labels: Tensor) -> Images:
    adversarial = attack.generate(images.cpu().numpy(), labels.cpu().numpy())
    return torch.as_tensor(adversarial, dtype=images.dtype).to(images.device)
