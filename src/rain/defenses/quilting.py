"""Image quilting: each patch is replaced by one of a bank of clean patches."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from rain.adaptive import straight_through
from rain.defense import Defense, Draw
from rain.defenses._stitching import stitch
from rain.errors import DatasetError, OptionError
from rain.images import Images, enter
from rain.options import check_integer
from rain.registry import DEFENSES, load_dataset
from rain.seeding import drawing_from, generator_for

SIDE = 224
"""Of the pictures from which the bank is cut, in pixels."""

BANK = 80_000_000
"""Numbers in the bank, at most: a million patches of 5x5, as the authors have."""

ROWS = 512
"""How many patches are compared with the bank at a time."""


@DEFENSES.register
class Quilting(Defense):
    """Replace each patch by one like it from a bank of clean patches; the gradient is BPDA's, the identity.

    It is slow: a second or two for an image of 224x224 on a CPU core.

    Args:
        bank: spec of the dataset from which the bank is cut (``rain list datasets``), "samples" by default.
            Give one that has none of the pictures to be defended: of its own pictures the bank knows every
            patch, and the figure flatters.
        patches: how many the bank holds, 1 to 1000000, 20000 by default, and less where they are large: 80
            million numbers in all. Always the same ones.
        size: side of a patch, in pixels, 3 to 32. The default is Guo's 5.
        neighbors: of so many patches most like the image's, one is drawn, 1 to 100. The default is 10. With
            1, the default of the released code, nothing is random.

    Raises:
        OptionError: an option is out of range, or the bank would have fewer patches than ``neighbors``.
        UnknownNameError, DatasetError: no such bank, or it is empty.

    Convention: patches overlap by half their size, rounded down. Where sides do not fit they are padded by
        repeating their edge, and the result is cropped.

    Source: Guo, Rana, Cisse, van der Maaten (arXiv 1711.00117); Efros, Freeman (SIGGRAPH 2001) for the
        stitching; BPDA after Athalye et al. (arXiv 1802.00420).

    Differs: 20000 patches of twenty pictures, where the authors have a million of ImageNet's training
        pictures. All neighbours are exact, without an index. The cut is Efros' cheapest path through each
        overlap, not a graph cut of both at once.
    """

    keeps_places = True

    def __init__(self, bank: str = "samples", patches: int = 20_000, size: int = 5, neighbors: int = 10):
        super().__init__()
        self.size = check_integer(size, "size", 3, 32)
        self.neighbors = check_integer(neighbors, "neighbors", 1, 100)
        count = check_integer(patches, "patches", 1, 1_000_000)
        if count < self.neighbors:
            raise OptionError(f"patches must be at least neighbors, {neighbors}, got {patches}")
        if 3 * count * self.size**2 > BANK:
            what = f"{count} patches of {self.size} pixels are more than {BANK} numbers"
            raise OptionError(f"patches and size: {what}, which the bank may have")
        if not isinstance(bank, str):
            raise OptionError(f"bank must be the spec of a dataset (rain list datasets), got {bank!r}")
        self.overlap = self.size // 2
        self.random = self.neighbors > 1
        self.bank: Tensor
        self.register_buffer("bank", cut_bank(bank, count, self.size), persistent=False)

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw "uniform" (N, rows, columns): for each patch, which of its neighbours replaces it."""
        if not self.random:
            return {}
        rows, columns = (self._count(side) for side in images.shape[2:])
        shape = (images.shape[0], rows, columns)
        uniform = torch.rand(shape, **drawing_from(generator, images.device))
        return {"uniform": uniform.to(images.device)}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Replace and stitch."""
        return straight_through(lambda values: self._quilt(values, draw.get("uniform")), images)

    def _count(self, side: int) -> int:
        """How many patches cover a side."""
        step = self.size - self.overlap
        return max(1, -(-(side - self.overlap) // step))

    def _quilt(self, images: Images, uniform: Tensor | None) -> Images:
        if not images.shape[0]:
            return images.clone()
        height, width = images.shape[2:]
        step = self.size - self.overlap
        below = self._count(height) * step + self.overlap - height
        right = self._count(width) * step + self.overlap - width
        padded = F.pad(images.float().clamp(0, 1), (0, right, 0, below), mode="replicate")
        windows = padded.unfold(2, self.size, step).unfold(3, self.size, step).permute(0, 2, 3, 1, 4, 5)
        if uniform is None:
            uniform = torch.zeros(windows.shape[:3], device=images.device)
        # One image at a time, so that what is near does not depend on the rest of the batch.
        pairs = zip(windows, uniform, strict=True)
        quilts = [stitch(self._replaced(grid, share)[None], self.overlap) for grid, share in pairs]
        return torch.cat(quilts)[:, :, :height, :width].to(images.dtype)

    def _replaced(self, windows: Tensor, uniform: Tensor) -> Tensor:
        """Patches of the bank for those of one image: (rows, columns, 3, size, size)."""
        bank = self.bank.to(windows)
        lengths = bank.square().sum(1)
        rank = (uniform * self.neighbors).long().clamp_max(self.neighbors - 1).flatten()
        chosen = []
        for piece, ranks in zip(
            windows.flatten(3).flatten(0, 1).flatten(1).split(ROWS), rank.split(ROWS), strict=True
        ):
            # The patch's own length is the same for the whole bank, and is left out of the distance.
            far = torch.addmm(lengths, piece, bank.T, alpha=-2)
            near = far.topk(self.neighbors, dim=1, largest=False).indices
            chosen.append(near.gather(1, ranks[:, None])[:, 0])
        return bank[torch.cat(chosen)].view(windows.shape)


@lru_cache(maxsize=2)
def cut_bank(spec: str, patches: int, size: int) -> Tensor:
    """Cut patches from a dataset, the same for the same arguments: (patches, 3 * size * size).

    Raises:
        DatasetError: there are no pictures.
    """
    dataset = load_dataset(spec)
    if not len(dataset):
        raise DatasetError(f"{spec}: no pictures to cut a bank of patches from")
    generator = generator_for(0, "quilting", spec)
    pictures = min(len(dataset), patches)
    cut: list[Tensor] = []
    for number in range(pictures):
        image = enter(dataset[number * len(dataset) // pictures][0], SIDE)
        count = patches * (number + 1) // pictures - patches * number // pictures
        corners = torch.randint(SIDE - size + 1, (2, count, 1, 1), generator=generator)
        place = torch.arange(size)
        pieces = image[:, corners[0] + place[:, None], corners[1] + place[None, :]]
        cut.append(pieces.movedim(1, 0).flatten(1))
    return torch.cat(cut)
