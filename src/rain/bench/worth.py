"""From which share of adversarial images on a defence pays for what it costs. Never imports torch."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import sqrt
from statistics import fmean
from typing import NamedTuple

from rain.bench.metrics import Z95
from rain.bench.streams import Stream

MORE = 2
"""Images that Agresti and Min add to a comparison: half of one for each way to be right and wrong."""


class Lead(NamedTuple):
    """By how much a defence is more accurate in a stream than the bare classifier; bounds at 95 %."""

    share: float
    difference: float
    low: float
    high: float


class Worth(NamedTuple):
    """From which share of adversarial images on a defence is at least as accurate as the bare classifier.

    Args:
        share: the smallest such share; None where there is none.
        low, high: the 95 % bounds of the share. Below ``low`` the bare classifier is better, beyond noise;
            from ``high`` on the defence is. A ``low`` of None says that the bare classifier is better at
            every share, beyond noise; a ``high`` of None that the defence is shown to be better at none.
        until: up to this share a defence is better that is worse above it; else None.
        images: that were attacked before both.
        cost, gain: what the bare classifier is ahead on clean images, and the defence on attacked ones.
    """

    share: float | None
    low: float | None
    high: float | None
    until: float | None
    images: int
    cost: float
    gain: float

    @property
    def shown(self) -> bool:
        """Whether it is beyond noise that the defence pays at some share."""
        return self.share is not None and self.high is not None


def leads(stream: Stream, shares: Iterable[float]) -> list[Lead]:
    """Say by how much the defence is ahead of the bare classifier at these shares, image by image.

    Returns: nothing where the bare classifier was not measured on the same images.

    Convention:
        Agresti and Min's interval for matched pairs: Wald's, with half an image more for each way in which
        two can be right or wrong. It is narrower than those of two accuracies that go together.

    Source:
        Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", 2005.
    """
    sums = _sums(stream)
    if sums is None:
        return []
    points = []
    for share in shares:
        difference = sums.difference(share)
        half = Z95 * sqrt(max(0.0, sums.variance(share)))
        shrunk = sums.breadth(share) / (sums.breadth(share) + MORE)
        bounds = max(-1.0, shrunk * (difference - half)), min(1.0, shrunk * (difference + half))
        points.append(Lead(share, difference, *bounds))
    return points


def worth(stream: Stream) -> Worth | None:
    """Find the share of adversarial images from which on the defence pays for itself.

    Returns: None where the bare classifier was not measured on the same images.

    Convention:
        The bounds are the shares at which the interval of ``leads`` touches 0 (Fieller's way for a quotient).
    """
    sums = _sums(stream)
    if sums is None:
        return None
    share = until = None
    if sums.clean >= 0 and sums.robust >= 0:
        share = 0.0
    elif sums.clean < 0 < sums.robust:
        share = sums.crossing
    elif sums.robust < 0 < sums.clean:
        until = sums.crossing
    low, high = (None, None) if until is not None else sums.bounds()
    return Worth(share, low, high, until, sums.images, -sums.clean, sums.robust)


class _Sums(NamedTuple):
    """What a defence is ahead of the bare classifier, and how uncertain that is.

    Args:
        clean, robust: means of the differences on clean and on attacked images.
        clean_variance, robust_variance, covariance: of these means.
        clean_images, images: how many they are of.
    """

    clean: float
    robust: float
    clean_variance: float
    robust_variance: float
    covariance: float
    clean_images: int
    images: int

    def difference(self, share: float) -> float:
        """The mean difference in a mixture."""
        return (1 - share) * self.clean + share * self.robust

    def variance(self, share: float) -> float:
        """Of the mean difference."""
        square, linear, constant = self.variance_coefficients()
        return (square * share + linear) * share + constant

    def breadth(self, share: float) -> float:
        """For how many images a mixture stands."""
        return 1 / ((1 - share) / self.clean_images + share / self.images)

    @property
    def crossing(self) -> float:
        """The share at which nobody is ahead."""
        return self.clean / (self.clean - self.robust)

    def bounds(self) -> tuple[float | None, float | None]:
        """The share up to which the bare classifier is ahead, and that from which on the defence is."""
        turns = [turn for turn in _roots(*self.coefficients()) if 0 < turn < 1]
        parts = list(pairwise([0.0, *sorted(turns), 1.0]))
        signs = [self.ahead((start + end) / 2) for start, end in parts]
        low = high = None
        for (start, _), sign in zip(reversed(parts), reversed(signs), strict=True):
            if sign >= 0:
                low = start
        for (start, _), sign in zip(reversed(parts), reversed(signs), strict=True):
            if sign <= 0:
                break
            high = start
        return low, high

    def variance_coefficients(self) -> tuple[float, float, float]:
        """Of the variance, a quadratic in the share."""
        square = self.clean_variance - 2 * self.covariance + self.robust_variance
        return square, 2 * (self.covariance - self.clean_variance), self.clean_variance

    def coefficients(self) -> tuple[float, float, float]:
        """Of the quadratic in the share that is positive where the interval of the lead is without 0."""
        square, linear, constant = self.variance_coefficients()
        slope = self.robust - self.clean
        return (
            slope**2 - Z95**2 * square,
            2 * self.clean * slope - Z95**2 * linear,
            self.clean**2 - Z95**2 * constant,
        )

    def ahead(self, share: float) -> int:
        """Who is ahead at a share, beyond noise: 1 the defence, -1 the bare classifier, 0 nobody."""
        square, linear, constant = self.coefficients()
        if (square * share + linear) * share + constant <= 0:
            return 0
        return 1 if self.difference(share) > 0 else -1


def _sums(stream: Stream) -> _Sums | None:
    attacked = sorted(stream.robust.keys() & stream.bare_robust.keys())
    if not attacked:
        return None
    every = sorted(stream.clean.keys() & stream.bare_clean.keys())
    clean = {index: stream.clean[index] - stream.bare_clean[index] for index in every}
    before = [clean[index] for index in attacked]
    after = [stream.robust[index] - stream.bare_robust[index] for index in attacked]
    both = len(every) * len(attacked)
    return _Sums(
        clean=fmean(clean.values()),
        robust=fmean(after),
        clean_variance=_spread(list(clean.values()), list(clean.values())) / len(every) ** 2,
        robust_variance=_spread(after, after) / len(attacked) ** 2,
        covariance=_spread(before, after) / both,
        clean_images=len(every),
        images=len(attacked),
    )


def _spread(first: Sequence[float], second: Sequence[float]) -> float:
    """The sum of products about the means, with Agresti and Min's images: the halves add 1 to it."""
    products = sum(one * other for one, other in zip(first, second, strict=True))
    return products + 1 - sum(first) * sum(second) / (len(first) + MORE)


def _roots(square: float, linear: float, constant: float) -> list[float]:
    """The places at which a quadratic is 0."""
    if abs(square) < 1e-9 * (abs(linear) + abs(constant)):
        return [-constant / linear] if linear else []
    inner = linear**2 - 4 * square * constant
    if inner < 0:
        return []
    # Of the two textbook forms each loses digits for one of the roots: this takes neither.
    half = -(linear + (sqrt(inner) if linear >= 0 else -sqrt(inner))) / 2
    return [half / square, constant / half] if half else [0.0]
