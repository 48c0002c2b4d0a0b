"""Streams in which clean and adversarial images are mixed, from results that there are. Never imports torch.

Of a stream a share p is adversarial. Its accuracy is (1 - p) times the accuracy on clean images plus p times
that on attacked ones: nothing is computed anew. Scores are means over single draws.

Convention:
    Every image that was measured clean counts for the clean accuracy, as in the tables, and a dear attack of
    few images does not make it uncertain. Where images were measured clean and attacked, by a defence and the
    bare classifier, they are compared image by image.
    The bare classifier meets attacks of the same access, since a transferred attack from another model and a
    white-box attack are not one attacker; where there are none, all of the budget.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from rain.bench.cells import Cell, Result
from rain.bench.columns import Budget, access_of, by_budget, clean_scores, covering, grouped
from rain.bench.counted import counted
from rain.bench.metrics import (
    access_order,
    interval,
    place_order,
    scores_of,
    unbounded,
    worst_images,
)
from rain.errors import OptionError
from rain.specs import parse

Scores = Mapping[int, float]
"""Of images, by index, between 0 and 1."""


@dataclass(frozen=True)
class Stream:
    """Images clean and attacked, before one defence.

    Args:
        dataset, size, classifier, defense, norm, eps, access: as in a cell. The defence "none" is the bare
            classifier.
        attacks: whose worst on each image ``robust`` is.
        clean, robust: scores of images; each that was attacked was measured clean as well.
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
        """How many images were attacked."""
        return len(self.robust)

    @property
    def budget(self) -> Budget:
        """Of its attackers."""
        return Budget(self.norm, self.eps)


class Level(NamedTuple):
    """The accuracy of a stream of which a share is adversarial; ``low`` and ``high`` bound it at 95 %."""

    share: float
    rate: float
    low: float
    high: float


def streams(results: Iterable[Result]) -> list[Stream]:
    """Make the streams of each place, budget and access, against the worst of the attacks on each image.

    Returns: in the order of places, budgets and accesses, the bare classifier first, then defences by name.
        An adaptive attack that does not follow the model is left out, as in the verdict; so are attacks
        without a budget, against which in the end nothing holds.
    """
    results = list(results)
    every: list[Stream] = []
    for column in _columns(results):
        clean = _clean_by_defense(results, column[0].cell)
        by_defense = grouped(column, lambda result: result.cell.defense)
        bare = by_defense.get("none", [])
        for access in _accesses(column):
            same = _of_access(bare, access) or bare
            for defense in sorted(by_defense, key=_bare_first):
                own = same if defense == "none" else _of_access(by_defense[defense], access)
                stream = _stream(own, [] if defense == "none" else same, access, clean)
                every += [stream] if stream else []
    return every


def streams_of_attacks(results: Iterable[Result]) -> list[tuple[Result, Stream]]:
    """Make a stream of each single attack, beside its result.

    The bare classifier meets the same attack, or what comes nearest to it.
    """
    results = list(results)
    every: list[tuple[Result, Stream]] = []
    for column in _columns(results):
        clean = _clean_by_defense(results, column[0].cell)
        bare = [result for result in column if result.cell.defense == "none"]
        for result in sorted(column, key=_reading_order):
            others = _same_attack(bare, result.cell) if result.cell.defense != "none" else []
            stream = _stream([result], others, result.cell.access, clean)
            every += [(result, stream)] if stream else []
    return every


def levels(stream: Stream, shares: Iterable[float]) -> list[Level]:
    """Say how accurate a stream is at these shares of adversarial images, with intervals of 95 %.

    Args:
        shares: each in [0, 1].

    Convention:
        The interval is Wilson's, with the variance of the mixture in the place of that of one answer: clean
        and attacked answers of one image go together, and their covariance counts. At 0 and at 1 it is the
        interval that the tables have. In between it is of so many images as both ends together stand for.
    """
    clean, robust = fmean(stream.clean.values()), fmean(stream.robust.values())
    clean_images, images = len(stream.clean), len(stream.robust)
    before = [stream.clean[index] for index in stream.robust]
    products = [score * stream.clean[index] for index, score in stream.robust.items()]
    together = fmean(products) - fmean(before) * robust
    points = []
    for share in shares:
        rest = 1 - share
        rate = rest * clean + share * robust
        count = 1 / (rest / clean_images + share / images)
        variance = rest**2 * clean * (1 - clean) / clean_images
        variance += share**2 * robust * (1 - robust) / images
        variance += 2 * rest * share * together / clean_images
        points.append(Level(share, rate, *interval(rate, count, max(0.0, count * variance))))
    return points


def _columns(results: Iterable[Result]) -> list[list[Result]]:
    """The attacked results of each place and budget; a bound (known) is of no attacker."""
    attacked = [result for result in results if result.outcomes and result.cell.attack != "none"]
    attacked = [result for result in attacked if result.cell.access != "known"]
    bounded = [result for result in attacked if not unbounded(result.cell)]
    places = grouped(bounded, lambda result: place_order(result.cell))
    columns: list[list[Result]] = []
    for place in sorted(places):
        columns += by_budget(places[place]).values()
    return columns


def _accesses(column: Sequence[Result]) -> list[str]:
    """The accesses of the defences; those of the bare classifier where there is no defence."""
    defended = [result for result in column if result.cell.defense != "none"]
    return sorted({access_of(result) or "adaptive" for result in defended or column}, key=access_order)


def _of_access(results: Iterable[Result], access: str) -> list[Result]:
    """The results of an access; of adaptive attacks those that follow the model."""
    return [result for result in results if access_of(result) == access]


def _same_attack(bare: Sequence[Result], cell: Cell) -> Sequence[Result]:
    """What the bare classifier met of an attack: the same, or what comes nearest to it."""

    def is_same(result: Result) -> bool:
        return result.cell.attack == cell.attack

    def is_namesake(result: Result) -> bool:
        return _name(result.cell.attack) == _name(cell.attack)

    of_access = [result for result in bare if result.cell.access == cell.access]
    nearest = [
        [result for result in of_access if is_same(result) and result.cell.seed == cell.seed],
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


def _clean_by_defense(results: Iterable[Result], place: Cell) -> dict[str, Scores]:
    """The clean scores of every image that was measured in a place, by defence."""
    here = [result for result in results if place_order(result.cell) == place_order(place)]
    return {defense: clean_scores(here, defense) for defense in {result.cell.defense for result in here}}


def _stream(
    results: Sequence[Result], bare: Sequence[Result], access: str, clean: Mapping[str, Scores]
) -> Stream | None:
    """Put together the scores; None where the attacks have no image in common.

    Args:
        clean: scores of every image, by defence.
    """
    judges = counted(results)
    robust = judges.least()
    if not robust:
        return None
    others = covering(bare, robust.keys())
    cell = results[0].cell
    own = clean[cell.defense]
    return Stream(
        dataset=cell.dataset,
        size=cell.size,
        classifier=cell.classifier,
        defense=cell.defense,
        norm=cell.norm,
        eps=cell.eps,
        access=access,
        attacks=tuple(dict.fromkeys(result.cell.attack for result in judges.attacks)),
        clean=own,
        robust=robust,
        bare_clean=scores_of(clean["none"], own) if others else {},
        bare_robust=scores_of(worst_images(others), robust),
        complete=all(result.complete for result in [*results, *others]),
    )


def _bare_first(defense: str) -> tuple[bool, str]:
    return defense != "none", defense


def _reading_order(result: Result) -> tuple[int, str, tuple[bool, str]]:
    cell = result.cell
    return access_order(cell.access), cell.attack, _bare_first(cell.defense)
