"""What each defence costs on clean images, as lines of a table. Never imports torch."""

from collections.abc import Iterable
from statistics import fmean
from typing import NamedTuple

from rain.bench.cells import Result
from rain.bench.columns import clean_scores, grouped
from rain.bench.metrics import place_text
from rain.report.compared import difference_interval


class CostLine(NamedTuple):
    """What one defence costs in one place, on the images that the bare classifier was shown, too.

    Args:
        clean, bare: accuracies on clean images, on single draws, with the defence and without.
        cost: ``bare`` minus ``clean``; ``low`` and ``high`` bound it at 95 %.
        images: that they are of.
    """

    defense: str
    clean: float
    bare: float
    cost: float
    low: float
    high: float
    images: int


def cost_lines(results: Iterable[Result]) -> dict[str, list[CostLine]]:
    """Say what each defence costs, by place, the dearest first; nothing without a bare classifier."""
    places: dict[str, list[CostLine]] = {}
    for place, setting in grouped(results, lambda result: place_text(result.cell)).items():
        bare = clean_scores(setting, "none")
        defenses = sorted({result.cell.defense for result in setting} - {"none"})
        lines = []
        for defense in defenses:
            scores = clean_scores(setting, defense)
            shared = sorted(scores.keys() & bare.keys())
            if shared:
                lines.append(
                    _line(defense, [scores[index] for index in shared], [bare[index] for index in shared])
                )
        if lines:
            places[place] = sorted(lines, key=lambda line: -line.cost)
    return places


def _line(defense: str, scores: list[float], bare: list[float]) -> CostLine:
    losses = [one - other for one, other in zip(bare, scores, strict=True)]
    low, high = difference_interval(losses)
    return CostLine(defense, fmean(scores), fmean(bare), fmean(losses), low, high, len(losses))
