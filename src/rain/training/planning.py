"""How many steps fit a time: a few are made for trial, and undone."""

import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rain.errors import RecipeError
from rain.training.log import RECIPE, STATE, read_recipe
from rain.training.pieces import Pieces
from rain.training.plain import Step
from rain.training.recipe import Config
from rain.training.snapshot import undone

VALIDATIONS = 5
"""Validations of a run that has to end in time, the last one among them."""

TRIAL_STEPS = 20
"""Steps made for trial at most, after a first one that does not count."""

TRIAL_SHARE = 0.04
"""The share of the time that trials may take."""

SLACK = 0.97
"""The share of the time that is planned for; a machine is slower now and then."""


class Plan(NamedTuple):
    """What fits a time.

    Attributes:
        steps: of the run.
        validate_every: steps between two validations.
    """

    steps: int
    validate_every: int


def plan_steps(step: Step, seconds: float, validation_seconds: float) -> Plan:
    """Make steps for trial, undo them, and say how many fit.

    Args:
        step: makes the steps of a run that has not begun.
        seconds: that are left.
        validation_seconds: that one validation needs.
    """
    begin = time.monotonic()
    with undone(step.pieces):
        one = _seconds_a_step(step, TRIAL_SHARE * seconds)
    left = SLACK * (seconds - (time.monotonic() - begin)) - (VALIDATIONS + 1) * validation_seconds
    steps = max(1, int(left / one))
    return Plan(steps, max(1, -(-steps // VALIDATIONS)))


def _seconds_a_step(step: Step, most: float) -> float:
    """Make steps until ``most`` seconds are over, and say what one takes."""
    step.make(0, True)
    begin = time.monotonic()
    count = 0
    while count < TRIAL_STEPS and (not count or time.monotonic() - begin < most):
        count += 1
        step.make(count, True)
    return (time.monotonic() - begin) / count


def with_plan(pieces: Pieces, plan: Plan) -> Pieces:
    """Give a run the steps of a plan, in its recipe, too."""
    config = replace(pieces.config, steps=plan.steps, epochs=0, validate_every=plan.validate_every)
    return replace(pieces, config=config, steps=plan.steps)


def with_begun_steps(config: Config, out: Path) -> Config:
    """Give a recipe the steps that were planned when the run in ``out`` was begun, if there is one.

    Raises:
        RecipeError: what was planned cannot be read.
    """
    if not (out / STATE).is_file():
        return config
    try:
        begun = read_recipe(out)
        fields = {name: begun[name] for name in ("steps", "epochs", "validate_every")}
    except (OSError, ValueError, KeyError) as error:
        advice = "choose another folder by --out"
        raise RecipeError(f"{out / RECIPE} cannot be read ({error}): {advice}") from None
    return replace(config, **fields)
