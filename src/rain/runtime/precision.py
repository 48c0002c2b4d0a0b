"""bfloat16 where it is fast and does no harm."""

import warnings
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from rain.images import Images

SLOW = 'this CPU has no instructions for bfloat16: "bf16-mixed" may take ten times as long as float32; "auto" takes what is faster'


def is_mixed(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16.

    Args:
        precision: "32-true", "bf16-mixed", or "auto": the latter on GPUs that have it, and on CPUs with
            instructions for it (AMX, AVX-512 BF16); on others it is many times slower than float32, and
            "bf16-mixed" warns of it.
    """
    if precision == "32-true":
        return False
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and any(
            getattr(torch.cpu, f"_is_{unit}_supported", bool)() for unit in ("amx_tile", "avx512_bf16")
        )
    if precision == "bf16-mixed" and device.type == "cpu" and not fast:
        warnings.warn(SLOW, stacklevel=3)
    return fast or precision == "bf16-mixed"


def autocast(device: torch.device, mixed: bool) -> torch.autocast:
    """bfloat16 for convolutions and matrix products, if ``mixed``; images and weights stay as they are."""
    return torch.autocast(device.type, torch.bfloat16, enabled=mixed)


class Sparing(nn.Module):
    """A classifier under autocast: its logits are float32, and so is all of it where bfloat16 would be slower.

    Args:
        network: from images to logits.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.depthwise = any(isinstance(layer, nn.Conv2d) and layer.groups > 1 for layer in network.modules())

    def forward(self, images: Images) -> Tensor:
        """Classify images (N, 3, H, W) in [0, 1]; logits (N, classes)."""
        # On CPUs depthwise convolutions are slower in bfloat16 than in float32.
        with (
            torch.autocast("cpu", enabled=False)
            if self.depthwise and images.device.type == "cpu"
            else nullcontext()
        ):
            return self.network(images.float()).float()
