"""What the page of one picture says and shows of a gate. Never imports torch."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from rain.bench.explanation import CLEAN, Explanation, Gate, Version

WIDTH = 100.0
"""Of the axis on which scores are shown."""

MARGIN = 1.15
"""The axis ends so far beyond the largest score, or the threshold."""


class Scores(NamedTuple):
    """The scores of one version, on the axis.

    Args:
        kind: of the version.
        places: one for each draw, 0 to ``WIDTH``.
        text: what they mean.
    """

    kind: str
    places: list[float]
    text: str


class Scale(NamedTuple):
    """The axis: where the threshold stands, 0 to ``WIDTH``, and what its ends are."""

    threshold: float
    first: float
    last: float


def flags(gate: Gate, version: Version) -> list[bool]:
    """Say of each draw whether the gate lets the defence answer."""
    return [score > gate.threshold for score in version.suspicion]


def gated_labels(gate: Gate, version: Version) -> list[int]:
    """The answer of each draw with the gate."""
    if gate.is_used:
        return [guess.label for guess in version.draws]
    pairs = zip(flags(gate, version), version.draws, strict=True)
    return [guess.label if flagged else version.bare.label for flagged, guess in pairs]


def gate_text(about: Explanation, gate: Gate, defense: str) -> str:
    """Say what a gate is."""
    share = ""
    if gate.share is not None:
        share = f" It is chosen so that {100 * gate.share:.3g} of 100 clean images may be above it."
    text = (
        "A gate compares the answer of the classifier alone with the answer behind the defence. "
        f"Where the score of their difference ({gate.score}) is above the threshold, {gate.threshold:.3g}, "
        f"the defence answers; otherwise the classifier does.{share}"
    )
    if not gate.overrules:
        text = (
            "A detector compares the classifier's answer to the picture with those to squeezed versions of "
            f"it. Where the score of their difference ({gate.score}) is above the threshold, "
            f"{gate.threshold:.3g}, it raises an alarm: the picture should be refused. The answer stays the "
            f"classifier's.{share}"
        )
    if gate.is_used:
        return f"{text} The adaptive attacker knows it."
    return (
        f"{text} {defense} has no gate here: this is what one would say. No attacker here knew of it; "
        f'--defense "gated(defense={about.setting.defense})" explains it with its own attackers.'
    )


def gate_scores(about: Explanation, gate: Gate) -> tuple[Scale, list[Scores]]:
    """Put all scores on one axis."""
    scale = _scale(gate, [score for version in about.versions for score in version.suspicion])
    rows = []
    for version in about.versions:
        places = [_place(scale, score) for score in version.suspicion]
        rows.append(Scores(version.kind, places, _scores_text(about, gate, version)))
    return Scale(_place(scale, gate.threshold), scale.first, scale.last), rows


def _scale(gate: Gate, scores: Sequence[float]) -> Scale:
    finite = [score for score in [*scores, gate.threshold, 0.0] if math.isfinite(score)]
    return Scale(gate.threshold, min(finite), MARGIN * max(finite) or 1.0)


def _place(scale: Scale, score: float) -> float:
    """Where a score stands; an infinite one at the end."""
    share = (score - scale.first) / (scale.last - scale.first)
    return WIDTH * min(1.0, max(0.0, share)) if math.isfinite(share) else WIDTH


def _scores_text(about: Explanation, gate: Gate, version: Version) -> str:
    total = len(version.suspicion)
    flagged = sum(flags(gate, version))
    right = sum(label == about.held for label in gated_labels(gate, version))
    are = "is" if flagged == 1 else "are"
    above = f"{flagged} of {total} draws {are} above the threshold" if total > 1 else _one_text(flagged)
    are = "is" if right == 1 else "are"
    answers = (
        f"{right} of {total} answers {are}" if total > 1 else f"the answer {'is' if right else 'is not'}"
    )
    if not gate.overrules:
        return f'{above}. {answers.capitalize()} "{about.held_name}".'
    text = f'{above}. With the gate {answers} "{about.held_name}".'
    if not flagged and not right and version.kind != CLEAN:
        text += " Both answers are wrong in the same way, so that the gate has nothing to see."
    return text


def _one_text(flagged: int) -> str:
    return "The score is above the threshold" if flagged else "The score is not above the threshold"
