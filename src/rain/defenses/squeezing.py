"""The detector of feature squeezing: answers to a picture and to squeezed versions of it, compared."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from rain.answers import log_probabilities, probabilities_of
from rain.calibration import Calibration, Comparison
from rain.defense import Classify, Defense, Draw
from rain.detector import Detector
from rain.errors import OptionError, kind_of
from rain.hardened import Hardened
from rain.images import Images
from rain.options import check_number
from rain.prediction import GatedPrediction
from rain.registry import DEFENSES, load_defense
from rain.seeding import Generators
from rain.specs import apart

SCORE = "l1"
"""What a calibration calls the score."""

WIDTH = 0.1
"""How far beside its threshold the soft view is still half open: of the order of the score's own spread."""


@DEFENSES.register
class Squeezing(Detector):
    """Raise an alarm where squeezing a picture changes the classifier's probabilities too much.

    It answers as the classifier does, always. The alarm (``predict(...).flagged``) means that the picture
    should be refused; accuracy does not count it. The threshold comes from clean pictures
    (``hardened.calibrate``, ``rain calibrate --defense squeezing``), or is given. An image costs a pass for
    each squeezer, and one more. The default set needs ``pip install 'rain-defense[defenses]'``, and its nlm
    is slow; ``bit_depth(bits=5)+median`` needs nothing.

    Args:
        squeezers: specs of defences that are not random, with "+" between them, or a list of such defences.
            The default is the authors' best set on ImageNet: 5 bits, a median of 2x2, and non-local means
            11-3-4.
        share: of the clean images that may be flagged, above 0 and at most 0.5. The default is the authors'
            0.05.
        calibration: of this classifier and these squeezers, or the file of one.
        threshold: of the score, 0 to 2, in the place of share and calibration.
        view: as for ``rain.detector.Detector``. "soft" answers what is flagged by the mean over the
            squeezers; in "parts" what is flagged has no answer, and the gradient of that mean.

    Raises:
        OptionError: there is no squeezer, or one is no defence, is random, or is a detector itself; or the
            threshold is out of range.
        GateError: the share is out of range, or the file is no calibration.

    Convention: the score is the largest, over the squeezers, sum of absolute differences between the
        probabilities for the picture and for the squeezed one, 0 to 2.

    Source: Xu, Evans, Qi, "Feature squeezing" (arXiv 1704.01155); the attacks on it after He et al.,
        "Adversarial example defenses: ensembles of weak defenses are not strong" (arXiv 1706.04701).

    Differs: nlm is scikit-image's.
    """

    random = False
    made_by = 'rain.harden(classifier, "squeezing")'

    def __init__(
        self,
        squeezers: str | Sequence[Defense] = "bit_depth(bits=5)+median+nlm",
        share: float = 0.05,
        calibration: str | Path | Calibration | None = None,
        threshold: float | None = None,
        view: str = "hard",
    ):
        if threshold is not None:
            check_number(threshold, "threshold", 0, 2)
        super().__init__(share, SCORE, calibration, threshold, view)
        self.squeezers = nn.ModuleList(_built(squeezers))
        self.differentiable = all(part.differentiable for part in self.compared())

    def compared(self) -> list[Defense]:
        """The squeezers."""
        return [part for part in self.squeezers if isinstance(part, Defense)]

    def identified(self) -> nn.Module:
        """The squeezers."""
        return self.squeezers

    def seen_as(self, view: str, *stand_ins: Defense) -> "Squeezing":
        """The same detector with another view, and with stand-ins for its squeezers if they are given."""
        parts = list(stand_ins) or self.compared()
        detector = Squeezing(parts, self.share, None, self.threshold, view)
        detector.sizes = self.sizes
        return detector

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw nothing."""
        return {}

    def transform(self, images: Images, draw: Draw) -> Images:
        """Return the images: what counts is the classifier's own answer."""
        return images

    def stages(self, images: Images, draw: Draw) -> dict[str, Images]:
        """Give what each squeezer makes, "squeezed1", "squeezed2", ..., then the images: "unchanged"."""
        pictures = {}
        for place, part in enumerate(self.compared()):
            pictures[f"squeezed{place + 1}"] = part.transform(images, {})
        return pictures | {"unchanged": images}

    def answer(self, classify: Classify, images: Images, draw: Draw, *, copies: int = 1) -> Tensor:
        """Answer as the classifier does; logits (N, classes), or what the view says.

        Raises:
            GateError: for attackers, that it is not calibrated; or it is for another size.
        """
        self.check_size(images.shape[2], images.shape[3])
        own = classify(images)
        if self.view == "hard":
            return own
        bare, squeezed = log_probabilities(own), self._squeezed(classify, images)
        above = (largest_change(bare, squeezed) - self.threshold)[:, None] / WIDTH
        mean = squeezed.logsumexp(0) - math.log(len(squeezed))
        if self.view == "parts":
            # What is flagged is refused: no class is right or wrong. The gradient is that of the squeezed
            # answers all the same: where these are wrong in the same way, the score falls.
            undecided = torch.full_like(mean, -math.log(mean.shape[1]))
            return torch.cat([bare, undecided + (mean - mean.detach()), above], 1)
        opened, shut = nn.functional.logsigmoid(above), nn.functional.logsigmoid(-above)
        return torch.logaddexp(bare + shut, mean + opened)

    def score_of(self, classify: Classify, images: Images, draw: Draw) -> Tensor:
        """The scores of images (N, 3, H, W), (N,)."""
        return self._score(classify, images, classify(images))

    def predict(self, model: Hardened, images: Images, draws: int, generator: Generators) -> GatedPrediction:
        """Answer as the classifier does, and flag what squeezing changes.

        Args:
            model: this detector before a classifier.
            images: (N, 3, H, W) in [0, 1].
            draws: is not looked at, as nothing is drawn.
            generator: neither.

        Raises:
            GateError: it is not calibrated, or for another size.
        """
        self.check_size(images.shape[2], images.shape[3])
        own = model.classify(images) if images.shape[0] else model(images)
        probabilities = probabilities_of(own, model)
        suspicion = probabilities.new_zeros(0)
        if images.shape[0]:
            suspicion = self._score(model.classify, images, own)
        flagged = suspicion > self.threshold
        labels = probabilities.argmax(1)
        return GatedPrediction(labels, probabilities, torch.ones_like(suspicion), suspicion, flagged, labels)

    @torch.no_grad()
    def compare(self, model: Hardened, images: Images, generator: Generator | None = None) -> Comparison:
        """Compare the answers to a batch, for a calibration.

        Args:
            model: this detector before a classifier.
            images: (N, 3, H, W) in [0, 1].
            generator: is not looked at, as nothing is drawn.

        Raises:
            ClassifierError: an answer is no number, which no threshold could be above.
        """
        own, squeezed = model.classify(images), self._squeezed(model.classify, images)
        probabilities_of(own, model)  # it looks for what is broken, and warns of what is no logits
        for answers in squeezed:
            probabilities_of(answers)
        bare = log_probabilities(own)
        differs = (squeezed.argmax(2) != bare.argmax(1)).any(0)
        return self.comparison(images, bare, {SCORE: largest_change(bare, squeezed)}, differs)

    def _score(self, classify: Classify, images: Images, own: Tensor) -> Tensor:
        """The scores (N,) of images, of which the classifier said ``own``."""
        return largest_change(log_probabilities(own), self._squeezed(classify, images))

    def _squeezed(self, classify: Classify, images: Images) -> Tensor:
        """The answers to the squeezed versions, log-probabilities (squeezers, N, classes)."""
        answers = [part.answer(classify, images, {}) for part in self.compared()]
        return torch.stack([log_probabilities(logits) for logits in answers])


