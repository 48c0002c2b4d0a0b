"""Free adversarial training, and budgets that rise."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import rows, weights
from torch import Tensor

from rain.errors import RecipeError
from rain.seeding import generator_for
from rain.training import loop, objective
from rain.training.feed import Feed
from rain.training.loop import Interrupted, fit
from rain.training.recipe import Config
from rain.training.replaying import Replay, budget

ATTACK = {"attack": "pgd(steps=4, step=2/255)", "choose": "robust"}


def test_points_climb_within_the_budget_and_begin_anew_with_a_batch(config: Callable[..., Config]) -> None:
    replay = Replay(config(**ATTACK, replays=4, attacked=0.5))
    clean, eps = torch.full((4, 3, 8, 8), 0.5), 4 / 255
    generator = generator_for(0)
    for step in range(8):
        entering = replay.enter(step, clean, 0, eps, generator)
        if step == 4:
            first = entering.detach().clone()
        # The loss falls with every pixel, so that its slope is the same everywhere.
        (-entering.sum()).backward()
        replay.climb(clean, eps)
    assert torch.equal(entering[0], clean[0])
    assert torch.equal(entering[2], clean[2])
    offset = (entering.detach() - clean)[1::2]
    assert float(offset.abs().max()) <= eps + 1e-6
    assert torch.allclose(replay.points[1::2], clean[1::2] - eps, atol=1e-6)  # type: ignore[index]
    # A new batch began somewhere in the budget, and not where the one before it ended.
    assert float((first[1::2] - clean[1::2]).max()) > 0


def test_each_batch_is_read_once(config: Callable[..., Config], tmp_path: Path, monkeypatch: Any) -> None:
    numbers: list[int] = []
    read = Feed.__getitem__

    def noted(self: Feed, number: int) -> tuple[Tensor, int]:
        numbers.append(number)
        return read(self, number)

    monkeypatch.setattr(Feed, "__getitem__", noted)
    fit(config(**ATTACK, replays=3, steps=7, workers=0), tmp_path / "run")
    assert numbers == list(range(12))  # three batches of four: the last one is replayed once


def test_a_run_that_is_interrupted_within_a_batch_ends_with_the_same_bits(
    config: Callable[..., Config], tmp_path: Path, monkeypatch: Any
) -> None:
    recipe = config(**ATTACK, replays=3, steps=9, eps_rise=0.5, validate_every=9)
    fit(recipe, tmp_path / "single")

    @contextmanager
    def interrupt_after_four() -> Iterator[Callable[[], bool]]:
        calls = count(1)
        yield lambda: next(calls) >= 4

    with monkeypatch.context() as patch:
        patch.setattr(loop, "stop_on_interrupt", interrupt_after_four)
        with pytest.raises(Interrupted):
            fit(recipe, tmp_path / "other")
    fit(recipe, tmp_path / "other", resume=True)
    ours, theirs = weights(tmp_path / "single"), weights(tmp_path / "other")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert rows(tmp_path / "single")[-1]["validation/kl"] == rows(tmp_path / "other")[-1]["validation/kl"]


def test_the_budget_of_the_attack_rises(
    config: Callable[..., Config], tmp_path: Path, monkeypatch: Any
) -> None:
    budgets: list[float] = []

    def attack(model: Any, images: Tensor, labels: Tensor, *, eps: float, norm: str) -> Tensor:
        budgets.append(eps)
        return images

    monkeypatch.setattr(objective, "build_attack", lambda spec: attack)
    recipe = config(**ATTACK, steps=6, eps_rise=0.5, eps=3 / 255, validate_every=6)
    fit(recipe, tmp_path / "run")
    measured = [budgets[0], budgets[-1]]  # validations are made with the whole budget
    assert budgets[1:-1] == pytest.approx([1 / 255, 2 / 255, 3 / 255, 3 / 255, 3 / 255, 3 / 255])
    assert measured == [recipe.eps, recipe.eps]
    assert budget(config(**ATTACK), 0, 6) == 4 / 255


def test_what_does_not_go_together_is_said(config: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="replays needs an attack"):
        config(replays=2)
    with pytest.raises(RecipeError, match="eps_rise needs an attack"):
        config(eps_rise=0.5)
    with pytest.raises(RecipeError, match="eps_rise must be above 0 and at most 1, got 2"):
        config(**ATTACK, eps_rise=2.0)
    with pytest.raises(RecipeError, match=r"replays = 2 needs pgd of linf .*got 'mifgsm\(steps=2\)'"):
        fit(config(attack="mifgsm(steps=2)", replays=2), tmp_path / "run")


def test_a_run_older_than_a_field_goes_on(config: Callable[..., Config], tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(config(), out)
    recipe = json.loads((out / "recipe.json").read_text())
    del recipe["replays"], recipe["eps_rise"]
    (out / "recipe.json").write_text(json.dumps(recipe))
    fit(config(), out, resume=True)
