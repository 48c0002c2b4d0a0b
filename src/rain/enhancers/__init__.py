"""DG, detail generation: super-resolution networks from (N, 3, h, w) to (N, 3, 2h, 2w), both RGB in [0, 1]. One file each.

``weights`` of an enhancer is the name of a shipped file (``rain list enhancers --verbose`` shows them), a
path to a safetensors file, or None for an untrained network.
"""

import json
from typing import Any

import torch
from torch import nn

from rain import checkpoints


def card(module: nn.Module, side: int = 112) -> dict[str, Any]:
    """Describe an enhancer: parameters, multiply-adds for one image of ``side`` x ``side``, digest, and what its weight file says."""
    from torch.utils.flop_counter import FlopCounterMode

    tensor = next(iter(module.parameters()), torch.zeros(()))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, 3, side, side, device=tensor.device, dtype=tensor.dtype))
    trained = getattr(module, "card", None) is not None
    told = getattr(module, "card", None) or {}
    return {
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        f"multiply_adds_{side}x{side}": counter.get_total_flops() // 2,
        "data": told.get("data", "not said" if trained else "none: not trained"),
        "licence": told.get("licence", "not said" if trained else "Apache-2.0"),
        "digest": checkpoints.digest(module),
        **{
            key: json.loads(value) if value[:1] in "[{" else value
            for key, value in told.items()
            if key not in ("data", "licence", "format")
        },
    }
