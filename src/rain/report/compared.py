"""Two runs, or two defences of one run, compared image by image. Never imports torch."""

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from typing import Any, NamedTuple

from rain.bench.cells import Result
from rain.bench.columns import clean_scores, grouped
from rain.bench.matching import Matching, Pair, unlike_facts
from rain.bench.metrics import Z95, eps_text, per_image, percent_text, place_text
from rain.bench.significance import NOISE, Paired, paired
from rain.report.labels import fact_text, spec_text

MORE = 2
"""Images that Agresti and Min add to a comparison: half of one for each way to be right and wrong."""

HEADER = ("", "Images", "A", "B", "A - B", "95 %", "p", "A better, worse")

ABOUT = (
    "Accuracies in %, on single draws, of the images that both measured. A - B in points, with the interval "
    "for matched pairs (Agresti and Min); p: exact test of the mean, image by image."
)

NOTHING = "A and B have no cell in common: nothing can be compared."


class Comparison(NamedTuple):
    """Two defences, or one in two runs, on the same images.

    Args:
        place: dataset, size and classifier.
        defense, other: specs, of A and of B.
        attack, access, norm, eps: the attack; "none" for clean images.
        eot: of A and of B.
        first, second: accuracies.
        low, high: bound ``paired.difference`` at 95 %.
    """

    place: str
    defense: str
    other: str
    attack: str
    access: str
    norm: str
    eps: float
    eot: tuple[int, int]
    first: float
    second: float
    paired: Paired
    low: float
    high: float


def difference_interval(differences: Sequence[float]) -> tuple[float, float]:
    """Bound the mean of paired differences at 95 %.

    Args:
        differences: of scores in [0, 1], one an image; at least one.

    Source:
        Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", 2005: half
        an image more for each way in which two can be right or wrong.
    """
    count = len(differences) + MORE
    total = sum(differences)
    spread = sum(gap * gap for gap in differences) + 1 - total * total / count
    middle, half = total / count, Z95 * sqrt(max(0.0, spread)) / count
    return max(-1.0, middle - half), min(1.0, middle + half)


def comparisons(matching: Matching) -> list[Comparison]:
    """Compare what two runs share: clean images once for each defence, then each attack."""
    sound = [pair for pair in matching.pairs if not pair.fault]
    every: list[Comparison] = []
    for group in grouped(sound, _column).values():
        firsts, seconds = [pair.first for pair in group], [pair.second for pair in group]
        pair = group[0]
        clean = clean_scores(firsts, pair.first.cell.defense)
        other = clean_scores(seconds, pair.second.cell.defense)
        every.append(_comparison(pair, clean, other, is_clean=True))
        attacked = [pair for pair in group if pair.first.cell.attack != "none"]
        every += [_comparison(pair, per_image(pair.first), per_image(pair.second)) for pair in attacked]
    return every


def comparison_rows(matching: Matching) -> dict[str, Any]:
    """Write a comparison as JSON has it: what is shared, what is not, and why."""
    return {
        "shared": [_row(one) for one in comparisons(matching)],
        "unfit": [{**_cells_of(pair), "reason": pair.fault} for pair in matching.pairs if pair.fault],
        "only_a": [result.cell.key for result in matching.only_first],
        "only_b": [result.cell.key for result in matching.only_second],
        "made_otherwise": {
            name: {"a": list(own), "b": list(other)}
            for name, (own, other) in unlike_facts(matching.pairs).items()
        },
    }


def comparison_tables(every: Iterable[Comparison]) -> dict[str, list[list[str]]]:
    """The lines of a table for each place and pair of defences, by their title."""
    tables: dict[str, list[list[str]]] = {}
    for one in every:
        defenses = one.defense if one.defense == one.other else f"A {one.defense}, B {one.other}"
        tables.setdefault(f"{one.place}: {defenses}", []).append(_texts(one))
    return tables


def sentences(every: Sequence[Comparison], matching: Matching) -> list[str]:
    """Say what a comparison comes to, and what could not be compared."""
    lines = [_overall(every)] if every else [NOTHING]
    lines += [f"{_name(pair.first)}: not compared, {pair.fault}." for pair in matching.pairs if pair.fault]
    for run, results in (("A", matching.only_first), ("B", matching.only_second)):
        if results:
            lines.append(f"Only in {run}, {_cells_text(len(results))}: {_listed(results)}.")
    for name, (own, other) in unlike_facts(matching.pairs).items():
        lines.append(f"{fact_text(name)}: A {_values_text(own)}; B {_values_text(other)}.")
    return lines


