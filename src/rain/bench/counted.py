"""Which attacks a figure rests on, where not all were made on the same images. Never imports torch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from rain.bench.cells import Result
from rain.bench.columns import covering, widest
from rain.bench.metrics import per_image, same_place, standing

NO_STRONGER = 0.02
"""An attack that leaves less by less than this counts as no stronger; a fraction of the images."""

NEARLY = 1e-9
"""By so much two sums of scores may differ that are the same."""


@dataclass(frozen=True)
class Counted:
    """The attacks that a figure rests on, and its images.

    Args:
        attacks: each image was met by one of them at least.
        images: their indices.
    """

    attacks: list[Result]
    images: list[int]

    def least(self, scores: Callable[[Result], Mapping[int, float]] = per_image) -> dict[int, float]:
        """Score each image by the attack that leaves least of it, of those that were made on it."""
        every = [scores(result) for result in self.attacks]
        return {image: min(of[image] for of in every if image in of) for image in self.images}


def counted(results: Iterable[Result]) -> Counted:
    """Choose the attacks that count for a figure: those of most images, if others are no stronger.

    Four attacks on twenty images must not take the place of one on four hundred only because they are there.
    They count where they leave less of their images than it does. Then the figure is of those images, or of
    all, each by the worst attack that was made on it: whichever is lower. So a further attack on fewer images
    never makes a figure better. One that was made on other images leaves no figure: nobody knows how strong
    it is.

    Convention: not only what is beyond noise is stronger, but anything from ``NO_STRONGER``: doubt tells
        against the defence.

    Args:
        results: of one defence in one place, at one budget.

    Raises:
        ResultError: they are not of one defence in one place.
    """
    every = standing(results)
    same_place(every)
    first = widest(every)
    shared = set.intersection(*map(_images, first)) if first else set()
    if any(shared.isdisjoint(_images(result)) for result in every):
        return Counted(every, [])
    return beside(Counted(list(first), sorted(shared)), every)


def beside(first: Counted, others: Sequence[Result]) -> Counted:
    """Add further attacks to those that count: what is of all of their images, and what is stronger.

    Args:
        first: what the figure rests on so far.
        others: more attacks; those of ``first`` may be among them. What was made on other images is left out.
    """
    known = {id(result) for result in first.attacks}
    more = [result for result in others if result.outcomes and id(result) not in known]
    joining = [result for result in more if set(first.images) <= _images(result)]
    whole = Counted([*first.attacks, *joining], first.images)
    few, every = whole, [*first.attacks, *more]
    fewer = [result for result in more if not any(result is one for one in joining)]
    for result in sorted(fewer, key=lambda result: -len(result.outcomes)):
        images = sorted(_images(result).intersection(few.images))
        if not images:
            continue
        at_them = Counted(list(covering(every, set(images))), images)
        if _mean(at_them) <= fmean(few.least()[image] for image in images) - NO_STRONGER + NEARLY:
            few = at_them
    if few is whole:
        return whole
    whole = Counted(_united(whole.attacks, few.attacks), whole.images)
    return few if _mean(few) <= _mean(whole) + NEARLY else whole


def left_of_each(results: Iterable[Result]) -> dict[int, float]:
    """Score each image by the worst, on it, of the attacks that count."""
    return counted(results).least()


def _united(some: Iterable[Result], others: Iterable[Result]) -> list[Result]:
    return list({id(result): result for result in (*some, *others)}.values())


def _images(result: Result) -> set[int]:
    return {outcome.index for outcome in result.outcomes}


def _mean(figure: Counted) -> float:
    return fmean(figure.least().values())
