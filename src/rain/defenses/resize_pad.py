"""Random resizing and padding."""

import torch
import torch.nn.functional as F
from torch import Generator

from rain.defense import Defense, Draw
from rain.images import Images
from rain.options import check_number
from rain.plans import Plan, Uniform
from rain.registry import DEFENSES
from rain.seeding import drawing_from


@DEFENSES.register
class ResizePad(Defense):
    """Shrink each image to a random size, then pad it with black at a random place back to its own size.

    Args:
        smallest: the least size, as a fraction of the side, from 0.01 to 1. The default is the paper's 299 of
            331.

    Raises:
        OptionError: ``smallest`` is out of range.

    Source: Xie et al., "Mitigating adversarial effects through randomization" (arXiv 1711.01991).

    Differs: the paper enlarges (299 to at most 331) for a network that takes 331; here the size stays, so
    that the classifier's own resize does not undo it. Bilinear instead of nearest; one draw for each image
    instead of one for the batch.
    """

    def __init__(self, smallest: float = 299 / 331):
        super().__init__()
        self.smallest = check_number(smallest, "smallest", 0.01, 1)

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw "uniform": (N, 3), for each image its size, top and left, as fractions of what is possible."""
        uniform = torch.rand((images.shape[0], 3), **drawing_from(generator, images.device))
        return {"uniform": uniform.to(images.device)}

    def plan(self) -> dict[str, Plan]:
        """Say how "uniform" is drawn."""
        return {"uniform": Uniform((3,))}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Resize and pad all images in one sampling, whose coordinates are whole-pixel sizes and places."""
        if not images.shape[0]:
            return images.clone()
        uniform = draw["uniform"]
        coordinates = []
        for axis in (2, 1):
            side = images.shape[1 + axis]
            least = max(1, round(self.smallest * side))
            size = (least + uniform[:, 0] * (side - least + 1)).floor().clamp(max=side)[:, None]
            start = (uniform[:, axis, None] * (side - size + 1)).floor().clamp(max=side - 1)
            pixel = torch.arange(side, device=images.device) + 0.5
            coordinates.append((pixel - start) / size * 2 - 1)
        count, _, height, width = images.shape
        across, down = coordinates
        x = across[:, None, :].expand(count, height, width)
        y = down[:, :, None].expand(count, height, width)
        grid = torch.stack([x, y], 3)
        inside = (grid.abs() < 1).all(3)[:, None]
        # Coordinates do not fit into half precision: it knows eight bits of a place among 224.
        wide = images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
        grid = grid.to(wide.dtype)
        sampled = F.grid_sample(wide, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return (sampled * inside).clamp(0, 1).to(images.dtype)
