"""Numbers out of raw results: accuracy, intervals, the worst case over attacks, and the table.

Every accuracy is a fraction of ALL images, whether or not the clean image was classified correctly. Never
imports torch.
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from math import sqrt
from statistics import NormalDist, fmean
from typing import Any, Protocol

from rain.bench.cells import ACCESSES, Cell, Outcome, Result
from rain.errors import ResultError

Z95 = NormalDist().inv_cdf(0.975)
"""Two-sided 95 % quantile of the normal distribution."""

NO_BUDGET = {"linf": 1.0, "l2": 100.0}
"""From here on a budget is none: linf reaches every image, and l2 destroys any of a usual size."""

NEARLY = 1e-6
"""Grey levels that are nothing in print."""

FINEST = 16
"""Into so many parts of a grey level a budget is told at most."""


class Placed(Protocol):
    """What was measured somewhere: a cell, or a headline."""

    @property
    def dataset(self) -> str:
        """Its spec."""

    @property
    def size(self) -> int | None:
        """Side of the images in pixels; None for their own size."""

    @property
    def classifier(self) -> str:
        """Its spec."""


def per_image(result: Result, *, attacked: bool = True, averaged: bool = False) -> Mapping[int, float]:
    """Score each image between 0 and 1, by its index in the dataset.

    Args:
        result: a cell's outcomes.
        attacked: score the attacked image; otherwise the clean one.
        averaged: score the one answer by the averaged probabilities; otherwise the fraction of single draws
            that are right.
    """
    which = attacked, averaged
    if which not in result.scores:
        result.scores[which] = {one.index: _score(one, attacked, averaged) for one in result.outcomes}
    return result.scores[which]


def scores_of(scores: Mapping[int, float], images: Container[int]) -> dict[int, float]:
    """Of scores by image, those of these images."""
    return {index: score for index, score in scores.items() if index in images}


def accuracy(result: Result, *, attacked: bool = True, averaged: bool = False) -> float:
    """Average ``per_image`` over all images.

    Raises:
        ResultError: the result has no outcomes.
    """
    return _mean(per_image(result, attacked=attacked, averaged=averaged))


def strongest(results: Iterable[Result]) -> list[Result]:
    """Keep of each attack its strongest point, in the same order.

    Results that differ only in ``eot`` or ``draws`` are points of a curve: one attack that averages over few
    draws and over many, or that is judged on few and on many. Of the points with most ``eot``, and half as
    many, that of most images stands for it; then that of most ``eot``, and then that of most draws.

    Convention:
        A curve is no set of attacks. Each point is a mean over a few draws, and the smallest of several such
        means on each image is below what any of them leaves, by luck alone: a defence would look the worse
        the more points were measured. The other points stand in the tables and the curves. That the figure
        is flat where ``eot`` grows is for the checklist to see, on the images that two points share.
        Attacks whose specs differ (``steps``, ``queries``, ``restarts``, ``loss``) are attacks of their own:
        who lists them asks for the worst of them. So are repetitions with another seed.
    """
    results = list(results)
    curves: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        curves.setdefault(_attack_of(result.cell), []).append(result)
    best = [id(_strongest_point(points)) for points in curves.values()]
    return [result for result in results if id(result) in best]


def standing(results: Iterable[Result]) -> list[Result]:
    """``strongest``, and of each curve what was made on more images; nothing without an image.

    A point on a few images must not take the place of one on many because it averages over more.
    """
    left = [result for result in results if result.outcomes]
    chosen: list[Result] = []
    while left:
        best = {_attack_of(result.cell): result for result in strongest(left)}
        chosen += best.values()
        left = [one for one in left if len(one.outcomes) > len(best[_attack_of(one.cell)].outcomes)]
    return chosen


def worst_images(results: Sequence[Result]) -> dict[int, float]:
    """Score each image by the attack that hurts it most: the minimum over attacks of the mean over draws.

    Convention:
        Only images that every one of the results measured. Of an attack that was measured with several
        numbers of draws only its strongest point counts (``strongest``).

    Raises:
        ResultError: the results are not about the same images.
    """
    same_place(results)
    scores = [per_image(result) for result in strongest(results)]
    shared = set.intersection(*map(set, scores)) if scores else set()
    return {index: min(score[index] for score in scores) for index in sorted(shared)}


def least_images(results: Iterable[Result]) -> dict[int, float]:
    """Score each image by the attack that hurts it most, of those that were made on it."""
    least: dict[int, float] = {}
    for result in strongest(results):
        for index, score in per_image(result).items():
            least[index] = min(score, least.get(index, score))
    return least


def worst_case(results: Sequence[Result]) -> float:
    """Average ``worst_images``.

    It is the mean over images of the worst attack on that image, never the smallest of means.

    Raises:
        ResultError: the results are not about the same images, or have none in common.
    """
    return _mean(worst_images(results))


def unbounded(cell: Cell) -> bool:
    """Whether the budget is no budget.

    The attack then looks for the smallest perturbation, and only the curve over its size says something.
    """
    return cell.attack != "none" and cell.eps >= NO_BUDGET[cell.norm]


def by_distance(result: Result) -> list[tuple[float, float]]:
    """Accuracy against the size of the perturbation, for an attack that looks for the smallest one.

    Returns: (size, accuracy) at 0 and at each size at which an image was perturbed, in ascending order: the
        accuracy if perturbations up to this size are allowed. An image whose perturbation is larger counts as
        it does clean.
    """
    clean = per_image(result, attacked=False)
    robust = per_image(result)
    moved = sorted((outcome.distance, outcome.index) for outcome in result.outcomes if outcome.distance > 0)
    curve = [(0.0, accuracy(result, attacked=False))]
    total = sum(clean.values())
    for size, index in moved:
        total += robust[index] - clean[index]
        curve.append((size, total / len(result.outcomes)))
    # Of images with perturbations of one size, the last point holds for all.
    last_of_size = dict(curve)
    return list(last_of_size.items())


def interval(rate: float, count: float, variance: float | None = None) -> tuple[float, float]:
    """Bound a rate by the Wilson score interval of 95 %.

    Args:
        rate: in [0, 1].
        count: images behind it. A rate that is a mean over draws varies no more than one answer per image
            would, so that the interval is wide enough for it; draws are not counted as further images.
        variance: of what one image adds to the rate; by default that of one answer, which is right or wrong:
            ``rate * (1 - rate)``.

    Source:
        Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    if count == 0:
        return 0.0, 1.0
    spread = Z95 * Z95 / count
    middle = (rate + spread / 2) / (1 + spread)
    if variance is None:
        variance = rate * (1 - rate)
    half = Z95 * sqrt(variance / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, min(middle - half, rate)), min(1.0, max(middle + half, rate))


