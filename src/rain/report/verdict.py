"""What each defence is worth: a record of numbers, and one sentence that says it, losses first.

Never imports torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from rain.bench.cells import ACCESSES, Result
from rain.bench.columns import grouped, is_adaptive
from rain.bench.metrics import (
    NOISE,
    Paired,
    eps_text,
    paired,
    per_image,
    percent_text,
    place_order,
    unbounded,
    worst_images,
)

Verdict = Literal["weaker", "none", "unclaimed", "unknown", "noise", "gain"]

VERDICTS: tuple[Verdict, ...] = ("weaker", "none", "unclaimed", "unknown", "noise", "gain")
"""What a defence is worth, in the order of the report: losses first.

weaker: attacked, it holds less than the bare classifier. none: it holds no more. unclaimed: no adaptive
attack was run. unknown: there is no bare classifier to compare with. noise: it holds more, but so much
happens by chance. gain: it holds more.
"""

SMALLEST = 0.0005
"""What is less than this is 0.0 in print."""


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
        clean: on clean images; those that the bare classifier was shown, too, where there is one.
        cost: clean accuracy of the bare classifier minus that of the defence; None without a bare classifier.
        under: by access, under the worst attack of that access on each image that all of these attacks
            measured. "adaptive" is of attacks that follow the model. An access that was not run is missing.
        worst: under the worst on each image of all attacks, on the images that every adaptive attack measured
            (without one every attack).
        bare: that of the bare classifier at the same eps, on these images; None where it was not attacked.
        gain: ``worst`` minus that of the bare classifier; None where that was not attacked.
        most_images: the most that one of these figures could be of.
        complete: whether all attacks at this eps are finished.
    """

    dataset: str
    size: int | None
    classifier: str
    defense: str
    norm: str
    eps: float
    clean: Figure
    cost: Paired | None
    under: Mapping[str, Figure]
    worst: Figure
    bare: float | None
    gain: Paired | None
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
        """Plain English, losses first."""
        return say(self)


def summary(results: Iterable[Result]) -> list[Headline]:
    """Sum up each defence at each eps; the defences that lose most come first.

    Attacks that look for the smallest perturbation, without a budget, say nothing here: in the end nothing
    holds against them.
    """
    measured = [result for result in results if result.outcomes and not unbounded(result.cell)]
    headlines = []
    for setting in grouped(measured, lambda result: place_order(result.cell)).values():
        cells = [result.cell for result in setting if result.cell.attack != "none"]
        attacked = {(cell.defense, cell.norm, cell.eps) for cell in cells if cell.defense != "none"}
        for defense, norm, eps in sorted(attacked):
            headline = _headline(setting, defense, norm, eps)
            if headline:
                headlines.append(headline)
    return _losses_first(headlines)


def _losses_first(headlines: Sequence[Headline]) -> list[Headline]:
    """Rank a defence by the worst that is said of it at any eps."""
    ordered = []
    by_defense = grouped(headlines, lambda headline: (place_order(headline), headline.defense))
    for (place, defense), same in by_defense.items():
        gravest = min(VERDICTS.index(headline.verdict) for headline in same)
        ordered.append(((place, gravest, defense), same))
    ordered.sort(key=lambda pair: pair[0])
    return [headline for _, same in ordered for headline in same]


def _headline(setting: Sequence[Result], defense: str, norm: str, eps: float) -> Headline | None:
    """Compute the numbers of one defence; None where its unfinished attacks have no image in common."""
    column = _attacked_at(setting, defense, norm, eps)
    bare = _attacked_at(setting, "none", norm, eps)
    # What decides is what an attacker who knows the defence leaves, on the images that he attacked. Others
    # that did not get so far are no part of the worst of all, or ten images of the dearest attack would
    # decide over four hundred.
    images = set(worst_images([result for result in column if is_adaptive(result)] or column))
    if not images:
        return None
    covering, bare_covering = _covering(column, images), _covering(bare, images)
    worst, bare_worst = worst_images(covering), worst_images(bare_covering)
    clean, bare_clean = _clean(setting, defense), _clean(setting, "none")
    compared = clean.keys() & bare_clean.keys()
    under = _by_access(column)
    cell = column[0].cell
    return Headline(
        dataset=cell.dataset,
        size=cell.size,
        classifier=cell.classifier,
        defense=defense,
        norm=norm,
        eps=eps,
        clean=_figure(_restricted(clean, compared or clean.keys())),
        cost=_paired_on(compared, bare_clean, clean),
        under=under,
        worst=_figure(_restricted(worst, images), len(covering)),
        bare=_mean(_restricted(bare_worst, images)),
        gain=_paired_on(images, worst, bare_worst),
        most_images=max(len(clean), *(figure.images for figure in under.values())),
        complete=all(result.complete for result in [*column, *bare]),
    )


def _attacked_at(setting: Iterable[Result], defense: str, norm: str, eps: float) -> list[Result]:
    attacked = [result for result in setting if result.cell.attack != "none"]
    about = defense, norm, eps
    return [
        result for result in attacked if (result.cell.defense, result.cell.norm, result.cell.eps) == about
    ]


