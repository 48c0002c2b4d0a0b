"""What defences cost on clean images, where nothing was attacked. Never imports torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from rain.bench.cells import Result
from rain.bench.columns import grouped, is_attacked
from rain.bench.metrics import interval, per_image, percent_text, place_order
from rain.bench.significance import NOISE, Paired, paired
from rain.report.labels import defense_labels

SMALLEST = 0.0005
"""What is less than this is 0.0 in print."""

UNATTACKED = "Nothing was attacked: this is what the defences cost, and says nothing of what they hold."


class Kept(NamedTuple):
    """How often a defence is right on clean images.

    Args:
        draws: 1 for the mean over single draws; n for the answer by the probabilities averaged over n.
        rate: the fraction of images that are right.
        images: that it is of.
        cost: the bare classifier's fraction minus this one, image by image; None without a bare classifier.
    """

    draws: int
    rate: float
    images: int
    cost: Paired | None


@dataclass(frozen=True)
class CleanCost:
    """What one defence costs in one place.

    Args:
        label: the defence's short name in this report.
        single: on single draws.
        averaged: on several, averaged; None for a defence that is scored on one.
        bare: the fraction on which the bare classifier is right; None where it was not measured.
    """

    dataset: str
    size: int | None
    classifier: str
    defense: str
    label: str
    single: Kept
    averaged: Kept | None
    bare: float | None

    @property
    def sentence(self) -> str:
        """What it costs, in plain English."""
        return say(self)


def costs(results: Iterable[Result]) -> list[CleanCost]:
    """Say what each defence costs, in the places where nothing was attacked; the dearest first.

    Images that were corrupted were not attacked, and were seen clean, too.
    """
    results = [result for result in results if result.outcomes]
    labels = defense_labels(sorted({result.cell.defense for result in results}))
    every: list[CleanCost] = []
    for setting in grouped(results, lambda result: place_order(result.cell)).values():
        if not any(map(is_attacked, setting)):
            every += _of_place(setting, labels)
    return every


def _of_place(setting: Sequence[Result], labels: Mapping[str, str]) -> list[CleanCost]:
    by_defense = grouped(setting, lambda result: result.cell.defense)
    # Of a defence that was measured several times, on other numbers of images, the largest counts.
    largest = {spec: max(same, key=lambda one: len(one.outcomes)) for spec, same in by_defense.items()}
    bare = largest.pop("none", None)
    alone = [_cost(bare, None, labels["none"])] if bare else []
    defended = [_cost(result, bare, labels[spec]) for spec, result in largest.items()]
    return sorted(defended, key=_gravity) or alone


def _gravity(cost: CleanCost) -> tuple[float, str]:
    lost = cost.single.cost.difference if cost.single.cost else 0.0
    return -lost, cost.defense


def _cost(result: Result, bare: Result | None, label: str) -> CleanCost:
    cell = result.cell
    several = cell.draws > 1
    return CleanCost(
        dataset=cell.dataset,
        size=cell.size,
        classifier=cell.classifier,
        defense=cell.defense,
        label=label,
        single=_kept(result, bare, averaged=False),
        averaged=_kept(result, bare, averaged=True) if several else None,
        bare=fmean(_scores(bare, averaged=False).values()) if bare else None,
    )


def _kept(result: Result, bare: Result | None, *, averaged: bool) -> Kept:
    scores = _scores(result, averaged=averaged)
    others = _scores(bare, averaged=False) if bare else {}
    cost = paired(others, scores) if others.keys() & scores.keys() else None
    return Kept(result.cell.draws if averaged else 1, fmean(scores.values()), len(scores), cost)


def _scores(result: Result, *, averaged: bool) -> Mapping[int, float]:
    return per_image(result, attacked=False, averaged=averaged)


def say(cost: CleanCost) -> str:
    """Say what a defence costs: on single draws, then on averaged ones."""
    level = kept_text(cost.single.rate, cost.single.images)
    of = f"of {cost.single.images} images"
    if cost.defense == "none":
        return f"The bare classifier is right on {level} {of}."
    if cost.single.cost is None or cost.bare is None:
        return (
            f"{cost.label} is right on {level} {of}; what it costs is unknown, without the bare classifier."
        )
    draw = " with one draw" if cost.averaged else ""
    bare = f"the bare classifier on {percent_text(cost.bare)} %"
    first = f"{cost.label} {points_text(cost.single.cost)}{draw}: it is right on {level} {of}, {bare}."
    if cost.averaged is None or cost.averaged.cost is None:
        return first
    averaged = kept_text(cost.averaged.rate, cost.averaged.images)
    draws = f"With {cost.averaged.draws} draws averaged it"
    return f"{first} {draws} {points_text(cost.averaged.cost)}, and is right on {averaged}."


def points_text(cost: Paired) -> str:
    """Say what a comparison with the bare classifier comes to: ``costs 8.3 points``."""
    if abs(cost.difference) < SMALLEST:
        return "costs no clean accuracy"
    verb = "costs" if cost.difference > 0 else "adds"
    noise = " (which may be noise)" if cost.p >= NOISE else ""
    return f"{verb} {100 * abs(cost.difference):.1f} points of clean accuracy{noise}"


def kept_text(rate: float, images: int) -> str:
    """Write a rate with its interval of 95 %."""
    low, high = interval(rate, images)
    return f"{percent_text(rate)} % ({percent_text(low)} to {percent_text(high)} %)"
