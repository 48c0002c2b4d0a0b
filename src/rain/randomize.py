"""SRd, structured randomisation, as pure functions of (images, draw), and the functions that draw.

Source: RAIN (arXiv 2004.14798), section 3.1: random down-sampling (RdmDU) and random circular shift (RdmSCS).

Convention:
    The functions named ``draw_*`` are the only place where anything is random. They draw on the generator's
    device and move the draw to the images, so that a CPU generator gives the same draw for images on a GPU.
    Without a generator they draw what nobody can foresee (``rain.seeding``). Everything else is exact,
    differentiable in ``images``, and made of gathers: there is no loop over images.
"""

import math
from itertools import permutations

import torch
from torch import Generator, Tensor

from rain.errors import ImageError, OptionError, shown
from rain.images import Images, resample
from rain.seeding import drawing_from
from rain.tracing import value_of

ORDERS = torch.tensor(list(permutations(range(4))))
"""The 24 orders in which four pixels can be taken."""

SIDES = (2, 4)
"""Sides of a cell, in pixels."""


def draw_choice(
    images: Images,
    generator: Generator | None = None,
    *,
    channels: int = 3,
    keep: int = 1,
    copies: int = 1,
    cell: int = 2,
) -> Tensor:
    """Draw which pixels of each cell are kept, uniformly and independently for every image and cell.

    Args:
        images: (N, 3, H, W); only its shape and device are used.
        channels: 3 draws for each colour channel apart (as released), 1 draws once for all three.
        keep: how many different pixels of a cell are kept, 1 (as released) to 4.
        copies: the batch is so many repetitions of one, each of which alone is drawn as said; but of the
            first four copies, the next four, and so on, each takes other pixels of a cell, so that their mean
            is nearer to the expectation. In cells of 4x4 all copies are drawn apart.
        cell: side of a cell in pixels, 2 (as released) or 4, of which one pixel is kept.

    Shape: returns (N, channels, ceil(H/cell), ceil(W/cell)), integers from 0 to cell * cell - 1; with
        keep > 1 (N, keep * 3, ceil(H/2), ceil(W/2)), one pick after the other.

    Raises:
        OptionError: there are no cells of that side, or several pixels of a 4x4 cell shall be kept.
    """
    _check_cell(cell)
    count, _, height, width = images.shape
    cells = (channels, (height + cell - 1) // cell, (width + cell - 1) // cell)
    if cell != 2:
        if keep > 1:
            raise OptionError(f"of a cell of {cell}x{cell} one pixel is kept, and keep is {shown(keep)}")
        return _randint(0, cell * cell, (count, *cells), images, generator)
    if copies == keep == 1:
        return _randint(0, 4, (count, *cells), images, generator)
    turns = math.ceil(copies / 4)
    number = _randint(0, len(ORDERS), (turns, count // copies, *cells), images, generator)
    orders = ORDERS.to(images.device)[number].movedim(-1, 1)
    # Copy number c keeps what stands at the places c, c + 1, ... of the order.
    picks = torch.stack([orders.roll(-place, 1) for place in range(keep)], 3).flatten(0, 2)[:count]
    if keep > 1:
        picks = picks.expand(-1, -1, 3, -1, -1)
    return picks.flatten(1, 2).contiguous()


def pick(images: Images, choice: Tensor, cell: int = 2) -> Images:
    """Keep one pixel of each cell, or several: down-sampling that an attacker cannot foresee.

    Args:
        images: (N, 3, H, W).
        choice: (N, 3 or 1, h, w), or (N, keep * 3, h, w) for several, integers from 0 to cell * cell - 1,
            row-major in the cell (of 2x2: 0 top left, 1 top right, 2 bottom left, 3 bottom right).
        cell: its side in pixels, 2 or 4.

    Shape: returns (N, 3, h, w), or (N, keep * 3, h, w): as many pictures, one after the other.

    Convention:
        A height or width that is no multiple of ``cell`` leaves a part of a cell at the bottom or right.
        With h = ceil(H/cell), as ``draw_choice`` gives, what is missing repeats the edge pixel; with
        h = H // cell the incomplete cell is dropped.

    Raises:
        ImageError: ``choice`` does not fit the images, is not made of integers, or leaves the cell.
        OptionError: there are no cells of that side.

    Source: RAIN, section 3.1, RdmDU. Differs: the release loops over boolean masks; the result is the same.
    """
    _check_cell(cell)
    count, channels, height, width = images.shape
    if choice.ndim != 4 or choice.shape[0] != count or (choice.shape[1] != 1 and choice.shape[1] % channels):
        shapes = f"({count}, {channels} or 1, H/{cell}, W/{cell}), or a multiple of {channels}"
        raise ImageError(f"choice must be {shapes}, got {tuple(choice.shape)}")
    rows, columns = choice.shape[2:]
    end, last = cell - 1, cell * cell - 1
    fits = rows in (height // cell, (height + end) // cell)
    if not fits or columns not in (width // cell, (width + end) // cell):
        raise ImageError(f"choice of {rows} x {columns} cells does not fit images of {height} x {width}")
    _check_integers(choice, "choice")
    if choice.numel() and value_of(((choice < 0) | (choice > last)).any()):
        raise ImageError(f"choice must hold integers 0-{last}")
    choice = choice.long()
    bits = cell.bit_length() - 1  # the upper bits of a place are its row, the lower ones its column
    row = torch.arange(rows, device=images.device)[:, None] * cell + (choice >> bits)
    column = torch.arange(columns, device=images.device) * cell + (choice & end)
    index = row.clamp(max=height - 1) * width + column.clamp(max=width - 1)
    flat = index.flatten(2)
    if choice.shape[1] == 1:
        flat = flat.expand(-1, channels, -1)
    pictures = images.repeat(1, flat.shape[1] // channels, 1, 1)
    return _gather(pictures, flat).unflatten(2, (rows, columns))


def draw_offsets(
    images: Images, generator: Generator | None = None, *, fraction: float = 0.05, shared: bool = False
) -> Tensor:
    """Draw a circular shift, each axis an integer uniform in +-floor(fraction * side).

    Args:
        images: (N, 3, H, W); only its shape and device are used.
        fraction: of the side, in [0, 1]: 0.05 gives +-5 pixels at 112 and +-2 at 48.
        shared: one draw for the whole batch, as the release does, instead of one for each image.

    Shape: returns (N or 1, 2), integers (rows, columns).
    """
    count, _, height, width = images.shape
    limits = [int(fraction * side + 1e-9) for side in (height, width)]
    shape = (1 if shared else count, 1)
    return torch.cat([_randint(-limit, limit + 1, shape, images, generator) for limit in limits], 1)


def shift(images: Images, offsets: Tensor) -> Images:
    """Shift circularly: what leaves on one side comes back on the other.

    Args:
        images: (N, 3, H, W).
        offsets: (N or 1, 2), integers (rows, columns); signs as in ``torch.roll``: positive moves down and to
            the right.

    Shape: returns (N, 3, H, W).

    Raises:
        ImageError: ``offsets`` does not fit the images or is not made of integers.

    Source: RAIN, section 3.1, RdmSCS. Differs: each image may have its own shift; the release has one for the
        batch.
    """
    _check_offsets(images, offsets)
    height, width = images.shape[2:]
    row = _wrapped(torch.arange(height, device=images.device) - offsets[:, :1].long(), height)
    column = _wrapped(torch.arange(width, device=images.device) - offsets[:, 1:].long(), width)
    return _take(images, row, column)


def _wrapped(place: Tensor, side: int) -> Tensor:
    """The place within a side at which one that left it comes back."""
    # The side as a tensor: ONNX's exporter takes no number here that is free in the graph.
    return place % torch.arange(side, side + 1, device=place.device)


def mend(images: Images, offsets: Tensor) -> Images:
    """Mend the seam of a circular shift.

    What came back on the other side gives way to the mirror image of what stands beside it. A classifier
    takes the seam for an edge and the strip for a part of something, and answers wrongly more often than the
    shift alone makes it.

    Args:
        images: (N, 3, H, W), shifted circularly.
        offsets: (N or 1, 2), integers (rows, columns): the shift that was made, each less than half of its
            side.

    Shape: returns (N, 3, H, W).

    Raises:
        ImageError: ``offsets`` does not fit the images, is not made of integers, or shifts by half of a side
            or more.

    Source: ours; in the paper and its release the seam stays.
    """
    _check_offsets(images, offsets)
    height, width = images.shape[2:]
    too_far = (2 * offsets[:, 0].abs() >= height) | (2 * offsets[:, 1].abs() >= width)
    if value_of(too_far.any()):
        what = "a shift of half of the side or more leaves nothing to mirror"
        raise ImageError(f"{what} in images of {height} x {width}")
    return _take(images, _mirrored(height, offsets[:, :1].long()), _mirrored(width, offsets[:, 1:].long()))


def _mirrored(side: int, offset: Tensor) -> Tensor:
    """Where to take each place of a shifted side from.

    A place of the picture stays; one of the strip is mirrored at the edge between the two.
    """
    place, last = torch.arange(side, device=offset.device), offset + side - 1
    mirrored_at_the_end = torch.where(place > last, 2 * last - place, place)
    return torch.where(place < offset, 2 * offset - place, mirrored_at_the_end)


def _take(images: Images, row: Tensor, column: Tensor) -> Images:
    """Build images from the rows (N or 1, H) and columns (N or 1, W) of others."""
    height, width = images.shape[2:]
    index = (row[:, :, None] * width + column[:, None, :]).flatten(1)
    flat = index[:, None, :].expand(*images.shape[:2], -1)
    return _gather(images, flat).unflatten(2, (height, width))


def _gather(images: Tensor, index: Tensor) -> Tensor:
    """Take pixels (N, C, K) of images (N, C, H, W); the index counts along the rows of each channel."""
    if not torch.compiler.is_exporting():
        return images.flatten(2).gather(2, index)
    # Runtimes look one list up four times as fast as many at a time.
    count, channels, height, width = images.shape
    area = height * width
    first = torch.arange(0, count * channels * area, area, device=index.device)
    places = index + first.unflatten(0, (count, channels))[:, :, None]
    return images.flatten().index_select(0, places.flatten()).view_as(index)


def draw_size(
    images: Images, generator: Generator | None = None, *, scale: tuple[float, float] = (1.5, 2.5)
) -> Tensor:
    """Draw the size of a random-scale down-sampling: one for the whole batch, since a batch has one shape.

    Args:
        images: (N, 3, H, W); only its shape and device are used.
        scale: the least and the greatest factor; the factor is uniform between the two, and both sides use
            the same.

    Shape: returns (2,), integers (height, width), each side / factor, rounded, at least 1. Always on the CPU:
        it is a shape.
    """
    low, high = scale
    uniform = torch.rand((), dtype=torch.float64, **drawing_from(generator, torch.device("cpu"))).cpu()
    factor = low + (high - low) * uniform
    sides = torch.tensor(images.shape[2:], dtype=torch.float64)
    return (sides / factor).round().clamp_min(1).long()


def resize(images: Images, size: Tensor | tuple[int, int]) -> Images:
    """Resize to ``size`` = (height, width): bicubic, as ``rain.images.resample``."""
    height, width = (int(side) for side in size)
    return resample(images, (height, width))


def _randint(
    low: int, high: int, shape: tuple[int, ...], images: Images, generator: Generator | None
) -> Tensor:
    return torch.randint(low, high, shape, **drawing_from(generator, images.device)).to(images.device)


def _check_cell(cell: object) -> None:
    if type(cell) is not int or cell not in SIDES:
        raise OptionError(f"cell must be 2 or 4, the side of a cell in pixels, got {shown(cell)}")


def _check_offsets(images: Images, offsets: Tensor) -> None:
    count = images.shape[0]
    if offsets.ndim != 2 or offsets.shape[0] not in (1, count) or offsets.shape[1] != 2:
        raise ImageError(f"offsets must be ({count} or 1, 2), got {tuple(offsets.shape)}")
    _check_integers(offsets, "offsets")


def _check_integers(draw: Tensor, what: str) -> None:
    if draw.dtype.is_floating_point or draw.dtype.is_complex or draw.dtype == torch.bool:
        raise ImageError(f"{what} must hold integers, got {draw.dtype}")
