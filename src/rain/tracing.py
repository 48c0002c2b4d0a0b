"""Reading numbers out of tensors, which cannot be done everywhere."""

import torch
from torch import Tensor


def value_of(tensor: Tensor) -> float | None:
    """Read the number in a tensor without axes.

    Returns: the number; None where there is none yet: while ``torch.compile`` or ``torch.export`` traces,
        while a CUDA graph is captured, and under ``torch.func.vmap``, where one tensor stands for many. A
        check that needs it is then left out.
    """
    if torch.compiler.is_compiling() or (tensor.is_cuda and torch.cuda.is_current_stream_capturing()):
        return None
    try:
        return tensor.item()
    except RuntimeError as error:
        # torch says it in words only; a meta tensor, which has no value at all, says other ones.
        if "vmap" in str(error):
            return None
        raise


def is_channels_last(images: Tensor) -> bool:
    """Whether a batch lies in memory with its channels last; False under ``vmap``, where torch cannot say."""
    try:
        return images.is_contiguous(memory_format=torch.channels_last)
    except RuntimeError:
        return False
