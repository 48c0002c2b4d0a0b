"""The gate: the classifier's own answer, unless that of the defence differs too much.

Most images of a stream are clean, and a defence costs accuracy on them. The gate compares the bare answer
with the defended one, and lets the defence overrule the classifier only where the two differ more than they
do on nearly all clean images.

Source: Xu, Evans, Qi, "Feature squeezing" (arXiv 1704.01155): the comparison of two answers, there with L1,
    and with a rejection where here is an answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from rain.answers import log_probabilities, probabilities_of
from rain.calibration import Calibration, Comparison
from rain.defense import Classify, Defense, Draw
from rain.detector import Detector
from rain.errors import GateError, OptionError, did_you_mean, kind_of
from rain.hardened import Hardened
from rain.images import Images
from rain.plans import Plan
from rain.prediction import GatedPrediction
from rain.seeding import Generators


@dataclass(frozen=True)
class Score:
    """How two answers are compared.

    Args:
        of: from the log-probabilities of the bare and of the defended answer, each (N, classes), to (N,).
        width: how far beside the threshold a soft gate is still half open: of the order of the score's own
            spread on one image.
    """

    of: Callable[[Tensor, Tensor], Tensor]
    width: float


def l1(bare: Tensor, defended: Tensor) -> Tensor:
    """The sum of absolute differences of the probabilities, 0 to 2."""
    return (bare.exp() - defended.exp()).abs().sum(1)


def js(bare: Tensor, defended: Tensor) -> Tensor:
    """The Jensen-Shannon divergence of the probabilities, 0 to log 2."""
    first, second = bare.exp().clamp_min(1e-12), defended.exp().clamp_min(1e-12)
    middle = ((first + second) / 2).log()
    return ((first * (first.log() - middle)).sum(1) + (second * (second.log() - middle)).sum(1)) / 2


def gain(bare: Tensor, defended: Tensor) -> Tensor:
    """What the defence's class gains in probability, -1 to 1."""
    best = defended.argmax(1, keepdim=True)
    return (defended.gather(1, best).exp() - bare.gather(1, best).exp())[:, 0]


def odds(bare: Tensor, defended: Tensor) -> Tensor:
    """How far the log odds between the two answers' classes move; 0 where the two say the same.

    It is the margin of the bare answer over the defence's class, and that of the defended answer over the
    classifier's class. Both are small where an image is hard; one at least is large where it is attacked.
    """
    own, other = bare.argmax(1, keepdim=True), defended.argmax(1, keepdim=True)
    of_bare = bare.gather(1, own) - bare.gather(1, other)
    of_defended = defended.gather(1, other) - defended.gather(1, own)
    return (of_bare + of_defended)[:, 0]


def evidence(bare: Tensor, defended: Tensor) -> Tensor:
    """What speaks for the defence's answer where the two differ, at least 0; 0 where they say the same.

    It is the sum of how far the bare answer prefers its own class to the defence's (in logits), three times
    what the defence's class gains in probability, and how much surer the defended answer is (the difference
    of the entropies, in nats). An image that is hard leaves both unsure; one that is attacked does not.

    Source: a logistic regression on such numbers, with rounded coefficients; notebook 39.
    """
    own, other = bare.argmax(1, keepdim=True), defended.argmax(1, keepdim=True)
    preference = (bare.gather(1, own) - bare.gather(1, other))[:, 0]
    surer = entropy(bare) - entropy(defended)
    total = preference + 3 * gain(bare, defended) + surer
    return torch.where(own == other, 0.0, total[:, None])[:, 0].clamp_min(0)


def entropy(answers: Tensor) -> Tensor:
    """Entropy in nats of log-probabilities (N, classes), (N,)."""
    finite = answers.clamp_min(-100)  # a class that is ruled out adds nothing
    return -(finite.exp() * finite).sum(1)


SCORES = {
    "evidence": Score(evidence, 0.5),
    "gain": Score(gain, 0.05),
    "js": Score(js, 0.03),
    "l1": Score(l1, 0.1),
    "odds": Score(odds, 0.5),
}

