"""Detector: a defence that compares answers, scores the difference, and flags what is above a threshold.

The threshold comes from clean pictures. The gate (``rain.gate``) lets another defence answer what is flagged;
feature squeezing (``rain.defenses.squeezing``) raises an alarm and no more.
"""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn

from rain.calibration import (
    Calibration,
    Comparison,
    check_count,
    check_share,
    check_threshold,
    identity,
    load,
    look_up,
    summarize,
)
from rain.defense import Classify, Defense, Draw
from rain.errors import GateError, OptionError
from rain.hardened import Hardened
from rain.images import Images, check_images
from rain.networks import first_weight
from rain.prediction import GatedPrediction, group_by_size
from rain.seeding import Generators

BATCH = 16
"""Pictures that are compared at a time."""


class Detector(Defense):
    """A defence with a threshold from clean pictures. What is above it is flagged.

    Args:
        share: of the clean images that may be flagged, above 0 and at most 0.5. It becomes a threshold once
            there is a calibration.
        score: how answers are compared, by the name that a calibration knows.
        calibration: of this classifier and of what is compared, or the file of one; None looks whether one is
            shipped.
        threshold: of the score, in the place of share and calibration.
        view: what ``answer`` gives: "hard", as it judges; "soft", without a step, so that an attacker has a
            gradient; "parts", for attacks that know the detector: the log-probabilities of the bare answer,
            those of the answer to what is flagged, and how far the score is above the threshold, in widths:
            (N, 2 classes + 1).

    Attributes:
        noun: what messages call it.
        share_option: what messages call the share.
        made_by: how messages say that it is put before a classifier.
        overrules: whether something else than the classifier answers what is flagged.
        gates: the kinds of attack on a gate that it takes (``rain.entries.Traits``).

    Raises:
        GateError: the share is out of range, the threshold is no number, or the file is no calibration.
    """

    noun = "detector"
    share_option = "share"
    made_by = "rain.harden(classifier, detector)"
    overrules = False
    gates: tuple[str, ...] = ("parts",)

    def __init__(
        self,
        share: float,
        score: str,
        calibration: Calibration | str | Path | None,
        threshold: float | None,
        view: str,
    ):
        super().__init__()
        check_share(share, self.share_option)
        if threshold is not None:
            check_threshold(threshold)
        self.share, self.score, self.view = share, score, view
        self.calibration, self.is_fixed = loaded(calibration), threshold is not None
        self.sizes: tuple[tuple[int, int], ...] = ()
        self._threshold = threshold
        self._place: tuple[str, str] | None = None
        self._before = ""  # what the weights were before others are loaded
        self._is_outdated = False  # others were loaded, for which there is no calibration
        self._hint = ""  # why a calibration may not be there though there is one

    @abstractmethod
    def compared(self) -> list[Defense]:
        """The defences behind which the classifier is asked, too."""

    @abstractmethod
    def identified(self) -> nn.Module:
        """What a calibration belongs to, besides the classifier."""

    @abstractmethod
    def seen_as(self, view: str, *stand_ins: Defense) -> Self:
        """The same detector with another view, and with stand-ins for what is compared, if they are given."""

    @abstractmethod
    def score_of(self, classify: Classify, images: Images, draw: Draw) -> Tensor:
        """The scores of images (N, 3, H, W) with a draw, (N,)."""

    @abstractmethod
    def compare(self, model: Hardened, images: Images, generator: Generator | None = None) -> Comparison:
        """Compare the answers to a batch by every score, with one fresh draw, for a calibration."""

    @abstractmethod
    def predict(self, model: Hardened, images: Images, draws: int, generator: Generators) -> GatedPrediction:
        """Answer images, and say which are flagged."""

    @property
    def threshold(self) -> float:
        """Images whose score is above it are flagged.

        Raises:
            GateError: the detector is not calibrated.
        """
        if self._threshold is None:
            how = "hardened.calibrate(images) with clean pictures, or rain calibrate and calibration=FILE"
            what = f"this {self.noun} is not calibrated for its classifier and defence"
            if self._is_outdated:
                what = (
                    f"this {self.noun} was calibrated for other weights than were loaded into the model since"
                )
            raise GateError(f"{what}: {how}{self._hint}")
        return self._threshold

    def check_calibrated(self) -> None:
        """Raise ``GateError`` if there is no threshold yet."""
        _ = self.threshold

    def meet(self, classifier: nn.Module) -> None:
        """Look for the calibration that belongs to this classifier.

        Raises:
            GateError: the one that was given belongs to another, or there are too few pictures in it.
        """
        for part in self.compared():
            part.meet(classifier)
        if self.is_fixed:
            return
        place = identity(classifier), identity(self.identified())
        if self._place not in (None, place):
            what = f"this {self.noun} stands before another classifier already"
            raise GateError(f"{what}: make one for each")
        self._watch(classifier)
        if self._place is None:
            self._watch(self.identified())
        self._place = place
        self._hint = _hint_of_rounding(classifier, self.identified())
        calibration = self.calibration or look_up(*place)
        if calibration is not None:
            self.use(calibration)

    def _watch(self, module: nn.Module) -> None:
        """See when other weights are loaded into a module, by whatever holds it: no threshold outlives them.

        What is loaded into a layer of it alone is not seen.

        The hooks are methods, so that a copy of the model has those of its own detector.
        """
        module.register_load_state_dict_pre_hook(self._note_weights)
        module.register_load_state_dict_post_hook(self._follow_weights)

    def _note_weights(self, module: nn.Module, *_: Any) -> None:
        self._before = identity(module)

    def _follow_weights(self, module: nn.Module, _: Any) -> None:
        """Take the calibration of the weights that were loaded; without one there is no threshold."""
        after = identity(module)
        if after == self._before:  # weights are compared in the type that they have now: half is no other
            return
        classifier, defense = self.place
        self._place = (classifier, after) if module is self.identified() else (after, defense)
        self._threshold, self.sizes, self._is_outdated = None, (), True
        own = self.calibration
        is_own = own is not None and (own.classifier, own.defense) == self._place
        calibration = own if is_own else look_up(*self._place)
        if calibration is not None:
            self.use(calibration)

    @property
    def place(self) -> tuple[str, str]:
        """Digests of the classifier and of what is compared.

        Raises:
            GateError: the detector stands before no classifier.
        """
        if self._place is None:
            what = f"a {self.noun} is calibrated for one classifier, and this one has none"
            raise GateError(f"{what}: {self.made_by}")
        return self._place

    def use(self, calibration: Calibration) -> None:
        """Take the threshold from a calibration.

        Raises:
            GateError: it belongs to another classifier or defence, or is of too few pictures.
        """
        calibration.check(*self.place, self._hint)
        self._threshold = calibration.threshold(self.score, self.share)
        self.calibration, self.sizes = calibration, calibration.sizes
        self._is_outdated = False

    def calibrate(
        self,
        model: Hardened,
        images: Images | Sequence[Tensor],
        origin: str = "",
        generator: Generator | None = None,
    ) -> Calibration:
        """Take the threshold from clean pictures, whose labels nobody needs.

        Args:
            model: this detector before a classifier.
            images: (N, 3, H, W) in [0, 1], or a list of pictures (3, H, W).
            origin: what pictures they are, in words, for the file.
            generator: of the draws; by default, one that nobody can foresee.

        Raises:
            GateError: they are fewer than 5 / share, hardly differ, or look attacked; or the detector has a
                threshold of its own.
            ClassifierError: an answer is no number.
        """
        self.refuse_fixed()
        check_count(len(images), self.share)
        comparisons = []
        for group in group_by_size(list(images)):
            check_images(group.images)
            comparisons += [self.compare(model, batch, generator) for batch in group.images.split(BATCH)]
        calibration = summarize(comparisons, *self.place, origin)
        self.use(calibration)
        return calibration

    def comparison(
        self, images: Images, bare: Tensor, scores: dict[str, Tensor], differs: Tensor
    ) -> Comparison:
        """Put together what a calibration learns from a batch.

        Args:
            images: (N, 3, H, W).
            bare: log-probabilities (N, classes) of the classifier alone.
            scores: by name, (N,) each.
            differs: (N,), whether another label than the classifier's was given.
        """
        flat = images.flatten(1)
        return Comparison(
            size=(images.shape[2], images.shape[3]),
            scores={name: values.tolist() for name, values in scores.items()},
            disagree=int(differs.sum()),
            plain=int((flat.amax(1) == flat.amin(1)).sum()),
            answers=tuple(map(tuple, bare[:, :8].tolist())),
        )

    def refuse_fixed(self) -> None:
        """Raise ``GateError`` for a threshold of its own: no calibration would change it."""
        if self.is_fixed:
            what = f"this {self.noun} has a threshold of its own, {self.threshold:g}"
            raise GateError(f"{what}: leave threshold out, and it comes from the clean pictures")

    def check_size(self, height: int, width: int) -> None:
        """Raise ``GateError`` for images of a size, in pixels, that it was not calibrated on."""
        if self.sizes and (height, width) not in self.sizes:
            own = ", ".join("x".join(map(str, size)) for size in self.sizes)
            what = f"this {self.noun} was calibrated on pictures of {own}, these are {height}x{width}"
            raise GateError(f"{what}: bring them to that size (rain.images.enter), or calibrate on this one")


def give_calibration(defense: Defense, calibration: Calibration | str | Path) -> None:
    """Give a detector, before it meets its classifier, a calibration or the file of one.

    Raises:
        OptionError: the defence is no detector.
        GateError: the file is no calibration, or the detector has a threshold of its own.
    """
    if not isinstance(defense, Detector):
        raise OptionError("a calibration goes with a gate: give gate=0.02, or another share of clean images")
    defense.refuse_fixed()
    defense.calibration = loaded(calibration)


def _hint_of_rounding(*modules: nn.Module) -> str:
    """Say that weights were rounded before they were hardened, where they were: no digest is as before."""
    for module in modules:
        weight = first_weight(module)
        if weight is not None and weight.dtype != torch.float32:
            what = f"the weights are {weight.dtype}, and what was calibrated in float32 is not recognized"
            return f" ({what}: harden the classifier in float32, then hardened.to({weight.dtype}))"
    return ""


def loaded(calibration: Calibration | str | Path | None) -> Calibration | None:
    """Read a calibration, if it is the file of one."""
    return load(calibration) if isinstance(calibration, str | Path) else calibration
