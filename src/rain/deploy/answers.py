"""What logits say, in NumPy: probabilities, the mean over draws, the scores of a gate. Never imports torch.

It is what ``rain.prediction`` and ``rain.gate`` compute with torch; ``tests/deploy`` hold the two together.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from rain.errors import ClassifierError
from rain.plans import Array


class Prediction(NamedTuple):
    """What an exported model says to a batch.

    Attributes:
        labels: (N,), the class with the highest averaged probability.
        probabilities: (N, classes), float32, averaged over the draws.
        agreement: (N,), the share of draws that alone give the same label.
    """

    labels: Array
    probabilities: Array
    agreement: Array


class GatedPrediction(NamedTuple):
    """What an exported model with a gate says to a batch.

    Attributes:
        labels: (N,), the classifier's own, where it is not flagged; else that of the averaged probabilities
            behind the defence.
        probabilities: (N, classes), float32, of the one or the other.
        agreement: (N,), the share of draws that alone give the same label.
        suspicion: (N,), how far the two answers differ, by the gate's score.
        flagged: (N,), whether that is above the threshold, so that the defence overruled the classifier.
        bare: (N,), the label that the classifier gives without the defence.
    """

    labels: Array
    probabilities: Array
    agreement: Array
    suspicion: Array
    flagged: Array
    bare: Array


def probabilities_of(logits: Array) -> Array:
    """Softmax in float32 of logits (N, classes).

    Raises:
        ClassifierError: a probability is no number, the largest of which would be class 0.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        powers = np.exp(logits.astype(np.float32) - logits.max(1, keepdims=True, initial=-np.inf))
        probabilities: Array = powers / powers.sum(1, keepdims=True)
    broken = np.flatnonzero(~np.isfinite(probabilities).all(1)).tolist()
    if broken:
        places = ", ".join(map(str, broken[:4])) + (" and others" if len(broken) > 4 else "")
        what = f"NaN or infinite logits for images {places} of a batch of {len(logits)}"
        raise ClassifierError(f"the exported model answers {what}: look at its weights")
    return probabilities


def average(of_draws: Array) -> Prediction:
    """Average probabilities (draws, N, classes) over the draws."""
    probabilities = of_draws.mean(0)
    labels = probabilities.argmax(1)
    agreement = (of_draws.argmax(2) == labels).mean(0, dtype=np.float32)
    return Prediction(labels, probabilities, agreement)


LOWEST = -1e30
"""What stands for minus infinity, as in ``rain.answers``, which needs torch."""


def log_probabilities(logits: Array) -> Array:
    """The logarithms of the probabilities, in float32, of logits (N, classes); finite, as those of torch."""
    shifted = logits.astype(np.float32) - logits.max(1, keepdims=True, initial=-np.inf)
    normalised = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    ruled: Array = np.where(np.isneginf(normalised), np.float32(LOWEST), normalised)
    return ruled


def l1(bare: Array, defended: Array) -> Array:
    """The sum of absolute differences of the probabilities, 0 to 2."""
    total: Array = np.abs(np.exp(bare) - np.exp(defended)).sum(1)
    return total


def js(bare: Array, defended: Array) -> Array:
    """The Jensen-Shannon divergence of the probabilities, 0 to log 2."""
    first = np.exp(bare).clip(min=1e-12)
    second = np.exp(defended).clip(min=1e-12)
    middle = np.log((first + second) / 2)
    of_first = (first * (np.log(first) - middle)).sum(1)
    of_second = (second * (np.log(second) - middle)).sum(1)
    divergence: Array = (of_first + of_second) / 2
    return divergence


def gain(bare: Array, defended: Array) -> Array:
    """What the defence's class gains in probability, -1 to 1."""
    best = defended.argmax(1)
    gained: Array = np.exp(_at(defended, best)) - np.exp(_at(bare, best))
    return gained


def odds(bare: Array, defended: Array) -> Array:
    """How far the log odds between the two answers' classes move; 0 where the two say the same."""
    own, other = bare.argmax(1), defended.argmax(1)
    of_bare = _at(bare, own) - _at(bare, other)
    of_defended = _at(defended, other) - _at(defended, own)
    moved: Array = of_bare + of_defended
    return moved


def evidence(bare: Array, defended: Array) -> Array:
    """What speaks for the defence's answer where the two differ, at least 0; 0 where they say the same."""
    own, other = bare.argmax(1), defended.argmax(1)
    preference = _at(bare, own) - _at(bare, other)
    surer = entropy(bare) - entropy(defended)
    total = preference + 3 * gain(bare, defended) + surer
    return np.where(own == other, np.float32(0), total).clip(min=0)


def entropy(answers: Array) -> Array:
    """Entropy in nats of log-probabilities (N, classes), (N,)."""
    finite = answers.clip(min=-100)  # a class that is ruled out adds nothing
    total: Array = -(np.exp(finite) * finite).sum(1)
    return total


SCORES: dict[str, Callable[[Array, Array], Array]] = {
    "evidence": evidence,
    "gain": gain,
    "js": js,
    "l1": l1,
    "odds": odds,
}
"""By the gate's name for them: from the log-probabilities of the bare and of the defended answer to (N,)."""


def suspicion_of(score: str, bare: Array, defended: Array) -> Array:
    """The score of two answers, each logits (N, classes): (N,)."""
    with np.errstate(invalid="ignore"):
        return SCORES[score](log_probabilities(bare), log_probabilities(defended))


def gated(score: str, threshold: float, bare: Array, each: Sequence[Array]) -> GatedPrediction:
    """Say what a gate makes of answers. The first draw decides.

    Args:
        score, threshold: the gate's.
        bare: logits (N, classes) of the classifier.
        each: logits (N, classes) behind the defence, for each draw.
    """
    own = probabilities_of(bare)
    of_draws = np.stack([probabilities_of(logits) for logits in each])
    suspicion = suspicion_of(score, bare, each[0])
    flagged = suspicion > threshold
    probabilities = np.where(flagged[:, None], of_draws.mean(0), own)
    labels = probabilities.argmax(1)
    agreement = (of_draws.argmax(2) == labels).mean(0, dtype=np.float32)
    return GatedPrediction(labels, probabilities, agreement, suspicion, flagged, own.argmax(1))


def _at(values: Array, classes: Array) -> Array:
    """The value of one class for each row, (N,)."""
    return np.take_along_axis(values, classes[:, None], 1)[:, 0]
