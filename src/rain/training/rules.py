"""What a recipe may say: choices, ranges, and what goes together. Never imports torch."""

import math
from typing import TYPE_CHECKING

from rain.errors import RecipeError, shown
from rain.specs import NORMS, PRECISIONS

if TYPE_CHECKING:
    from rain.training.recipe import Config

CHOICES = {
    "trains": ("enhancer", "classifier", "both"),
    "augment": ("crop", "scale", "zoom"),
    "optimizer": ("adam", "sgd"),
    "schedule": ("cosine", "steps"),
    "choose": ("kl", "agreement", "psnr", "accuracy", "robust", "balance"),
    "launch": ("auto", "eager", "graph", "compile"),
    "access": ("transfer", "adaptive", "known"),
    "norm": NORMS,
    "precision": PRECISIONS,
}
LOSSES = ("pixel", "cross_entropy", "distillation", "feature", "trades")
"""The terms of the sum that is minimised; a field of the same name is the weight of each."""

LEAST = {
    "batch": 1,
    "eot": 1,
    "replays": 1,
    "devices": 1,
    "nodes": 1,
    "validate_every": 1,
    "validation_images": 1,
}
"""The smallest value of a field that counts something which must be there."""

NOT_NEGATIVE = (
    *LOSSES,
    "side",
    "steps",
    "epochs",
    "eps",
    "momentum",
    "weight_decay",
    "warmup",
    "clip",
    "patience",
    "workers",
    "checkpoint_minutes",
)
"""Fields that are finite, and at least 0."""

MOST = {"zoom": 1.0, "attacked": 1.0, "decay": 1.0, "rate": 100.0, "average": 0.99999, "eps_rise": 1.0}
"""The largest value of a field that is above 0."""

SEEDS = 2**63

MAY_BE_ZERO = ("average", "eps_rise")
"""Of the fields in ``MOST`` the ones that 0 switches off."""


COUNTS = {
    "batch": 65_536,
    "eot": 10_000,
    "replays": 1000,
    "devices": 1024,
    "nodes": 10_000,
    "workers": 1024,
    "side": 4096,
    "window": 4096,
    "validation_images": 10**7,
    **dict.fromkeys(("steps", "epochs", "warmup", "validate_every", "patience"), 10**9),
}
"""The largest value of a field that is a whole number."""

NUMBERS = {
    "eps": 10**6,
    "momentum": 1,
    **dict.fromkeys((*LOSSES, "weight_decay", "clip", "checkpoint_minutes"), 10**9),
}
"""The largest value of a field that may be 0, and is no count."""

VALUES = 2**31
"""Numbers in a batch of pictures (``batch``, ``side`` or ``window``), at most."""

LISTED = 10_000
"""Entries of a list, at most."""

ZOOM = 0.01
"""The smallest ``zoom``: what it cuts out of a picture is a pixel of a hundred."""


def check(config: "Config") -> None:
    """Check what a recipe says.

    Raises:
        RecipeError: a field is out of range, or contradicts another one.
    """
    _check_choices(config)
    _check_ranges(config)
    _check_upper_ends(config)
    _check_pictures(config)
    _check_losses(config)
    _check_without_classifier(config)
    _check_training_a_classifier(config)
    _check_training_both(config)
    _check_attack(config)
    _check_milestones(config)


def _check_choices(config: "Config") -> None:
    for name, choices in CHOICES.items():
        value = getattr(config, name)
        if value not in choices:
            raise RecipeError(f"{name} must be one of {', '.join(choices)}, got {shown(value)}")


def _check_ranges(config: "Config") -> None:
    for name, least in LEAST.items():
        value = getattr(config, name)
        if value < least:
            raise RecipeError(f"{name} must be at least {least}, got {shown(value)}")
    for name in NOT_NEGATIVE:
        value = getattr(config, name)
        if not 0 <= value < math.inf:
            raise RecipeError(f"{name} must be a number of at least 0, got {shown(value)}")
    for name, most in MOST.items():
        value = getattr(config, name)
        is_off = value == 0 and name in MAY_BE_ZERO
        if not (is_off or 0 < value <= most):
            raise RecipeError(f"{name} must be above 0 and at most {most:g}, got {value}")


