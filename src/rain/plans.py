"""How a defence draws, in words and in NumPy: an exported model draws without torch. Never imports torch.

Each class says how one tensor of a draw comes about, and ``sample`` makes it as an array. The distribution is
that of the torch function it stands for; the numbers are not, since the two have other generators.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import permutations
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""An array of NumPy."""

Size = tuple[int, int]
"""Height and width of the images, in pixels."""

ORDERS = np.array(list(permutations(range(4))), dtype=np.uint8)
"""The 24 orders in which four pixels can be taken."""

SIDES = ("height", "width")


@dataclass(frozen=True)
class Plan(ABC):
    """How one tensor of a draw is made.

    Attributes:
        kind: its name in a file.
        type: of the numbers, as NumPy calls it.
    """

    kind: ClassVar[str]
    type: ClassVar[str]

    @abstractmethod
    def sample(self, generator: np.random.Generator, count: int, size: Size, copies: int = 1) -> Array:
        """Draw for a batch.

        Args:
            generator: of the draw.
            count: how many images there are.
            size: their height and width, in pixels.
            copies: the batch is so many repetitions of one, as for ``Defense.spread``.

        Shape: returns (count, ...), or (1, ...) where the images share it.
        """

    @abstractmethod
    def shape_for(self, count: int, size: Size) -> tuple[int, ...]:
        """The shape of what ``sample`` gives."""

    def to_fields(self) -> dict[str, Any]:
        """What a file says of it; not that a cell is one of 2x2, which is all that older releases know."""
        values = asdict(self)
        if values.get("cell") == 2:
            del values["cell"]
        return {"kind": self.kind, **values}


