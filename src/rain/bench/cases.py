"""What the evaluation checklist is asked of: one defence at one budget. Never imports torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from statistics import fmean
from typing import Literal, NamedTuple

from rain.bench.cells import Result
from rain.bench.columns import (
    Budget,
    Column,
    access_of,
    budget_of,
    by_budget,
    grouped,
    is_adaptive,
    settings,
    traits,
)
from rain.bench.counted import counted, left_of_each
from rain.bench.metrics import interval, per_image, percent_text, place_text
from rain.bench.proofs import Proof
from rain.bench.provenance import FACTS, Fact
from rain.bench.significance import above
from rain.bench.weak_attacks import excess_over

Scores = Mapping[int, float]
"""A score between 0 and 1 for each image, by its index."""

NEARLY_NONE = 0.02
"""What may be left of an accuracy that is to fall to 0, at the lower end of its interval."""

LEAST_OF_NONE = 20
"""Images that must be lost before nothing is left: who leaves one in seven loses as many by luck in 5 %."""

SEEING_THROUGH = ("adaptive", "static", "known")
"""The accesses of attackers who go through the defence."""

State = Literal["passed", "failed", "not run", "does not apply"]


class Verdict(NamedTuple):
    """What a point says of a case.

    Args:
        state: of the point.
        figure: what it goes by; "" where there is nothing.
        advice: what to do; "" where nothing is.
    """

    state: State
    figure: str = ""
    advice: str = ""


NOT_RANDOM = Verdict("does not apply", "not random")


@dataclass(frozen=True)
class Case:
    """One defence at one budget, with what else was measured in the same place.

    Args:
        column: all results of the defence.
        setting: the columns of the place, that of the defence and of the bare classifier among them.
        budget: what its attackers may change.
        attacked: the results of attacks on it at this budget.
        proofs: of attacks on this defence at this budget.
    """

    column: Column
    setting: tuple[Column, ...]
    budget: Budget
    attacked: tuple[Result, ...]
    proofs: tuple[Proof, ...]

    @property
    def defense(self) -> str:
        """Its spec."""
        return self.column.defense

    @property
    def place(self) -> str:
        """Dataset, size and classifier, in words."""
        return place_text(self.column.results[0].cell)

    @property
    def random(self) -> bool:
        """Whether the defence is random."""
        return self.column.random

    @cached_property
    def adaptive(self) -> list[Result]:
        """Those of them that count as adaptive."""
        return [result for result in self.attacked if is_adaptive(result)]

    @cached_property
    def by_gradients(self) -> list[Result]:
        """The adaptive ones that go by gradients."""
        return [result for result in self.adaptive if traits(result).sees == "gradients"]

    @cached_property
    def bare(self) -> list[Result]:
        """The results of attacks on the bare classifier at this budget."""
        columns = [column for column in self.setting if column.defense == "none"]
        return attacked_at(columns[0], self.budget) if columns else []

    def with_access(self, access: str) -> list[Result]:
        """The results of attacks with an access: one with "static" that averages by itself is adaptive."""
        return [one for one in self.attacked if (access_of(one) or one.cell.access) == access]


def deciding(results: Iterable[Result]) -> list[Result]:
    """Of the attacks that count for a figure those that none leaves less than: what is left is theirs."""
    strong = counted(results).attacks
    scores = [per_image(result) for result in strong]
    return [
        result
        for result, own in zip(strong, scores, strict=True)
        if not any(is_above(own, other) for other in scores)
    ]


def is_about(proof: Proof, result: Result) -> bool:
    """Whether a proof is of the attack of a result: as strong, and on the same model.

    Both are of one case.
    """
    cell = result.cell
    if (proof.attack, proof.access, proof.eot) != (cell.attack, cell.access, cell.eot):
        return False
    return all(_agrees(proof, result, name, fact) for name, fact in FACTS.items())


def attacked_at(column: Column, budget: Budget) -> list[Result]:
    """The results of attacks at a budget, of which an image at least is finished."""
    there = [result for result in column.attacked if budget_of(result.cell) == budget]
    return [result for result in there if result.outcomes]


def cases(results: Iterable[Result], proofs: Sequence[Proof] = ()) -> list[Case]:
    """Every defence at every budget at which it was attacked.

    The bare classifier is no case: it is what the others are held against. Nor is an attack without a
    budget, against which nothing holds in the end.
    """
    every: list[Case] = []
    for setting in settings(results):
        defended = [column for column in setting if column.defense != "none"]
        for column in defended:
            attacked = [result for result in column.attacked if result.outcomes]
            for budget, same in by_budget(attacked).items():
                if budget.eps < inf:
                    about = _proofs_of(column, budget, proofs)
                    every.append(Case(column, tuple(setting), budget, tuple(same), about))
    return every


def without_budget(results: Iterable[Result]) -> list[Column]:
    """The columns of defences that were attacked without a budget only, so that they make no case."""
    columns = [column for setting in settings(results) for column in setting if column.defense != "none"]
    return [column for column in columns if _sizes(column) == {inf}]


def _sizes(column: Column) -> set[float]:
    return {budget_of(result.cell).eps for result in column.attacked if result.outcomes}


def main_cases(every: Iterable[Case]) -> list[Case]:
    """Of each defence, place and norm the case in which most attacks were tried; of several the largest.

    What was run for a curve over eps only stands at other budgets, and is no claim of its own.
    """
    groups = grouped(every, lambda case: (case.place, case.defense, case.budget.norm))
    return [max(same, key=lambda case: (_attempts(case), case.budget.eps)) for same in groups.values()]


def mean_text(scores: Scores) -> str:
    """Write a mean over images: ``11.0 %``; ``-`` without an image."""
    return f"{percent_text(fmean(scores.values()))} %" if scores else "-"


def left_text(results: Sequence[Result]) -> str:
    """Write what the worst of the attacks that count leaves: ``11.0 %``; ``-`` without an image."""
    return mean_text(left_of_each(results))


def worst_text(results: Sequence[Result]) -> str:
    """Write what the worst on each image of the attacks that count leaves, and of how many images."""
    scores = left_of_each(results)
    return f"{mean_text(scores)} left of {len(scores)} {'image' if len(scores) == 1 else 'images'}"


def nearly_none(scores: Scores) -> bool:
    """Whether an accuracy is 0 but for what may be noise."""
    if not scores:
        return False
    low, _ = interval(fmean(scores.values()), len(scores))
    return low <= NEARLY_NONE


def is_weaker(strong: Sequence[Result], others: Sequence[Result]) -> bool:
    """Whether attacks leave more than others, by more than the noise."""
    return excess_over(strong, others) is not None


def is_above(first: Scores, second: Scores) -> bool:
    """Whether the first score is above the second by more than the noise, image by image."""
    return above(first, second) is not None


def _attempts(case: Case) -> int:
    return len({(one.cell.attack, one.cell.access, one.cell.eot) for one in case.attacked})


def _proofs_of(column: Column, budget: Budget, proofs: Iterable[Proof]) -> tuple[Proof, ...]:
    """The proofs of attacks on this defence, in this place, at this budget."""
    cell = column.results[0].cell
    place = cell.dataset, cell.size, cell.classifier, cell.defense, *budget
    return tuple(
        proof
        for proof in proofs
        if (proof.dataset, proof.size, proof.classifier, proof.defense, proof.norm, proof.eps) == place
    )


def _agrees(proof: Proof, result: Result, name: str, fact: Fact) -> bool:
    """Whether a proof and a result were made with the same of something, as far as both say what it was."""
    # The images that are left out are those of more images than a proof takes.
    if not fact.refused or not all(hasattr(proof, field) for field in fact.of):
        return True
    proven, measured = (set(one.made_by.get(name, ())) for one in (proof, result))
    return not proven or not measured or proven == measured
