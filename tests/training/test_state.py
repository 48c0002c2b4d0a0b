"""What a checkpoint holds, and what comes back of it."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from rain import checkpoints
from rain.errors import WeightsError
from rain.training.loop import fit
from rain.training.recipe import Config
from rain.training.state import Checkpoint, Progress, load_slots, parse_checkpoint, slots_of


def stepped(optimizer: torch.optim.Optimizer, layer: nn.Module) -> torch.optim.Optimizer:
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return optimizer


def test_a_checkpoint_comes_back_as_it_was_under_the_names_that_older_runs_have() -> None:
    layer = nn.Linear(2, 1)
    optimizer = stepped(torch.optim.AdamW(layer.parameters(), 0.1), layer)
    progress = Progress(7, 5, 2, 0.1 + 0.2, {"kl": 0.1}, {"kl": 1 / 3})
    pictures = {"pictures": "10", "validation pictures": "4"}
    average = {"weight": torch.ones(1, 2)}
    checkpoint = Checkpoint(progress, layer.state_dict(), average, slots_of(optimizer), pictures)
    tensors, card = checkpoint.tensors(), checkpoint.card()
    assert tensors.keys() == {
        *("number.step", "number.best_step", "number.since_best", "number.best"),
        *("weights.weight", "weights.bias", "average.weight"),
        *("optimizer.0.step", "optimizer.0.exp_avg", "optimizer.0.exp_avg_sq"),
        *("optimizer.1.step", "optimizer.1.exp_avg", "optimizer.1.exp_avg_sq"),
    }
    assert (tensors["number.step"].dtype, tensors["number.best"].dtype) == (torch.int64, torch.float64)
    assert card == {"measured": '{"kl": 0.1}', "began": '{"kl": 0.3333333333333333}', **pictures}

    again = parse_checkpoint(tensors, card)
    assert again.progress == progress
    assert again.pictures == pictures
    assert torch.equal(again.weights["bias"], layer.bias)
    assert torch.equal(again.average["weight"], torch.ones(1, 2))
    fresh = torch.optim.AdamW(layer.parameters(), 0.1)
    load_slots(fresh, again.slots)
    momentum = optimizer.state[layer.weight]["exp_avg"]
    assert torch.equal(fresh.state[layer.weight]["exp_avg"], momentum)


def test_an_optimiser_without_momentum_remembers_nothing() -> None:
    layer = nn.Linear(2, 1)
    optimizer = stepped(torch.optim.SGD(layer.parameters(), 0.1), layer)
    assert not any(slots_of(optimizer).values())


def test_the_best_validation_is_kept_and_what_is_no_number_is_not() -> None:
    progress = Progress(step=3)
    assert not progress.take(math.nan, {"kl": math.nan})
    assert (progress.best_step, progress.since_best) == (0, 1)
    assert progress.take(-1.0, {"kl": 1.0})
    progress.step = 6
    assert not progress.take(-1.0, {"kl": 1.0})
    assert (progress.best, progress.best_step, progress.since_best) == (-1.0, 3, 1)
    assert progress.measured == {"kl": 1.0}


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_a_run_whose_checkpoint_has_the_memory_of_another_optimiser_does_not_go_on(
    kind: str, config: Callable[..., Config], tmp_path: Path
) -> None:
    """In a run the optimiser has a class that Fabric made."""
    recipe = config(optimizer=kind, steps=2, validate_every=2)
    fit(recipe, tmp_path)
    state = tmp_path / "state.safetensors"
    tensors, card = checkpoints.read(state)
    old, new = {"adam": ("exp_avg", "momentum_buffer"), "sgd": ("momentum_buffer", "exp_avg")}[kind]
    checkpoints.save({_renamed(name, old, new): value for name, value in tensors.items()}, state, card)
    with pytest.raises(WeightsError, match=rf"the optimiser remembers .*{new}.* of weight 0, not .*{old}"):
        fit(recipe, tmp_path, resume=True)
    checkpoints.save(tensors, state, card)
    fit(recipe, tmp_path, resume=True)


def _renamed(name: str, old: str, new: str) -> str:
    return name.removesuffix(old) + new if name.endswith(f".{old}") else name


def test_the_memory_of_another_optimiser_is_told() -> None:
    layer = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(layer.parameters(), 0.1)
    one = {"step": torch.tensor(1.0), "exp_avg": torch.zeros(1, 2), "exp_avg_sq": torch.zeros(1, 2)}
    load_slots(optimizer, {0: one})
    for slots in ({7: one}, {-1: one}, {0: {"step": torch.tensor(1.0)}}, {1: one}):
        with pytest.raises(WeightsError, match="the optimiser remembers"):
            load_slots(optimizer, slots)