@dataclass(frozen=True)
class Cells(Plan):
    """Which pixels of each cell are kept: ``rain.randomize.draw_choice``, and its spread.

    Args:
        channels: 3 draws for each colour channel apart, 1 draws once for all three.
        keep: how many pixels of a cell are kept, 1 to 4.
        cell: its side in pixels, 2 or 4; of a 4x4 cell one pixel is kept.

    Shape: (N, channels, ceil(H/cell), ceil(W/cell)), integers from 0 to cell * cell - 1; with keep > 1
        keep * 3 channels.

    Raises:
        ValueError: several pixels of a 4x4 cell shall be kept.
    """

    kind = "cells"
    type = "uint8"
    channels: int = 3
    keep: int = 1
    cell: int = 2

    def __post_init__(self) -> None:
        if self.cell != 2 and self.keep != 1:
            raise ValueError(f"keep of a draw is {self.keep!r} of a cell of side {self.cell!r}")

    def shape_for(self, count: int, size: Size) -> tuple[int, ...]:
        """As ``draw_choice`` gives."""
        channels = self.channels if self.keep == 1 else 3 * self.keep
        return count, channels, *_in_cells(size, self.cell)

    def sample(self, generator: np.random.Generator, count: int, size: Size, copies: int = 1) -> Array:
        """Draw; of each four copies in turn, every one keeps other pixels of a cell of 2x2."""
        cells = (self.channels, *_in_cells(size, self.cell))
        if copies == self.keep == 1 or self.cell != 2:
            return generator.integers(0, self.cell * self.cell, (count, *cells), dtype=np.uint8)
        turns = math.ceil(copies / 4)
        number = generator.integers(0, len(ORDERS), (turns, count // copies, *cells), dtype=np.uint8)
        orders = np.moveaxis(ORDERS[number], -1, 1)
        # Copy number c keeps what stands at the places c, c + 1, ... of the order.
        picks = np.stack([np.roll(orders, -place, 1) for place in range(self.keep)], 3)
        picks = picks.reshape(-1, self.keep, *cells)[:count]
        if self.keep > 1:
            picks = np.broadcast_to(picks, (count, self.keep, 3, *cells[1:]))
        return np.ascontiguousarray(picks.reshape(count, -1, *cells[1:]))


@dataclass(frozen=True)
class Offsets(Plan):
    """A circular shift of the smaller picture: ``rain.randomize.draw_offsets``.

    Args:
        fraction: the largest shift, as a fraction of the smaller side, in [0, 1].
        shared: one draw for the whole batch.
        cell: how many times smaller the sides are, 2 or 4.

    Shape: (N or 1, 2), integers (rows, columns).
    """

    kind = "offsets"
    type = "int32"
    fraction: float
    shared: bool = False
    cell: int = 2

    def shape_for(self, count: int, size: Size) -> tuple[int, ...]:
        """As ``draw_offsets`` gives."""
        return 1 if self.shared else count, 2

    def sample(self, generator: np.random.Generator, count: int, size: Size, copies: int = 1) -> Array:
        """Draw each axis uniformly."""
        limits = np.array([int(self.fraction * side + 1e-9) for side in _in_cells(size, self.cell)])
        shape = self.shape_for(count, size)
        return generator.integers(-limits, limits + 1, shape).astype(np.int32)


@dataclass(frozen=True)
class Uniform(Plan):
    """Numbers from [0, 1).

    Args:
        shape: of one image's; "height" and "width" stand for those of the image.
    """

    kind = "uniform"
    type = "float32"
    shape: tuple[int | str, ...]

    def shape_for(self, count: int, size: Size) -> tuple[int, ...]:
        """That of one image, for each of them."""
        return count, *_in_pixels(self.shape, size)

    def sample(self, generator: np.random.Generator, count: int, size: Size, copies: int = 1) -> Array:
        """Draw each number apart."""
        return generator.random(self.shape_for(count, size), dtype=np.float32)


@dataclass(frozen=True)
class Normal(Plan):
    """Numbers of mean 0 and standard deviation 1.

    Args:
        shape: of one image's; "height" and "width" stand for those of the image.
    """

    kind = "normal"
    type = "float32"
    shape: tuple[int | str, ...]

    def shape_for(self, count: int, size: Size) -> tuple[int, ...]:
        """That of one image, for each of them."""
        return count, *_in_pixels(self.shape, size)

    def sample(self, generator: np.random.Generator, count: int, size: Size, copies: int = 1) -> Array:
        """Draw each number apart."""
        return generator.standard_normal(self.shape_for(count, size), dtype=np.float32)


KINDS: dict[str, type[Plan]] = {plan.kind: plan for plan in (Cells, Offsets, Uniform, Normal)}


def of_fields(values: Mapping[str, Any]) -> Plan:
    """Make a plan of what a file says.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """
    definition = KINDS[values["kind"]]
    options = {name: _tuple(value) for name, value in values.items() if name != "kind"}
    plan = definition(**options)
    for field in fields(plan):
        _check(field.name, getattr(plan, field.name))
    return plan


def _check(name: str, value: object) -> None:
    """Raise ``ValueError`` for a value that a plan cannot have."""
    if name == "shared":
        is_right = isinstance(value, bool)
    elif name == "fraction":
        is_right = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    elif name == "cell":
        is_right = type(value) is int and value in (2, 4)
    elif name == "shape":
        is_right = isinstance(value, tuple) and all(_is_side(side) for side in value)
    else:
        is_right = type(value) is int and 1 <= value <= 4
    if not is_right:
        raise ValueError(f"{name} of a draw is {value!r}")


def _in_cells(size: Size, cell: int) -> Size:
    """Height and width in cells, of which the last may be incomplete."""
    return (size[0] + cell - 1) // cell, (size[1] + cell - 1) // cell


def _is_side(side: object) -> bool:
    return side in SIDES or (type(side) is int and 1 <= side <= 10**6)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _in_pixels(shape: tuple[int | str, ...], size: Size) -> tuple[int, ...]:
    """A shape in numbers."""
    sides = dict(zip(SIDES, size, strict=True))
    return tuple(sides[side] if isinstance(side, str) else side for side in shape)
