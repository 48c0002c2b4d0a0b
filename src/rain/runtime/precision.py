"""bfloat16 where it is fast and does no harm."""

import warnings
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from rain.adaptive import Model, View
from rain.answers import logits_of
from rain.images import Images

SLOW = (
    'this CPU has no instructions for bfloat16: "bf16-mixed" may take ten times as long as float32; '
    '"auto" takes what is faster'
)


def is_mixed(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16.

    Args:
        precision: one of ``rain.specs.PRECISIONS``. "32-true" never does. "bf16-mixed" always does, and warns
            where that is slow. "auto" does where it is fast: on GPUs that have bfloat16, and on CPUs with
            instructions for it (AMX, AVX-512 BF16).
        device: where to compute.
    """
    if precision == "32-true":
        return False
    fast = _is_bfloat16_fast(device)
    if precision == "bf16-mixed" and device.type == "cpu" and not fast:
        warnings.warn(SLOW, stacklevel=3)
    return fast or precision == "bf16-mixed"


def _is_bfloat16_fast(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    # Private names of torch, which may go: bool() is False.
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", bool)
    has_avx512 = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)
    return has_amx() or has_avx512()


def autocast(device: torch.device, mixed: bool) -> torch.autocast:
    """bfloat16 for convolutions and matrix products, if ``mixed``; images and weights stay as they are."""
    return torch.autocast(device.type, torch.bfloat16, enabled=mixed)


class Mixed(View):
    """A model that computes in bfloat16, if ``mixed``: ``autocast`` around each call.

    Args:
        model: from images to logits.
        device: of the images.
        mixed: whether it does.
    """

    def __init__(self, model: Model, device: torch.device, mixed: bool):
        super().__init__(model)
        self.device, self.mixed = device, mixed
        self.independent: bool = getattr(model, "independent", False)
        self.turn: int = getattr(model, "turn", 1)

    def forward(self, images: Images, **more: Any) -> Tensor:
        """Classify images (N, 3, H, W) in [0, 1]; logits (N, classes)."""
        with autocast(self.device, self.mixed):
            logits: Tensor = self.model(images, **more)
        return logits


class Sparing(nn.Module):
    """A classifier under autocast that answers in float32, and computes in it where bfloat16 is slower.

    Args:
        network: from images to logits.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        convolutions = (layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
        self.depthwise = any(layer.groups > 1 for layer in convolutions)

    def forward(self, images: Images) -> Tensor:
        """Classify images (N, 3, H, W) in [0, 1]; logits (N, classes)."""
        # On CPUs depthwise convolutions are slower in bfloat16 than in float32.
        in_float32 = self.depthwise and images.device.type == "cpu"
        with torch.autocast("cpu", enabled=False) if in_float32 else nullcontext():
            return logits_of(self.network(images.float())).float()
