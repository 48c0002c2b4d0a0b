"""Hold a defended classifier against others that have nothing before them. Never imports torch.

A defence leaves its classifier as it is. Whoever may change the classifier can make it robust by training.
Where a report holds several classifiers, each defended one is held against what the bare ones reach.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

from rain.bench.cells import Result
from rain.bench.columns import clean_scores, grouped, is_adaptive, without_corruptions
from rain.bench.counted import left_of_each
from rain.bench.metrics import eps_text, percent_text, unbounded
from rain.bench.significance import NOISE, Paired, paired

Scores = Mapping[int, float]

ABOUT = "Against other classifiers, with nothing before them:"


class Stand(NamedTuple):
    """One classifier behind one defence, or bare.

    Args:
        clean: the fraction of images that are right without an attack.
        images: that this is of.
        robust: by image, the score under the worst adaptive attack on it.
    """

    classifier: str
    defense: str
    clean: float
    images: int
    robust: Scores

    @property
    def left(self) -> float:
        """The fraction of images that are right under attack."""
        return fmean(self.robust.values())


class Rivalry(NamedTuple):
    """A defended classifier against the bare ones.

    Args:
        stand: the defended one.
        below: the bare classifier, or the two, that are as accurate on clean images.
        lead: what the defended one holds more than these, image by image.
    """

    stand: Stand
    below: tuple[Stand, ...]
    lead: Paired
    norm: str
    eps: float


def rivalries(results: Iterable[Result]) -> list[Rivalry]:
    """Hold each defended classifier against the curve of the bare ones, at each budget.

    The curve goes through the bare classifiers that no other beats on both counts, in the order of their
    clean accuracy. Between two of them lies who asks the one or the other by chance. Left of the curve
    counts the most robust one. Right of it there is nobody to compare with.

    Returns: nothing where there is one classifier only, or where no bare one was attacked adaptively.
    """
    measured = [one for one in without_corruptions(results) if one.outcomes and not unbounded(one.cell)]
    every: list[Rivalry] = []
    for place in grouped(measured, lambda one: (one.cell.dataset, one.cell.size)).values():
        budgets = sorted({(one.cell.norm, one.cell.eps) for one in place if one.cell.attack != "none"})
        for norm, eps in budgets:
            stands = _stands(place, norm, eps)
            front = _front([stand for stand in stands if stand.defense == "none"])
            if len({stand.classifier for stand in stands}) > 1:
                rivals = [_rivalry(stand, front, norm, eps) for stand in stands if stand.defense != "none"]
                every += [rivalry for rivalry in rivals if rivalry]
    return sorted(every, key=lambda rivalry: rivalry.lead.difference)


def sentences(results: Iterable[Result], labels: Mapping[str, str]) -> list[str]:
    """Say it of every defended classifier, those that lie deepest below the curve first."""
    return [say(rivalry, labels) for rivalry in rivalries(results)]


def say(rivalry: Rivalry, labels: Mapping[str, str]) -> str:
    """Say on which side of the curve it lies, in plain English."""
    stand, lead = rivalry.stand, rivalry.lead
    names = [_named(other) for other in rivalry.below]
    reach = f"what {names[0]} reaches alone" if len(names) == 1 else f"the line between {' and '.join(names)}"
    word = "above" if lead.difference > 0 else "below"
    points = f"{abs(100 * lead.difference):.1f} points {word}"
    noise = ", which may be noise" if lead.p >= NOISE else ""
    at = eps_text(rivalry.eps, rivalry.norm)
    own = f"{labels[stand.defense]} before {stand.classifier}"
    figures = f"is right on {percent_text(stand.clean)} % clean and {percent_text(stand.left)} % at {at}"
    few = f", on {lead.images} images" if lead.images < stand.images else ""
    return f"{own} {figures}: {points} {reach}{noise}{few}."


def _stands(place: Iterable[Result], norm: str, eps: float) -> list[Stand]:
    stands = []
    by_column = grouped(place, lambda one: (one.cell.classifier, one.cell.defense))
    for (classifier, defense), column in by_column.items():
        attacked = [one for one in column if one.cell.attack != "none" and is_adaptive(one)]
        robust = left_of_each([one for one in attacked if (one.cell.norm, one.cell.eps) == (norm, eps)])
        clean = clean_scores(column, defense)
        if robust and clean:
            stands.append(Stand(classifier, defense, fmean(clean.values()), len(clean), robust))
    return stands


def _front(bare: Sequence[Stand]) -> list[Stand]:
    """The bare classifiers that no other beats on both counts, the least accurate on clean images first."""
    ordered = sorted(bare, key=lambda stand: (stand.clean, stand.left))
    return [one for place, one in enumerate(ordered) if all(one.left > o.left for o in ordered[place + 1 :])]


def _rivalry(stand: Stand, front: Sequence[Stand], norm: str, eps: float) -> Rivalry | None:
    if not front or stand.clean > front[-1].clean:
        return None
    if stand.clean <= front[0].clean:
        below: tuple[Stand, ...] = (front[0],)
        scores = front[0].robust
    else:
        below = next(pair for pair in pairwise(front) if stand.clean <= pair[1].clean)
        share = (stand.clean - below[0].clean) / (below[1].clean - below[0].clean)
        scores = _mixed(below[0].robust, below[1].robust, share)
    if not stand.robust.keys() & scores.keys():
        return None
    return Rivalry(stand, below, paired(stand.robust, scores), norm, eps)


def _mixed(first: Scores, second: Scores, share: float) -> dict[int, float]:
    """The scores of who asks the second with this probability, and else the first."""
    common = first.keys() & second.keys()
    return {index: (1 - share) * first[index] + share * second[index] for index in common}


def _named(stand: Stand) -> str:
    return f"{stand.classifier} ({percent_text(stand.clean)} % and {percent_text(stand.left)} %)"
