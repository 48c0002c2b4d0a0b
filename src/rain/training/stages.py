"""What a network sees: its activations at the end of each stage."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rain.errors import OptionError


class Stages:
    """The activations at the end of each stage of any network.

    A stage is what works at one resolution; its end is the last of its layers with the fewest channels. In
    networks with bottlenecks these are what one block hands to the next, or what it is squeezed through; all
    else is made of them.

    Args:
        network: from images to logits, in eval mode.
        side: of the images, in pixels.

    Raises:
        OptionError: the network has no such maps.
    """

    def __init__(self, network: nn.Module, side: int):
        fewest: dict[int, int] = {}
        ends: dict[int, nn.Module] = {}

        def watch(module: nn.Module, arguments: tuple[Tensor, ...], output: object) -> None:
            if not isinstance(output, Tensor) or output.ndim != 4 or min(output.shape[2:]) <= 1:
                return
            # 113 and 112 are one resolution: some networks pad before they stride.
            resolution, channels = round(math.log2(output.shape[2])), output.shape[1]
            if resolution not in ends or channels <= fewest[resolution]:
                fewest[resolution], ends[resolution] = channels, module

        layers = [module for module in network.modules() if _has_own_weights(module)]
        handles = [layer.register_forward_hook(watch) for layer in layers]
        weight = next(network.parameters())
        with torch.no_grad():
            network(torch.full((1, 3, side, side), 0.5, device=weight.device, dtype=weight.dtype))
        for handle in handles:
            handle.remove()
        if not ends:
            raise OptionError(f"{type(network).__name__} has no feature maps: set feature = 0")
        self.modules = list(ends.values())

    @contextmanager
    def recorded(self) -> Iterator[list[Tensor]]:
        """Fill the list with the activations of the forward pass inside."""
        features: list[Tensor] = []

        def record(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            features.append(output.clone())

        handles = [module.register_forward_hook(record) for module in self.modules]
        try:
            yield features
        finally:
            for handle in handles:
                handle.remove()


def _has_own_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))


def feature_distance(features: list[Tensor], targets: list[Tensor]) -> Tensor:
    """The relative squared distance of activations from others, mean over the stages; a scalar."""
    distances = [
        relative_distance(feature, target) for feature, target in zip(features, targets, strict=True)
    ]
    return torch.stack(distances).mean()


def relative_distance(feature: Tensor, target: Tensor) -> Tensor:
    """The squared distance of two activations in units of the target's square; a scalar."""
    feature, target = feature.float(), target.float()
    return (feature - target).square().mean() / target.square().mean().clamp_min(1e-12)
