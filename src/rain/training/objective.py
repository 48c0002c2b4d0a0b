"""What a training step minimises: the losses of one batch, and the attack that some of it goes through."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from rain.adaptive import Expectation, Seeded
from rain.defense import Defense, Draw
from rain.errors import OptionError, RecipeError
from rain.images import Images
from rain.registry import load_attack, load_classifier, load_defense, traits_of
from rain.runtime.folding import folded
from rain.runtime.precision import Sparing
from rain.seeding import keyword_for
from rain.specs import parse
from rain.training.recipe import Config


class Objective(nn.Module):
    """A classifier behind a defence, one of them in training, and the recipe's losses.

    Attributes:
        trained: the part whose weights move: the defence's enhancer, or the classifier. All else is frozen:
            weights and statistics.

    Raises:
        UnknownNameError, OptionError, WeightsError: a spec names what is not there.
        RecipeError: the defence has no enhancer to train, or cannot say what its output should have been.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.classifier: nn.Module | None = load_classifier(config.classifier) if config.classifier else None
        if self.classifier is not None and config.trains == "enhancer":
            self.classifier = folded(self.classifier, (config.side, config.side))
        self.defense: Defense = load_defense(config.defense)
        self.trained: nn.Module = self._trained()
        self.requires_grad_(False)
        self.trained.requires_grad_(True)
        self.attack = _attack(config.attack) if config.attack else None
        # A copy of the surface only: the same network, not resizing windows. In a tuple it is no second
        # submodule.
        self.window = (
            (at_size(self.classifier, config.window),)
            if self.classifier is not None and config.window
            else ()
        )
        self.stages = (
            Stages(self.classifier, config.side) if self.classifier is not None and config.feature else None
        )

    def _trained(self) -> nn.Module:
        if self.config.trains == "classifier":
            assert self.classifier is not None  # the recipe was checked
            return self.classifier
        enhancer = getattr(self.defense, "enhancer", None)
        if not isinstance(enhancer, nn.Module) or not any(True for _ in enhancer.parameters()):
            raise RecipeError(
                f"defense = {self.config.defense!r} has no enhancer to train; take rain(enhancer=compact(weights=None))"
            )
        if not hasattr(self.defense, "target"):
            raise RecipeError(
                f"defense = {self.config.defense!r} cannot say what its output should have been: it needs a method target(images, draw)"
            )
        return enhancer

    def train(self, mode: bool = True) -> "Objective":
        """Set the training flag of what is trained; everything else stays in eval mode."""
        super().train(False)
        self.trained.train(mode)
        return self

    def forward(
        self, entering: Images, clean: Images, labels: Tensor, generator: Generator
    ) -> dict[str, Tensor]:
        """The losses of a batch, each a mean over it, unweighted; "loss" is their weighted sum.

        Args:
            entering: (N, 3, H, W), attacked or not.
            clean: the same images unattacked.
            labels: (N,), -1 where there are none.
            generator: of the defence's draw.
        """
        config = self.config
        draw = self.defense.draw(entering, generator)
        restored = self.defense.transform(entering, draw)
        losses: dict[str, Tensor] = {}
        if config.pixel or config.feature:
            target = self.defense.target(clean, draw)  # type: ignore[operator]
        if config.pixel:
            losses["pixel"] = F.l1_loss(restored, target)
        if config.cross_entropy or config.distillation or config.feature or config.trades:
            logits, features = self._answer(restored)
            if config.feature:
                with torch.no_grad():
                    teacher, wanted = self._answer(target)
                losses["feature"] = torch.stack(
                    [relative(one, other) for one, other in zip(features, wanted, strict=True)]
                ).mean()
            if config.distillation:
                # The answer to the image itself: the one to the shifted image has the errors that the shift
                # makes.
                if not config.feature or target is not clean:
                    with torch.no_grad():
                        teacher = self.classify(clean)
                losses["distillation"] = divergence(teacher, logits).mean()
            if config.trades:
                own, _ = self._answer(self.defense.transform(clean, draw))
                losses["trades"] = divergence(own, logits).mean()
                logits = own
            if config.cross_entropy:
                losses["cross_entropy"] = F.cross_entropy(logits, labels)
        losses["loss"] = torch.stack([getattr(config, name) * value for name, value in losses.items()]).sum()
        return losses

    def classify(self, images: Images) -> Tensor:
        """Classify without the defence; windows of training images are not resized.

        Returns logits (N, classes), float32.
        """
        assert self.classifier is not None  # the recipe was checked
        model = self.window[0] if self.window and images.shape[3] == self.config.window else self.classifier
        return Sparing(model)(images)

    def _answer(self, images: Images) -> tuple[Tensor, list[Tensor]]:
        if self.stages is None:
            return self.classify(images), []
        with self.stages.recorded() as features:
            return self.classify(images), features

    def attacked(
        self, clean: Images, labels: Tensor, share: float, generator: Generator, first: int = 0
    ) -> Images:
        """Attack a share of a batch as the recipe says; the rest comes back as it was.

        An image without a label is driven away from the classifier's own answer to it.

        Args:
            first: the number of the batch's first image among all samples of the run. Over them the attacked
                ones are spread evenly, so that the share is kept however small the part of a batch that one
                process has.
        """
        numbers = range(first, first + len(clean))
        chosen = torch.tensor(
            [math.floor(share * (number + 1)) > math.floor(share * number) for number in numbers],
            device=clean.device,
        )
        if self.attack is None or not chosen.any():
            return clean
        config, mode = self.config, self.trained.training
        self.trained.eval().requires_grad_(False)
        try:
            some, known = clean[chosen], labels[chosen]
            view: Any = self.classify
            if config.access == "known":
                generator = generator.clone_state()  # who learns from the images draws the same again
                view = Known(self, self.defense.draw(clean, generator), chosen)
            if config.access == "adaptive":
                view = Seeded(Pipeline(self), generator)  # type: ignore[arg-type]
                view = Expectation(view, config.eot) if self.defense.random and config.eot > 1 else view
            with torch.no_grad():
                known = known if (known >= 0).all() else self.classify(some).argmax(1)
            options = keyword_for(self.attack, generator)
            found = self.attack(view, some, known, eps=config.eps, norm=config.norm, **options).detach()
        finally:
            self.trained.train(mode).requires_grad_(True)
        entering = clean.clone()
        entering[chosen] = found
        return entering

    def answer(self, images: Images, generator: Generator, copies: int = 1) -> Tensor:
        """Classify with one draw; logits (N, classes)."""
        return self.classify(self.defense.transform(images, self.defense.spread(images, copies, generator)))


