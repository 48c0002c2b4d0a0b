"""Whether a difference between two columns is more than noise, image by image. Never imports torch."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import lcm, sqrt
from statistics import NormalDist, fmean
from typing import NamedTuple

import numpy as np

from rain.errors import ResultError

NOISE = 0.05
"""A difference with a p-value of at least this may be noise."""

FINEST = 1000
"""Scores are counted in parts of one at least as fine as their draws, and at most as fine as this."""

MOST_SUMS = 10**8
"""Sums that are counted exactly; beyond them there are so many images that they are normal."""


class Paired(NamedTuple):
    """A paired comparison of two columns, image by image.

    Args:
        images: that both measured.
        difference: mean of first minus second.
        p: two-sided p-value of no difference.
        better, worse: images on which the first scores more, and less, than the second.
    """

    images: int
    difference: float
    p: float
    better: int
    worse: int


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Paired:
    """Compare two scores per image over the images that both have, by an exact two-sided test of the mean.

    Args:
        first, second: from ``per_image`` or ``worst_images``.

    Convention:
        The sign-flip test: p is the share of all ways to swap the two scores of some images that make the
        mean difference as large as it is, or larger. Where every score is 0 or 1 this is McNemar's exact
        test. A score that is a mean over draws counts by how far it moves: by the number of images that
        move, one that is right on 21 of 50 draws of each image would be better than one that is right on
        42 % of the images.

    Raises:
        ResultError: no image is on both sides.

    Source: Fisher, The design of experiments, 1935, chapter 3.
    """
    shared = sorted(first.keys() & second.keys())
    if not shared:
        raise ResultError("no image was measured by all of these results; finish the run first")
    gaps = [first[index] - second[index] for index in shared]
    scale = _scale([score for index in shared for score in (first[index], second[index])])
    units = [round(gap * scale) for gap in gaps]
    better, worse = (sum(sign * unit > 0 for unit in units) for sign in (1, -1))
    return Paired(len(shared), fmean(gaps), _sign_flip_test(units), better, worse)


def above(first: Mapping[int, float], second: Mapping[int, float]) -> Paired | None:
    """Compare two scores per image; None unless the first is above the second by more than the noise."""
    if not first.keys() & second.keys():
        return None
    comparison = paired(first, second)
    return comparison if comparison.difference > 0 and comparison.p < NOISE else None


def _scale(scores: Sequence[float]) -> int:
    """The number of parts of one in which all these scores are whole numbers, if it is not too large."""
    parts = {Fraction(score).limit_denominator(FINEST).denominator for score in set(scores)}
    return min(lcm(*parts), FINEST)


def _sign_flip_test(gaps: Sequence[int]) -> float:
    """The share of all choices of signs by which the sum of these gaps is as far from 0 as it is, or more."""
    sizes = [abs(gap) for gap in gaps if gap]
    total, distance = sum(sizes), abs(sum(gaps))
    if len(set(sizes)) <= 1:
        return _sign_test(sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps))
    if len(sizes) * total > MOST_SUMS:
        deviation = sqrt(sum(size * size for size in sizes))
        return 2 * NormalDist().cdf(-distance / deviation)
    # By the sum of those gaps whose sign is plus: what share of the choices has it.
    shares = np.zeros(total + 1)
    shares[0] = 1.0
    reached = 0
    for size in sizes:
        reached += size
        shares[size : reached + 1] += shares[: reached + 1 - size].copy()
        shares[: reached + 1] /= 2
    low = (total - distance) // 2
    return min(1.0, 2 * float(shares[: low + 1].sum()))


def _sign_test(better: int, worse: int) -> float:
    """The same where all gaps are of one size, in whole numbers."""
    changed = better + worse
    ways = tail = 1
    for k in range(min(better, worse)):
        ways = ways * (changed - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / (1 << changed))
