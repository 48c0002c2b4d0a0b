"""How far a run has come, and the checkpoint that a resumed run goes on from."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from rain.errors import WeightsError
from rain.tables import parse_json_table
from rain.training.validation import Measures

Slots = dict[int, dict[str, Tensor]]
"""What an optimiser remembers of each weight: tensors by name, by the number of the weight."""


T = TypeVar("T")

MOST_STEPS = 10**12

DIGEST = "digest of "
"""What the names of digests begin with in a checkpoint's card."""

ADVICE = "choose another folder by --out"

SLOTS = {
    "AdamW": frozenset({"step", "exp_avg", "exp_avg_sq"}),
    "SGD": frozenset({"momentum_buffer"}),
}
"""What an optimiser remembers of each weight, by its class."""


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
        digests: of what the run rests on and does not move, by what it is; empty in older files.
    """

    progress: Progress
    weights: Mapping[str, Tensor]
    average: Mapping[str, Tensor]
    slots: Slots
    pictures: Mapping[str, str]
    digests: Mapping[str, str] = field(default_factory=dict)

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
        digests = {f"{DIGEST}{name}": digest for name, digest in self.digests.items()}
        return {"measured": measured, "began": began, **self.pictures, **digests}


def parse_checkpoint(
    tensors: Mapping[str, Tensor], card: Mapping[str, str], source: str = "the checkpoint"
) -> Checkpoint:
    """Read back what ``Checkpoint`` gave.

    Args:
        tensors, card: of the file.
        source: what errors call it.

    Raises:
        WeightsError: it is no checkpoint.
    """
    texts = dict(card)
    try:
        # Runs that were begun with older versions did not keep what they began with.
        measured, began = (_measures(texts.pop(name, "{}")) for name in ("measured", "began"))
        progress = Progress(
            step=_count("step", tensors),
            best_step=_count("best_step", tensors),
            since_best=_count("since_best", tensors),
            best=float(tensors["number.best"]),
            measured=measured,
            began=began,
        )
        slots: Slots = {}
        for name, value in _under("optimizer.", tensors).items():
            index, slot = name.split(".")
            slots.setdefault(int(index), {})[slot] = value
    except (ValueError, KeyError, RuntimeError, OverflowError) as error:
        raise WeightsError(f"{source}: no checkpoint of a training run ({error}); {ADVICE}") from None
    weights, average = _under("weights.", tensors), _under("average.", tensors)
    digests = _under(DIGEST, texts)
    pictures = {name: text for name, text in texts.items() if not name.startswith(DIGEST)}
    return Checkpoint(progress, weights, average, slots, pictures, digests)


def _measures(text: str) -> Measures:
    """Read figures by name; NaN is one.

    Raises:
        ValueError: they are none.
    """
    measures = parse_json_table(text, finite=False)
    if not all(type(value) in (int, float) for value in measures.values()):
        raise ValueError("measures that are no numbers")
    return {name: float(value) for name, value in measures.items()}


def _count(name: str, tensors: Mapping[str, Tensor]) -> int:
    """Read a number of steps.

    Raises:
        ValueError: it is none.
    """
    number = int(tensors[f"number.{name}"])
    if not 0 <= number < MOST_STEPS:
        raise ValueError(f"{name} {number}")
    return number


def _under(prefix: str, tensors: Mapping[str, T]) -> dict[str, T]:
    """What has a name that begins so, by the rest of its name."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def slots_of(optimizer: torch.optim.Optimizer) -> Slots:
    """What an optimiser remembers; slots that are empty are left out."""
    slots: Slots = {}
    for index, values in optimizer.state_dict()["state"].items():
        slots[index] = {name: torch.as_tensor(value) for name, value in values.items() if value is not None}
    return slots


def load_slots(optimizer: torch.optim.Optimizer, slots: Slots, source: str = "the checkpoint") -> None:
    """Give an optimiser its memory back; its options stay as they are.

    Raises:
        WeightsError: it is the memory of another optimiser, or of other weights; ``source`` is what the error
            names.
    """
    groups = optimizer.state_dict()["param_groups"]
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    _check_slots(slots, _slot_names(optimizer), weights, source)
    laid_out = {index: _laid_out_as(weights[index], values) for index, values in slots.items()}
    optimizer.load_state_dict({"state": laid_out, "param_groups": groups})


def _slot_names(optimizer: torch.optim.Optimizer) -> frozenset[str] | None:
    """What an optimiser remembers of each weight; None for one of a class that nobody knows."""
    # Fabric makes a class of its own from the optimiser's: "FabricAdamW".
    for base in type(optimizer).__mro__:
        if base.__name__ in SLOTS:
            return SLOTS[base.__name__]
    return None


def _check_slots(slots: Slots, names: frozenset[str] | None, weights: Sequence[Tensor], source: str) -> None:
    for index, values in slots.items():
        if not 0 <= index < len(weights):
            raise WeightsError(
                f"{source}: the optimiser remembers a weight {index} that there is not; {ADVICE}"
            )
        if names is not None and values.keys() != names:
            what = f"{', '.join(sorted(values))} of weight {index}, not {', '.join(sorted(names))}"
            raise WeightsError(f"{source}: the optimiser remembers {what}; {ADVICE}")
        shapes = {tuple(value.shape) for value in values.values() if value.numel() != 1}
        if shapes - {tuple(weights[index].shape)}:
            raise WeightsError(f"{source}: the optimiser remembers another shape of weight {index}; {ADVICE}")


def _laid_out_as(weight: Tensor, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same values with the strides of the weight: fused optimisers ask for that."""
    alike = {name: value for name, value in values.items() if value.shape == weight.shape}
    return values | {name: torch.empty_like(weight, dtype=v.dtype).copy_(v) for name, v in alike.items()}
