"""What a run rests on and does not move: digests by which it finds that again when it goes on."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from rain.checkpoints import digest
from rain.training.recipe import Config
from rain.training.sources import Labelled, OfFiles, Sources

MOST_SIZES = 1000
"""Files whose size is asked for, of each dataset: a file server takes a while for a million."""


class DigestedSources(Sources):
    """Sources that digest what is read of them.

    Convention: over the pixels as bytes, the sizes and the labels, in the order of reading. What is made of
    the pixels may differ by rounding from one machine to another.
    """

    def __init__(self, specs: tuple[str, ...]):
        super().__init__(specs)
        self._total = hashlib.sha256()

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Read one (image (3, H, W) in [0, 1], label; -1 without labels)."""
        image, label = super().__getitem__(index)
        pixels = (image * 255).round().to(torch.uint8).contiguous()
        self._total.update(f"{tuple(pixels.shape)} {label}\n".encode())
        self._total.update(pixels.numpy().tobytes())
        return image, label

    def digest(self) -> str:
        """Digest what was read so far: the first 16 hex digits of a SHA-256."""
        return self._total.hexdigest()[:16]


def listed_digest(sources: Sources) -> str:
    """Digest what a run learns from without reading it: the first 16 hex digits of a SHA-256.

    Convention: over the labels and names of the files, and the sizes of at most ``MOST_SIZES`` spread ones.
    Where the files lie is not in it, so that a folder may be moved.
    """
    total = hashlib.sha256()
    for part in sources.parts:
        if isinstance(part, Labelled):
            total.update(f"{list(part.labels)}\n".encode())
        if isinstance(part, OfFiles):
            total.update(f"{list(part.files)}\n".encode())
            every = -(-len(part.files) // MOST_SIZES)
            sizes = [Path(part.root, name).stat().st_size for name in part.files[::every]]
            total.update(f"{sizes}\n".encode())
    return total.hexdigest()[:16]


def frozen_digests(
    config: Config, classifier: nn.Module | None, defense: nn.Module, teacher: nn.Module | None
) -> dict[str, str]:
    """Digest the weights of what stands still in a run, by what errors call it.

    Args:
        config: of the run; it says what moves.
        classifier: as it was given: what is made of it for speed differs by rounding between machines.
        defense: that the run has.
        teacher: of the enhancer.
    """
    parts: dict[str, nn.Module | None] = {"teacher": teacher}
    if not config.moves_classifier:
        parts["classifier"] = classifier
    if not config.moves_enhancer:
        parts["defense"] = defense
    return {name: digest(part) for name, part in parts.items() if part is not None and part.state_dict()}
