"""What each defence is worth, in numbers, losses first. ``rain.report.sentences`` says it in words.

Never imports torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import inf
from statistics import fmean
from typing import Literal

from rain.bench.cells import ACCESSES, Result
from rain.bench.columns import (
    access_of,
    clean_scores,
    covering,
    grouped,
    is_adaptive,
    is_random,
    without_corruptions,
)
from rain.bench.counted import beside, counted
from rain.bench.metrics import place_order, scores_of, standing, strongest, unbounded, worst_images
from rain.bench.significance import NOISE, Paired, paired
from rain.bench.submissions import counts_of, worst_on_all
from rain.report.labels import defense_labels
from rain.report.sentences import say

Verdict = Literal["weaker", "none", "unclaimed", "unknown", "noise", "gain"]

VERDICTS: tuple[Verdict, ...] = ("weaker", "none", "unclaimed", "unknown", "noise", "gain")
"""What a defence is worth, in the order of the report: losses first.

weaker: attacked, it holds less than the bare classifier. none: it holds no more. unclaimed: no adaptive
attack was run. unknown: there is no bare classifier to compare with. noise: it holds more, but so much
happens by chance. gain: it holds more.
"""


@dataclass(frozen=True)
class Figure:
    """An accuracy on single draws.

    Args:
        rate: the fraction of images that are right.
        images: that it is of.
        attacks: whose worst on each image it is; 0 for clean images.
    """

    rate: float
    images: int
    attacks: int = 0


@dataclass(frozen=True)
class Headline:
    """What one defence is worth at one eps, in numbers.

    Args:
        label: the defence's short name in this report.
        clean: on clean images; those that the bare classifier was shown, too, where there is one.
        cost: clean accuracy of the bare classifier minus that of the defence; None without a bare classifier.
        under: by access, under the worst on each image of the attacks of that access that count
            (``rain.bench.counted``). "adaptive" is of attacks that follow the model. An access that was not
            run is missing.
        worst: under the worst on each image of all attacks, on the images of the adaptive attacks that count
            (without one of all attacks that do).
        bare: that of the bare classifier at the same eps, on these images; None where it was not attacked.
        gain: ``worst`` minus that of the bare classifier; None where that was not attacked.
        submissions: how many times an image may be submitted for ``resubmitted``; 1 where nothing is random.
        resubmitted: the share of images that so many draws are all right on, under the worst adaptive attack
            on each; None without one.
        most_images: the most that one of these figures could be of.
        complete: whether all attacks at this eps are finished.
    """

    dataset: str
    size: int | None
    classifier: str
    defense: str
    label: str
    norm: str
    eps: float
    clean: Figure
    cost: Paired | None
    under: Mapping[str, Figure]
    worst: Figure
    bare: float | None
    gain: Paired | None
    submissions: int
    resubmitted: float | None
    most_images: int
    complete: bool

    @property
    def adaptive(self) -> Figure | None:
        """Under the worst adaptive attack on each image: what a claim rests on."""
        return self.under.get("adaptive")

    @property
    def verdict(self) -> Verdict:
        """The one word for it."""
        if self.adaptive is None:
            return "unclaimed"
        if self.gain is None:
            return "unknown"
        by_chance = self.gain.p >= NOISE
        if self.gain.difference > 0:
            return "noise" if by_chance else "gain"
        if self.gain.difference < 0 and not by_chance:
            return "weaker"
        return "none"

    @property
    def sentence(self) -> str:
        """The verdict in plain English, and the numbers behind it."""
        return say(self)


def summary(results: Iterable[Result]) -> list[Headline]:
    """Sum up each defence at each eps; the defences that lose most come first, each at its largest eps first.

    Attacks that look for the smallest perturbation, without a budget, say nothing here: in the end nothing
    holds against them. Corruptions are no attacks, and say nothing here either.
    """
    results = without_corruptions(results)
    labels = defense_labels(sorted({result.cell.defense for result in results}))
    measured = [result for result in results if result.outcomes and not unbounded(result.cell)]
    headlines = []
    for setting in grouped(measured, lambda result: place_order(result.cell)).values():
        cells = [result.cell for result in setting if result.cell.attack != "none"]
        attacked = {(cell.defense, cell.norm, cell.eps) for cell in cells if cell.defense != "none"}
        for defense, norm, eps in sorted(attacked):
            headline = _headline(setting, defense, labels[defense], norm, eps)
            if headline:
                headlines.append(headline)
    return _losses_first(headlines)


def at_largest_budgets(headlines: Iterable[Headline]) -> list[Headline]:
    """Of each defence in each place and norm the headline at the largest eps, in the same order."""
    groups = grouped(headlines, lambda headline: (place_order(headline), headline.defense, headline.norm))
    return [max(same, key=lambda headline: headline.eps) for same in groups.values()]


def _losses_first(headlines: Sequence[Headline]) -> list[Headline]:
    """Rank a defence by what is said of it at its largest eps."""
    ordered = []
    by_defense = grouped(headlines, lambda headline: (place_order(headline), headline.defense))
    for (place, defense), same in by_defense.items():
        largest = sorted(at_largest_budgets(same), key=_gravity)
        norms = [headline.norm for headline in largest]
        largest_first = sorted(same, key=lambda headline: (norms.index(headline.norm), -headline.eps))
        ordered.append(((place, _gravity(largest[0]), defense), largest_first))
    ordered.sort(key=lambda pair: pair[0])
    return [headline for _, same in ordered for headline in same]


def _gravity(headline: Headline) -> tuple[int, float, float]:
    """Rank what a headline says: by the verdict, then by what is lost under attack, then on clean images."""
    gain = headline.gain.difference if headline.gain else -inf
    cost = headline.cost.difference if headline.cost else inf
    return VERDICTS.index(headline.verdict), gain, -cost


def _headline(setting: Sequence[Result], defense: str, label: str, norm: str, eps: float) -> Headline | None:
    """Compute the numbers of one defence; None where its unfinished attacks have no image in common."""
    every = standing(_attacked_at(setting, defense, norm, eps))
    # Who sees the draw that judges him is nobody: his figure stands beside the others as a bound.
    column = [result for result in every if result.cell.access != "known"]
    bare = strongest(_attacked_at(setting, "none", norm, eps))
    # What decides is what an attacker who knows the defence leaves, on the images that he attacked. Others
    # that did not get so far are part of the worst of all where they leave less.
    adaptive = counted([result for result in column if is_adaptive(result)])
    judges = beside(adaptive, column) if adaptive.images else counted(column)
    images = set(judges.images)
    if not images:
        return None
    worst, bare_worst = judges.least(), worst_images(covering(bare, images))
    clean, bare_clean = clean_scores(setting, defense), clean_scores(setting, "none")
    compared = clean.keys() & bare_clean.keys()
    under = _by_access(every)
    submissions = max(counts_of(adaptive.attacks), default=1)
    resubmitted = _mean(worst_on_all(adaptive, submissions))
    cell = column[0].cell
    return Headline(
        dataset=cell.dataset,
        size=cell.size,
        classifier=cell.classifier,
        defense=defense,
        label=label,
        norm=norm,
        eps=eps,
        clean=_figure(scores_of(clean, compared or clean.keys())),
        cost=_paired_on(compared, bare_clean, clean),
        under=under,
        worst=_figure(worst, len(judges.attacks)),
        bare=_mean(scores_of(bare_worst, images)),
        gain=_paired_on(images, worst, bare_worst),
        submissions=submissions,
        resubmitted=resubmitted,
        most_images=max([len(clean), *(figure.images for figure in under.values())]),
        complete=all(result.complete for result in [*column, *bare]),
    )


def _attacked_at(setting: Iterable[Result], defense: str, norm: str, eps: float) -> list[Result]:
    attacked = [result for result in setting if result.cell.attack != "none"]
    about = defense, norm, eps
    return [
        result for result in attacked if (result.cell.defense, result.cell.norm, result.cell.eps) == about
    ]


def _by_access(column: Sequence[Result]) -> dict[str, Figure]:
    figures = {}
    for access in ACCESSES:
        results = [result for result in column if access_of(result) == access]
        if access == "known":  # before what is not random it is static, and bounds nothing
            results = [result for result in results if is_random(result)]
        judges = counted(results)
        if judges.images:
            figures[access] = _figure(judges.least(), len(judges.attacks))
    return figures


def _figure(scores: Mapping[int, float], attacks: int = 0) -> Figure:
    return Figure(fmean(scores.values()), len(scores), attacks)


def _mean(scores: Mapping[int, float]) -> float | None:
    return fmean(scores.values()) if scores else None


def _paired_on(
    images: AbstractSet[int], first: Mapping[int, float], second: Mapping[int, float]
) -> Paired | None:
    first = scores_of(first, images)
    return paired(first, second) if first.keys() & second.keys() else None