def _check_upper_ends(config: "Config") -> None:
    """Raise ``RecipeError`` for what would never end, or take all memory there is."""
    for name, most in (COUNTS | NUMBERS).items():
        value = getattr(config, name)
        if value > most:
            raise RecipeError(f"{name} must be at most {most}, got {shown(value)}")
    if not -SEEDS <= config.seed < SEEDS:
        raise RecipeError(f"seed must be an integer of 64 bits, got {shown(config.seed)}")
    if config.zoom < ZOOM:
        raise RecipeError(f"zoom must be at least {ZOOM}, got {config.zoom}")
    side = config.window or config.side
    if 3 * config.batch * side**2 > VALUES:
        what = f"{config.batch} pictures of {side} pixels"
        raise RecipeError(f"batch and side: {what} are more than {VALUES} numbers, which no step can hold")
    for name in ("images", "validation", "sr_sets", "milestones"):
        if len(getattr(config, name)) > LISTED:
            raise RecipeError(f"{name} must be a list of at most {LISTED}")


def _check_pictures(config: "Config") -> None:
    if not config.images:
        raise RecipeError('no pictures to learn from: give images = ["PATH"], or --images PATH')
    if not config.validation:
        advice = 'give validation = ["PATH"], or --validation PATH; never the test set'
        raise RecipeError(f"nothing to choose the best weights on: {advice}")
    if config.side == 1:
        raise RecipeError(f"side must be at least 2, or 0 for what the classifier sees, got {config.side}")
    if config.window and not 2 <= config.window <= (config.side or config.window):
        limits = f"0, or at least 2 and at most side = {config.side}"
        raise RecipeError(f"window must be {limits}, got {config.window}")


def _check_losses(config: "Config") -> None:
    if bool(config.steps) == bool(config.epochs):
        raise RecipeError("give either steps or epochs, and 0 for the other")
    if not any(getattr(config, name) for name in LOSSES):
        raise RecipeError(f"nothing to minimise: give one of {', '.join(LOSSES)} a weight")
    if config.teacher and not config.pixel:
        raise RecipeError("a teacher is what L1 compares with: give pixel a weight, or leave teacher out")


def _check_without_classifier(config: "Config") -> None:
    if config.classifier:
        return
    other_losses = any(getattr(config, name) for name in LOSSES if name != "pixel")
    if config.moves_classifier or other_losses or config.attack:
        raise RecipeError("only the pixel loss goes without a classifier")
    if config.choose != "psnr":
        raise RecipeError('without a classifier, choose = "psnr"')


def _check_training_a_classifier(config: "Config") -> None:
    if config.trains != "classifier":
        return
    if config.pixel or config.distillation or config.feature:
        advice = "a classifier learns by cross_entropy and trades"
        raise RecipeError(f"pixel, distillation and feature train an enhancer; {advice}")
    if config.choose not in ("accuracy", "robust", "balance"):
        raise RecipeError('a classifier is chosen by "accuracy", "robust" or "balance"')
    if config.sr_sets:
        advice = "leave it out where a classifier is trained"
        raise RecipeError(f"sr_sets measures an enhancer's PSNR and SSIM: {advice}")


def _check_training_both(config: "Config") -> None:
    if config.trains != "both":
        return
    if not config.cross_entropy:
        advice = "give cross_entropy a weight, and pictures with labels"
        raise RecipeError(f"trains = 'both' learns from labels: {advice}")
    if config.distillation or config.feature:
        what = "distillation and feature compare with a classifier that stands still"
        raise RecipeError(f"{what}, and trains = 'both' moves it: leave them out")
    if config.choose not in ("accuracy", "robust", "balance"):
        raise RecipeError('trains = \'both\' is chosen by "accuracy", "robust" or "balance"')


def _check_attack(config: "Config") -> None:
    if config.trades and not config.moves_classifier:
        raise RecipeError("trades trains a classifier; for an enhancer take distillation and an attack")
    if config.attack:
        return
    for name in ("trades", "eps_rise"):
        if getattr(config, name):
            raise RecipeError(f"{name} needs an attack")
    if config.replays > 1:
        raise RecipeError("replays needs an attack")
    if config.choose in ("robust", "balance"):
        raise RecipeError(f"choose = {config.choose!r} needs an attack")


def _check_milestones(config: "Config") -> None:
    if any(not 0 < milestone < 1 for milestone in config.milestones):
        milestones = list(config.milestones)
        raise RecipeError(f"milestones are fractions of the run, between 0 and 1, got {milestones}")
