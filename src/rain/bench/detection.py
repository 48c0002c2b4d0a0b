"""Defences as detectors: does what they think of an image tell attacked from clean ones? Never imports torch.

A detector gives each image, on each draw, a score; what is above a threshold is flagged. *False positives*
are clean images that are flagged, *true positives* attacked ones.

Convention:
    The threshold for a share of false positives is chosen on the clean scores of the very images that were
    attacked, so that few images make it a little too good. It is the smallest at which no greater share is
    flagged. Draws count each for themselves, and intervals are Wilson's for as many *images*.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal

from rain.bench.cells import Cell, Outcome, Result
from rain.bench.columns import grouped, is_attacked, traits
from rain.bench.metrics import access_order, place_order
from rain.bench.roc import Quality, Rate, Scores, flagged_share, quality
from rain.errors import OptionError, ResultError, shown
from rain.specs import parse, write

Method = Literal["gate", "agreement", "label"]

METHODS: tuple[Method, ...] = ("gate", "agreement", "label")
"""What a detector goes by.

- gate: the gate's own score.
- agreement: the share of draws that do not give the commonest answer, of a defence without a gate.
- label: whether the defence says another class than the bare classifier.
"""

Knowledge = Literal["aware", "around", "unaware"]

KNOWLEDGE: tuple[Knowledge, ...] = ("aware", "around", "unaware")
"""What an attacker knows of the detector.

- aware: he attacks what he is flagged by.
- around: he attacks the defence behind the gate, as if there were no gate.
- unaware: he attacks the bare classifier and hopes.
"""


@dataclass(frozen=True)
class Detection:
    """One detector against one attack.

    Args:
        cell: whose answers these are.
        method: what the detector goes by.
        knowledge: what the attacker knows of it.
        clean_images: whose scores thresholds are chosen on.
        false: the share of clean scores above the detector's own threshold; None where it has none.
        every: on all attacked images.
        successful: on those that the attack succeeded on, draw by draw; None where it never did, or where
            nobody knows. Who does not know the defence succeeds where the bare classifier is wrong, everyone
            else where the defence is.
        is_known: whether it is known what succeeded; of a transferred attack the bare
            classifier's answers say it.
        complete: whether all images are measured.
    """

    cell: Cell
    method: Method
    knowledge: Knowledge
    clean_images: int
    false: Rate | None
    every: Quality
    successful: Quality | None
    is_known: bool
    complete: bool


GATE = "gated"
"""The detector behind which another defence stands."""

AROUND = "ungated"
"""The attack that takes the defence behind a gate, whose files do not all say so."""


def has_suspicion(result: Result) -> bool:
    """Whether a gate gave its score to the images of a result."""
    return any(outcome.clean_suspicion for outcome in result.outcomes)


def detections(results: Iterable[Result]) -> list[Detection]:
    """Say how well each gate detects each attack, beside what can be had without it.

    That is draw agreement, and another label than the bare classifier's, both of the defence that stands
    behind a gate. They are told for attacks that a gate met, too.

    Returns: sorted by place, by attack, and by detector; attackers who know most come first. Empty without a
        gate.
    """
    every: list[Detection] = []
    measured = [result for result in results if result.outcomes]
    for setting in grouped(measured, lambda result: place_order(result.cell)).values():
        gates = [result for result in setting if has_suspicion(result) and is_attacked(result)]
        every += [_of_gate(result, setting) for result in gates]
        behind = {defense_behind(result.cell.defense) for result in gates}
        met = {_attack_of(result.cell) for result in gates}
        for result in setting:
            if result.cell.defense in behind and _attack_of(result.cell) in met:
                every += baselines(result, setting)
    return sorted(every, key=_order)


def baselines(result: Result, setting: Sequence[Result]) -> list[Detection]:
    """Take a defence without a gate for a detector: by draw agreement, and by its label.

    Args:
        result: attacked.
        setting: results of the same place; the bare classifier's are needed for labels.
    """
    several = [one for one in (_by_agreement(result, setting), _by_label(result, setting)) if one]
    return several if is_attacked(result) and not has_suspicion(result) else []


def defense_behind(spec: str) -> str:
    """The defence that a gate's spec names: ``rain`` of ``gated(defense=rain, share=0.02)``; "" for none."""
    try:
        name, options = parse(spec)
        inner = options.get("defense", "rain") if name == GATE else None
        return write(*parse(inner)) if isinstance(inner, str) else ""
    except OptionError:
        return ""


def threshold_of(result: Result) -> float | None:
    """The gate's own threshold; None where a result does not say it, or says several.

    Raises:
        ResultError: what stands there is no number.
    """
    texts = result.made_by.get("gate_threshold", ())
    if len(texts) != 1:
        return None
    try:
        threshold = float(texts[0])
    except ValueError:
        threshold = inf
    if not isfinite(threshold):
        what = f"{result.cell.key}: its gate_threshold is {shown(texts[0])}, which is no number"
        raise ResultError(f"{what}; delete it and run the grid again")
    return threshold


