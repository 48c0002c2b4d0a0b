"""How weights move: the optimiser, its learning rate, and the moving average of the weights."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rain.training.recipe import Config


def build_optimizer(
    config: Config, learner: nn.Module, captured_on: torch.device | None = None
) -> torch.optim.Optimizer:
    """Build the recipe's optimiser of a module's weights.

    Args:
        config: of the run.
        learner: whose weights move.
        captured_on: the GPU on which its steps are to be captured, if they are: its rate is then a tensor
            there, and all weights move in one kernel. Only for "adam".
    """
    weights, decay = learner.parameters(), config.weight_decay
    if config.optimizer == "sgd":
        return torch.optim.SGD(weights, config.rate, momentum=config.momentum, weight_decay=decay)
    if captured_on is not None:
        current_rate = torch.tensor(config.rate, device=captured_on)
        return torch.optim.AdamW(weights, current_rate, weight_decay=decay, fused=True, capturable=True)
    return torch.optim.AdamW(weights, config.rate, weight_decay=decay)


def set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Give an optimiser its learning rate; where it is a tensor, in place."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value


def rate(config: Config, step: int, steps: int) -> float:
    """The learning rate of a step of ``steps``."""
    warmth = min(1.0, (step + 1) / (config.warmup + 1)) if config.warmup else 1.0
    if config.schedule == "steps":
        passed = sum(step >= milestone * steps for milestone in config.milestones)
        return config.rate * warmth * config.decay**passed
    cosine = 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps))
    return config.rate * warmth * (0.01 + cosine)


class MovingAverage:
    """The exponential moving average (EMA) of a module's weights over the steps of a run.

    Early steps count for more: at step n it decays by (1 + n) / (10 + n) at most.

    Args:
        module: whose weights it begins with.
        decay: below 1.
    """

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.weights: dict[str, Tensor] = {
            name: value.detach().clone() for name, value in module.state_dict().items()
        }

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the module's weights after a step; what is no float is copied."""
        self.blend(module, self.share(step))

    def share(self, step: int) -> float:
        """How much the weights after a step count for in the average."""
        return 1 - min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def blend(self, module: nn.Module, share: float | Tensor) -> None:
        """Take in the module's weights with a share, a number or a tensor () on their device."""
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, share)
            else:
                self.weights[name].copy_(value)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from the averages of a checkpoint."""
        for name, value in weights.items():
            self.weights[name].copy_(value)

    @contextmanager
    def put_into(self, module: nn.Module) -> Iterator[None]:
        """Put the averages in the place of the module's weights, for the work inside."""
        own = {name: value.clone() for name, value in module.state_dict().items()}
        module.load_state_dict(self.weights)
        try:
            yield
        finally:
            module.load_state_dict(own)
