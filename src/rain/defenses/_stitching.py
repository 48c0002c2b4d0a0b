"""Patches put side by side along the cuts at which they differ least (Efros, Freeman)."""

import torch
from torch import Tensor

from rain.images import Images


def stitch(patches: Tensor, overlap: int) -> Images:
    """Put a grid of overlapping patches together, left to right, then top to bottom.

    Where a patch overlaps those before it, it begins behind the cut along which the two differ least.

    Args:
        patches: (N, rows, columns, C, size, size).
        overlap: of neighbours, in pixels, from 1 to half the size of a patch.

    Shape: returns (N, C, H, W), where H = rows * (size - overlap) + overlap, and W likewise.

    Source: Efros, Freeman, "Image quilting for texture synthesis and transfer" (SIGGRAPH 2001).
    """
    count, rows, columns, channels, size, _ = patches.shape
    step = size - overlap
    canvas = patches.new_zeros((count, channels, rows * step + overlap, columns * step + overlap))
    within = torch.arange(size, device=patches.device)
    # A patch needs those on its left and above, the last of which is one column further. Patches with the
    # same 2 * row + column neither need nor touch each other.
    for wave in range(2 * rows + columns - 2):
        row = torch.arange(rows, device=patches.device)
        row = row[(wave - 2 * row >= 0) & (wave - 2 * row < columns)]
        column = wave - 2 * row
        if not len(row):
            continue
        down = (row * step)[:, None, None] + within[:, None]
        right = (column * step)[:, None, None] + within[None, :]
        before = canvas[:, :, down, right].movedim(2, 1)
        after = patches[:, row, column]
        fresh = _behind_cuts(before, after, overlap, row > 0, column > 0)
        canvas[:, :, down, right] = torch.where(fresh, after, before).movedim(1, 2)
    return canvas


def _behind_cuts(before: Tensor, after: Tensor, overlap: int, below: Tensor, beside: Tensor) -> Tensor:
    """Where the new patch counts: (N, patches, 1, size, size)."""
    error = (before - after).square().sum(2)
    fresh = torch.ones_like(error, dtype=torch.bool)
    left = behind_cut(error[..., :overlap])
    above = behind_cut(error[..., :overlap, :].transpose(-1, -2)).transpose(-1, -2)
    fresh[..., :overlap] &= left | ~beside[:, None, None]
    fresh[..., :overlap, :] &= above | ~below[:, None, None]
    return fresh[:, :, None]


def behind_cut(error: Tensor) -> Tensor:
    """Cut a band from top to bottom where the summed error is least, one column further at most each row.

    Args:
        error: (..., rows, columns).

    Shape: returns (..., rows, columns), true from the cut on to the right.
    """
    rows, columns = error.shape[-2:]
    costs = [error[..., 0, :]]
    for row in range(1, rows):
        costs.append(error[..., row, :] + _around(costs[-1]).amin(-1))
    place = costs[-1].argmin(-1, keepdim=True)
    cut = [place]
    for row in range(rows - 2, -1, -1):
        choice = _around(costs[row]).gather(-2, place[..., None].expand(*place.shape, 3)).argmin(-1)
        place = place + choice - 1
        cut.append(place)
    cuts = torch.stack(cut[::-1], -2)
    return torch.arange(columns, device=error.device) >= cuts


def _around(costs: Tensor) -> Tensor:
    """The costs of the columns on the left, here and on the right: (..., columns, 3)."""
    edge = torch.full_like(costs[..., :1], torch.inf)
    return torch.cat([edge, costs, edge], -1).unfold(-1, 3, 1)
