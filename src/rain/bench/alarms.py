"""Alarms that a gate raises in a stream where few images are adversarial. Never imports torch."""

from collections.abc import Iterable, Sequence
from math import isnan
from statistics import fmean
from typing import NamedTuple

from rain.bench.cells import Result
from rain.bench.metrics import interval, place_order
from rain.errors import ResultError, shown

SHARE = 1e-4
"""Of a stream that is adversarial, unless another is named."""

STREAM = 1_000_000
"""Images of a stream, unless another number is named."""


class Rate(NamedTuple):
    """A rate with the bounds of its 95 % interval."""

    rate: float
    low: float
    high: float

    def times(self, count: float) -> "Rate":
        """Make it a number of images."""
        return Rate(count * self.rate, count * self.low, count * self.high)


class Alarms(NamedTuple):
    """What a gate is expected to raise alarms at, by the draws that were measured.

    Args:
        share: of the stream that is adversarial.
        stream: images.
        images: adversarial ones that were measured.
        clean_images: clean ones.
        detection: of adversarial images the share that raises an alarm, whether or not they fool.
        false_alarm: of clean images the share that raises one.
        precision: of alarms the share that is at an adversarial image; None where nothing raised one.
    """

    share: float
    stream: int
    images: int
    clean_images: int
    detection: Rate
    false_alarm: Rate
    precision: Rate | None

    @property
    def attacks(self) -> float:
        """How many images of the stream are adversarial."""
        return self.share * self.stream

    @property
    def true(self) -> Rate:
        """How many alarms are at an adversarial image."""
        return self.detection.times(self.attacks)

    @property
    def false(self) -> Rate:
        """How many alarms are at a clean image."""
        return self.false_alarm.times(self.stream - self.attacks)

    @property
    def misses(self) -> Rate:
        """How many adversarial images raise no alarm."""
        rate, low, high = self.detection
        return Rate(1 - rate, 1 - high, 1 - low).times(self.attacks)


def alarms(
    result: Result, share: float = SHARE, stream: int = STREAM, clean: Result | None = None
) -> Alarms | None:
    """Count the alarms of a gate in a stream: the draws whose suspicion is above its threshold.

    Args:
        result: of a gated defence under an attack.
        share: of the stream that is adversarial, in [0, 1].
        stream: images.
        clean: of the same gate, with more clean images than the attack had; by default those of ``result``.

    Returns: None for a defence without a gate, and without an attack.

    Convention:
        A rate is the mean over images of the share of draws that are flagged, with Wilson's interval over
        images. The bounds of the precision put the bounds of both rates together, the bad ones and the good
        ones, and are wider than 95 % needs.

    Raises:
        ResultError: the threshold is missing or not one number, or scores are missing.
    """
    if result.cell.attack == "none" or not any(outcome.clean_suspicion for outcome in result.outcomes):
        return None
    clean = clean or result
    before = [outcome.clean_suspicion for outcome in clean.outcomes]
    after = [outcome.robust_suspicion for outcome in result.outcomes]
    false_alarm = _flag_rate(clean, before)
    detection = _flag_rate(result, after)
    precision = _precision(share, detection, false_alarm)
    return Alarms(share, stream, len(after), len(before), detection, false_alarm, precision)


def most_clean(results: Iterable[Result], about: Result) -> Result:
    """Choose, of the results of one gate in one place, the one with most clean images: at least ``about``."""
    cell, threshold = about.cell, about.made_by.get("gate_threshold")
    same = [result for result in results if place_order(result.cell) == place_order(cell)]
    own = [result for result in same if result.cell.defense == cell.defense]
    alike = [result for result in own if result.made_by.get("gate_threshold") == threshold]
    return max([about, *alike], key=lambda result: len(result.outcomes))


def _threshold(result: Result) -> float:
    texts = result.made_by.get("gate_threshold", ())
    advice = "run the grid again, into a fresh folder"
    if len(texts) != 1:
        what = f"{len(texts)} thresholds" if texts else "no threshold"
        raise ResultError(f"{result.cell.key}: {what} of the gate in its files, where one belongs; {advice}")
    try:
        threshold = float(texts[0])
    except ValueError:
        threshold = float("nan")
    if isnan(threshold):
        what = f"the threshold of the gate is {shown(texts[0])}, and must be a number"
        raise ResultError(f"{result.cell.key}: {what}; {advice}")
    return threshold


def _flag_rate(result: Result, scores: Sequence[Sequence[float]]) -> Rate:
    """How often a draw is flagged, on the mean over images."""
    threshold = _threshold(result)
    if not all(scores):
        what = "some of its images have no score of the gate"
        raise ResultError(f"{result.cell.key}: {what}; run the grid again, into a fresh folder")
    shares = [sum(score > threshold for score in draws) / len(draws) for draws in scores]
    rate = fmean(shares)
    return Rate(rate, *interval(rate, len(shares)))


def _precision(share: float, detection: Rate, false_alarm: Rate) -> Rate | None:
    middle = _part(share * detection.rate, (1 - share) * false_alarm.rate)
    low = _part(share * detection.low, (1 - share) * false_alarm.high)
    high = _part(share * detection.high, (1 - share) * false_alarm.low)
    if middle is None:
        return None
    return Rate(middle, low or 0.0, 1.0 if high is None else high)


def _part(first: float, second: float) -> float | None:
    """The first of a sum, as a share of the sum; None of nothing."""
    total = first + second
    return first / total if total else None
