"""Whether a recipe fits its data and its machines, before the first step."""

import torch
from torch import Tensor, nn

from rain.answers import logits_of
from rain.defense import Draw
from rain.errors import DatasetError, RecipeError
from rain.seeding import generator_for
from rain.training.learners import target_of
from rain.training.objective import Objective
from rain.training.recipe import Config
from rain.training.sources import Sources, check_same_classes


def check_processes(config: Config) -> None:
    """Raise ``RecipeError`` if a batch cannot be split on the recipe's processes."""
    processes = config.devices * config.nodes
    if config.batch % processes:
        what = f"batch = {config.batch} cannot be split on {processes} processes"
        raise RecipeError(f"{what}: make it a multiple")


def check_labels_are_there(config: Config, sources: Sources, validation: Sources) -> None:
    """Check that pictures have the labels that a recipe needs, and that these mean the same classes.

    Raises:
        RecipeError: there are none.
        DatasetError: a label means one class for learning, and another one for validation.
    """
    if config.cross_entropy and not sources.labelled:
        advice = "give images as folder:PATH, csv:PATH, stl10:ROOT or imagenet:ROOT"
        raise RecipeError(f"cross_entropy needs labels: {advice}")
    if config.moves_classifier and not validation.labelled:
        what = "a classifier is chosen by accuracy, which needs labels"
        raise RecipeError(f"{what}: give validation as folder:PATH or another dataset")
    check_same_classes(sources.categories, validation.categories, ", ".join(config.validation))
    if config.choose in ("accuracy", "balance") and not validation.labelled:
        advice = "give validation as folder:PATH, or choose by agreement, kl or robust"
        raise RecipeError(f"choose = {config.choose!r} needs labels: {advice}")


@torch.no_grad()
def count_classes(classifier: nn.Module, side: int) -> int:
    """Ask a classifier about a blank image how many classes it has.

    Raises:
        ClassifierError: its answer is no tensor of logits.
    """
    return logits_of(classifier(torch.full((1, 3, side, side), 0.5)), 1).shape[1]


def check_labels(labels: Tensor, classes: int | None, specs: tuple[str, ...], classifier: str) -> None:
    """Check that labels are the classifier's.

    Args:
        labels: (N,), -1 where there are none.
        classes: how many the classifier has; None without a classifier.
        specs: where the labels come from, as the error says it.
        classifier: its spec, as the error says it.

    Raises:
        DatasetError: one is past its classes.
    """
    largest = int(labels.max())
    if classes is not None and largest >= classes:
        what = f"label {largest} is none of the {classes} classes of {classifier}"
        advice = "folder:PATH(labels=sorted) numbers class folders 0, 1, 2, ..."
        raise DatasetError(f"{', '.join(specs)}: {what}; {advice}")


@torch.no_grad()
def check_target(objective: Objective, images: Tensor) -> None:
    """Ask the defence once what its output should have been, so that one that cannot say it says so now.

    Raises:
        RecipeError: it cannot say, or the teacher draws otherwise than it does.
    """
    draw = objective.defense.draw(images, generator_for(0))
    target_of(objective.defense, images, draw)
    if objective.teacher is None:
        return
    own, teachers = _shapes(draw), _shapes(objective.teacher.draw(images, generator_for(0)))
    if own != teachers:
        what = f"teacher = {objective.config.teacher!r} draws {teachers}, and the defence {own}"
        raise RecipeError(f"{what}: a teacher must answer to the same draw")


def _shapes(draw: Draw) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in draw.items()}