def _covering(results: Sequence[Result], images: set[int]) -> Sequence[Result]:
    """The results that are of all these images; all of them where none is."""
    covering = [result for result in results if images <= {outcome.index for outcome in result.outcomes}]
    return covering or results


def _clean(setting: Iterable[Result], defense: str) -> dict[int, float]:
    """The clean score of each image that any result of a defence measured."""
    scores: dict[int, float] = {}
    for result in setting:
        if result.cell.defense == defense:
            scores |= per_image(result, attacked=False)
    return scores


def _by_access(column: Sequence[Result]) -> dict[str, Figure]:
    figures = {}
    for access in ACCESSES:
        results = [result for result in column if result.cell.access == access]
        if access == "adaptive":
            results = [result for result in results if is_adaptive(result)]
        scores = worst_images(results)
        if scores:
            figures[access] = _figure(scores, len(results))
    return figures


def _figure(scores: Mapping[int, float], attacks: int = 0) -> Figure:
    return Figure(fmean(scores.values()), len(scores), attacks)


def _mean(scores: Mapping[int, float]) -> float | None:
    return fmean(scores.values()) if scores else None


def _restricted(scores: Mapping[int, float], images: AbstractSet[int]) -> dict[int, float]:
    return {index: score for index, score in scores.items() if index in images}


def _paired_on(
    images: AbstractSet[int], first: Mapping[int, float], second: Mapping[int, float]
) -> Paired | None:
    first = _restricted(first, images)
    return paired(first, second) if first.keys() & second.keys() else None


def say(headline: Headline) -> str:
    """Say in one sentence what a defence is worth: what it costs, what it holds, and what that comes to."""
    cost = _cost_text(headline)
    holds = _holds_text(headline)
    verdict = _verdict_text(headline)
    others = _others_text(headline)
    unfinished = "" if headline.complete else f" (not finished: {headline.worst.images} images so far)"
    return f"{headline.defense} {cost} and {holds}: {verdict}{others}{unfinished}."


def _cost_text(headline: Headline) -> str:
    cost, level = headline.cost, _percent(headline.clean.rate)
    few = _few(headline.clean, headline)
    beside = f" ({few})" if few else ""
    if cost is None:
        return f"has {level} clean accuracy{beside} (at what cost is unknown, without the bare classifier)"
    if abs(cost.difference) < SMALLEST:
        return f"keeps clean accuracy at {level}{beside}"
    verb = "loses" if cost.difference > 0 else "adds"
    chance = "" if cost.p < NOISE else ", which may be noise,"
    return f"{verb} {_points(cost)} of clean accuracy{beside}{chance}"


def _holds_text(headline: Headline) -> str:
    where = f"at {eps_text(headline.eps, headline.norm)}"
    if headline.norm != "linf":
        where += f" in {headline.norm}"
    adaptive = headline.adaptive
    if adaptive is None:
        return f"was not attacked adaptively {where}"
    level, worst = _percent(adaptive.rate), _percent(headline.worst.rate)
    remarks = [_few(headline.worst, headline)]
    if worst != level:
        remarks.append(f"{worst} when each image meets the worst of all attacks")
    if headline.bare is not None:
        remarks.append(f"the bare classifier {_percent(headline.bare)}")
    attack = "the adaptive attack"
    if adaptive.attacks > 1:
        attack = f"the worst on each image of {adaptive.attacks} adaptive attacks"
    return f"keeps {level} under {attack} {where}{_in_brackets(remarks, '; ')}"


def _verdict_text(headline: Headline) -> str:
    points = _points(headline.gain) if headline.gain else ""
    attacker = "against an attacker who knows it"
    adds = "adds" if headline.worst.rate >= SMALLEST else "gives"
    texts: dict[Verdict, str] = {
        "weaker": f"it makes the classifier weaker, by {points}, {attacker}",
        "none": f"it {adds} no robustness {attacker}",
        "unclaimed": "nothing here is a robustness claim",
        "unknown": "what it gains is unknown, because the bare classifier was not attacked there",
        "noise": f"it gains {points} {attacker}, which may be noise",
        "gain": f"it gains {points} {attacker}",
    }
    return texts[headline.verdict]


def _others_text(headline: Headline) -> str:
    """Say what is left under attackers who know less."""
    others = []
    for access, figure in headline.under.items():
        if access == "adaptive":
            continue
        several = f"the worst of {figure.attacks}" if figure.attacks > 1 else ""
        remarks = _in_brackets([several, _few(figure, headline)], ", ")
        others.append(f"{access} {_percent(figure.rate)}{remarks}")
    return f"; against {', '.join(others)}" if others else ""


def _few(figure: Figure, headline: Headline) -> str:
    """Say of how many images a figure is, where others of the same sentence are of more."""
    return f"{figure.images} images" if figure.images < headline.most_images else ""


def _in_brackets(remarks: Iterable[str], separator: str) -> str:
    text = separator.join(filter(None, remarks))
    return f" ({text})" if text else ""


def _percent(rate: float) -> str:
    return f"{percent_text(rate)} %"


def _points(comparison: Paired) -> str:
    return f"{100 * abs(comparison.difference):.1f} points"