def _attack(spec: str) -> Any:
    """Build an attack that makes all its steps, where the spec says nothing else: one that stops at a lucky draw would teach little."""
    name, options = parse(spec)
    return load_attack(
        spec,
        **(
            {"confidence": math.inf}
            if traits_of(name).stops == "fooled" and "confidence" not in options
            else {}
        ),
    )


class Pipeline(nn.Module):
    """The classifier behind the defence as an attacker sees it, the parts themselves and no copies."""

    def __init__(self, objective: Objective):
        super().__init__()
        self.answer, self.independent = objective.answer, objective.defense.independent

    def forward(self, images: Images, *, generator: Generator, copies: int = 1) -> Tensor:
        """Classify with one draw."""
        return self.answer(images, generator, copies)


class Known(nn.Module):
    """The classifier behind one draw, that of the images which are attacked.

    Args:
        draw: of a batch.
        chosen: (N,), booleans, those of the batch that are attacked.
    """

    def __init__(self, objective: Objective, draw: Draw, chosen: Tensor):
        super().__init__()
        self.objective, self.count = (objective,), int(chosen.sum())  # in a tuple it is no submodule
        self.draw = {
            name: value[chosen] if value.ndim > 1 and len(value) == len(chosen) else value
            for name, value in draw.items()
        }

    def forward(self, images: Images) -> Tensor:
        """Classify all the attacked images; logits (N, classes)."""
        if len(images) != self.count:
            raise RecipeError(
                'access = "known" needs an attack that asks about all images at each step, such as pgd(confidence=inf)'
            )
        (objective,) = self.objective
        return objective.classify(objective.defense.transform(images, self.draw))


class Stages:
    """The activations at the end of each stage of any network: of each resolution, the last of the layers with the fewest channels.

    In networks with bottlenecks these are what one block hands to the next, or what it is squeezed through;
    all else is made of them.

    Args:
        network: from images to logits, in eval mode.
        side: of the images, in pixels.

    Raises:
        OptionError: the network has no such maps.
    """

    def __init__(self, network: nn.Module, side: int):
        seen: dict[int, tuple[int, nn.Module]] = {}

        def see(module: nn.Module, arguments: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1:
                # 113 and 112 are one resolution: some networks pad before they stride.
                resolution, channels = round(math.log2(output.shape[2])), output.shape[1]
                if resolution not in seen or channels <= seen[resolution][0]:
                    seen[resolution] = (channels, module)

        layers = [
            module for module in network.modules() if any(True for _ in module.parameters(recurse=False))
        ]
        handles = [module.register_forward_hook(see) for module in layers]
        parameter = next(network.parameters())
        with torch.no_grad():
            network(torch.full((1, 3, side, side), 0.5, device=parameter.device, dtype=parameter.dtype))
        for handle in handles:
            handle.remove()
        if not seen:
            raise OptionError(f"{type(network).__name__} has no feature maps: set feature = 0")
        self.modules = [module for _, module in seen.values()]

    @contextmanager
    def recorded(self) -> Iterator[list[Tensor]]:
        """Fill the list with the activations of the forward pass inside."""
        features: list[Tensor] = []
        handles = [
            module.register_forward_hook(lambda module, arguments, output: features.append(output.clone()))
            for module in self.modules
        ]
        try:
            yield features
        finally:
            for handle in handles:
                handle.remove()


def at_size(classifier: nn.Module, side: int) -> nn.Module:
    """The same classifier, weights and all, that takes images of ``side`` as they are instead of resizing them; one without a resize is itself."""
    if not hasattr(classifier, "crop"):
        return classifier
    same = copy.copy(classifier)
    same.resize, same.crop = side, side  # type: ignore[assignment]
    return same


def relative(features: Tensor, wanted: Tensor) -> Tensor:
    """The squared distance of two activations in units of the wanted one's square; a scalar."""
    features, wanted = features.float(), wanted.float()
    return (features - wanted).square().mean() / wanted.square().mean().clamp_min(1e-12)


def divergence(wanted: Tensor, logits: Tensor) -> Tensor:
    """The KL divergence, in nats, from the answers ``wanted`` to ``logits``, both (N, classes); shape (N,)."""
    return F.kl_div(logits.log_softmax(1), wanted.log_softmax(1), reduction="none", log_target=True).sum(1)
