"""Which attacks, and which recipes, are the same work at each step, so that a GPU can replay it."""

import math
from dataclasses import dataclass

import torch

from rain.chain import Chain
from rain.registry import options_in_full
from rain.specs import parse
from rain.training.attacker import evenly_chosen
from rain.training.objective import Objective
from rain.training.recipe import Config


@dataclass(frozen=True)
class Ascent:
    """An attack by PGD (linf) that makes all its steps.

    Args:
        steps: how many.
        step: length of one.
        random_start: whether it begins at a random point of the budget.
    """

    steps: int
    step: float
    random_start: bool


def read_ascent(config: Config) -> Ascent | None:
    """The recipe's attack, if it is of this kind."""
    if parse(config.attack)[0] != "pgd" or config.norm != "linf":
        return None
    options = options_in_full(config.attack)
    stops = "confidence" in parse(config.attack)[1] and options["confidence"] < math.inf
    if stops or options["restarts"] != 1 or options["loss"] != "cross_entropy":
        return None
    step = 2.5 * config.eps / options["steps"] if options["step"] is None else options["step"]
    return Ascent(options["steps"], step, options["random_start"])


def why_not_fixed(config: Config, objective: Objective) -> str:
    """Why a recipe's step cannot be one of fixed shapes; empty if it can."""
    defense = objective.defense
    if config.eps_rise:
        return "the budget rises"
    if config.replays > 1:
        return "batches are replayed"
    if config.moves_classifier:
        return "a classifier is trained"
    if config.optimizer != "adam":
        return f"optimizer = {config.optimizer!r}"
    if isinstance(defense, Chain):
        return "the defence is a chain"
    if not isinstance(getattr(defense, "turn", None), int) or getattr(defense, "down", "") == "scale":
        return "the defence draws sizes"
    if not config.attack:
        return ""
    if read_ascent(config) is None:
        return f"attack = {config.attack!r} is not PGD of linf that makes all its steps"
    if config.access == "adaptive" and config.eot > 1 and not defense.independent:
        return "the images of a batch share a draw"
    patterns = [evenly_chosen(config.attacked, first, config.batch) for first in (0, config.batch)]
    if not torch.equal(*patterns) or not patterns[0].any():
        return f"attacked = {config.attacked} of batch = {config.batch} is no whole number"
    return ""
