"""Recipes: a TOML file to the frozen configuration of a training run. Never imports torch.

A recipe holds fields of ``Config``, at the top level; what it leaves out has the default. ``rain train RECIPE
--set rate=1e-4`` replaces single fields. The shipped recipes are in ``rain/training/recipes``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

from rain.errors import OptionError, RecipeError, did_you_mean, shown
from rain.files import to_path
from rain.specs import chain, fraction
from rain.tables import parse_toml, read_toml
from rain.training.rules import check

PLACES = ("accelerator", "devices", "nodes", "workers", "launch", "checkpoint_minutes", "sr_sets")
"""Fields that say where a run computes and what is measured when it is over, not what it learns.

They may change when it is resumed.
"""

KINDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    tuple[str, ...]: "a list of texts",
    tuple[float, ...]: "a list of numbers",
}
"""The types of fields, as errors call them."""

CHAINED = ("defense", "teacher")
"""The fields that take a list of specs, too: a chain of defences."""


@dataclass(frozen=True)
class Config:
    """What a training run does.

    Args:
        trains: "enhancer" (DG, before a frozen classifier), "classifier", or "both": DG and the classifier at
            once, by cross_entropy, which changes the classifier.
        images: what is learnt from: folders of pictures without labels, or datasets (``rain list datasets``);
            one that is listed twice counts twice.
        validation: the same, for choosing the best weights and stopping early; never the test set.
        validation_images: the first so many of them.
        classifier: spec; "" for none, where only pixels are compared.
        defense: spec of a defence with an enhancer, and what the enhancer starts from; for a classifier
            "none" or what it stands behind; for both a defence with an enhancer. A list is a chain, such as
            ["jpeg", "rain(enhancer=compact(weights=None))"], one part of which has an enhancer to train.
        side: of the training images, in pixels; 0 is what the classifier sees, and 224 where there is none
            that says it (``rain.training.pieces.with_side``).
        augment: "crop" cuts a square of ``side`` pixels from the picture's own pixels; "scale" cuts one of up
            to ``side / zoom`` pixels, and makes it smaller, "zoom" one of at least ``zoom`` times the shorter
            side, and resizes it to ``side``. All mirror every other one.
        zoom: in (0, 1], as "scale" and "zoom" say; each leaves half of the pictures at 1.
        window: side of a random window of each training image that is learnt from, which costs less than the
            whole; the classifier sees it at its own size, so that it must take any. 0 for the whole.
        pixel: weight of L1 between what the defence gives and the clean image (shifted as the draw shifts
            it).
        teacher: spec of a defence with the same draws, whose output is what L1 compares with, in the place of
            the clean image: of a trained DG that a smaller one shall imitate. "" for the clean image.
        cross_entropy: weight of the cross-entropy with the label (the paper's objective).
        distillation: weight of the KL divergence from the classifier's answer to the clean image; no label is
            read.
        feature: weight of the squared distance of the classifier's activations, relative to their squares,
            mean over its stages.
        trades: weight of the KL divergence from the trained classifier's own clean answer to its answer to
            the attacked image (TRADES' beta).
        attack: spec of the attack that training images go through ("" for none), with its steps, all of which
            are made unless it says another ``confidence``.
        access: "adaptive" attacks through the defence, as its random self; "known" through the very draw that
            is then learnt from, which no attacker has in practice: stronger than EOT of many draws, at the
            price of one; "transfer" attacks the bare classifier, which is much cheaper.
        eps, norm: the budget of the attack, in the unit of images in [0, 1], and its norm.
        eot: draws that an adaptive attack averages over at each step.
        eps_rise: the share of the run over which the budget rises evenly from nothing to eps; 0 for all of
            it from the first step.
        replays: above 1, training is "free" (Shafahi et al., arXiv 1904.12843): each batch is learnt from so
            many times in a row, and each time the pass back that moves the weights also moves the attacked
            images, by one step of the attack. The others of its steps are made in validations only.
        attacked: the share of each batch that is attacked.
        steps: optimiser steps; 0 if ``epochs`` says it.
        epochs: passes over ``images``, used when ``steps`` is 0; replays belong to a pass.
        batch: images in a step, over all processes.
        optimizer: "adam" or "sgd".
        rate: learning rate.
        warmup: the first so many steps, in which the rate rises evenly.
        momentum, weight_decay: of the optimiser; "adam" has no momentum to set.
        schedule: "cosine" falls to a hundredth of the rate; "steps" multiplies by ``decay`` at each of
            ``milestones``.
        milestones: as fractions of the run.
        decay: what "steps" multiplies the rate by.
        clip: largest norm of the gradient; 0 for any.
        average: decay of the running mean of the weights that is validated and saved; 0 for the weights
            themselves.
        choose: what the best weights have most of (of "kl": least). "balance" is the mean of accuracy and
            robust accuracy.
        validate_every: steps between two validations, contact sheets and looks at early stopping.
        patience: validations without a better one after which the run stops; 0 for never.
        sr_sets: folders of pictures (Set5, Set14) on whose Y channel PSNR and SSIM are measured at the end.
        seed: of everything that is random.
        precision: "32-true", "bf16-mixed", or "auto": the latter on GPUs that have it, and on CPUs with
            instructions for it (AMX, AVX-512 BF16).
        accelerator, devices, nodes: where, as in Lightning Fabric: "auto", "cpu" or "cuda", how many of them
            on a machine, and how many machines.
        workers: processes that read pictures, for each training process.
        launch: how a GPU is told what to do: "graph" keeps the pictures in its memory, captures a step once
            and replays it (one CUDA device, an enhancer, "adam", PGD of linf); "compile" also compiles it
            first, which takes about a minute; "eager" makes each step anew, on samples from the CPU; "auto"
            takes "graph" where it can.
        checkpoint_minutes: a killed run loses at most so much.

    Raises:
        RecipeError: a field of the wrong kind, or out of range.
    """

    trains: str = "enhancer"
    images: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    validation_images: int = 200
    classifier: str = "efficientnet_lite0"
    defense: str = "rain(enhancer=compact(weights=None))"
    side: int = 0
    augment: str = "zoom"
    zoom: float = 0.5
    window: int = 0
    pixel: float = 0.0
    teacher: str = ""
    cross_entropy: float = 0.0
    distillation: float = 0.0
    feature: float = 0.0
    trades: float = 0.0
    attack: str = ""
    access: str = "adaptive"
    eps: float = 4 / 255
    norm: str = "linf"
    eot: int = 1
    eps_rise: float = 0.0
    replays: int = 1
    attacked: float = 1.0
    steps: int = 0
    epochs: int = 0
    batch: int = 16
    optimizer: str = "adam"
    rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "cosine"
    milestones: tuple[float, ...] = ()
    decay: float = 0.2
    warmup: int = 50
    clip: float = 1.0
    average: float = 0.0
    choose: str = "kl"
    validate_every: int = 200
    patience: int = 0
    sr_sets: tuple[str, ...] = ()
    seed: int = 0
    precision: str = "auto"
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    workers: int = 0
    launch: str = "auto"
    checkpoint_minutes: float = 3.0

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(Config).items():
            object.__setattr__(self, name, _converted(name, getattr(self, name), kind))
        check(self)

    @property
    def moves_enhancer(self) -> bool:
        """Whether the defence's enhancer is trained."""
        return self.trains != "classifier"

    @property
    def moves_classifier(self) -> bool:
        """Whether the classifier is trained."""
        return self.trains != "enhancer"


def shipped() -> dict[str, Path]:
    """The recipes inside the package, by name."""
    folder = Path(str(files("rain.training") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read(path: Path | str, /, **changes: Any) -> Config:
    """Read a recipe file, or a shipped recipe by name.

    Args:
        path: the file, or a name of ``shipped()``.
        changes: fields that replace the file's; None leaves the file's.

    Raises:
        RecipeError: the file is missing, is not TOML, or is no recipe.
    """
    file = shipped().get(str(path), to_path(path))
    try:
        table = read_toml(file)
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}; shipped recipes: {', '.join(shipped())}") from None
    except ValueError as error:
        raise RecipeError(f"{path}: {error}") from None
    replaced = {name: value for name, value in changes.items() if value is not None}
    table |= _one_length(replaced) | replaced
    names = [field.name for field in fields(Config)]
    for name in table:
        if name not in names:
            raise RecipeError(f"{path}: a recipe has no {shown(name)}; {did_you_mean(name, names)}")
    try:
        return Config(**table)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def _one_length(changes: dict[str, Any]) -> dict[str, Any]:
    """Take back the file's steps where a run is given epochs, and the other way round."""
    for name, other in (("steps", "epochs"), ("epochs", "steps")):
        if changes.get(name) and other not in changes:
            return {other: 0}
    return {}


def setting(text: str) -> tuple[str, Any]:
    """Read ``field=value`` as the command line has it: the value is TOML, or else text.

    Raises:
        RecipeError: there is no equals sign.
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not name:
        raise RecipeError(f"{shown(text)}: write field=value")
    try:
        table = parse_toml(f"value = {value}")
    except ValueError:
        return name, value
    # A second line would be a second field.
    return name, table["value"] if len(table) == 1 else value


def _converted(name: str, value: Any, kind: Any) -> Any:
    """Give a field's value in its type: a number as a float, ``4/255`` too, and one text as a tuple of one.

    Raises:
        RecipeError: it is of another type.
    """
    converted: Any = None
    if name in CHAINED and isinstance(value, list | tuple):
        value = _as_chain(name, value)
    if kind is float:
        converted = _as_float(name, value)
    elif kind == tuple[str, ...]:
        converted = _as_tuple(value, str)
    elif kind == tuple[float, ...]:
        converted = _as_tuple(value, int | float)
    elif isinstance(value, kind) and not isinstance(value, bool):
        converted = value
    if converted is None:
        raise RecipeError(f"{name} must be {KINDS[kind]}, got {shown(value)}")
    return converted


def _as_chain(name: str, parts: Sequence[Any]) -> str:
    """The spec of a chain of what a list names.

    Raises:
        RecipeError: it names nothing, or something that is no spec.
    """
    if not parts or not all(isinstance(part, str) for part in parts):
        advice = '["jpeg", "rain(enhancer=compact(weights=None))"]'
        raise RecipeError(f"{name} is a spec or a list of them, {advice}; got {shown(parts)}")
    try:
        return chain(parts)
    except OptionError as error:
        raise RecipeError(f"{name}: {error}") from None


def _as_float(name: str, value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return fraction(value) if isinstance(value, str) else float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    except OptionError as error:
        raise RecipeError(f"{name}: {error}") from None


def _as_tuple(value: Any, kind: Any) -> tuple[Any, ...] | None:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, kind) for item in items):
        return None
    return tuple(items)
