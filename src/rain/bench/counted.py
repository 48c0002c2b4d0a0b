"""Which attacks a figure rests on, where not all were made on the same images. Never imports torch."""

from collections.abc import Sequence

from rain.bench.cells import Result
from rain.bench.columns import widest
from rain.bench.metrics import per_image, strongest, worst_images
from rain.bench.significance import above


def counted(results: Sequence[Result]) -> list[Result]:
    """Choose the attacks that count for a figure: those of most images, and any that is stronger than they.

    A further attack on twenty images must not take the place of one on four hundred: it says more of its
    images, but its images are few. One that leaves less of them than all those of most images, by more than
    the noise, does decide: then the figure is of the images that all of these met. So does one that was made
    on none of them: nobody knows how strong it is, and there is no figure.

    Args:
        results: of one defence in one place, at one budget.
    """
    every = strongest(results)
    most = widest(every)
    scores = worst_images(most)
    among = set(map(id, most))
    return [one for one in every if id(one) in among or _may_be_stronger(per_image(one), scores)]


def left_of_each(results: Sequence[Result]) -> dict[int, float]:
    """Score each image by the worst, on it, of the attacks that count; ``worst_images`` of ``counted``."""
    return worst_images(counted(results))


def _may_be_stronger(scores: dict[int, float], most: dict[int, float]) -> bool:
    """Whether an attack leaves less than those of most images do, or may do so for all that is known."""
    return bool(scores) and (scores.keys().isdisjoint(most) or above(most, scores) is not None)
