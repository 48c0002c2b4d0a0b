"""DG, detail generation: super-resolution networks. One file each.

All go from (N, 3, h, w) to (N, 3, 2h, 2w), both RGB in [0, 1].

``weights`` of an enhancer is the name of a shipped file (``rain list enhancers --verbose`` shows them), a
path to a safetensors file, or None for an untrained network.
"""

import json
from typing import Any

import torch
from torch import nn

from rain import checkpoints


def card(module: nn.Module, side: int = 112) -> dict[str, Any]:
    """Describe an enhancer: its size, its cost, its digest, and what its weight file says.

    Args:
        module: the enhancer.
        side: height and width of the image whose multiply-adds are counted, in pixels.
    """
    from torch.utils.flop_counter import FlopCounterMode

    tensor = next(iter(module.parameters()), torch.zeros(()))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, 3, side, side, device=tensor.device, dtype=tensor.dtype))
    trained = getattr(module, "card", None) is not None
    from_file: dict[str, str] = getattr(module, "card", None) or {}
    facts: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        f"multiply_adds_{side}x{side}": counter.get_total_flops() // 2,
        "data": from_file.get("data", "not said" if trained else "none: not trained"),
        "licence": from_file.get("licence", "not said" if trained else "Apache-2.0"),
        "digest": checkpoints.digest(module),
    }
    for key, value in from_file.items():
        if key not in ("data", "licence", "format"):
            facts[key] = json.loads(value) if value[:1] in "[{" else value
    return facts
