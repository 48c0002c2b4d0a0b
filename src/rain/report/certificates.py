"""Certificates in words and tables, beside what attacks left at the same radii. Never imports torch."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, NamedTuple

from rain.bench.cells import Result
from rain.bench.certificates import (
    CertifiedCell,
    CertifiedResult,
    abstained_share,
    average_radius,
    certified_accuracy,
)
from rain.bench.columns import grouped, is_adaptive
from rain.bench.metrics import (
    interval,
    per_image,
    percent_text,
    place_order,
    place_text,
    strongest,
    unbounded,
)
from rain.bench.roc import Rate
from rain.report.detector import EMPTY, Section, rate_text

RADII = (0.0, 0.25, 0.5, 0.75)
"""At which certified accuracy is told, besides the budgets of the attacks."""

TOLD = 0.25
"""The radius that the sentence tells."""

ABOUT = (
    "Certified: the share of images whose answer by the majority of many draws is right, and proven to stay "
    "so within that l2 distance, whatever the attack. No later attack can lower it. Attacked: what l2 "
    "attacks left at the same distance, by the probabilities averaged over the draws; a better attack may "
    "leave less. The truth lies between the two. Mean radius: over all images, 0 where the answer is wrong. "
    "Abstained: the draws do not agree well enough. Accuracies are in %, with their 95 % interval over "
    "images."
)


class Level(NamedTuple):
    """Accuracy at one l2 distance, with its 95 % interval over so many images."""

    radius: float
    rate: float
    low: float
    high: float
    images: int


@dataclass(frozen=True)
class Certified:
    """What is known of one certified defence.

    Args:
        result: the certificates.
        attacked: what adaptive l2 attacks left of it, from distance 0 on; empty where nothing was measured.
        bare: what l2 attacks left of the bare classifier; the same.
    """

    result: CertifiedResult
    attacked: tuple[Level, ...]
    bare: tuple[Level, ...]

    @property
    def cell(self) -> CertifiedCell:
        """What was certified."""
        return self.result.cell

    def at(self, radius: float) -> Level:
        """Certified accuracy at a radius."""
        images = self.result.images
        return _level(radius, certified_accuracy(images, radius), len(images))


def beside_attacks(certified: Iterable[CertifiedResult], results: Sequence[Result]) -> list[Certified]:
    """Put certificates beside what attacks left in the same place.

    Args:
        certified: from ``rain.bench.certificates.load_certified``.
        results: from ``rain.bench.cells.load``.
    """
    every = []
    for result in certified:
        if not result.images:
            continue
        here = [one for one in results if place_order(one.cell) == place_order(result.cell)]
        own = [one for one in here if one.cell.defense == result.cell.defense]
        bare = [one for one in here if one.cell.defense == "none"]
        adaptive = [one for one in own if one.cell.access == "none" or is_adaptive(one)]
        every.append(Certified(result, _levels(adaptive), _levels(bare)))
    return every


def _levels(own: Sequence[Result]) -> tuple[Level, ...]:
    """Accuracy of one defence under the worst of its l2 attacks on each image, on averaged draws."""
    attacked = [one for one in own if _is_l2(one)]
    if not attacked:
        return ()
    clean: dict[int, float] = {}
    for result in own:
        clean |= per_image(result, attacked=False, averaged=True)
    scores_by_eps = {0.0: clean}
    for eps, same in grouped(sorted(attacked, key=_eps), _eps).items():
        scores = [per_image(one, averaged=True) for one in strongest(same)]
        shared = set.intersection(*map(set, scores))
        scores_by_eps[eps] = {index: min(score[index] for score in scores) for index in shared}
    return tuple(
        _level(eps, fmean(scores.values()), len(scores)) for eps, scores in scores_by_eps.items() if scores
    )


def _is_l2(result: Result) -> bool:
    cell = result.cell
    return bool(result.outcomes) and cell.attack != "none" and cell.norm == "l2" and not unbounded(cell)


def _eps(result: Result) -> float:
    return result.cell.eps


def _level(radius: float, rate: float, images: int) -> Level:
    return Level(radius, rate, *interval(rate, images), images)


def certificate_sections(
    certified: Iterable[CertifiedResult], results: Sequence[Result], labels: Mapping[str, str]
) -> list[Section]:
    """Say what is proven, one section a place; none without certificates.

    Args:
        certified, results: as for ``beside_attacks``.
        labels: short names of the defences.
    """
    sections = []
    every = beside_attacks(certified, results)
    for place, same in grouped(every, lambda one: place_text(one.cell)).items():
        radii = _radii(same)
        header = ["Defence", "Figure", *(f"l2 {radius:g}" for radius in radii)]
        header += ["Mean radius", "Abstained", "Images"]
        body: list[list[str]] = []
        for one in same:
            body += _lines(one, radii, labels)
        bare = next((one.bare for one in same if one.bare), ())
        if bare:
            body.append(["no defence", "attacked", *_attacked(bare, radii)])
        sentences = [_sentence(one, labels) for one in same]
        sections.append(Section(place, [*sentences, *_pixel_sentences(same)], header, body, names=2))
    return sections


def _radii(same: Iterable[Certified]) -> list[float]:
    """The distances that a table has columns for."""
    radii = set(RADII)
    for one in same:
        radii |= {level.radius for level in (*one.attacked, *one.bare)}
    return sorted(radii)


def _lines(one: Certified, radii: Sequence[float], labels: Mapping[str, str]) -> list[list[str]]:
    images, cell = one.result.images, one.cell
    unfinished = "" if one.result.complete else f" of {cell.examples}, not finished"
    label = title(one, labels)
    certified = [
        label,
        f"certified, {cell.n} draws",
        *(_level_text(one.at(radius)) for radius in radii),
        f"{average_radius(images):.3f}",
        percent_text(abstained_share(images)),
        f"{len(images)}{unfinished}",
    ]
    if not one.attacked:
        return [certified]
    return [certified, [label, "attacked, adaptive", *_attacked(one.attacked, radii)]]


def title(one: Certified, labels: Mapping[str, str]) -> str:
    """Name what was certified, with its sigma."""
    label = labels[one.cell.defense]
    return label if "sigma" in label else f"{label}, sigma {one.cell.sigma:g}"


def _attacked(levels: Sequence[Level], radii: Sequence[float]) -> list[str]:
    """The columns of a line of attacks."""
    by_radius = {level.radius: level for level in levels}
    texts = [_level_text(by_radius[radius]) if radius in by_radius else EMPTY for radius in radii]
    counts = sorted({level.images for level in levels})
    images = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return [*texts, EMPTY, EMPTY, images]


def _level_text(level: Level) -> str:
    return rate_text(Rate(level.rate, level.low, level.high))


def _sentence(one: Certified, labels: Mapping[str, str]) -> str:
    """Say what is proven of one defence."""
    images, cell, level = one.result.images, one.cell, one.at(TOLD)
    clean = percent_text(one.at(0.0).rate)
    other = " They are of the network as it computes in bfloat16." if _is_mixed(one.result) else ""
    return (
        f"{title(one, labels)}: {_level_text(level)} % of {len(images)} images are "
        f"answered rightly, and no attack within an l2 radius of {TOLD:g} can change that; at radius 0 it is "
        f"{clean} %. It abstains on {percent_text(abstained_share(images))} %, and the mean radius is "
        f"{average_radius(images):.3f}. Each certificate is wrong with a chance of at most {cell.alpha:g}."
        f"{other}"
    )


def _is_mixed(result: CertifiedResult) -> bool:
    return "bf16-mixed" in result.made_by.get("precision", ())


def _pixel_sentences(same: Sequence[Certified]) -> list[str]:
    """Say what the radius is in pixels' terms, where all images have one size."""
    size = same[0].cell.size
    if size is None:
        return []
    side = math.sqrt(3 * size * size)
    levels, everywhere = 255 * TOLD / side, 4 / 255 * side
    largest = max(image.radius for one in same for image in one.result.images)
    far = "" if everywhere <= largest else ": nothing is proven against that"
    return [
        f"At {size} pixels an l2 radius of {TOLD:g} is {levels:.2f} grey levels on every value of the "
        f"picture. A change of 4/255 everywhere (linf) is an l2 distance of {everywhere:.1f}{far}."
    ]


def certificate_rows(certified: Iterable[CertifiedResult], results: Sequence[Result]) -> list[dict[str, Any]]:
    """Make rows for machines, one for each certified defence.

    ``certified``, ``attacked`` and ``bare`` are levels: a radius, the rate there with its 95 % interval, and
    the images that it is of. ``radii`` are those of the images whose answer is right, in ascending order.
    """
    rows = []
    for one in beside_attacks(certified, results):
        images = one.result.images
        rows.append(
            {
                **asdict(one.cell),
                "images": len(images),
                "complete": one.result.complete,
                "average_radius": average_radius(images),
                "abstained": abstained_share(images),
                "certified": [one.at(radius)._asdict() for radius in _radii([one])],
                "attacked": [level._asdict() for level in one.attacked],
                "bare": [level._asdict() for level in one.bare],
                "radii": sorted(image.radius for image in images if image.is_right),
            }
        )
    return rows