def _overall(every: Sequence[Comparison]) -> str:
    apart = [one for one in every if one.paired.p < NOISE]
    if not apart:
        return f"No difference between A and B is beyond noise, in {len(every)} comparisons."
    first = sum(one.paired.difference > 0 for one in apart)
    count = f"In {len(apart)} of {len(every)} comparisons the difference is beyond noise"
    return f"{count}: A is better in {first}, B in {len(apart) - first}."


def _comparison(
    pair: Pair, scores: Mapping[int, float], others: Mapping[int, float], *, is_clean: bool = False
) -> Comparison:
    cell, other = pair.first.cell, pair.second.cell
    shared = sorted(scores.keys() & others.keys())
    low, high = difference_interval([scores[index] - others[index] for index in shared])
    return Comparison(
        place=place_text(cell),
        defense=cell.defense,
        other=other.defense,
        attack="none" if is_clean else cell.attack,
        access="none" if is_clean else cell.access,
        norm=cell.norm,
        eps=0.0 if is_clean else cell.eps,
        eot=(1, 1) if is_clean else (cell.eot, other.eot),
        first=sum(scores[index] for index in shared) / len(shared),
        second=sum(others[index] for index in shared) / len(shared),
        paired=paired(scores, others),
        low=low,
        high=high,
    )


def _row(one: Comparison) -> dict[str, Any]:
    fields = one._asdict()
    test = fields.pop("paired")
    eot_a, eot_b = fields.pop("eot")
    names = {"defense": "defense_a", "other": "defense_b", "first": "a", "second": "b"}
    row = {names.get(name, name): value for name, value in fields.items()}
    return row | {"eot_a": eot_a, "eot_b": eot_b, **test._asdict()}


def _texts(one: Comparison) -> list[str]:
    test = one.paired
    return [
        _attack_text(one),
        str(test.images),
        percent_text(one.first),
        percent_text(one.second),
        f"{100 * test.difference:+.1f}",
        f"{100 * one.low:+.1f} to {100 * one.high:+.1f}",
        "< 0.001" if test.p < 0.001 else f"{test.p:.3f}",
        f"{test.better}, {test.worse}",
    ]


def _attack_text(one: Comparison) -> str:
    if one.attack == "none":
        return "clean images"
    own, other = one.eot
    eot = ""
    if one.access == "adaptive" and max(own, other) > 1:
        eot = f", eot {own}" if own == other else f", eot {own} and {other}"
    norm = "" if one.norm == "linf" else f" in {one.norm}"
    return f"{one.access}, {eps_text(one.eps, one.norm)}{norm}: {spec_text(one.attack)}{eot}"


def _column(pair: Pair) -> tuple[str, str, str]:
    return place_text(pair.first.cell), pair.first.cell.defense, pair.second.cell.defense


def _cells_of(pair: Pair) -> dict[str, str]:
    return {"a": pair.first.cell.key, "b": pair.second.cell.key}


def _name(result: Result) -> str:
    cell = result.cell
    if cell.attack == "none":
        return f"{cell.defense}, clean images"
    eot = f", eot {cell.eot}" if cell.access == "adaptive" and cell.eot > 1 else ""
    return f"{cell.defense}, {cell.access}, {eps_text(cell.eps, cell.norm)}: {spec_text(cell.attack)}{eot}"


LISTED = 3
"""Names of a list that is printed, before it is cut."""


def _listed(results: Sequence[Result]) -> str:
    names = [_name(result) for result in results[:LISTED]]
    more = len(results) - LISTED
    return "; ".join([*names, f"and {more} more"] if more > 0 else names)


def _values_text(values: Sequence[str]) -> str:
    if not values:
        return "does not say it"
    first = values[0] if len(values[0]) <= 60 else f"{values[0][:60]}..."
    return first if len(values) == 1 else f"{first}, and {len(values) - 1} more"


def _cells_text(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
