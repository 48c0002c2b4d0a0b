"""Which part of a defence learns, and what its output should have been."""

from typing import Protocol, runtime_checkable

from torch import nn

from rain.adaptive import with_gradient
from rain.chain import Chain
from rain.defense import Defense, Draw
from rain.errors import RecipeError
from rain.images import Images


@runtime_checkable
class Trainable(Protocol):
    """A defence that can say what its output should have been, so that its enhancer can be trained."""

    def target(self, images: Images, draw: Draw) -> Images:
        """Give the output of a perfect enhancer for this draw."""
        ...


def find_learner(defense: Defense, spec: str) -> Defense:
    """Find the one part of a defence whose enhancer can be trained; what is no chain has itself only.

    Args:
        defense: in which it stands.
        spec: how the recipe writes it.

    Raises:
        RecipeError: there is none, or more than one.
    """
    what = f"defense = {spec!r}"
    enhancing = [part for part in _parts(defense) if _has_enhancer(part)]
    if not enhancing:
        raise RecipeError(f"{what} has no enhancer to train; take rain(enhancer=compact(weights=None))")
    learners = [part for part in enhancing if isinstance(part, Trainable)]
    if not learners:
        advice = "it needs a method target(images, draw)"
        raise RecipeError(f"{what} cannot say what its output should have been: {advice}")
    if len(learners) > 1:
        advice = "a run trains one: leave the others out of the chain, and train each in a run of its own"
        raise RecipeError(f"{what} has {len(learners)} enhancers to train; {advice}")
    return learners[0]


def enhancer_of(learner: Defense) -> nn.Module:
    """The enhancer of a part that ``find_learner`` found."""
    return learner.get_submodule("enhancer")


def passing_gradients(defense: Defense, learner: Defense) -> Defense:
    """The same defence, whose other parts let gradients through, by BPDA where they have none."""
    if defense is learner:
        return defense
    if isinstance(defense, Chain):
        return defense.with_parts([passing_gradients(part, learner) for part in defense.defenses()])
    return with_gradient(defense)


def target_of(defense: Defense, images: Images, draw: Draw) -> Images:
    """Ask a defence what its output should have been.

    Convention: of a chain it is what its parts should have given, one after the other. A part without an
        enhancer harms nothing if it keeps pixels in their places, so that the images are its target; any
        other moves them, and its target is what it gives.

    Raises:
        RecipeError: it cannot say.
    """
    if isinstance(defense, Chain):
        for part, own in defense.with_draws(draw):
            images = _target_within(part, images, own)
        return images
    if not isinstance(defense, Trainable):
        advice = "it needs a method target(images, draw)"
        raise RecipeError(f"{type(defense).__name__} cannot say what its output should have been: {advice}")
    return defense.target(images, draw)


def _target_within(part: Defense, images: Images, draw: Draw) -> Images:
    """What a part of a chain should have given."""
    if isinstance(part, Trainable | Chain):
        return target_of(part, images, draw)
    return images if part.keeps_places else part.transform(images, draw)


def _parts(defense: Defense) -> list[Defense]:
    """The parts of a chain, and of the chains in it; of anything else, itself."""
    if not isinstance(defense, Chain):
        return [defense]
    return [part for each in defense.defenses() for part in _parts(each)]


def _has_enhancer(defense: Defense) -> bool:
    enhancer = getattr(defense, "enhancer", None)
    return isinstance(enhancer, nn.Module) and any(True for _ in enhancer.parameters())
