"""Which results of two runs, or of two defences in one run, are of one question. Never imports torch."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rain.bench.cells import Cell, Result
from rain.bench.columns import grouped, is_random
from rain.errors import ResultError, did_you_mean

DIGEST = "data_digest"
"""The fact that says which images a dataset holds."""

MAKERS = (
    *(
        "rain",
        "revision",
        "torch",
        "pillow",
        "device",
        "precision",
        "classifier_weights",
        "classifier_options",
    ),
    *("attack", "attack_traits", "attack_library", "attack_files", "left_out"),
)
"""Facts that are told where they differ between two runs (``rain.bench.provenance``)."""

DEFENSE_MAKERS = ("defense_weights", "defense_random", "unfit", "gate_threshold", "plugin_code")
"""The same, of one defence in two runs: two defences differ in them anyhow."""


class Pair(NamedTuple):
    """Two results that answer one question, of the first and of the second run.

    Args:
        fault: why they cannot be compared image by image; "" where they can.
    """

    first: Result
    second: Result
    fault: str


class Matching(NamedTuple):
    """What two runs have in common.

    Args:
        pairs: in the order of the first run.
        only_first, only_second: the results without a partner.
    """

    pairs: list[Pair]
    only_first: list[Result]
    only_second: list[Result]


def of_defense(results: Iterable[Result], defense: str, name: str) -> list[Result]:
    """Choose the results of one defence.

    Args:
        defense: its canonical spec.
        name: what errors call the run.

    Raises:
        ResultError: there are none.
    """
    results = list(results)
    own = [result for result in results if result.cell.defense == defense]
    if not own:
        hint = did_you_mean(defense, sorted({result.cell.defense for result in results}))
        raise ResultError(f"{name}: no results of the defence {defense!r}; {hint}")
    return own


def match(first: Sequence[Result], second: Sequence[Result], *, across: bool = False) -> Matching:
    """Pair the results that share dataset, size, classifier, attack, norm, eps and access, and the defence.

    Args:
        first, second: results of two runs.
        across: pair two defences: each side holds one, and they differ.

    Convention:
        Datasets are one where their digests are, wherever the files lie; else where their specs are. Of
        several partners the one is taken that is nearest in eot, draws, seed and images; each is taken once.
        Where one of two defences is not random, so that nothing is averaged over, the other stands there with
        its most draws: with few of them an attacker is weak, and the defence would be flattered.
    """
    # By identity: a result may be a copy of one of the other run.
    weaker = _weaker(first, second) | _weaker(second, first) if across else set()
    others = [other for other in second if id(other) not in weaker]
    rest = grouped(others, lambda other: _question(other, across))
    partners: dict[int, Result] = {}
    same = grouped([one for one in first if id(one) not in weaker], lambda one: _question(one, across))
    for question, results in same.items():
        partners |= _nearest_first(results, rest.get(question, []))
    pairs = [Pair(one, partners[id(one)], "") for one in first if id(one) in partners]
    taken = {id(other) for other in partners.values()}
    only_second = [other for others in rest.values() for other in others if id(other) not in taken]
    return Matching(
        [pair._replace(fault=_fault(pair.first, pair.second)) for pair in pairs],
        [one for one in first if id(one) not in partners],
        only_second + [other for other in second if id(other) in weaker],
    )


def _weaker(results: Sequence[Result], others: Sequence[Result]) -> set[int]:
    """The identities of the results that others, which are not random, shall not be held against."""
    same_question = grouped(others, lambda other: _question(other, True))
    weaker: set[int] = set()
    for question, own in grouped(results, lambda result: _question(result, True)).items():
        for result in own:
            partners = [one for one in same_question.get(question, []) if _same_dataset(result, one)]
            most = max(one.cell.eot for one in own if _same_dataset(result, one))
            if partners and not any(map(is_random, partners)) and result.cell.eot < most:
                weaker.add(id(result))
    return weaker


def _nearest_first(results: Sequence[Result], others: Sequence[Result]) -> dict[int, Result]:
    """Pair results of one question, the nearest to each other first: the partner of each by its identity."""
    possible = [(one, other) for one in results for other in others if _same_dataset(one, other)]
    partners: dict[int, Result] = {}
    taken: set[int] = set()
    for one, other in sorted(possible, key=lambda pair: _distance(pair[0].cell, pair[1].cell)):
        if id(one) not in partners and id(other) not in taken:
            partners[id(one)] = other
            taken.add(id(other))
    return partners


def unlike_facts(pairs: Iterable[Pair]) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Find what made the pairs otherwise: by name, the values of the first and of the second run."""
    pairs = list(pairs)
    of_one = [pair for pair in pairs if pair.first.cell.defense == pair.second.cell.defense]
    unlike = {}
    for name in (*MAKERS, *DEFENSE_MAKERS):
        touched = pairs if name in MAKERS else of_one
        differing = [pair for pair in touched if _values(pair.first, name) != _values(pair.second, name)]
        if differing:
            firsts = {value for pair in differing for value in _values(pair.first, name)}
            seconds = {value for pair in differing for value in _values(pair.second, name)}
            unlike[name] = (tuple(sorted(firsts)), tuple(sorted(seconds)))
    return unlike


def _question(result: Result, across: bool) -> tuple[Any, ...]:
    cell = result.cell
    defense = None if across else cell.defense
    return cell.size, cell.classifier, defense, cell.attack, cell.norm, cell.eps, cell.access


def _same_dataset(first: Result, second: Result) -> bool:
    own, other = _values(first, DIGEST), _values(second, DIGEST)
    if own and other:
        return own == other or first.cell.dataset == second.cell.dataset
    return first.cell.dataset == second.cell.dataset


def _distance(cell: Cell, other: Cell) -> tuple[Any, ...]:
    return (
        abs(cell.eot - other.eot),
        abs(cell.draws - other.draws),
        cell.seed != other.seed,
        abs(cell.examples - other.examples),
    )


def _fault(first: Result, second: Result) -> str:
    """Say why two results cannot be compared image by image; "" where they can."""
    digests = _values(first, DIGEST), _values(second, DIGEST)
    if all(digests) and digests[0] != digests[1]:
        return f"other images ({DIGEST} {', '.join(digests[0])} and {', '.join(digests[1])})"
    labels = {outcome.index: outcome.label for outcome in first.outcomes}
    others = {outcome.index: outcome.label for outcome in second.outcomes}
    shared = sorted(labels.keys() & others.keys())
    if not shared:
        return "no image that both measured"
    for index in shared:
        if labels[index] != others[index]:
            return f"image {index} has the label {labels[index]} in one and {others[index]} in the other"
    return ""


def _values(result: Result, name: str) -> tuple[str, ...]:
    return tuple(result.made_by.get(name, ()))