def knowledge_of(result: Result) -> Knowledge:
    """What an attacker knows of the detector that a result is of."""
    if result.cell.access == "transfer":
        return "unaware"
    if _goes_around(result):
        return "around"
    return "aware" if traits(result).follows else "unaware"


def _goes_around(result: Result) -> bool:
    """Whether the defence behind the gate was attacked, and not the gate."""
    # The attack declares it. Of one with another attack within it a file may remember what that one declares.
    declared = getattr(traits(result), "gate", "") == "around"
    return declared or result.cell.attack.partition("(")[0] == AROUND


def _of_gate(result: Result, setting: Sequence[Result]) -> Detection:
    clean = {one.index: one.clean_suspicion for one in result.outcomes}
    attacked = {one.index: one.robust_suspicion for one in result.outcomes}
    return _detection(result, setting, "gate", clean, attacked, threshold_of(result))


def _by_agreement(result: Result, setting: Sequence[Result]) -> Detection | None:
    """Draw agreement: one score an image."""
    if result.cell.draws == 1:
        return None
    clean = {one.index: (_disagreement(one.clean),) for one in result.outcomes}
    attacked = {one.index: (_disagreement(one.robust),) for one in result.outcomes}
    return _detection(result, setting, "agreement", clean, attacked, None)


def _by_label(result: Result, setting: Sequence[Result]) -> Detection | None:
    """Another label than the bare classifier's, draw by draw; needs his answers to the same images."""
    bare = bare_answers(result, setting)
    seen = [one for one in result.outcomes if one.index in bare]
    if result.cell.defense == "none" or not seen:
        return None
    clean = {one.index: _differ(one.clean, bare[one.index].clean[0]) for one in seen}
    attacked = {one.index: _differ(one.robust, bare[one.index].robust[0]) for one in seen}
    # What differs is flagged: the only threshold that such a detector can have.
    return _detection(result, setting, "label", clean, attacked, 0.5)


def _detection(
    result: Result,
    setting: Sequence[Result],
    method: Method,
    clean: Scores,
    attacked: Scores,
    threshold: float | None,
) -> Detection:
    every = quality(clean, attacked, threshold)
    if every is None:
        raise ResultError(f"{result.cell.key}: some images have a suspicion and others none; delete it")
    return Detection(
        cell=result.cell,
        method=method,
        knowledge=knowledge_of(result),
        clean_images=len(clean),
        false=flagged_share(clean, threshold),
        every=every,
        successful=quality(clean, _successful(result, setting, attacked), threshold),
        is_known=result.cell.access != "transfer" or bool(bare_answers(result, setting)),
        complete=result.complete,
    )


def _successful(result: Result, setting: Sequence[Result], attacked: Scores) -> Scores:
    """The scores of the images, and of the draws, on which the attack succeeded."""
    if result.cell.access == "transfer":
        bare = bare_answers(result, setting)
        wrong = {index for index, one in bare.items() if one.robust[0] != one.label}
        return {index: scores for index, scores in attacked.items() if index in wrong}
    chosen: dict[int, Sequence[float]] = {}
    for one in result.outcomes:
        scores = attacked.get(one.index, ())
        if len(scores) == len(one.robust):
            pairs = zip(scores, one.robust, strict=True)
            chosen[one.index] = [score for score, answer in pairs if answer != one.label]
        elif one.robust_mean != one.label:  # one score for all draws
            chosen[one.index] = scores
    return {index: scores for index, scores in chosen.items() if scores}


def bare_answers(result: Result, setting: Iterable[Result]) -> dict[int, Outcome]:
    """What the bare classifier said to the very images of a result whose attack was transferred.

    Returns: by index; empty where it was not asked. Images that were moved by another distance are others.
    """
    cell = result.cell
    if cell.access != "transfer":
        return {}
    moved = {one.index: one.distance for one in result.outcomes}
    same: dict[int, Outcome] = {}
    for other in setting:
        if other.cell.defense == "none" and other.cell.access != "query" and _is_shared(other.cell, cell):
            for one in other.outcomes:
                if moved.get(one.index) == one.distance:
                    same[one.index] = one
    return same


def _is_shared(cell: Cell, other: Cell) -> bool:
    return _attack_of(cell)[:-1] == _attack_of(other)[:-1] and cell.seed == other.seed


def _attack_of(cell: Cell) -> tuple[str, str, float, str]:
    return cell.attack, cell.norm, cell.eps, cell.access


def _disagreement(answers: Sequence[int]) -> float:
    """The share of draws that do not give the commonest answer."""
    ((_, votes),) = Counter(answers).most_common(1)
    return 1 - votes / len(answers)


def _differ(answers: Iterable[int], label: int) -> list[float]:
    return [float(answer != label) for answer in answers]


def _order(detection: Detection) -> tuple[object, ...]:
    cell = detection.cell
    knowing = KNOWLEDGE.index(detection.knowledge), access_order(cell.access)
    attack = cell.norm, -cell.eps, cell.attack, cell.eot
    return *place_order(cell), *knowing, *attack, METHODS.index(detection.method), cell.defense
