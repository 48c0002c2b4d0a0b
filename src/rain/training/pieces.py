"""What a run is made of, built from its recipe and checked against its data."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rain.errors import RecipeError
from rain.images import Images
from rain.networks import own_size
from rain.registry import load_classifier
from rain.runtime.precision import is_mixed
from rain.training.ascent import why_not_fixed
from rain.training.checks import check_labels, check_labels_are_there, check_target, count_classes
from rain.training.digests import DigestedSources, listed_digest
from rain.training.objective import Both, Objective
from rain.training.optimizer import MovingAverage, build_optimizer
from rain.training.recipe import Config
from rain.training.sources import Sources, validation_batch, warn_of_shared
from rain.training.superresolution import check_sr_sets

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Pieces:
    """What a run is made of.

    Args:
        config: its recipe.
        fabric: the processes that share it.
        mixed: whether to compute in bfloat16.
        sources: what is learnt from.
        validation: images (N, 3, side, side) and labels (N,) that the weights are chosen on.
        classes: how many the classifier has; None without a classifier.
        objective: what is minimised.
        module: the objective as Fabric wraps it, so that processes share its gradients.
        optimizer: of the learner's weights.
        average: of the learner's weights; None if the recipe wants the weights themselves.
        steps: of the whole run.
        starts: of each part in training the card of the weights that it begins with; empty if it has none.
        digests: of what it rests on and does not move, by what errors call it.
        is_captured: whether its steps are captured as a CUDA graph, if they can be.
    """

    config: Config
    fabric: "Fabric"
    mixed: bool
    sources: Sources
    validation: tuple[Images, Tensor]
    classes: int | None
    objective: Objective
    module: nn.Module
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None
    steps: int
    starts: Mapping[str, Mapping[str, str]]
    digests: Mapping[str, str]
    is_captured: bool = False

    @property
    def learner(self) -> nn.Module:
        """The part whose weights move."""
        return self.objective.learner

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The modules whose weights move, each of which gets a file: "enhancer", "classifier" or both."""
        return _parts(self.config, self.learner)

    @property
    def computed(self) -> str:
        """On what device, and in which precision, in words."""
        return f"on {self.fabric.device.type} in {'bf16-mixed' if self.mixed else '32-true'}"

    @property
    def picture_counts(self) -> dict[str, str]:
        """What a run is given besides its recipe, and must find again when it goes on."""
        images, _ = self.validation
        return {"pictures": str(len(self.sources)), "validation pictures": str(len(images))}


def _parts(config: Config, learner: nn.Module) -> dict[str, nn.Module]:
    if isinstance(learner, Both):
        return {"enhancer": learner.enhancer, "classifier": learner.classifier}
    return {config.trains: learner}


SIDE = 224
"""Of training images, in pixels, where neither the recipe nor the classifier says it."""


def with_side(config: Config) -> Config:
    """The recipe with the side of its training images: the classifier's own, if the recipe names none.

    Warns of a side that is another than what a classifier sees behind an enhancer in training.

    Raises:
        RecipeError: the recipe's window is larger.
        UnknownNameError, OptionError, WeightsError: there is no such classifier.
    """
    own = None
    if config.classifier:
        with torch.random.fork_rng(devices=[]):  # of weights that begin at random
            own = own_size(load_classifier(config.classifier))
    if not config.side:
        return replace(config, side=own or SIDE)
    if own and own != config.side and config.moves_enhancer:
        what = f"training images have {config.side} pixels, and {config.classifier} sees {own}"
        warnings.warn(f"{what}: side = 0 follows it", stacklevel=3)
    return config


def build(config: Config, fabric: "Fabric") -> Pieces:
    """Build the pieces of a run, and check that they fit together.

    Args:
        config: with its side (``with_side``).
        fabric: of the run.

    Raises:
        RecipeError, UnknownNameError, OptionError, WeightsError, DatasetError, ImageError: as ``fit``.
    """
    mixed = is_mixed(config.precision, fabric.device)
    torch.manual_seed(config.seed)  # of weights that begin at random
    objective = Objective(config).to(memory_format=torch.channels_last)
    learner = objective.learner
    sources, validation = _sources(config, is_speaker=fabric.is_global_zero)
    images, labels = validation_batch(validation, config)
    classes = None if objective.classifier is None else count_classes(objective.classifier, config.side)
    check_labels(labels, classes, config.validation, config.classifier)
    if config.moves_enhancer:
        check_target(objective, images[:1])
    if config.sr_sets and fabric.is_global_zero:
        check_sr_sets(config.sr_sets)
    is_captured = _is_captured(config, objective, fabric)
    optimizer = build_optimizer(config, learner, fabric.device if is_captured else None)
    module, optimizer = fabric.setup(objective, optimizer)
    return Pieces(
        config=config,
        fabric=fabric,
        mixed=mixed,
        sources=sources,
        validation=(images, labels),
        classes=classes,
        objective=objective,
        module=module,
        optimizer=optimizer,
        average=MovingAverage(learner, config.average) if config.average else None,
        steps=config.steps or config.epochs * config.replays * math.ceil(len(sources) / config.batch),
        starts={name: getattr(part, "card", None) or {} for name, part in _parts(config, learner).items()},
        digests=objective.digests | {"validation": validation.digest(), "images": listed_digest(sources)},
        is_captured=is_captured,
    )


def _is_captured(config: Config, objective: Objective, fabric: "Fabric") -> bool:
    """Whether to capture the steps of a run.

    Raises:
        RecipeError: its recipe insists, and says what cannot be captured.
    """
    reason = why_not_fixed(config, objective)
    if fabric.world_size > 1:
        reason = "several processes share the steps"
    if fabric.device.type != "cuda":
        reason = f"the device is {fabric.device.type}"
    if config.launch in ("graph", "compile") and reason:
        what = f"launch = {config.launch!r} captures steps on one CUDA device"
        raise RecipeError(f"{what}, and {reason}: take launch=auto")
    return config.launch != "eager" and not reason


def _sources(config: Config, *, is_speaker: bool) -> tuple[Sources, DigestedSources]:
    """Open what is learnt from, and what is validated on."""
    sources, validation = Sources(config.images), DigestedSources(config.validation)
    check_labels_are_there(config, sources, validation)
    if is_speaker:
        warn_of_shared(sources, validation)
    return sources, validation
