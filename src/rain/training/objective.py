"""What a training step minimises: the losses of one batch, and the attack that some of it goes through."""

import copy
from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from rain.adaptive import Expectation, Model
from rain.checkpoints import warn_if_untrained
from rain.defense import Defense, Draw
from rain.images import Images
from rain.registry import load_classifier, load_defense
from rain.runtime.folding import folded
from rain.runtime.precision import Sparing
from rain.seeding import keyword_for
from rain.training.attacker import (
    Attack,
    RandomPipeline,
    behind_draw,
    build_attack,
    evenly_chosen,
    frozen,
)
from rain.training.digests import frozen_digests
from rain.training.learners import enhancer_of, find_learner, passing_gradients, target_of
from rain.training.recipe import Config
from rain.training.stages import Stages, feature_distance


class Both(nn.Module):
    """An enhancer and a classifier that are trained at once; the names of their weights say which is which.

    Args:
        enhancer, classifier: the modules themselves, and no copies.
    """

    def __init__(self, enhancer: nn.Module, classifier: nn.Module):
        super().__init__()
        self.enhancer, self.classifier = enhancer, classifier


class Objective(nn.Module):
    """A classifier behind a defence, one of them or both in training, and the recipe's losses.

    Attributes:
        learner: the part whose weights move: the defence's enhancer, the classifier, or ``Both``. All else is
            frozen: weights and statistics.
        digests: of the weights of what is frozen, by "classifier", "defense" and "teacher".

    Raises:
        UnknownNameError, OptionError, WeightsError: a spec names what is not there.
        RecipeError: the defence has no enhancer to train, or several, or cannot say what its output should
            have been.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        given = _classifier(config)
        self.classifier = _made_faster(given, config)
        self.defense: Defense = load_defense(config.defense)
        self.learner = self._learner()
        self.teacher: Defense | None = None
        if config.teacher:
            self.teacher = load_defense(config.teacher)
        self.digests = frozen_digests(config, given, self.defense, self.teacher)
        self.requires_grad_(False)
        self.learner.requires_grad_(True)
        self.attack: Attack | None = build_attack(config.attack) if config.attack else None
        self.stages: Stages | None = None
        # Functions, and no second submodules of the same weights.
        self._classify_whole: Model | None = None
        self._classify_window: Model | None = None
        if self.classifier is not None:
            self._classify_whole = Sparing(self.classifier).forward
            if config.window:
                self._classify_window = Sparing(at_size(self.classifier, config.window)).forward
            if config.feature:
                self.stages = Stages(self.classifier, config.side)

    def _learner(self) -> nn.Module:
        if self.config.trains == "enhancer":
            return self._enhancer()
        assert self.classifier is not None  # the recipe was checked
        if self.config.trains == "both":
            return Both(self._enhancer(), self.classifier)
        return self.classifier

    def _enhancer(self) -> nn.Module:
        learner = find_learner(self.defense, self.config.defense)
        self.defense = passing_gradients(self.defense, learner)
        return enhancer_of(learner)

    def train(self, mode: bool = True) -> Self:
        """Set the training flag of the learner; everything else stays in eval mode."""
        super().train(False)
        self.learner.train(mode)
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
        return self.losses(entering, clean, labels, self.defense.draw(entering, generator))

    def losses(
        self,
        entering: Images,
        clean: Images,
        labels: Tensor,
        draw: Draw,
        clean_logits: Tensor | None = None,
        transform: Callable[[Images, Draw], Images] | None = None,
    ) -> dict[str, Tensor]:
        """The losses of a batch behind one draw, as ``forward`` gives them.

        Args:
            entering, clean, labels: as for ``forward``.
            draw: of the whole batch.
            clean_logits: (N, classes), what the classifier answers to ``clean``, where that is known already.
            transform: a faster way to do what the defence's does.
        """
        config = self.config
        restored = (transform or self.defense.transform)(entering, draw)
        losses: dict[str, Tensor] = {}
        target = clean
        if config.pixel or config.feature:
            target = target_of(self.defense, clean, draw)
        if config.pixel:
            losses["pixel"] = F.l1_loss(restored, self._taught(entering, target, draw))
        if config.feature or config.distillation or config.trades or config.cross_entropy:
            losses |= self._answer_losses(restored, target, clean, labels, draw, clean_logits)
        weighted = [getattr(config, name) * loss for name, loss in losses.items()]
        losses["loss"] = torch.stack(weighted).sum()
        return losses

    @torch.no_grad()
    def _taught(self, entering: Images, target: Images, draw: Draw) -> Images:
        """What L1 compares with: the target, or what the teacher makes of the same images and draw."""
        return target if self.teacher is None else self.teacher.transform(entering, draw).float()

    def _answer_losses(
        self,
        restored: Images,
        target: Images,
        clean: Images,
        labels: Tensor,
        draw: Draw,
        clean_logits: Tensor | None,
    ) -> dict[str, Tensor]:
        """The losses of what the classifier answers to the defended images."""
        config = self.config
        losses: dict[str, Tensor] = {}
        logits, features = self._answer(restored)
        if config.feature:
            with torch.no_grad():
                target_logits, target_features = self._answer(target)
            losses["feature"] = feature_distance(features, target_features)
            if target is clean:
                clean_logits = target_logits
        if config.distillation:
            # The answer to the image itself: the one to the shifted image has the errors of the shift.
            if clean_logits is None:
                with torch.no_grad():
                    clean_logits = self.classify(clean)
            losses["distillation"] = divergence(clean_logits, logits).mean()
        if config.trades:
            own_logits = self.classify(self.defense.transform(clean, draw))
            losses["trades"] = divergence(own_logits, logits).mean()
            logits = own_logits
        if config.cross_entropy:
            losses["cross_entropy"] = F.cross_entropy(logits, labels)
        return losses

    def _answer(self, images: Images) -> tuple[Tensor, list[Tensor]]:
        """Classify without the defence; logits (N, classes), and the activations if the recipe needs them."""
        if self.stages is None:
            return self.classify(images), []
        with self.stages.recorded() as features:
            logits = self.classify(images)
        return logits, features

    def classify(self, images: Images) -> Tensor:
        """Classify without the defence; windows of training images are not resized.

        Returns: logits (N, classes), float32.
        """
        is_window = images.shape[3] == self.config.window
        classify = self._classify_window if is_window else self._classify_whole
        assert classify is not None  # the recipe was checked
        return classify(images.clone())  # a network may work in place

    def answer(self, images: Images, generator: Generator) -> Tensor:
        """Classify behind the defence, with one draw; logits (N, classes)."""
        return RandomPipeline(self.classify, self.defense, generator)(images)

    def attacked(
        self,
        clean: Images,
        labels: Tensor,
        share: float,
        generator: Generator,
        first: int = 0,
        eps: float | None = None,
    ) -> Images:
        """Attack a share of a batch as the recipe says; the rest comes back as it was.

        An image without a label is driven away from the classifier's own answer to it.

        Args:
            clean: (N, 3, H, W).
            labels: (N,), -1 where there are none.
            share: of the run's samples that are attacked (``evenly_chosen``).
            generator: of the defence's draws, and the attack's.
            first: the number of the batch's first image among all samples of the run.
            eps: the budget; None is the recipe's.
        """
        chosen = evenly_chosen(share, first, len(clean)).to(clean.device)
        if self.attack is None or not chosen.any():
            return clean
        config, images = self.config, clean[chosen]
        if config.access == "known":
            generator = generator.clone_state()  # who learns from the images draws the same again
        with frozen(self.learner):
            view = self._as_attacked(clean, chosen, generator)
            targets = self._labels_or_answers(images, labels[chosen])
            options = keyword_for(self.attack, generator)
            radius = config.eps if eps is None else eps
            adversarial = self.attack(view, images, targets, eps=radius, norm=config.norm, **options)
        entering = clean.clone()
        entering[chosen] = adversarial.detach()
        return entering

    def _as_attacked(self, clean: Images, chosen: Tensor, generator: Generator) -> Model:
        """The model as the recipe's attacker sees it."""
        if self.config.access == "transfer":
            return self.classify
        if self.config.access == "known":
            draw = self.defense.draw(clean, generator)
            return behind_draw(self.classify, self.defense, draw, chosen)
        pipeline = RandomPipeline(self.classify, self.defense, generator)
        if self.defense.random and self.config.eot > 1:
            return Expectation(pipeline, self.config.eot)
        return pipeline

    @torch.no_grad()
    def _labels_or_answers(self, images: Images, labels: Tensor) -> Tensor:
        """The labels, or the classifier's own answers where one has none."""
        if (labels >= 0).all():
            return labels
        return self.classify(images).argmax(1)


def _classifier(config: Config) -> nn.Module | None:
    """The recipe's classifier, if it has one."""
    if not config.classifier:
        return None
    classifier = load_classifier(config.classifier)
    if not config.moves_classifier:
        warn_if_untrained(config.classifier, classifier)
    return classifier


def _made_faster(classifier: nn.Module | None, config: Config) -> nn.Module | None:
    """The same classifier; one that stands still is made faster."""
    if classifier is None or config.moves_classifier:
        return classifier
    return folded(classifier, (config.side, config.side))


def at_size(classifier: nn.Module, side: int) -> nn.Module:
    """The same classifier, weights and all, that takes images of ``side`` as they are.

    One that does not resize is itself.
    """
    if not hasattr(classifier, "crop"):
        return classifier
    # A copy of the surface only: the layers are the same.
    same = copy.copy(classifier)
    vars(same).update(resize=side, crop=side)
    return same


def divergence(target_logits: Tensor, logits: Tensor) -> Tensor:
    """The KL divergence, in nats, from target answers to others, both (N, classes); shape (N,)."""
    answers, targets = logits.log_softmax(1), target_logits.log_softmax(1)
    return F.kl_div(answers, targets, reduction="none", log_target=True).sum(1)
