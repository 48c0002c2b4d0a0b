"""Super-resolution checkpoints of many architectures, by way of the PyPI package spandrel."""

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rain import checkpoints
from rain.errors import WeightsError
from rain.files import to_path
from rain.images import Images
from rain.registry import ENHANCERS

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor


SPARE_VALUES, SPARE_TENSORS = 8_000_000, 2000
"""What a network may have besides the tensors of its file: masks and tables of places."""

MAKERS = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.arange, torch.full)

LONG_NUMBER = re.compile(r"\d{6}")
"""No layer of a network has such a number; some architectures count up to it."""


@ENHANCERS.register(argument=":PATH")
class Spandrel(nn.Module):
    """A x2 checkpoint of any architecture that spandrel knows: RCAN, SwinIR, SPAN, Compact, OmniSR, ...

    Args:
        path: a safetensors file; spandrel finds out the architecture and its sizes from the names and shapes
            in it.

    Shape: (N, 3, h, w) to (N, 3, 2h, 2w), values in [0, 1], clamped.

    Convention:
        Where the architecture wants sides of a minimum, of a multiple, or equal, the image is padded at the
        bottom and on the right by repeating its edge, and the result cropped.

    Raises:
        WeightsError: spandrel is not installed, the file is a pickle or damaged, of no known architecture, or
            not RGB to RGB at x2.

    Differs: spandrel's own call switches gradients off and pads by reflection; here an attacker can
        differentiate.
    """

    def __init__(self, path: str | Path):
        super().__init__()
        state, card = checkpoints.read(to_path(path))
        checkpoints.check_finite(state, str(path))
        if any(map(LONG_NUMBER.search, state)):
            raise WeightsError(f"{path}: no architecture that spandrel knows numbers its layers so")
        descriptor = _recognise_within(state, path)
        scale, inputs, outputs = descriptor.scale, descriptor.input_channels, descriptor.output_channels
        if (scale, inputs, outputs) != (2, 3, 3):
            what = f"{descriptor.architecture.name} from {inputs} to {outputs} channels at x{scale}"
            raise WeightsError(f"{path}: {what}; detail generation needs 3 to 3 at x2")
        self.network: nn.Module = descriptor.model
        self.card = card | {"architecture": descriptor.architecture.name, "tags": ", ".join(descriptor.tags)}
        # Some architectures take more than the image, or give more than one; spandrel knows how each is
        # called.
        self._call = descriptor._call_fn
        self._requirements = descriptor.size_requirements
        self.eval()

    def forward(self, images: Images) -> Images:
        """Enlarge (N, 3, h, w) to (N, 3, 2h, 2w)."""
        height, width = images.shape[2:]
        if not images.shape[0]:  # attention in windows cannot reshape an empty batch
            return images.new_zeros((0, 3, 2 * height, 2 * width))
        right, below = self._requirements.get_padding(width, height)
        padded = F.pad(images, (0, right, 0, below), mode="replicate") if right or below else images
        enlarged: Tensor = self._call(self.network, padded)
        return enlarged[..., : 2 * height, : 2 * width].clamp(0, 1)


class _Frugal(TorchFunctionMode):
    """Let a network be built of about as many numbers as a file has.

    The architectures take sizes and counts out of names and shapes, of which a small file can say any.

    Args:
        state: the tensors of the file.

    Raises:
        WeightsError: from within, when the network grows beyond them.
    """

    def __init__(self, state: dict[str, Tensor]):
        super().__init__()
        self.values = SPARE_VALUES + 4 * sum(tensor.numel() for tensor in state.values())
        self.tensors = SPARE_TENSORS + 20 * len(state)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Count what is made."""
        kwargs = kwargs or {}
        if func in MAKERS:
            self.tensors -= 1
            self.values -= _values_asked(args, kwargs)
            if self.tensors < 0 or self.values < 0:
                raise WeightsError("its names and shapes ask for a much larger network than it holds")
        return func(*args, **kwargs)


def _values_asked(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """How many numbers a call such as ``torch.empty(3, 4)`` or ``torch.zeros((3, 4))`` asks for."""
    first = kwargs.get("size", args[0] if args else ())
    sides = first if isinstance(first, list | tuple) else args
    return math.prod(side for side in sides if isinstance(side, int))


def _recognise_within(state: dict[str, Tensor], path: str | Path) -> "ImageModelDescriptor[nn.Module]":
    """Recognise an architecture: by the names as they are, else without a prefix that all share."""
    try:
        return _recognise(state, path)
    except WeightsError as error:
        for prefix in checkpoints.shared_prefixes(state):
            inside = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
            with suppress(WeightsError):
                descriptor = _recognise(inside, path)
                checkpoints.warn_of_prefix(prefix, str(path))
                return descriptor
        raise error from None


def _recognise(state: dict[str, Tensor], path: str | Path) -> "ImageModelDescriptor[nn.Module]":
    try:
        from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError
    except ImportError as error:
        what = f"checkpoints of other architectures need spandrel ({error})"
        raise WeightsError(f'{what}: pip install "rain-defense[spandrel]"') from None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.meshgrid")  # spandrel's copies of old code
            with _Frugal(state):
                descriptor = ModelLoader().load_from_state_dict(state)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except UnsupportedModelError:
        raise WeightsError(f"{path}: no architecture that spandrel knows") from None
    except Exception as error:
        # The architectures take a state apart without checking it, and fail each in its own way.
        raise WeightsError(f"{path}: spandrel cannot load it ({type(error).__name__}: {error})") from error
    if not isinstance(descriptor, ImageModelDescriptor):
        what = f"{descriptor.architecture.name} needs a mask beside the image"
        raise WeightsError(f"{path}: {what}; detail generation has none")
    return descriptor
