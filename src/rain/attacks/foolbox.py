"""Attacks of the library foolbox, by name."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from rain.adaptive import Model
from rain.attacks._libraries import Run, Theirs, check_their_norm, constructed, find, library, made
from rain.entries import About
from rain.errors import OptionError
from rain.images import Images
from rain.registry import ATTACKS

POWERS = {"linf": float("inf"), "l2": 2.0}

LABELS = (
    *("BinarizationRefinementAttack", "BinarySearchContrastReductionAttack", "BoundaryAttack"),
    *("GaussianBlurAttack", "HopSkipJumpAttack", "InversionAttack", "LinearSearchBlendedUniformNoiseAttack"),
    *("LinearSearchContrastReductionAttack", "PointwiseAttack", "SaltAndPepperNoiseAttack"),
)
"""Attacks that ask whether an image is fooled, and no more."""

SCORES = ("GenAttack",)


@ATTACKS.register(argument="/NAME")
def foolbox(name: str) -> tuple[Callable[..., Any], About]:
    """An attack of foolbox: foolbox/LinfPGD, or foolbox/LinfPGD(steps=10) with options of its constructor.

    It needs ``pip install foolbox``.

    Args:
        name: of the class in ``foolbox.attacks``.

    Raises:
        UnknownNameError: foolbox has no such attack.
        OptionError: foolbox is not installed, or the attack measures in another norm than the budget.

    Convention: of an attack that looks for the smallest perturbation, an image counts where it came within
        the budget; elsewhere it comes back as it was. All other attacks give what foolbox gives before it
        cuts it to the budget.
    """
    spec = f"foolbox/{name}"
    home = library("foolbox", "foolbox")
    definition: Any = find(home.attacks, name, home.attacks.Attack, spec)
    base = home.attacks.base
    if not issubclass(definition, base.AttackWithDistance):
        raise OptionError(f"attack {spec} has no distance: no budget holds for what it makes")
    theirs = Theirs(
        spec=spec,
        definition=definition,
        given=("distance",),
        minimises=issubclass(definition, base.MinimizationAttack),
        norms=(),
        sees=_sees(definition, home),
        follows=not issubclass(definition, home.attacks.additive_noise.BaseAdditiveNoiseAttack),
        build=lambda *arguments: _build(theirs, home, *arguments),
    )
    return made(theirs, "foolbox")


def _sees(definition: type, home: Any) -> str:
    """What the class tree says, and where it says nothing what is known of the name; else gradients."""
    names = [each.__name__ for each in definition.__mro__]
    if any(name in SCORES for name in names):
        return "scores"
    is_noise = issubclass(definition, home.attacks.additive_noise.BaseRepeatedAdditiveNoiseAttack)
    return "labels" if is_noise or any(name in LABELS for name in names) else "gradients"


def _build(
    theirs: Theirs,
    home: Any,
    model: Model,
    images: Images,
    eps: float,
    norm: str,
    options: Mapping[str, Any],
) -> Run:
    parameters = inspect.signature(theirs.definition).parameters
    distance = home.distances.LpDistance(POWERS[norm])
    more = {"distance": distance} if "distance" in parameters else {}
    attack = constructed(theirs, **options, **more)
    power = getattr(attack.distance, "p", None)
    check_their_norm(theirs.spec, norm, [ours for ours, theirs_ in POWERS.items() if theirs_ == power])
    seen = home.PyTorchModel(model, bounds=(0, 1), device=images.device)
    return partial(_run, attack, seen, eps)


def _run(attack: Any, seen: Any, eps: float, images: Images, labels: Tensor) -> Images:
    raw, _, _ = attack(seen, images, labels, epsilons=eps)
    adversarial: Images = raw
    return adversarial
