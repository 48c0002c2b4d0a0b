"""What is left if one image may be submitted several times. Never imports torch.

A random defence answers anew each time. An attacker who may try again needs one draw that is wrong.

Source: Lee and Kim, "Robust evaluation of diffusion-based adversarial purification" (arXiv 2303.09051), and
    after it those who report right on all of n submissions.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from math import comb
from statistics import fmean

from rain.bench.cells import Outcome, Result
from rain.bench.counted import Counted

COUNTS = (1, 8)
"""Submissions that are told of, besides all that there are."""


def counts_of(results: Iterable[Result]) -> list[int]:
    """The submissions that all these results can tell of: 1, 8, and as many as each has draws."""
    draws = min((result.cell.draws for result in results), default=0)
    return sorted({count for count in (*COUNTS, draws) if 0 < count <= draws})


def right_on_all(result: Result, count: int, *, attacked: bool = True) -> dict[int, float]:
    """The chance that ``count`` submissions of an image are all answered rightly, by its index.

    Convention: submissions are drawn from the draws that there are, without putting back: the estimate is
        unbiased, and with as many as there are it is 1 where each of them is right, else 0.
    """
    return {outcome.index: _chance(outcome, count, attacked) for outcome in result.outcomes}


def worst_on_all(figure: Counted, count: int) -> dict[int, float]:
    """The same under the attack that leaves least of each image of a figure."""
    return figure.least(partial(right_on_all, count=count))


def rate_of(scores: Mapping[int, float]) -> float:
    """The mean over images."""
    return fmean(scores.values())


def _chance(outcome: Outcome, count: int, attacked: bool) -> float:
    answers = outcome.robust if attacked else outcome.clean
    right = sum(answer == outcome.label for answer in answers)
    return comb(right, count) / comb(len(answers), count)
