"""What defences share that have an enhancer."""

from torch import Tensor, nn

from rain.errors import OptionError
from rain.images import Images
from rain.registry import ENHANCERS
from rain.specs import parse, write


def build_enhancer(enhancer: str | nn.Module) -> nn.Module:
    """Build an enhancer from its spec; a module stays.

    Raises:
        OptionError: it is neither, or the spec names a network and no weights for it.
    """
    if isinstance(enhancer, nn.Module):
        return enhancer
    if not isinstance(enhancer, str):
        raise OptionError(f"enhancer must be a name (rain list enhancers) or a module, got {enhancer!r}")
    network: nn.Module = ENHANCERS.build(enhancer)
    has_weights = any(True for _ in network.parameters())
    untrained = has_weights and getattr(network, "card", {}) is None
    if untrained and "weights" not in parse(enhancer)[1]:
        name, options = parse(enhancer)
        named = f"{write(name, options | {'weights': 'PATH'})}, a safetensors file"
        noise = f"{write(name, options | {'weights': None})} if it is to answer noise"
        raise OptionError(f"enhancer {enhancer!r} comes without weights: give {named}, or {noise}")
    return network


def check_enlarged(enhancer: nn.Module, small: Images, large: object, scale: int = 2) -> None:
    """Raise ``OptionError`` unless an enhancer made (N, 3, scale h, scale w) of (N, 3, h, w)."""
    count, channels, height, width = small.shape
    needed = (count, channels, scale * height, scale * width)
    if isinstance(large, Tensor) and large.shape == needed:
        return
    answer = tuple(large.shape) if isinstance(large, Tensor) else type(large).__name__
    what = f"{type(enhancer).__name__} gave {answer} where {needed} was asked for"
    if scale == 2:
        raise OptionError(f"DG must double height and width: {what}")
    advice = f"give an enhancer of x{scale}, compact(scale={scale}, weights=PATH) or bicubic"
    raise OptionError(f"DG must make height and width {scale} times as large: {what}; {advice}")
