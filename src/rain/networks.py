"""What may be asked of any network: its weights' type and device, its size, a copy, and why it failed."""

import copy
from numbers import Integral

import torch
from torch import nn

from rain.errors import ImageError, OptionError, RainError
from rain.images import Images

NO_MEMORY = "can't allocate memory"
"""What torch says where a CPU's memory does not suffice."""


def duplicate(classifier: nn.Module) -> nn.Module:
    """Copy a classifier, in eval mode.

    Raises:
        OptionError: it cannot be copied.
    """
    try:
        return copy.deepcopy(classifier).eval()
    except (RuntimeError, TypeError) as error:
        advice = "weight norm and spectral norm from torch.nn.utils.parametrizations can be"
        raise OptionError(f"{type(classifier).__name__} cannot be copied ({error}); {advice}") from error


def own_size(classifier: nn.Module) -> int | None:
    """The side of the square that a classifier sees, in pixels; None where it does not say that.

    Convention: it is the attribute ``crop``, as ``rain.Preprocessed`` has it.
    """
    side = getattr(classifier, "crop", None)
    return int(side) if isinstance(side, Integral) and int(side) >= 2 else None


def first_weight(module: nn.Module) -> nn.Parameter | None:
    """The first floating-point parameter, whose device and type are taken for the module's."""
    return next((weight for weight in module.parameters() if weight.is_floating_point()), None)


def explain(images: Images, module: nn.Module, name: str, error: RuntimeError) -> None:
    """Raise ``ImageError`` where images and a module's weights differ in device or type, or memory ran out.

    That will be why it failed.

    Args:
        images: what was computed on.
        module: what computed.
        name: what the error calls it.
        error: how it failed. One that says itself what is wrong, or that a GPU's memory ran out, is left
            alone.
    """
    if NO_MEMORY in str(error):
        count, _, height, width = images.shape
        what = f"memory ran out in {name}, on images of {height} x {width} pixels, {count} at a time"
        advice = "bring each to the size that the classifier sees, by rain.images.enter(image, side)"
        raise ImageError(f"{what}: {advice}, or take fewer at a time") from error
    weight = first_weight(module)
    is_clear = isinstance(error, RainError | torch.OutOfMemoryError)
    if weight is None or is_clear or (images.device, images.dtype) == (weight.device, weight.dtype):
        return
    what = f"images are {images.dtype} on {images.device}"
    needed = f"the weights of {name} {weight.dtype} on {weight.device}"
    advice = f"give images.to({str(weight.device)!r}, {weight.dtype}), or move the model by .to(...)"
    raise ImageError(f"{what}, {needed}: {advice} ({error})") from error