DEFAULT = "evidence"
"""The score, unless another is asked for: chosen on pictures apart from those that are reported."""


class Gated(Detector):
    """A defence that overrules the classifier only where its answer differs too much.

    Args:
        defense: a ``Defense``.
        share: of the clean images that may be overruled, above 0 and at most 0.5. It becomes a threshold
            once there is a calibration.
        score: one of ``SCORES``.
        calibration: of this classifier and defence, or the file of one; None looks whether one is shipped.
        threshold: of the score, in the place of share and calibration.
        view: as for ``Detector``; "soft" is a sigmoid in the place of the step.

    Raises:
        GateError: no such score, the share is out of range, or the threshold is no number.
        OptionError: ``defense`` is gated itself, or another detector.
    """

    noun = "gate"
    share_option = "gate"
    made_by = "rain.harden(classifier, defense, gate=0.02)"
    overrules = True
    gates = ("around", "parts")

    def __init__(
        self,
        defense: Defense,
        share: float = 0.02,
        score: str = DEFAULT,
        calibration: Calibration | str | Path | None = None,
        threshold: float | None = None,
        view: str = "hard",
    ):
        if not isinstance(defense, Defense):
            raise OptionError(f"a gate stands around a defence (rain list defenses), got {kind_of(defense)}")
        if isinstance(defense, Gated):
            raise OptionError("this defence is gated already: give the one behind the gate")
        if isinstance(defense, Detector):
            what = f"a gate lets a defence answer, and {type(defense).__name__} raises alarms only"
            raise OptionError(f"{what}: its own options say how many, share or threshold")
        if score not in SCORES:
            raise GateError(f"no score {score!r}; {did_you_mean(str(score), list(SCORES))}")
        super().__init__(share, score, calibration, threshold, view)
        self.defense = defense
        self.random, self.independent, self.turn = defense.random, defense.independent, defense.turn
        self.differentiable = defense.differentiable

    def compared(self) -> list[Defense]:
        """The defence behind the gate."""
        return [self.defense]

    def identified(self) -> nn.Module:
        """The defence behind the gate."""
        return self.defense

    def seen_as(self, view: str, *stand_ins: Defense) -> "Gated":
        """The same gate with another view, and a stand-in for its defence if one is given."""
        defense = stand_ins[0] if stand_ins else self.defense
        gate = Gated(defense, self.share, self.score, None, self.threshold, view)
        gate.sizes = self.sizes
        return gate

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw as the defence does."""
        return self.defense.draw(images, generator)

    def spread(self, images: Images, copies: int, generator: Generator | None = None) -> Draw:
        """Draw as the defence does."""
        return self.defense.spread(images, copies, generator)

    def plan(self) -> dict[str, Plan]:
        """Say how the defence draws."""
        return self.defense.plan()

    def transform(self, images: Images, draw: Draw) -> Images:
        """Apply the defence, whether or not its answer will count."""
        return self.defense.transform(images, draw)

    def stages(self, images: Images, draw: Draw) -> dict[str, Images]:
        """Name the pictures on the way as the defence does."""
        return self.defense.stages(images, draw)

    def answer(self, classify: Classify, images: Images, draw: Draw, *, copies: int = 1) -> Tensor:
        """Answer as the classifier does, or as the defence where it overrules; logits (N, classes).

        Convention: of several copies of a batch, the bare answer is computed once.

        Raises:
            GateError: the gate is not calibrated, or for another size.
        """
        self.check_size(images.shape[2], images.shape[3])
        bare = classify(images[: images.shape[0] // copies]).repeat(copies, 1)
        defended = self.defense.answer(classify, images, draw, copies=copies)
        if self.view == "hard":
            return torch.where(self.flags(bare, defended)[:, None], defended, bare)
        first, second = log_probabilities(bare), log_probabilities(defended)
        score = SCORES[self.score]
        above = (score.of(first, second) - self.threshold)[:, None] / score.width
        if self.view == "parts":
            return torch.cat([first, second, above], 1)
        opened, shut = nn.functional.logsigmoid(above), nn.functional.logsigmoid(-above)
        return torch.logaddexp(first + shut, second + opened)

    def suspicion(self, bare: Tensor, defended: Tensor) -> Tensor:
        """The score of two answers, each logits (N, classes): (N,)."""
        return SCORES[self.score].of(log_probabilities(bare), log_probabilities(defended))

    def score_of(self, classify: Classify, images: Images, draw: Draw) -> Tensor:
        """The scores of images (N, 3, H, W) with a draw, (N,)."""
        return self.suspicion(classify(images), self.defense.answer(classify, images, draw))

    def flags(self, bare: Tensor, defended: Tensor) -> Tensor:
        """Whether the defence overrules, of two answers, each logits (N, classes): (N,)."""
        return self.suspicion(bare, defended) > self.threshold

    def predict(self, model: Hardened, images: Images, draws: int, generator: Generators) -> GatedPrediction:
        """Decide by the bare answer and one draw; ask further draws only of what is flagged.

        Args:
            model: this gate before a classifier.
            images: (N, 3, H, W) in [0, 1].
            draws: that are averaged for an image that is flagged.
            generator: of the draws, or a list of one for each image; by default, one that nobody can foresee.

        Raises:
            GateError: the gate is not calibrated, or for another size.
        """
        self.check_size(images.shape[2], images.shape[3])
        if not images.shape[0]:
            return self.combine(model(images), model(images)[None])
        bare, first = model.classify(images), self._defended(model, images, generator)
        rows = self.flags(bare, first).nonzero()[:, 0]
        if isinstance(generator, Sequence):
            generator = [generator[row] for row in rows.tolist()]
        each = [first]
        for _ in range(draws - 1 if self.random and len(rows) else 0):
            # What is not flagged keeps its first answer, which is then not looked at.
            each.append(first.index_copy(0, rows, self._defended(model, images[rows], generator)))
        return self.combine(bare, torch.stack(each), model)

    def _defended(self, model: Hardened, images: Images, generator: Generators) -> Tensor:
        draw = self.defense.fresh_draw(images, generator)
        return self.defense.answer(model.classify, images, draw)

    def combine(self, bare: Tensor, each: Tensor, model: object = None) -> GatedPrediction:
        """Say what the gate makes of answers. The first draw decides.

        Args:
            bare: logits (N, classes) of the classifier.
            each: logits (draws, N, classes) behind the defence.
            model: as for ``rain.answers.probabilities_of``.
        """
        suspicion = self.suspicion(bare, each[0])
        flagged = suspicion > self.threshold
        own = probabilities_of(bare, model)
        of_draws = torch.stack([probabilities_of(answer, model) for answer in each])
        probabilities = torch.where(flagged[:, None], of_draws.mean(0), own)
        labels = probabilities.argmax(1)
        agreement = (of_draws.argmax(2) == labels).float().mean(0)
        return GatedPrediction(labels, probabilities, agreement, suspicion, flagged, own.argmax(1))

    @torch.no_grad()
    def compare(self, model: Hardened, images: Images, generator: Generator | None = None) -> Comparison:
        """Compare the two answers to a batch by every score, with one fresh draw, for a calibration.

        Args:
            model: this gate before a classifier.
            images: (N, 3, H, W) in [0, 1].
            generator: of the draw; by default, one that nobody can foresee.

        Raises:
            ClassifierError: an answer is no number, which no threshold could be above.
        """
        own, other = model.classify(images), self._defended(model, images, generator)
        for answer in (own, other):
            probabilities_of(answer, model)  # it looks for what is broken, and warns of what is no logits
        bare, defended = log_probabilities(own), log_probabilities(other)
        scores = {name: score.of(bare, defended) for name, score in SCORES.items()}
        return self.comparison(images, bare, scores, bare.argmax(1) != defended.argmax(1))
