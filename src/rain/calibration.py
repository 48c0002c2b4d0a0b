"""Calibration of a gate: the scores of clean pictures, from which its threshold comes. Never needs labels.

A file of it is JSON, and belongs to one classifier and one defence: it holds their digests.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from rain.checkpoints import digest, digest_options
from rain.errors import LONGEST_SHOWN, GateError, shown
from rain.files import read_text, to_path, write_named

FORMAT = 1

LEAST = 5
"""Clean pictures that must lie above a threshold: of fewer, their number is chance."""

MOST = 0.5
"""The largest share of clean images that a gate may overrule."""

FEW = 0.05
"""The share of pictures without content that is passed over."""

SIZES = 4
"""Of more sizes than these, a calibration holds for any."""

DIGITS = 6
"""Significant digits of a score in a file."""


@dataclass(frozen=True)
class Calibration:
    """What a gate knows of clean pictures.

    Args:
        classifier, defense: digests of the two (``identity``).
        sizes: (height, width) of the pictures; empty where they were of many sizes.
        pictures: how many there were.
        disagree: the share of them for which the defence's label is not the classifier's.
        scores: by the name of a score, those of the more suspicious half of the pictures, largest first.
        origin: what pictures they were, in words.
    """

    classifier: str
    defense: str
    sizes: tuple[tuple[int, int], ...]
    pictures: int
    disagree: float
    scores: Mapping[str, tuple[float, ...]]
    origin: str = ""

    def threshold(self, score: str, share: float) -> float:
        """The score above which at most this share of clean images lies.

        Convention: of n pictures it is the k-th largest score, k the whole part of share (n + 1). A new
            picture that is drawn as these were lies above it with a probability of at most share.

        Raises:
            GateError: there are too few pictures for that share, no such score, or no finite threshold.
        """
        check_share(share)
        check_count(self.pictures, share)
        if score not in self.scores:
            names = ", ".join(sorted(self.scores))
            raise GateError(f"this calibration has no score {score!r}, it has {names}: calibrate again")
        value = self.scores[score][math.floor(share * (self.pictures + 1)) - 1]
        if not math.isfinite(value):
            what = f"the score {score!r} has no finite threshold for a share of {share:g}"
            why = "on more clean pictures than that the classifier rules out the defence's class"
            raise GateError(f"{what}: {why}; take another score, such as l1")
        return value

    def check(self, classifier: str, defense: str, hint: str = "") -> None:
        """Raise ``GateError`` if it belongs to another classifier or defence than these digests are of.

        Args:
            classifier, defense: the digests.
            hint: the end of the error, such as why the digests may differ.
        """
        for name, own, other in (
            ("classifier", self.classifier, classifier),
            ("defence", self.defense, defense),
        ):
            if own != other:
                what = f"this calibration belongs to another {name} (digest {own}, here {other})"
                advice = "calibrate for this one, by rain calibrate or hardened.calibrate"
                raise GateError(f"{what}: {advice}{hint}")

    def save(self, path: str | Path) -> None:
        """Write it as JSON, atomically.

        Raises:
            GateError: it cannot be written.
        """
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=None, separators=(",", ":"))
        try:
            write_named(to_path(path), (text + "\n").encode())
        except OSError as error:
            raise GateError(f"{path}: cannot be written: {error.strerror or error}") from error


class Comparison(NamedTuple):
    """The bare and the defended answers to a batch of N pictures, compared.

    Args:
        size: height and width.
        scores: by name, N of them.
        disagree: for how many the labels differ.
        plain: how many pictures have one value in all pixels.
        answers: N, what tells one picture from another.
    """

    size: tuple[int, int]
    scores: dict[str, list[float]]
    disagree: int
    plain: int
    answers: tuple[tuple[float, ...], ...]


def summarize(
    comparisons: Sequence[Comparison], classifier: str, defense: str, origin: str = ""
) -> Calibration:
    """Make a calibration of what was compared.

    Args:
        classifier, defense: digests (``identity``).
        origin: what pictures they were, in words.

    Raises:
        GateError: the pictures do not do: one and the same, without content, or attacked by the look of it.
    """
    pictures = sum(len(each.answers) for each in comparisons)
    if not pictures:
        raise GateError("there is no picture to calibrate on: give clean ones, hundreds of them")
    plain = sum(each.plain for each in comparisons) / pictures
    if plain > FEW:
        what = f"{100 * plain:.0f} % of the pictures have one value in all pixels"
        raise GateError(f"{what}: calibrate on pictures of the kind that will be classified")
    different = len({answer for each in comparisons for answer in each.answers}) / pictures
    if different < 1 - MOST:
        what = f"only {100 * different:.0f} % of the pictures differ from one another"
        raise GateError(f"{what}: calibrate on as many different ones as the share needs")
    disagree = sum(each.disagree for each in comparisons) / pictures
    if disagree > MOST:
        what = f"classifier and defence disagree on {100 * disagree:.0f} % of the pictures"
        why = "they look attacked, or the defence does not fit the classifier"
        raise GateError(f"{what}: {why}; calibrate on clean pictures")
    sizes = tuple(dict.fromkeys(each.size for each in comparisons))
    names = comparisons[0].scores
    scores = {name: largest([value for each in comparisons for value in each.scores[name]]) for name in names}
    few_sizes = sizes if len(sizes) <= SIZES else ()
    return Calibration(classifier, defense, few_sizes, pictures, disagree, scores, origin)


def load(path: str | Path) -> Calibration:
    """Read a calibration file. All of it is checked.

    Raises:
        GateError: it is not there, or is no calibration.
    """
    try:
        text = read_text(to_path(path))
    except OSError as error:
        advice = "rain calibrate makes one"
        raise GateError(f"{path}: {error.strerror or error}; {advice}") from None
    except UnicodeDecodeError:
        raise GateError(f"{path}: not a calibration; rain calibrate makes one") from None
    return _parse(text, str(path))


def _parse(text: str, source: str) -> Calibration:
    try:
        content: dict[str, Any] = json.loads(text)
        if content.pop("format") != FORMAT:
            raise ValueError("another format")
        content["sizes"] = tuple((int(height), int(width)) for height, width in content["sizes"])
        content["scores"] = {name: tuple(map(float, row)) for name, row in content["scores"].items()}
        calibration = Calibration(**content)
        _check_fields(calibration)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        what = f"not a calibration ({type(error).__name__}: {str(error)[:LONGEST_SHOWN]})"
        raise GateError(f"{source}: {what}; rain calibrate makes one") from None
    return calibration


def _check_fields(calibration: Calibration) -> None:
    if type(calibration.pictures) is not int or not 0 < calibration.pictures < 10**9:
        raise ValueError(f"pictures {calibration.pictures!r}")
    if not all(
        isinstance(text, str) for text in (calibration.classifier, calibration.defense, calibration.origin)
    ):
        raise TypeError("a digest or an origin that is no text")
    if not isinstance(calibration.disagree, int | float) or not 0 <= calibration.disagree <= 1:
        raise ValueError(f"disagree {calibration.disagree!r}")
    if not all(1 <= side < 10**6 for size in calibration.sizes for side in size):
        raise ValueError(f"sizes {calibration.sizes}")
    if not calibration.scores:
        raise ValueError("no scores")
    for name, row in calibration.scores.items():
        is_sorted = all(first >= second for first, second in pairwise(row))
        if len(row) != half(calibration.pictures) or not is_sorted:
            raise ValueError(f"scores {name!r} are not those of half the pictures, largest first")


def half(pictures: int) -> int:
    """How many scores are kept of so many pictures."""
    return math.floor(MOST * (pictures + 1))


def largest(scores: Sequence[float]) -> tuple[float, ...]:
    """The scores that a calibration keeps, as it writes them: the more suspicious half, largest first."""
    ordered = sorted(scores, reverse=True)
    return tuple(float(f"{value:.{DIGITS}g}") for value in ordered[: half(len(ordered))])


def check_share(share: float, option: str = "gate") -> None:
    """Raise ``GateError`` unless it is a share of images that a gate may overrule; ``option`` is its name."""
    is_number = isinstance(share, int | float) and not isinstance(share, bool)
    if not is_number or not 0 < share <= MOST:
        what = f"{option} must be a share of clean images, above 0 and at most {MOST}"
        raise GateError(f"{what}, such as 0.02; got {shown(share)}")


def check_threshold(threshold: float) -> None:
    """Raise ``GateError`` unless it is a number that a score can be above."""
    is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if not is_number or math.isnan(threshold):
        raise GateError(
            f"threshold must be a number, in the unit of the gate's score; got {shown(threshold)}"
        )


def check_count(pictures: int, share: float) -> None:
    """Raise ``GateError`` if the pictures are too few for a share."""
    needed = math.ceil(LEAST / share)
    if pictures < needed:
        what = f"a share of {share:g} needs at least {needed} clean pictures, these are {pictures}"
        raise GateError(f"{what}: take more of them, or a larger share")


def identity(module: nn.Module) -> str:
    """Digest a classifier or defence: its weights, its options and what it is made of."""
    return f"{digest(module)}-{digest_options(module)}"


@cache
def shipped() -> tuple[Calibration, ...]:
    """The calibrations inside the package."""
    folder = Path(str(files("rain") / "weights"))
    return tuple(load(path) for path in sorted(folder.glob("gate-*.json")))


def look_up(classifier: str, defense: str) -> Calibration | None:
    """The shipped calibration of a classifier and a defence, by their digests; None if there is none."""
    for calibration in shipped():
        if (calibration.classifier, calibration.defense) == (classifier, defense):
            return calibration
    return None
