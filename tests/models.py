"""Classifiers for the tests, loaded as ``models:NAME``."""

from collections.abc import Callable

import torch
from interrupting import interrupt
from torch import nn


class Tiny(nn.Module):
    """Five classes, any size; batch norm and dropout, so that a forgotten eval mode shows."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()
        )
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(128, 5))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images - 0.5))


def tiny() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = Tiny()
    model.features[3].register_forward_hook(interrupt)  # a layer that folding leaves
    return model


def other() -> nn.Module:
    model = tiny()
    with torch.no_grad():
        model.head[1].bias += 1
    return model


def blind() -> nn.Module:
    """It answers NaN to bright images."""
    model = tiny()
    model.register_forward_hook(
        lambda _, inputs, logits: torch.where(inputs[0].mean((1, 2, 3))[:, None] > 0.9, torch.nan, logits)
    )
    return model


def steep() -> nn.Module:
    """Finite answers, and a slope that is no number."""
    model = tiny()
    model.register_forward_hook(
        lambda _, inputs, logits: logits + (inputs[0] * 0).sum((1, 2, 3)).sqrt()[:, None]
    )
    return model


def certain() -> nn.Module:
    """Always class 1, by far; by how far, the picture decides."""
    model = tiny()
    model.register_forward_hook(lambda _, inputs, logits: logits + 1e4 * torch.tensor([0.0, 1, 0, 0, 0]))
    return model


def nervous() -> nn.Module:
    """Its answer turns with every pixel, and so with every draw."""
    model = tiny()
    model.register_forward_hook(
        lambda _, inputs, logits: 10 * (1e5 * inputs[0].mean((1, 2, 3))[:, None] + torch.arange(5)).sin()
    )
    return model


def depthwise() -> nn.Module:
    model = tiny()
    model.features[0] = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8))
    return model


def linear(weights: torch.Tensor, bias: torch.Tensor) -> nn.Module:
    """Logits W x + b of images of a fixed size."""
    layer = nn.Linear(weights.shape[1], weights.shape[0])
    layer.weight.data, layer.bias.data = weights.clone(), bias.clone()
    return nn.Sequential(nn.Flatten(), layer)


def seeing(side: int = 24) -> nn.Module:
    """It says that it sees squares of this side, and takes any."""
    model = tiny()
    model.crop = side
    return model


def in_parts(model: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """A model behind a gate that is shut and whose defence does nothing, in its parts."""

    def parts(images: torch.Tensor) -> torch.Tensor:
        answer = model(images).log_softmax(1)
        return torch.cat([answer, answer, -torch.ones_like(answer[:, :1])], 1)

    return parts


def without_a_class() -> nn.Module:
    """It rules class 4 out, by minus infinity."""
    model = tiny()
    model.register_forward_hook(lambda _, inputs, logits: logits.index_fill(1, torch.tensor([4]), -torch.inf))
    return model
