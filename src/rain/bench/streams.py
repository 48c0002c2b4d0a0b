"""Streams in which clean and adversarial images are mixed, out of results that there are. Never imports torch.

Of a stream a share p is adversarial. Its accuracy is the mean over images of (1 - p) times the score of the
clean image plus p times that of the attacked one: nothing is computed anew. Scores are means over single
draws.

Convention:
    A figure is of the images that were measured clean and attacked, and, where the bare classifier is
    compared, by it as well. The bare classifier meets attacks of the same access, since a transferred attack
    from another model and a white-box attack are not one attacker; where there are none, all of the budget.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean
from typing import NamedTuple

from rain.bench.cells import Cell, Result
from rain.bench.columns import Budget, by_budget, covering, grouped, is_adaptive
from rain.bench.metrics import (
    Z95,
    access_order,
    interval,
    per_image,
    place_order,
    unbounded,
    worst_images,
)
from rain.errors import OptionError
from rain.specs import parse

PSEUDO_IMAGES = 2
"""So many images of no difference Agresti and Min add to a comparison."""

Scores = Mapping[int, float]
"""Of images, by index, between 0 and 1."""


@dataclass(frozen=True)
class Stream:
    """The same images clean and attacked, before one defence.

    Args:
        dataset, size, classifier, defense, norm, eps, access: as in a cell. The defence "none" is the bare
            classifier.
        attacks: whose worst on each image ``robust`` is.
        clean, robust: scores of the same images.
        bare_clean, bare_robust: those of the bare classifier, for the images that it was shown, too; empty
            for the bare classifier itself, or where it was not attacked.
        complete: whether all of these attacks are finished.
    """

    dataset: str
    size: int | None
    classifier: str
    defense: str
    norm: str
    eps: float
    access: str
    attacks: tuple[str, ...]
    clean: Scores
    robust: Scores
    bare_clean: Scores
    bare_robust: Scores
    complete: bool

    @property
    def images(self) -> int:
        """How many images the accuracy is of."""
        return len(self.robust)


class Level(NamedTuple):
    """The accuracy of a stream of which a share is adversarial; ``low`` and ``high`` bound it at 95 %."""

    share: float
    rate: float
    low: float
    high: float


class Worth(NamedTuple):
    """From which share of adversarial images on a defence is at least as accurate as the bare classifier.

    Args:
        share: the smallest such share; None where there is none.
        low, high: the 95 % bounds of the share. Below ``low`` the bare classifier is better, beyond noise;
            from ``high`` on the defence is. A ``low`` of None says that the bare classifier is better at every
            share, beyond noise; a ``high`` of None that the defence is shown to be better at none.
        until: up to this share a defence is better that is worse above it; else None.
        images: that both were measured on, clean and attacked.
        cost, gain: what the bare classifier is ahead on clean images, and the defence on attacked ones.
    """

    share: float | None
    low: float | None
    high: float | None
    until: float | None
    images: int
    cost: float
    gain: float

    @property
    def shown(self) -> bool:
        """Whether it is beyond noise that the defence pays at some share."""
        return self.share is not None and self.high is not None


def streams(results: Iterable[Result]) -> list[Stream]:
    """Make the streams of each place, budget and access, against the worst of the attacks on each image.

    Returns: in the order of places, budgets and accesses, the bare classifier first, then defences by name.
        An adaptive attack that does not follow the model is left out, as in the verdict; so are attacks
        without a budget, against which in the end nothing holds.
    """
    every: list[Stream] = []
    for column in _columns(results):
        by_defense = grouped(column, lambda result: result.cell.defense)
        bare = by_defense.get("none", [])
        for access in _accesses(column):
            same = _of_access(bare, access) or bare
            for defense in sorted(by_defense, key=_bare_first):
                own = same if defense == "none" else _of_access(by_defense[defense], access)
                stream = _stream(own, [] if defense == "none" else same, access)
                every += [stream] if stream else []
    return every


def streams_of_attacks(results: Iterable[Result]) -> list[Stream]:
    """Make a stream of each single attack; the bare classifier meets the same attack, if it met it at all."""
    every: list[Stream] = []
    for column in _columns(results):
        bare = [result for result in column if result.cell.defense == "none"]
        for result in sorted(column, key=_reading_order):
            others = _same_attack(bare, result.cell) if result.cell.defense != "none" else []
            stream = _stream([result], others, result.cell.access)
            every += [stream] if stream else []
    return every


def levels(stream: Stream, shares: Iterable[float]) -> list[Level]:
    """Say how accurate a stream is at these shares of adversarial images, with intervals of 95 %.

    Args:
        shares: each in [0, 1].

    Convention:
        The interval is Wilson's, with the variance of what one image adds to the mixture in the place of that
        of one answer: clean and attacked answers of one image go together, and their covariance counts. At 0
        and at 1 it is the interval that the tables have.
    """
    clean, robust = _mean(stream.clean), _mean(stream.robust)
    together = fmean(stream.clean[index] * score for index, score in stream.robust.items()) - clean * robust
    points = []
    for share in shares:
        rate = (1 - share) * clean + share * robust
        variance = (1 - share) ** 2 * clean * (1 - clean) + share**2 * robust * (1 - robust)
        variance += 2 * share * (1 - share) * together
        points.append(Level(share, rate, *interval(rate, stream.images, max(0.0, variance))))
    return points


def worth(stream: Stream) -> Worth | None:
    """Find the share of adversarial images from which on the defence pays for itself.

    Returns: None where the bare classifier was not measured on the same images.

    Convention:
        At each share the mean difference over images is compared with 0 by Agresti and Min's interval for
        matched pairs; the bounds are the shares at which it touches 0 (Fieller's way for a quotient).

    Source:
        Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", 2005.
    """
    indices = sorted(stream.robust.keys() & stream.bare_robust.keys())
    if not indices:
        return None
    clean = [stream.clean[index] - stream.bare_clean[index] for index in indices]
    robust = [stream.robust[index] - stream.bare_robust[index] for index in indices]
    lead = _Lead.of(clean, robust)
    share = until = None
    if lead.clean >= 0 and lead.robust >= 0:
        share = 0.0
    elif lead.clean < 0 < lead.robust:
        share = lead.crossing
    elif lead.robust < 0 < lead.clean:
        until = lead.crossing
    low, high = (None, None) if until is not None else lead.bounds()
    count = len(indices)
    return Worth(share, low, high, until, count, -lead.clean / count, lead.robust / count)


class _Lead(NamedTuple):
    """What a defence is ahead of the bare classifier, summed over images.

    Args:
        clean, robust: sums of the differences on clean and on attacked images.
        clean_squares, robust_squares, products: sums of their squares, and of their products.
        count: of images.
    """

    clean: float
    robust: float
    clean_squares: float
    robust_squares: float
    products: float
    count: int

    @classmethod
    def of(cls, clean: Sequence[float], robust: Sequence[float]) -> "_Lead":
        pairs = list(zip(clean, robust, strict=True))
        return cls(
            sum(clean),
            sum(robust),
            sum(value * value for value in clean),
            sum(value * value for value in robust),
            sum(first * second for first, second in pairs),
            len(pairs),
        )

    @property
    def crossing(self) -> float:
        """The share at which nobody is ahead."""
        return self.clean / (self.clean - self.robust)

    def bounds(self) -> tuple[float | None, float | None]:
        """The share up to which the bare classifier is ahead, and that from which on the defence is."""
        turns = [turn for turn in self._turns() if 0 < turn < 1]
        edges = [0.0, *sorted(turns), 1.0]
        parts = list(zip(edges, edges[1:], strict=False))
        signs = [self._sign((start + end) / 2) for start, end in parts]
        low = next((start for (start, _), sign in zip(parts, signs, strict=True) if sign >= 0), None)
        high = None
        for (start, _), sign in zip(reversed(parts), reversed(signs), strict=True):
            if sign <= 0:
                break
            high = start
        return low, high

    def _coefficients(self) -> tuple[float, float, float]:
        """Of the quadratic in the share that is positive where somebody is ahead, beyond noise."""
        slope = self.robust - self.clean
        weight = 1 + Z95**2 / (self.count + PSEUDO_IMAGES)
        bend = self.clean_squares - 2 * self.products + self.robust_squares
        tilt = 2 * (self.products - self.clean_squares)
        return (
            weight * slope**2 - Z95**2 * bend,
            weight * 2 * self.clean * slope - Z95**2 * tilt,
            weight * self.clean**2 - Z95**2 * (self.clean_squares + 1),
        )

    def _turns(self) -> list[float]:
        """The shares at which the quadratic is 0."""
        square, linear, constant = self._coefficients()
        if abs(square) < 1e-9 * (abs(linear) + abs(constant)):
            return [-constant / linear] if linear else []
        inner = linear**2 - 4 * square * constant
        if inner < 0:
            return []
        # Of the two textbook forms each loses digits for one of the roots: this takes neither.
        sum_of_terms = -(linear + (sqrt(inner) if linear >= 0 else -sqrt(inner))) / 2
        turns = [sum_of_terms / square]
        if sum_of_terms:
            turns.append(constant / sum_of_terms)
        return turns

    def _sign(self, share: float) -> int:
        """Who is ahead at a share, beyond noise: 1 the defence, -1 the bare classifier, 0 nobody."""
        square, linear, constant = self._coefficients()
        if (square * share + linear) * share + constant <= 0:
            return 0
        return 1 if (1 - share) * self.clean + share * self.robust > 0 else -1


def _columns(results: Iterable[Result]) -> list[list[Result]]:
    """The attacked results of each place and budget."""
    attacked = [result for result in results if result.outcomes and result.cell.attack != "none"]
    bounded = [result for result in attacked if not unbounded(result.cell)]
    places = grouped(bounded, lambda result: place_order(result.cell))
    columns: list[list[Result]] = []
    for place in sorted(places):
        columns += by_budget(places[place]).values()
    return columns


def _accesses(column: Sequence[Result]) -> list[str]:
    """The accesses of the defences; those of the bare classifier where there is no defence."""
    defended = [result for result in column if result.cell.defense != "none"]
    return sorted({result.cell.access for result in defended or column}, key=access_order)


def _of_access(results: Iterable[Result], access: str) -> list[Result]:
    """The results of an access; of adaptive attacks those that follow the model."""
    same = [result for result in results if result.cell.access == access]
    return [result for result in same if access != "adaptive" or is_adaptive(result)]


def _same_attack(bare: Sequence[Result], cell: Cell) -> Sequence[Result]:
    """What the bare classifier met of an attack: the same, or what comes nearest to it."""

    def is_same(result: Result) -> bool:
        return result.cell.attack == cell.attack

    def is_namesake(result: Result) -> bool:
        return _name(result.cell.attack) == _name(cell.attack)

    of_access = [result for result in bare if result.cell.access == cell.access]
    nearest = [
        list(filter(is_same, of_access)),
        list(filter(is_same, bare)),
        list(filter(is_namesake, of_access)),
        of_access,
    ]
    return next(filter(None, nearest), bare)


def _name(spec: str) -> str:
    try:
        return parse(spec)[0]
    except OptionError:
        return spec


def _stream(results: Sequence[Result], bare: Sequence[Result], access: str) -> Stream | None:
    """Put together the scores; None where the attacks have no image in common."""
    robust = worst_images(results)
    if not robust:
        return None
    others = covering(bare, robust.keys())
    bare_robust = worst_images(others)
    cell = results[0].cell
    return Stream(
        dataset=cell.dataset,
        size=cell.size,
        classifier=cell.classifier,
        defense=cell.defense,
        norm=cell.norm,
        eps=cell.eps,
        access=access,
        attacks=tuple(dict.fromkeys(result.cell.attack for result in results)),
        clean=_restricted(_clean(results), robust),
        robust=robust,
        bare_clean=_restricted(_clean(others), robust),
        bare_robust=_restricted(bare_robust, robust),
        complete=all(result.complete for result in [*results, *others]),
    )


def _clean(results: Iterable[Result]) -> dict[int, float]:
    scores: dict[int, float] = {}
    for result in results:
        scores |= per_image(result, attacked=False)
    return scores


def _restricted(scores: Scores, images: Scores) -> dict[int, float]:
    return {index: score for index, score in scores.items() if index in images}


def _mean(scores: Scores) -> float:
    return fmean(scores.values())


def _bare_first(defense: str) -> tuple[bool, str]:
    return defense != "none", defense


def _reading_order(result: Result) -> tuple[int, str, tuple[bool, str]]:
    cell = result.cell
    return access_order(cell.access), cell.attack, _bare_first(cell.defense)


def budget(stream: Stream) -> Budget:
    """Name the budget of a stream's attackers."""
    return Budget(stream.norm, stream.eps)
