"""How well scores tell attacked images from clean ones: ROC curve, its area, and what is caught.

Never imports torch.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from rain.bench.metrics import interval

ALLOWED = (0.01, 0.02, 0.05, 0.10)
"""The shares of false positives that are allowed."""

Scores = Mapping[int, Sequence[float]]
"""Of images, by index: one score a draw."""


class Rate(NamedTuple):
    """A share, and the bounds of its 95 % interval."""

    rate: float
    low: float
    high: float


class Caught(NamedTuple):
    """What is flagged where so many false positives are allowed.

    Args:
        allowed: the share of clean scores that may be flagged.
        threshold: what is above it is flagged.
        false: the share of clean scores above it; less than ``allowed`` where scores are equal, or few.
        true: the share of attacked scores above it.
    """

    allowed: float
    threshold: float
    false: float
    true: Rate


@dataclass(frozen=True)
class Quality:
    """How well scores tell attacked images from clean ones.

    Args:
        images: attacked ones; of clean ones there may be more.
        scores: of these images, one a draw.
        auroc: the chance that an attacked image has the higher score; equal ones count half. 0.5 is a guess.
            Its interval is that of a rate of as many attacked images, which is wider than it need be.
        caught: for each of ``ALLOWED``.
        roc: the corners of the curve, from (0, 0) to (1, 1): false positives, true positives.
        flagged: the share above the detector's own threshold; None where it has none.
    """

    images: int
    scores: int
    auroc: Rate
    caught: tuple[Caught, ...]
    roc: tuple[tuple[float, float], ...]
    flagged: Rate | None


def quality(clean: Scores, attacked: Scores, threshold: float | None = None) -> Quality | None:
    """Compare the scores of clean and of attacked images; None where there are none.

    Args:
        threshold: the detector's own.
    """
    before, after = sorted(_pooled(clean)), sorted(_pooled(attacked))
    if not before or not after:
        return None
    images = sum(bool(scores) for scores in attacked.values())
    caught = []
    for allowed in ALLOWED:
        level = threshold_for(before, allowed)
        true = _share_above(after, level, images)
        caught.append(Caught(allowed, level, _share_above(before, level, len(clean)).rate, true))
    flagged = None if threshold is None else _share_above(after, threshold, images)
    area = auroc(before, after)
    bounded = Rate(area, *interval(area, images))
    return Quality(images, len(after), bounded, tuple(caught), corners(before, after), flagged)


def threshold_for(clean: Sequence[float], allowed: float) -> float:
    """The smallest of some scores above which no greater share of them lies than is allowed.

    Args:
        clean: ascending, at least one.
        allowed: a share below 1.
    """
    # 0.1 of 30 is 3, and a little more in floating point; a little less would cost one.
    above = int(allowed * len(clean) + 1e-9)
    return clean[len(clean) - 1 - above]


def auroc(clean: Sequence[float], attacked: Iterable[float]) -> float:
    """The area under the ROC curve: how often an attacked score is above a clean one, equal ones half.

    Args:
        clean: ascending.

    Source: Mann, Whitney, "On a test of whether one of two random variables is stochastically larger than the
        other", 1947.
    """
    total, count = 0.0, 0
    for score in attacked:
        total += (bisect_left(clean, score) + bisect_right(clean, score)) / 2
        count += 1
    return total / (count * len(clean))


def corners(clean: Sequence[float], attacked: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """The corners of the ROC curve, from (0, 0) to (1, 1): shares of clean and of attacked scores.

    Args:
        clean, attacked: in any order. Points in the middle of a straight part are left out.
    """
    marked = [(-score, 0) for score in clean] + [(-score, 1) for score in attacked]
    points, counts = [(0.0, 0.0)], [0, 0]
    for _, equal in groupby(sorted(marked), key=lambda pair: pair[0]):
        for _, kind in equal:
            counts[kind] += 1
        point = (counts[0] / len(clean), counts[1] / len(attacked))
        if len(points) > 1 and _is_between(points[-2], points[-1], point):
            points.pop()
        points.append(point)
    return tuple(points)


def flagged_share(scores: Scores, threshold: float | None) -> Rate | None:
    """The share of scores above a threshold, with its interval; None without scores or threshold."""
    pooled = _pooled(scores)
    if not pooled or threshold is None:
        return None
    return _share_above(sorted(pooled), threshold, len(scores))


def _pooled(scores: Scores) -> list[float]:
    return [score for draws in scores.values() for score in draws]


def _share_above(scores: Sequence[float], threshold: float, images: int) -> Rate:
    """The share of ascending scores above a threshold, with the interval of so many images."""
    rate = (len(scores) - bisect_right(scores, threshold)) / len(scores)
    return Rate(rate, *interval(rate, images))


def _is_between(first: tuple[float, float], middle: tuple[float, float], last: tuple[float, float]) -> bool:
    """Whether three points of a rising curve lie on one line."""
    ahead = (middle[0] - first[0]) * (last[1] - middle[1])
    back = (last[0] - middle[0]) * (middle[1] - first[1])
    return abs(ahead - back) < 1e-12
