"""Defences compared with one another, image by image. Never imports torch."""

from collections.abc import Iterable
from itertools import combinations

from rain.bench.cells import Result
from rain.bench.columns import access_of, clean_scores
from rain.bench.counted import left_of_each
from rain.bench.significance import Paired, paired
from rain.report.labels import read_spec


def pairs_to_compare(defenses: Iterable[str]) -> list[tuple[str, str]]:
    """Choose what to compare: each defence with the bare classifier, and those that differ in one option."""
    present = sorted(set(defenses))
    defended = [spec for spec in present if spec != "none"]
    pairs = [(spec, "none") for spec in defended] if "none" in present else []
    plainest_first = sorted(defended, key=lambda spec: (len(read_spec(spec)[1]), spec))
    for second, first in combinations(plainest_first, 2):
        if _differ_in_one_option(first, second):
            pairs.append((first, second))
    return pairs


def compare_clean(setting: Iterable[Result], first: str, second: str) -> Paired | None:
    """Compare two defences of one place on clean images; None where they have none in common."""
    setting = list(setting)
    scores, others = clean_scores(setting, first), clean_scores(setting, second)
    return paired(scores, others) if scores.keys() & others.keys() else None


def compare_attacked(column: Iterable[Result], access: str, first: str, second: str) -> Paired | None:
    """Compare two defences under the worst, on each image, of the attacks that both met.

    Args:
        column: results of one place and budget.

    Convention:
        As everywhere an attack with another seed is an attack of its own (``rain.bench.metrics.strongest``).

    Returns: None where no attack of this access met both on an image.
    """
    same = [result for result in column if access_of(result) == access]
    own = [result for result in same if result.cell.defense == first]
    other = [result for result in same if result.cell.defense == second]
    common = set(map(_attack_of, own)) & set(map(_attack_of, other))
    scores, others = (
        left_of_each(result for result in some if _attack_of(result) in common) for some in (own, other)
    )
    return paired(scores, others) if scores.keys() & others.keys() else None


def _attack_of(result: Result) -> tuple[str, int]:
    return result.cell.attack, result.cell.seed


def _differ_in_one_option(first: str, second: str) -> bool:
    (name, options), (other_name, other_options) = read_spec(first), read_spec(second)
    keys = options.keys() | other_options.keys()
    return name == other_name and sum(options.get(key) != other_options.get(key) for key in keys) == 1
