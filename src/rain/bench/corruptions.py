"""What corruptions, which are no attacks, do to each defence, and which of them a gate flags.

Never imports torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from rain.bench.cells import Outcome, Result
from rain.bench.columns import grouped, is_corruption
from rain.bench.detection import has_suspicion, threshold_of
from rain.bench.metrics import access_order, interval, place_order
from rain.bench.roc import Rate, Scores, flagged_share

CLEAN = "none"
"""Stands for the images without a corruption."""


@dataclass(frozen=True)
class Corrupted:
    """The images of one corruption, or the same images without one.

    Args:
        dataset, size, classifier: as in a cell.
        attack: the corruption's spec; ``CLEAN`` without one.
        images: that all these defences were shown.
        accuracy: by defence, on single draws.
        flagged: by defence with a gate, the share of draws on which it flags an image.
        complete: whether all images are measured.
    """

    dataset: str
    size: int | None
    classifier: str
    attack: str
    images: int
    accuracy: Mapping[str, Rate]
    flagged: Mapping[str, Rate]
    complete: bool


def corruptions(results: Iterable[Result]) -> list[Corrupted]:
    """Say of each corruption how accurate each defence is, and how often a gate flags it.

    Returns: by place the clean images, then the corruptions in the order of their specs. What is compared is
        of the same images: those that every defence was shown. Empty without corruptions.
    """
    lines: list[Corrupted] = []
    corrupted = [result for result in results if result.outcomes and is_corruption(result)]
    for setting in grouped(corrupted, lambda result: place_order(result.cell)).values():
        setting.sort(key=lambda result: (result.cell.attack, access_order(result.cell.access)))
        clean = _line(setting, CLEAN)
        lines += [clean] if clean else []
        for attack, same in grouped(setting, lambda result: result.cell.attack).items():
            line = _line(same, attack)
            lines += [line] if line else []
    return lines


def _line(results: Sequence[Result], attack: str) -> Corrupted | None:
    """One line; None where the defences have no image in common."""
    by_defense = _first_of_each(results)
    shown = [{one.index for one in result.outcomes} for result in by_defense.values()]
    images = set.intersection(*shown)
    if not images:
        return None
    accuracy: dict[str, Rate] = {}
    flagged: dict[str, Rate] = {}
    for defense, result in by_defense.items():
        outcomes = [one for one in result.outcomes if one.index in images]
        right = fmean(_right(one, attack) for one in outcomes)
        accuracy[defense] = Rate(right, *interval(right, len(images)))
        share = flagged_share(_suspicion(outcomes, attack), threshold_of(result))
        if share and has_suspicion(result):
            flagged[defense] = share
    cell = results[0].cell
    return Corrupted(
        dataset=cell.dataset,
        size=cell.size,
        classifier=cell.classifier,
        attack=attack,
        images=len(images),
        accuracy=accuracy,
        flagged=flagged,
        complete=all(result.complete for result in by_defense.values()),
    )


def _first_of_each(results: Iterable[Result]) -> dict[str, Result]:
    """One result of each defence: the one of most images, and of these the first."""
    by_defense = grouped(results, lambda result: result.cell.defense)
    most = {
        defense: max(same, key=lambda result: len(result.outcomes)) for defense, same in by_defense.items()
    }
    return dict(sorted(most.items(), key=lambda pair: (pair[0] != "none", pair[0])))


def _right(outcome: Outcome, attack: str) -> float:
    answers = outcome.clean if attack == CLEAN else outcome.robust
    return fmean(answer == outcome.label for answer in answers)


def _suspicion(outcomes: Iterable[Outcome], attack: str) -> Scores:
    if attack == CLEAN:
        return {one.index: one.clean_suspicion for one in outcomes}
    return {one.index: one.robust_suspicion for one in outcomes}