def largest_change(bare: Tensor, squeezed: Tensor) -> Tensor:
    """The largest L1 distance, over the squeezers, between probabilities.

    Args:
        bare: log-probabilities (N, classes).
        squeezed: log-probabilities (squeezers, N, classes).

    Shape: returns (N,), 0 to 2.
    """
    return (squeezed.exp() - bare.exp()).abs().sum(2).amax(0)


def _built(squeezers: str | Sequence[Defense]) -> list[Defense]:
    """Build what specs name, and check that each can squeeze."""
    if isinstance(squeezers, str):
        parts: list[Defense] = [load_defense(spec) for spec in apart(squeezers)]
    else:
        parts = list(squeezers)
    if not parts:
        raise OptionError('squeezing needs at least one squeezer: squeezers="bit_depth(bits=5)+median"')
    for part in parts:
        _check_squeezer(part)
    return parts


def _check_squeezer(part: object) -> None:
    if not isinstance(part, Defense):
        needed = 'specs with "+" between them, or a list of instances of rain.Defense'
        raise OptionError(f"squeezers are {needed}; got {kind_of(part)}")
    name = type(part).__name__
    if isinstance(part, Detector):
        raise OptionError(f"squeezer {name} is a detector itself: give what changes pictures")
    if part.random:
        advice = "gated(defense=..., score=l1) compares with an answer behind a random defence"
        raise OptionError(f"squeezer {name} is random, and the score would be, too: {advice}")
