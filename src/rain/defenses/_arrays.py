"""What defences share that run a library of arrays: one picture at a time, on the CPU, behind tensors."""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray

from rain.errors import OptionError
from rain.images import Images

Picture = NDArray[np.float32]
"""(H, W, 3), RGB in [0, 1]."""


def load_library(module: str, defense: str) -> ModuleType:
    """Import a library of the extra ``defenses``, when a defence needs it and no sooner.

    Args:
        module: its name, as Python imports it.
        defense: who needs it.

    Raises:
        OptionError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        what = f"defense {defense} needs {module} ({error})"
        raise OptionError(f'{what}: pip install "rain-defense[defenses]"') from None


def by_picture(function: Callable[[Picture], Picture], images: Images, defense: str) -> Images:
    """Apply a function of one picture to each image of a batch. No gradient comes through it.

    Args:
        function: from (H, W, 3) to (H, W, 3), float32.
        images: (N, 3, H, W) in [0, 1], on any device.
        defense: who asks, for the error.

    Shape: returns (N, 3, H, W), in the images' type and on their device, clamped to [0, 1].

    Raises:
        OptionError: ``torch.export`` traces, which cannot follow a library of arrays.
    """
    refuse_export(defense)
    if not images.shape[0]:
        return images.clone()
    pictures = images.detach().float().clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    changed = [function(np.ascontiguousarray(picture)) for picture in pictures]
    batch = torch.from_numpy(np.stack(changed).astype(np.float32))
    return batch.permute(0, 3, 1, 2).contiguous().clamp(0, 1).to(images.device, images.dtype)


def refuse_export(defense: str) -> None:
    """Raise ``OptionError`` while ``torch.export`` traces: a library of arrays is no graph of tensors."""
    if torch.compiler.is_exporting():
        what = f"{defense} runs a library of arrays, which is no graph of tensors"
        raise OptionError(f"{what}, and cannot be exported: apply it before the exported model")