def rows(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Make the table: one dict a row, sorted for reading.

    A cell scored on several draws gives two rows: ``draws`` 1 is the mean over the single draws, ``draws`` n
    the answer by the averaged probabilities. ``low`` and ``high`` bound ``robust`` at 95 %. ``vote``
    (majority of the row's draws; a tie is wrong) and ``worst`` (every one of the row's draws is right) are
    about the attacked images; with one draw both are ``robust``.
    """
    measured = [result for result in results if result.outcomes]
    table = [_row(result, draws) for result in measured for draws in sorted({1, result.cell.draws})]
    return sorted(table, key=reading_order)


def eps_text(eps: float, norm: str) -> str:
    """Write a budget as it was given, as far as that can be told from the number.

    Returns: "any" where it is no budget; for linf 4/255 where it is whole grey levels and 1/1020 where it is
        a fraction of them; else the plain number.
    """
    if eps >= NO_BUDGET[norm]:
        return "any"
    return (norm == "linf" and fraction_text(eps)) or f"{eps:g}"


def fraction_text(value: float) -> str:
    """Write a number as a fraction of 255 grey levels.

    Returns: "" where it is none, or where a short decimal says the same: 0.05 is also 51/1020.
    """
    levels = value * 255
    if abs(levels - round(levels)) < NEARLY:
        return f"{round(levels)}/255"
    if float(f"{value:g}") == value:
        return ""
    for parts in range(2, FINEST + 1):
        if abs(parts * levels - round(parts * levels)) < NEARLY:
            return f"{round(parts * levels)}/{255 * parts}"
    return ""


def percent_text(rate: float) -> str:
    """Write a fraction as a percentage, without the sign."""
    return f"{100 * rate:.1f}"


def size_text(size: int | None) -> str:
    """Write the size at which images enter."""
    return f"{size} pixels" if size else "own size"


def place_text(item: Placed) -> str:
    """Say where something was measured: dataset, size and classifier."""
    return f"{item.dataset}, {size_text(item.size)}, {item.classifier}"


def place_order(item: Placed) -> tuple[str, int, str]:
    """Rank where something was measured; the same for what was measured in one place."""
    return item.dataset, item.size or 0, item.classifier


def _row(result: Result, draws: int) -> dict[str, Any]:
    cell, outcomes = result.cell, result.outcomes
    averaged = draws > 1
    robust = vote = worst = accuracy(result, averaged=averaged)
    low, high = interval(robust, len(outcomes))
    if averaged:
        vote = fmean(map(_majority_is_right, outcomes))
        worst = fmean(map(_all_are_right, outcomes))
    return {
        "dataset": cell.dataset,
        "classifier": cell.classifier,
        "defense": cell.defense,
        "attack": cell.attack,
        "norm": cell.norm,
        "eps": cell.eps,
        "access": cell.access,
        "images": len(outcomes),
        "draws": draws,
        "clean": accuracy(result, attacked=False, averaged=averaged),
        "robust": robust,
        "low": low,
        "high": high,
        "size": cell.size,
        "eot": cell.eot,
        "vote": vote,
        "worst": worst,
        "complete": result.complete,
    }


def reading_order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Rank a row of ``rows`` for reading.

    The bare classifier comes first, single draws before averaged ones, small budgets before large ones.
    """
    place = row["dataset"], row["size"] or 0, row["classifier"]
    defense = row["defense"] != "none", row["defense"], row["draws"]
    budget = row["attack"] != "none", row["norm"], row["eps"]
    attack = access_order(row["access"]), row["attack"], row["eot"]
    return *place, *defense, *budget, *attack


def access_order(access: str) -> int:
    """Rank an access for reading: from what knows least of the defence to what knows most, then query."""
    return ACCESSES.index(access) if access in ACCESSES else -1


def _score(outcome: Outcome, attacked: bool, averaged: bool) -> float:
    if averaged:
        answer = outcome.robust_mean if attacked else outcome.clean_mean
        return float(answer == outcome.label)
    answers = outcome.robust if attacked else outcome.clean
    return answers.count(outcome.label) / len(answers)


def _majority_is_right(outcome: Outcome) -> bool:
    (first, votes), *others = Counter(outcome.robust).most_common(2)
    return first == outcome.label and all(count < votes for _, count in others)


def _all_are_right(outcome: Outcome) -> bool:
    return set(outcome.robust) == {outcome.label}


def _attack_of(cell: Cell) -> tuple[Any, ...]:
    """What the points of a curve over draws share."""
    place = cell.dataset, cell.size, cell.classifier, cell.defense
    return *place, cell.attack, cell.norm, cell.eps, cell.access, cell.seed


def _strongest_point(points: Sequence[Result]) -> Result:
    """The point of a curve over draws that stands for all of it."""
    finished = [point for point in points if point.outcomes] or points
    most = max(point.cell.eot for point in finished)
    near = [point for point in finished if 2 * point.cell.eot >= most]
    return max(near, key=lambda point: (len(point.outcomes), point.cell.eot, point.cell.draws))


def _mean(scores: Mapping[int, float]) -> float:
    if not scores:
        raise ResultError("no image was measured by all of these results; finish the run first")
    return fmean(scores.values())


def same_place(results: Iterable[Result]) -> None:
    """Raise ``ResultError`` where results are not of one defence in one place."""
    cells = [result.cell for result in results]
    if len({(cell.dataset, cell.size, cell.classifier, cell.defense) for cell in cells}) > 1:
        one = "one defence, before one classifier, on one dataset at one size"
        raise ResultError(f"the worst case is over attacks on {one}")
