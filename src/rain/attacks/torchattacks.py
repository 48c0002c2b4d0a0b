"""Attacks of the library torchattacks, by name."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

from rain.adaptive import Model
from rain.attacks._libraries import Run, Theirs, constructed, find, library, made, takes
from rain.entries import About
from rain.images import Images
from rain.registry import ATTACKS

NORMS = {"linf": "Linf", "l2": "L2"}
SCORES = ("OnePixel", "Pixle", "SPSA", "Square")
"""Attacks that go by scores; the class tree says nothing of it."""

BLIND = ("GN", "VANILA")
"""What does not ask the model."""


@ATTACKS.register(argument="/NAME")
def torchattacks(name: str) -> tuple[Callable[..., Any], About]:
    """An attack of torchattacks: torchattacks/PGD, or torchattacks/PGD(steps=10), options of its constructor.

    It needs ``pip install torchattacks``.

    Args:
        name: of the class in ``torchattacks``.

    Raises:
        UnknownNameError: torchattacks has no such attack.
        OptionError: torchattacks is not installed, or the attack measures in another norm than the budget.

    Convention: the norm is the one that the attack's text calls its distance measure. Where an attack takes
        no eps, an image counts where it came within the budget; elsewhere it comes back as it was. What takes
        a seed gets one of the chunk's.

    Differs: torchattacks' AutoAttack is weaker than the authors', which is ``autoattack``.
    """
    spec = f"torchattacks/{name}"
    home = library("torchattacks", "torchattacks")
    definition = find(home, name, library("torchattacks.attack", "torchattacks").Attack, spec)
    measures = _measures(definition)
    theirs = Theirs(
        spec=spec,
        definition=definition,
        given=("model", "eps", "norm", "seed"),
        minimises=bool(measures) and "eps" not in inspect.signature(definition).parameters,
        norms=measures,
        sees="scores" if name in SCORES else "gradients",
        follows=name not in BLIND,
        build=lambda *arguments: _build(theirs, *arguments),
    )
    return made(theirs, "torchattacks")


def _measures(definition: type) -> list[str]:
    """The norms in which an attack says that it measures, as we call them; empty where it says nothing."""
    text = re.search(r"Distance Measure\s*:(.*)", definition.__doc__ or "")
    return [name.lower() for name in re.findall(r"L(?:inf|\d)", text[1])] if text else []


def _build(
    theirs: Theirs, model: Model, images: Images, eps: float, norm: str, options: Mapping[str, Any]
) -> Run:
    more: dict[str, Any] = {"eps": eps, "norm": NORMS[norm]}
    if takes(theirs, ["seed"]):
        more["seed"] = int(torch.randint(2**31, ()))
    attack = constructed(theirs, model, **options, **{key: more[key] for key in takes(theirs, more)})
    attack.set_device(images.device)
    run: Run = attack
    return run
