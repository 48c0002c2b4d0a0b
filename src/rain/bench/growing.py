"""The points of the evaluation checklist about what grows: draws, steps and eps. Never imports torch."""

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from math import inf

from rain.bench.cases import NOT_RANDOM, Case, Verdict, is_above, mean_text, nearly_none, worst_text
from rain.bench.cells import Result
from rain.bench.columns import by_budget, grouped, is_adaptive, option, steps, traits
from rain.bench.metrics import eps_text, per_image, unbounded, worst_images
from rain.bench.weak_attacks import LEAST_EOT, LEAST_STEPS

SMALL = 1 / 8
"""The share of a budget that counts as nearly nothing."""

DOUBLED = 1.5
"""By what factor draws or steps must have grown at least, before a figure that stays is called flat."""


def flat_in_draws(case: Case) -> Verdict:
    """More draws a step leave no less."""
    if not case.random:
        return NOT_RANDOM
    curves = grouped(case.with_access("adaptive"), lambda result: (result.cell.attack, result.cell.draws))
    ladders = [_ladder(same, lambda result: result.cell.eot) for same in curves.values()]
    advice = "take eot = 1, 5, 10, 20 and 40 of one attack"
    return _flat(ladders, LEAST_EOT, advice, "take more draws (eot)")


def flat_in_steps(case: Case) -> Verdict:
    """Twice the steps leave no less, where there are enough of them: few may be as weak as half of them."""
    counted = [result for result in case.adaptive if option(result, "steps")]
    curves = grouped(counted, _without_steps)
    ladders = [_ladder(same, steps) for same in curves.values()]
    advice = f"take one attack with twice the steps, too, {LEAST_STEPS} at least"
    return _flat(ladders, LEAST_STEPS, advice, "double the steps again")


def small_budget(case: Case) -> Verdict:
    """Where the budget goes to 0, the accuracy goes to that of clean images; with more of it, it falls."""
    same_norm = [result for result in case.column.adaptive if result.cell.norm == case.budget.norm]
    bounded = [result for result in same_norm if result.outcomes and result.cell.eps <= case.budget.eps]
    curve = {budget.eps: worst_images(same) for budget, same in by_budget(bounded).items()}
    curve = {eps: scores for eps, scores in curve.items() if scores}
    smallest = min(curve, default=inf)
    if case.budget.eps not in curve or smallest > SMALL * case.budget.eps * (1 + 1e-6):
        text = eps_text(SMALL * case.budget.eps, case.budget.norm)
        return Verdict("not run", "", f"attack adaptively at several eps, down to {text}")
    clean = _clean(case.column.results, curve[smallest])
    parts = [f"clean {mean_text(clean)}"]
    parts += [f"{eps_text(eps, case.budget.norm)}: {mean_text(scores)}" for eps, scores in curve.items()]
    figure = ", ".join(parts)
    ordered = list(curve.items())
    for (_, less), (eps, more) in pairwise(ordered):
        if is_above(more, less):
            where = eps_text(eps, case.budget.norm)
            return Verdict("failed", figure, f"it rises at {where}: the attack is too weak there")
    loss, whole = (_mean(clean) - _mean(curve[eps]) for eps in (smallest, case.budget.eps))
    if loss > whole / 2 and is_above(clean, curve[smallest]):
        advice = "next to nothing is changed there, and much is lost: look for a mistake, or go nearer to 0"
        return Verdict("failed", figure, advice)
    return Verdict("passed", figure)


def no_budget(case: Case) -> Verdict:
    """Without a budget nothing is left."""
    unlimited = [result for result in case.column.attacked if unbounded(result.cell) and is_adaptive(result)]
    # One that looks for the smallest perturbation has reasons of its own to end where a draw may still hold.
    fit = [result for result in unlimited if result.outcomes and traits(result).stops != "boundary"]
    scores = worst_images(fit)
    if not scores:
        return Verdict("not run", "", "attack adaptively with eps = 1.0 (linf), by pgd")
    if nearly_none(scores):
        return Verdict("passed", worst_text(fit))
    return Verdict("failed", worst_text(fit), "without a limit any image can be had: the attack fails")


def _ladder(results: Iterable[Result], value: Callable[[Result], float]) -> dict[float, Result]:
    """Results of one attack by what grows in them, in ascending order; of several the one of most images."""
    ladder: dict[float, Result] = {}
    for result in sorted(results, key=lambda one: (value(one), len(one.outcomes))):
        ladder[value(result)] = result
    return ladder


def _flat(ladders: Iterable[dict[float, Result]], least: float, advice: str, more: str) -> Verdict:
    """Whether the longest of these curves is flat at its end.

    Args:
        least: that the largest value must reach.
        advice: where there is no curve.
        more: what to do where it still falls.
    """
    longest = max(ladders, key=lambda ladder: (len(ladder), max(ladder)), default={})
    if len(longest) < 2:
        return Verdict("not run", "", advice)
    figure = ", ".join(f"{value:g}: {mean_text(per_image(result))}" for value, result in longest.items())
    (before, less), (last, most) = list(longest.items())[-2:]
    if last < max(least, DOUBLED * before):
        return Verdict("not run", figure, advice)
    if is_above(per_image(less), per_image(most)):
        return Verdict("failed", figure, f"it still falls: {more}")
    return Verdict("passed", figure)


def _without_steps(result: Result) -> tuple[str, str, int, int]:
    """What tells an attack from those that differ in the number of steps only."""
    cell = result.cell
    return re.sub(r"\bsteps=\d+(, )?", "", cell.attack), cell.access, cell.eot, cell.draws


def _clean(results: Iterable[Result], like: Mapping[int, float]) -> dict[int, float]:
    """The clean scores of the same images."""
    clean: dict[int, float] = {}
    for result in results:
        clean |= per_image(result, attacked=False)
    return {index: score for index, score in clean.items() if index in like}


def _mean(scores: Mapping[int, float]) -> float:
    return sum(scores.values()) / len(scores)
