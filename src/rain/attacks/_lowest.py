"""What an attack within a budget keeps: of the points it visited, the one with the lowest margin."""

import torch
from torch import Tensor

from rain.images import Images


class Lowest:
    """For each image the point with the lowest margin so far; the clean image, and infinity, before any.

    Args:
        images: (N, 3, H, W), the clean ones.
        dtype: of the margins.

    Attributes:
        points: (N, 3, H, W), what is returned in the end.
        margins: (N,), theirs; infinite where nobody asked, or the answer was no number.
    """

    def __init__(self, images: Images, dtype: torch.dtype = torch.float32):
        self.points = images.clone()
        self.margins = torch.full((len(images),), torch.inf, device=images.device, dtype=dtype)

    def keep(self, rows: Tensor, points: Images, margins: Tensor) -> None:
        """Keep points, which belong to these rows, where their margins are lower than all before."""
        lower = margins < self.margins[rows]
        self.points[rows[lower]] = points[lower]
        self.margins[rows[lower]] = margins[lower].to(self.margins.dtype)
