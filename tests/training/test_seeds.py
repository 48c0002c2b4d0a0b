"""Every seed that a recipe may have serves, and the usual ones give what they always gave."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rain.errors import RecipeError
from rain.training import captured
from rain.training.captured import GraphStep
from rain.training.machine import build_fabric
from rain.training.pieces import Pieces, build
from rain.training.plain import PlainStep, dropout_seed
from rain.training.recipe import Config

SEEDS = [20260131123456, 2**63 - 1, -(2**63), -20260131123456]


def build_pieces(config: Config) -> Pieces:
    pieces = build(config, build_fabric(config))
    pieces.learner.train()
    return pieces


@pytest.mark.parametrize("kind", [PlainStep, GraphStep])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_seed_of_a_recipe_makes_steps(kind: Any, seed: int, config: Callable[..., Config]) -> None:
    step = kind(build_pieces(config(seed=seed, batch=2, validation_images=1)))
    assert step.make(0, True)["loss"] >= 0


@pytest.mark.parametrize("seed", [0, 7, -7, 10**12])
def test_usual_seeds_give_the_numbers_that_they_gave(seed: int) -> None:
    for step in (0, 1, 999):
        torch.manual_seed(seed * 1_000_003 + step * 1009 + 2)
        before = torch.rand(3)
        torch.manual_seed(dropout_seed(seed, step, 2))
        assert torch.equal(torch.rand(3), before)


def test_a_captured_step_and_a_plain_one_have_the_same_seed(
    config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(captured, "dropout_seed", lambda *what: seeds.append(dropout_seed(*what)) or 0)
    step = GraphStep(build_pieces(config(seed=5, batch=2, validation_images=1)))
    step.make(3, False)
    assert seeds == [dropout_seed(5, 3, 0)]


def test_a_seed_of_more_bits_is_told(config: Callable[..., Config]) -> None:
    with pytest.raises(RecipeError, match="seed must be an integer of 64 bits"):
        config(seed=2**63)
