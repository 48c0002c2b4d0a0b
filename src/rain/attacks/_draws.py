"""Random tensors, drawn on the generator's device: a seed gives the same wherever the images are."""

import torch
from torch import Generator, Tensor, nn


def device_of(generator: Generator | None, like: Tensor) -> torch.device:
    """Where to draw: on the generator's device, or without one on that of ``like``."""
    return like.device if generator is None else generator.device


def uniform(shape: tuple[int, ...], like: Tensor, generator: Generator | None) -> Tensor:
    """Values uniform in [0, 1), of the type and on the device of ``like``."""
    return torch.rand(shape, generator=generator, device=device_of(generator, like)).to(like)


def gaussian(shape: tuple[int, ...], like: Tensor, generator: Generator | None) -> Tensor:
    """Standard normal values, of the type and on the device of ``like``."""
    return torch.randn(shape, generator=generator, device=device_of(generator, like)).to(like)


def below(high: int, shape: tuple[int, ...], like: Tensor, generator: Generator | None) -> Tensor:
    """Integers from 0 to ``high`` - 1, all as likely, on the device of ``like``."""
    device = device_of(generator, like)
    return torch.randint(high, shape, generator=generator, device=device).to(like.device)


def signs(shape: tuple[int, ...], like: Tensor, generator: Generator | None) -> Tensor:
    """-1 and 1, as likely (Rademacher), of the type and on the device of ``like``."""
    return (2 * below(2, shape, like, generator) - 1).to(like.dtype)


def orders(rows: int, count: int, like: Tensor, generator: Generator | None) -> Tensor:
    """A random order of the numbers 0 to ``count`` - 1 in each row, on the device of ``like``.

    Shape: (rows, count).
    """
    keys = torch.rand(rows, count, generator=generator, device=device_of(generator, like))
    return keys.argsort(1).to(like.device)


def draw_weights(network: nn.Module, generator: Generator | None) -> None:
    """Draw a network's first weights; biases are zero. Source: He et al. (arXiv 1502.01852)."""
    for value in network.parameters():
        if value.ndim > 1:
            scale = (2 / value[0].numel()) ** 0.5
            value.data = gaussian(tuple(value.shape), value, generator) * scale
        else:
            value.data = torch.zeros_like(value)
