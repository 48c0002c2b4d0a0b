"""The attacker of a training run: which images are attacked, and what an attack sees of the model."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn

from rain.adaptive import Model
from rain.defense import Defense, Draw
from rain.errors import RecipeError
from rain.images import Images
from rain.registry import load_attack, options_in_full, own_traits
from rain.specs import number, parse
from rain.training.recipe import Config

Attack = Callable[..., Images]
"""``attack(model, images, labels, eps=..., norm=...)`` gives the attacked images."""


def build_attack(spec: str) -> "partial[Images]":
    """Build an attack that makes all its steps, unless the spec says how sure of success it must be.

    One that stops at a lucky draw would teach little.
    """
    stops_early = own_traits(spec).stops == "fooled" and "confidence" in options_in_full(spec)
    left_open = "confidence" not in parse(spec)[1]
    more: dict[str, Any] = {"confidence": math.inf} if stops_early and left_open else {}
    return load_attack(spec, **more)


def attacker_text(config: Config) -> str:
    """Say what the attacker of a run's "robust" knew: attack, access, budget and draws."""
    access, draw = config.access, "one draw"
    if config.access == "adaptive" and config.moves_enhancer:
        access = f"adaptive, eot {config.eot}"
    if config.access == "known":
        draw = "one draw, which the attacker knows"
    return f"{config.attack}, {access}, eps {number(config.eps)} ({config.norm}), {draw}"


def evenly_chosen(share: float, first: int, count: int) -> Tensor:
    """Choose a share of the samples ``first`` to ``first + count``: booleans (count,).

    Over all samples of a run they are spread evenly, so that the share is kept however small a part is asked
    about.
    """
    samples = range(first, first + count)
    return torch.tensor([math.floor(share * (n + 1)) > math.floor(share * n) for n in samples])


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Hold a module in eval mode, without gradients for its weights, for the work inside."""
    was_training = module.training
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    module.eval().requires_grad_(False)
    try:
        yield
    finally:
        module.train(was_training)
        for parameter in learning:
            parameter.requires_grad_(True)


class RandomPipeline:
    """The classifier behind the defence with fresh draws, as an adaptive attacker sees it.

    It is the model itself and no copy, and a ``rain.adaptive.RandomModel``.

    Args:
        classify: from images to logits, without the defence.
        defense: whose draws are averaged over.
        generator: of all draws.
    """

    def __init__(self, classify: Model, defense: Defense, generator: Generator):
        self.classify, self.defense, self.generator = classify, defense, generator
        self.independent, self.turn = defense.independent, defense.turn

    def __call__(self, images: Images, *, copies: int = 1) -> Tensor:
        """Classify with the generator's next draw; ``copies`` as for ``Defense.spread``."""
        draw = self.defense.spread(images, copies, self.generator)
        return self.classify(self.defense.transform(images, draw))


def behind_draw(classify: Model, defense: Defense, draw: Draw, chosen: Tensor) -> Model:
    """The classifier behind one draw, as an attacker sees it who knows the draw.

    Args:
        classify: from images to logits, without the defence.
        defense: takes the draw.
        draw: of a whole batch.
        chosen: (N,), booleans: the images of the batch that are attacked.

    Returns: a function that classifies all the attacked images; it raises ``RecipeError`` for other ones.
    """
    count = int(chosen.sum())
    own_draw = {name: _of_chosen(tensor, chosen) for name, tensor in draw.items()}

    def classify_chosen(images: Images) -> Tensor:
        if len(images) != count:
            needs = "an attack that asks about all images at each step, such as pgd(confidence=inf)"
            raise RecipeError(f'access = "known" needs {needs}')
        return classify(defense.transform(images, own_draw))

    return classify_chosen


def _of_chosen(tensor: Tensor, chosen: Tensor) -> Tensor:
    """What was drawn for the chosen images; what belongs to the whole batch stays."""
    is_per_image = tensor.ndim > 1 and len(tensor) == len(chosen)
    return tensor[chosen] if is_per_image else tensor
