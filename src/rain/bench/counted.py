"""Which attacks a figure rests on, where not all were made on the same images. Never imports torch."""

from collections.abc import Sequence
from statistics import fmean

from rain.bench.cells import Result
from rain.bench.columns import covering, widest
from rain.bench.metrics import per_image, scores_of, strongest, worst_images

NO_STRONGER = 0.02
"""An attack that leaves less by no more than this counts as no stronger; a fraction of the images."""


def counted(results: Sequence[Result]) -> list[Result]:
    """Choose the attacks that count for a figure: those of most images, if others are no stronger.

    Four attacks on twenty images must not take the place of one on four hundred only because they are there.
    They do where all together leave less of their images than it does: then the figure is of those images. So
    does an attack that was made on other images: nobody knows how strong it is, and there is no figure.

    Convention: not only what is beyond noise is stronger, but any ``NO_STRONGER``: doubt tells against the
        defence.

    Args:
        results: of one defence in one place, at one budget.
    """
    every = [result for result in strongest(results) if result.outcomes]
    chosen = widest(every)
    if len(chosen) == len(every):
        return every
    for fewer in sorted(every, key=lambda result: -len(result.outcomes)):
        images = worst_images(chosen).keys() & per_image(fewer).keys()
        more = covering(every, images) if images else every
        if not images or _mean(more, images) < _mean(chosen, images) - NO_STRONGER:
            chosen = more
    return list(chosen)


def left_of_each(results: Sequence[Result]) -> dict[int, float]:
    """Score each image by the worst, on it, of the attacks that count; ``worst_images`` of ``counted``."""
    return worst_images(counted(results))


def _mean(results: Sequence[Result], images: set[int]) -> float:
    return fmean(scores_of(worst_images(results), images).values())
