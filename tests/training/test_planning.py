"""Runs that have to end in time."""

import json
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import typer
from fitting import rows

from rain import checkpoints
from rain.cli.training import train
from rain.errors import RecipeError
from rain.training.loop import _Loop, fit
from rain.training.machine import build_fabric
from rain.training.pieces import build
from rain.training.plain import Losses, PlainStep
from rain.training.planning import Plan, plan_steps, with_begun_steps, with_plan
from rain.training.recipe import Config
from rain.training.saving import save_checkpoint
from rain.training.snapshot import undone
from rain.training.state import Progress


def test_a_run_ends_in_time_and_its_schedule_with_it(config: Callable[..., Config], tmp_path: Path) -> None:
    start = time.monotonic()
    trained = fit(config(steps=10**6, epochs=0, average=0.9), tmp_path / "run", minutes=0.06)
    assert time.monotonic() - start < 8
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    last = rows(tmp_path / "run")[-1]["step"]
    assert 1 <= last <= recipe["steps"] < 10**5
    assert recipe["validate_every"] == pytest.approx(recipe["steps"] / 5, abs=1)
    assert json.loads(checkpoints.read(trained.weights)[1]["recipe"])["steps"] == recipe["steps"]


def test_steps_made_for_trial_leave_no_trace(config: Callable[..., Config], tmp_path: Path) -> None:
    for optimizer in ("adam", "sgd"):
        recipe = config(average=0.9, optimizer=optimizer, rate=1e-2, steps=4)
        one, other = (build(recipe, build_fabric(recipe)) for _ in range(2))
        for pieces in (one, other):
            pieces.learner.train()
        with undone(other):
            for step in range(3):
                PlainStep(other).make(step, True)
        for pieces in (one, other):
            step = PlainStep(pieces)
            step.make(0, True)
            step.make(1, True)
        for mine, theirs in zip(one.learner.parameters(), other.learner.parameters(), strict=True):
            assert torch.equal(mine, theirs)
        assert one.average is not None
        assert other.average is not None
        for name, value in one.average.weights.items():
            assert torch.equal(value, other.average.weights[name])


def test_a_plan_fits_what_is_left(config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = config()
    pieces = build(recipe, build_fabric(recipe))
    clock = iter(range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    step = PlainStep(pieces)
    monkeypatch.setattr(step, "make", lambda number, is_due: None)
    plan = plan_steps(step, 100.0, 2.0)
    assert 1 <= plan.steps <= 88  # a step takes a second or two of this clock
    assert plan.validate_every == -(-plan.steps // 5)
    longer = with_plan(pieces, Plan(70, 14))
    assert (longer.steps, longer.config.steps, longer.config.validate_every) == (70, 70, 14)


def test_a_run_that_is_resumed_keeps_its_plan(config: Callable[..., Config], tmp_path: Path) -> None:
    assert with_begun_steps(config(), tmp_path) == config()
    fit(config(steps=4, validate_every=2), tmp_path / "run")
    begun = with_begun_steps(config(steps=9, validate_every=3), tmp_path / "run")
    assert (begun.steps, begun.validate_every) == (4, 2)
    again = fit(config(steps=9, validate_every=3), tmp_path / "run", resume=True, minutes=1)
    assert again.step <= 4
    (tmp_path / "run" / "recipe.json").write_text("{}")
    with pytest.raises(RecipeError, match=r"recipe\.json cannot be read"):
        with_begun_steps(config(), tmp_path / "run")


def test_a_run_that_is_resumed_keeps_time_for_its_last_validation(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    recipe = config(steps=4)
    pieces = build(recipe, build_fabric(recipe))
    save_checkpoint(pieces, Progress(step=2), tmp_path)
    for deadline, is_kept in ((math.inf, False), (time.monotonic() + 60, True)):
        loop = _Loop(pieces, tmp_path, visible=False, deadline=deadline)
        assert loop.journal is not None
        loop.journal.close()
        assert (loop.reserve > 0) is is_kept


def test_a_bad_number_of_minutes_is_said(config: Callable[..., Config], tmp_path: Path) -> None:
    for minutes in (-1.0, float("nan"), float("inf")):
        with pytest.raises(RecipeError, match="minutes must be a number of at least 0"):
            fit(config(), tmp_path / "run", minutes=minutes)


@pytest.mark.parametrize(("after", "has_validated"), [(1, False), (4, True)])
def test_ctrl_c_tells_what_the_run_came_to(
    after: int,
    has_validated: bool,
    config: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make = PlainStep.make

    def interrupted(self: PlainStep, step: int, is_due: bool) -> Losses | None:
        if step == after:
            os.kill(os.getpid(), signal.SIGINT)
        return make(self, step, is_due)

    monkeypatch.setattr(PlainStep, "make", interrupted)
    recipe = config()
    monkeypatch.setattr("rain.train.read", lambda *_, **__: recipe)
    with pytest.raises(typer.Exit):
        train("own.toml", out=tmp_path / "run", minutes=0.0)
    printed = capsys.readouterr()
    assert ("best at step 3: kl" in printed.out) == has_validated
    assert ("(before " in printed.out) == has_validated
    assert "add --resume" in printed.err


def test_more_steps_are_tried_than_a_recipe_has(config: Callable[..., Config]) -> None:
    recipe = config(steps=2)
    pieces = build(recipe, build_fabric(recipe))
    pieces.learner.train()
    assert plan_steps(PlainStep(pieces), 20.0, 0.0).steps > 2
