"""Chain: defences one after the other, as one defence."""

import math
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Generator, Tensor, nn

from rain.defense import Classify, Defense, Draw
from rain.detector import Detector
from rain.errors import ImageError, OptionError, kind_of
from rain.images import Images
from rain.lattice import LatticeNoise
from rain.plans import Plan
from rain.registry import load_defense

Value = TypeVar("Value")

MOST = 32
"""Parts, at most."""


class Chain(Defense):
    """Defences one after the other: each gets the images that the one before it gives.

    Args:
        parts: at least one; each a spec (``rain list defenses``) or a ``Defense``. Only the last may have an
            answer of its own, such as the mean over crops.

    Attributes:
        parts: the defences, in their order.

    Raises:
        OptionError: there is no part, one is no defence, or a detector such as a gate, or one answers itself
            and is not the last.
        UnknownNameError: no such defence.

    Convention: the size of what a part gives depends on the size of its images only. A chain's draw holds
        that of each part, as "part1_NAME", "part2_NAME".
    """

    def __init__(self, *parts: str | Defense):
        super().__init__()
        if not parts:
            raise OptionError('a chain needs at least one defence, Chain("jpeg", "rain")')
        if len(parts) > MOST:
            raise OptionError(f"a chain has at most {MOST} defences, got {len(parts)}")
        defenses = [_defense(part) for part in parts]
        _check_parts(defenses)
        self.parts = nn.ModuleList(defenses)
        self._sizes: dict[tuple[int, int, int], tuple[int, int]] = {}
        of_chance = [part for part in defenses if part.random]
        self.random = bool(of_chance)
        self.independent = all(part.independent for part in of_chance)
        self.turn = math.lcm(*(part.turn for part in defenses))
        self.differentiable = all(part.differentiable for part in defenses)

    def defenses(self) -> list[Defense]:
        """The parts, in their order."""
        return [part for part in self.parts if isinstance(part, Defense)]

    def with_draws(self, draw: Draw) -> list[tuple[Defense, Draw]]:
        """The parts, in their order, each with what it drew, by its own names."""
        return [(part, _part_of(draw, place)) for place, part in enumerate(self.defenses())]

    @property
    def answers_itself(self) -> bool:
        """Whether the last part does."""
        return self.defenses()[-1].answers_itself

    @property
    def smoothing(self) -> LatticeNoise | None:
        """The noise of the first part: what comes after it cannot undo it."""
        return self.defenses()[0].smoothing

    @property
    def ablating(self) -> int | None:
        """The cells of the first part: nothing after it sees the pixels that were left out."""
        return self.defenses()[0].ablating

    def with_parts(self, parts: list[Defense]) -> "Chain":
        """The same chain with others in the places of its parts."""
        return Chain(*parts)

    def meet(self, classifier: nn.Module) -> None:
        """Show the classifier to each part."""
        for part in self.defenses():
            part.meet(classifier)

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw for each part, in their order, for images of the size that it will get."""
        draws: dict[str, Tensor] = {}
        for place, part in enumerate(self.defenses()):
            own = part.draw(self._entering(images, place), generator)
            draws |= _prefixed(own, place)
        return draws

    def spread(self, images: Images, copies: int, generator: Generator | None = None) -> Draw:
        """Draw for each part as it spreads its draws over the copies of a batch."""
        draws: dict[str, Tensor] = {}
        for place, part in enumerate(self.defenses()):
            own = part.spread(self._entering(images, place), copies, generator)
            draws |= _prefixed(own, place)
        return draws

    def plan(self) -> dict[str, Plan]:
        """Say how each part draws; all of them are taken to get images of one size."""
        plans: dict[str, Plan] = {}
        for place, part in enumerate(self.defenses()):
            plans |= _prefixed(part.plan(), place)
        return plans

    def transform(self, images: Images, draw: Draw) -> Images:
        """Apply the parts, one after the other."""
        for part, own in self.with_draws(draw):
            images = part.transform(images, own)
        return images

    def stages(self, images: Images, draw: Draw) -> dict[str, Images]:
        """Name the pictures on the way: those of the last part as it does, those before with ``part1_``."""
        pictures: dict[str, Images] = {}
        last = len(self.parts) - 1
        for place, part in enumerate(self.defenses()):
            own = part.stages(images, _part_of(draw, place))
            pictures |= own if place == last else _prefixed(own, place)
            images = list(own.values())[-1]
        return pictures

    def answer(self, classify: Classify, images: Images, draw: Draw, *, copies: int = 1) -> Tensor:
        """Answer as the last part does to what those before it give; logits (N, classes)."""
        *before, (last, last_draw) = self.with_draws(draw)
        for part, own in before:
            images = part.transform(images, own)
        return last.answer(classify, images, last_draw, copies=copies)

    def _entering(self, images: Images, place: int) -> Images:
        """Images of the shape that a part gets, for its draw; the first gets the images themselves."""
        size = self._size_before(place, (images.shape[2], images.shape[3]), images)
        if size == tuple(images.shape[2:]):
            return images
        return images.new_zeros((*images.shape[:2], *size))

    def _size_before(self, place: int, size: tuple[int, int], images: Images) -> tuple[int, int]:
        """Height and width of what enters a part, tried once for each size on a grey picture."""
        if place == 0:
            return size
        key = (place, *size)
        if key not in self._sizes:
            part = self.defenses()[place - 1]
            before = self._size_before(place - 1, size, images)
            with torch.no_grad():
                grey = images.new_full((1, 3, *before), 0.5)
                output = part.transform(grey, part.draw(grey, torch.Generator().manual_seed(0)))
            if output.ndim != 4 or output.shape[:2] != (1, 3):
                what = f"{type(part).__name__} gives {tuple(output.shape)} for {tuple(grey.shape)}"
                raise ImageError(f"{what}: the part behind it in the chain needs images")
            self._sizes[key] = (output.shape[2], output.shape[3])
        return self._sizes[key]


def _defense(part: object) -> Defense:
    if isinstance(part, str):
        return load_defense(part)
    if not isinstance(part, Defense):
        needed = "names (rain list defenses) or instances of rain.Defense"
        raise OptionError(f"the parts of a chain are {needed}, got {kind_of(part)}")
    return part


def _check_parts(parts: list[Defense]) -> None:
    for place, part in enumerate(parts):
        name = type(part).__name__
        if isinstance(part, Detector) and part.overrules:
            advice = "put the gate around it, gated(defense=chain(parts=...))"
            raise OptionError(
                f"part {place + 1} of the chain is gated, and a chain may not hold a gate: {advice}"
            )
        if isinstance(part, Detector):
            what = f"part {place + 1} of the chain, {name}, raises alarms, which a chain would lose"
            raise OptionError(f"{what}: put it before the classifier alone")
        if part.answers_itself and place < len(parts) - 1:
            raise OptionError(f"part {place + 1} of the chain, {name}, answers itself: put it last")


def _prefixed(parts: Mapping[str, Value], place: int) -> dict[str, Value]:
    return {f"part{place + 1}_{name}": value for name, value in parts.items()}


def _part_of(draw: Draw, place: int) -> Draw:
    """What a part drew, by its own names."""
    prefix = f"part{place + 1}_"
    return {name.removeprefix(prefix): tensor for name, tensor in draw.items() if name.startswith(prefix)}
