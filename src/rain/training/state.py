"""How far a run has come, and the checkpoint that a resumed run goes on from."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rain.training.validation import Measures

Slots = dict[int, dict[str, Tensor]]
"""What an optimiser remembers of each weight: tensors by name, by the number of the weight."""


@dataclass
class Progress:
    """How far a run has come.

    Args:
        step: how many steps are done.
        best_step: when the best weights were found; 0 for not yet.
        since_best: how many validations came after that.
        best: the score of the best weights; more is better.
        measured: on the validation images, with the best weights.
        began: the same, before the first step.
    """

    step: int = 0
    best_step: int = 0
    since_best: int = 0
    best: float = -math.inf
    measured: Measures = field(default_factory=dict)
    began: Measures = field(default_factory=dict)

    def take(self, score: float, measures: Measures) -> bool:
        """Take in a validation; whether its weights are the best so far."""
        if not score > self.best:
            self.since_best += 1
            return False
        self.best, self.best_step, self.since_best = score, self.step, 0
        self.measured = measures
        return True


@dataclass(frozen=True)
class Checkpoint:
    """All that a resumed run needs besides its recipe. A safetensors file holds it: tensors, and a card.

    Args:
        progress: how far the run had come.
        weights: of the learner, by name.
        average: the moving average of these; empty where there is none.
        slots: of the optimiser.
        pictures: how many the run was given, in words, by what errors call them.
    """

    progress: Progress
    weights: Mapping[str, Tensor]
    average: Mapping[str, Tensor]
    slots: Slots
    pictures: Mapping[str, str]

    def tensors(self) -> dict[str, Tensor]:
        """Give all that is a tensor, and the numbers as such, by the names in the file."""
        progress = self.progress
        tensors = {
            "number.step": torch.tensor(progress.step),
            "number.best_step": torch.tensor(progress.best_step),
            "number.since_best": torch.tensor(progress.since_best),
            "number.best": torch.tensor(progress.best, dtype=torch.float64),
        }
        tensors |= {f"weights.{name}": value for name, value in self.weights.items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for index, slots in self.slots.items():
            tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
        return tensors

    def card(self) -> dict[str, str]:
        """Give what is no tensor, as text."""
        measured, began = json.dumps(self.progress.measured), json.dumps(self.progress.began)
        return {"measured": measured, "began": began, **self.pictures}


def parse_checkpoint(tensors: Mapping[str, Tensor], card: Mapping[str, str]) -> Checkpoint:
    """Read back what ``Checkpoint`` gave."""
    texts = dict(card)
    # Runs that were begun with older versions did not keep what they began with.
    measured, began = json.loads(texts.pop("measured", "{}")), json.loads(texts.pop("began", "{}"))
    progress = Progress(
        step=int(tensors["number.step"]),
        best_step=int(tensors["number.best_step"]),
        since_best=int(tensors["number.since_best"]),
        best=float(tensors["number.best"]),
        measured=measured,
        began=began,
    )
    slots: Slots = {}
    for name, value in _under("optimizer.", tensors).items():
        index, slot = name.split(".")
        slots.setdefault(int(index), {})[slot] = value
    weights, average = _under("weights.", tensors), _under("average.", tensors)
    return Checkpoint(progress, weights, average, slots, texts)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def slots_of(optimizer: torch.optim.Optimizer) -> Slots:
    """What an optimiser remembers; slots that are empty are left out."""
    slots: Slots = {}
    for index, values in optimizer.state_dict()["state"].items():
        slots[index] = {name: torch.as_tensor(value) for name, value in values.items() if value is not None}
    return slots


def load_slots(optimizer: torch.optim.Optimizer, slots: Slots) -> None:
    """Give an optimiser its memory back; its options stay as they are."""
    groups = optimizer.state_dict()["param_groups"]
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    laid_out = {index: _laid_out_as(weights[index], values) for index, values in slots.items()}
    optimizer.load_state_dict({"state": laid_out, "param_groups": groups})


def _laid_out_as(weight: Tensor, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same values with the strides of the weight: fused optimisers ask for that."""
    alike = {name: value for name, value in values.items() if value.shape == weight.shape}
    return values | {name: torch.empty_like(weight, dtype=v.dtype).copy_(v) for name, v in alike.items()}
