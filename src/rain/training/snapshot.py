"""What a run's steps change, kept so that steps made for trial leave no trace."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from rain.training.pieces import Pieces


@contextmanager
def undone(pieces: Pieces) -> Iterator[None]:
    """Undo, in place, what the steps inside do to weights, their average and the optimiser's memory."""
    average = pieces.average.weights if pieces.average else {}
    tensors = [*pieces.learner.state_dict().values(), *average.values(), *_memory(pieces)]
    copies = [tensor.clone() for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            # What the optimiser did not have before begins at zero, as a fresh one's memory does.
            for tensor in _memory(pieces):
                tensor.zero_()
            for tensor, copy in zip(tensors, copies, strict=True):
                tensor.copy_(copy)
        for parameter in pieces.learner.parameters():
            parameter.grad = None


def _memory(pieces: Pieces) -> list[Tensor]:
    """What the optimiser remembers of all weights."""
    optimizer: torch.optim.Optimizer = getattr(pieces.optimizer, "optimizer", pieces.optimizer)
    values = [value for slots in optimizer.state.values() for value in slots.values()]
    return [value for value in values if isinstance(value, Tensor)]
