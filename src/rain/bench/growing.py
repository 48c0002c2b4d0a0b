"""The points of the evaluation checklist about what grows: draws, steps and eps. Never imports torch."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import pairwise
from math import inf
from typing import Any

from rain.bench.cases import (
    LEAST_OF_NONE,
    NOT_RANDOM,
    Case,
    Verdict,
    deciding,
    is_above,
    left_text,
    mean_text,
    nearly_none,
    worst_text,
)
from rain.bench.cells import Result
from rain.bench.columns import by_budget, grouped, option, steps, traits, widest
from rain.bench.counted import left_of_each
from rain.bench.metrics import NO_BUDGET, eps_text, per_image, scores_of, unbounded, worst_images
from rain.bench.weak_attacks import LEAST_EOT, LEAST_STEPS
from rain.specs import nesting, write

SMALL = 1 / 8
"""The share of a budget that counts as nearly nothing."""

DOUBLED = 1.5
"""By what factor draws or steps must have grown at least, before a figure that stays is called flat."""


def flat_in_draws(case: Case) -> Verdict:
    """More draws a step leave no less."""
    if not case.random:
        return NOT_RANDOM
    advice = "take eot = 1, 5, 10, 20 and 40 of the attack that leaves least"
    ladders = _ladders(case.with_access("adaptive"), _without_draws, _draws_a_step)
    return _flat(ladders, LEAST_EOT, advice, "take more draws (eot)")


def flat_in_steps(case: Case) -> Verdict:
    """Twice the steps leave no less, where there are enough of them: few may be as weak as half of them."""
    longer = [result for result in case.adaptive if option(result, "steps")]
    advice = f"take the attack that leaves least with twice the steps, too, {LEAST_STEPS} at least"
    return _flat(_ladders(longer, _without_steps, steps), LEAST_STEPS, advice, "double the steps again")


def small_budget(case: Case) -> Verdict:
    """Where the budget goes to 0, the accuracy goes to that of clean images; with more of it, it falls."""
    same_norm = [result for result in case.column.adaptive if result.cell.norm == case.budget.norm]
    bounded = [result for result in same_norm if result.outcomes and result.cell.eps <= case.budget.eps]
    # That little is left at the budget is what passes here: a few images must not take the place of many.
    curve = {budget.eps: worst_images(widest(same)) for budget, same in by_budget(bounded).items()}
    curve = {eps: scores for eps, scores in curve.items() if scores}
    smallest = min(curve, default=inf)
    if case.budget.eps not in curve or smallest > SMALL * case.budget.eps * (1 + 1e-6):
        text = eps_text(SMALL * case.budget.eps, case.budget.norm)
        return Verdict("not run", "", f"attack adaptively at several eps, down to {text}")
    clean = _clean(case.column.results, curve[smallest])
    parts = [f"clean {mean_text(clean)}"]
    parts += [f"{eps_text(eps, case.budget.norm)}: {mean_text(scores)}" for eps, scores in curve.items()]
    figure = ", ".join(parts)
    if mean_text(curve[case.budget.eps]) != left_text(case.adaptive):
        figure += ", by the attacks on most images"
    ordered = list(curve.items())
    for (_, less), (eps, more) in pairwise(ordered):
        if is_above(more, less):
            where = eps_text(eps, case.budget.norm)
            return Verdict("failed", figure, f"it rises at {where}: the attack is too weak there")
    shared = curve[smallest].keys() & curve[case.budget.eps].keys()
    loss, whole = (
        _mean(scores_of(clean, shared)) - _mean(scores_of(curve[eps], shared)) if shared else 0.0
        for eps in (smallest, case.budget.eps)
    )
    if loss > whole / 2 and is_above(clean, curve[smallest]):
        advice = "next to nothing is changed there, and much is lost: look for a mistake, or go nearer to 0"
        return Verdict("failed", figure, advice)
    return Verdict("passed", figure)


def no_budget(case: Case) -> Verdict:
    """Without a budget nothing is left."""
    own_norm = [result for result in case.column.adaptive if result.cell.norm == case.budget.norm]
    unlimited = [result for result in own_norm if unbounded(result.cell)]
    # One that looks for the smallest perturbation has reasons of its own to end where a draw may still hold.
    fit = [result for result in unlimited if result.outcomes and traits(result).stops != "boundary"]
    enough = [result for result in fit if len(result.outcomes) >= LEAST_OF_NONE] or fit
    scores = left_of_each(enough)
    advice = f"attack adaptively with eps = {NO_BUDGET[case.budget.norm]} ({case.budget.norm}), by pgd"
    if not scores:
        return Verdict("not run", "", advice)
    if not nearly_none(scores):
        why = "without a limit any image can be had: the attack fails"
        return Verdict("failed", worst_text(enough), why)
    if len(scores) < LEAST_OF_NONE:
        return Verdict("not run", worst_text(enough), f"{advice}, on {LEAST_OF_NONE} images at least")
    return Verdict("passed", worst_text(enough))


def _ladders(
    results: Sequence[Result], kind: Callable[[Result], Hashable], value: Callable[[Result], float]
) -> list[dict[float, Result]]:
    """The curves of the attacks that decide, of two points at least, longest first.

    An attack that leaves more than another says nothing of the figure, whether it falls or not.

    Args:
        kind: what the points of a curve share.
        value: what grows in it.
    """
    reaching = set(map(kind, deciding(results)))
    curves = grouped(results, kind)
    ladders = [_ladder(same, value) for name, same in curves.items() if name in reaching]
    several = [ladder for ladder in ladders if len(ladder) > 1]
    return sorted(several, key=lambda ladder: (len(ladder), max(ladder)), reverse=True)


def _ladder(results: Iterable[Result], value: Callable[[Result], float]) -> dict[float, Result]:
    """Results of one attack by what grows in them, in ascending order; of several the one of most images."""
    ladder: dict[float, Result] = {}
    for result in sorted(results, key=lambda one: (value(one), len(one.outcomes))):
        ladder[value(result)] = result
    return ladder


def _flat(ladders: Sequence[dict[float, Result]], least: float, advice: str, more: str) -> Verdict:
    """Whether every one of these curves is flat at its end, and one of them is long enough to say so.

    Args:
        ladders: of two values at least each; the first one is shown.
        least: that the largest value must reach.
        advice: where no curve is long enough.
        more: what to do where one still falls.
    """
    long = [ladder for ladder in ladders if _is_long(ladder, least)]
    for ladder in long:
        if _falls(ladder):
            attack = ladder[max(ladder)].cell.attack
            return Verdict("failed", _ladder_text(ladder), f"{attack} still falls: {more}")
    if long and not any(map(_falls, ladders)):
        return Verdict("passed", _ladder_text(long[0]))
    return Verdict("not run", _ladder_text(ladders[0]) if ladders else "", advice)


def _is_long(ladder: dict[float, Result], least: float) -> bool:
    """Whether a curve goes far enough, and its last step is long enough, for its end to be called flat."""
    before, last = list(ladder)[-2:]
    return last >= max(least, DOUBLED * before)


def _falls(ladder: dict[float, Result]) -> bool:
    less, most = list(ladder.values())[-2:]
    return is_above(per_image(less), per_image(most))


def _ladder_text(ladder: dict[float, Result]) -> str:
    """Say a curve on the images that all of its points have: on others it may rise or fall for nothing."""
    scores = {value: per_image(result) for value, result in ladder.items()}
    shared = set.intersection(*map(set, scores.values()))
    text = ", ".join(
        f"{value:g}: {mean_text({index: of[index] for index in shared})}" for value, of in scores.items()
    )
    is_all = all(len(of) == len(shared) for of in scores.values())
    return text if is_all else f"{text}, on {len(shared)} images"


def _draws_a_step(result: Result) -> int:
    """The draws that it averages over at each step: by its access, and by itself."""
    return result.cell.eot * traits(result).averages


def _without_draws(result: Result) -> tuple[str, int]:
    """What tells an attack from those that differ in the draws that it averages over only."""
    return result.cell.attack, result.cell.draws


def _without_steps(result: Result) -> tuple[Hashable, ...]:
    """What tells an attack from those that differ in the number of steps only, by all of its options."""
    cell = result.cell
    spec, *_ = result.made_by.get("attack", (cell.attack,))
    *outer, (name, options) = nesting(spec)
    rest = [*outer, (name, {key: value for key, value in options.items() if key != "steps"})]
    return tuple(_written(*one) for one in rest), cell.access, cell.eot, cell.draws


def _written(name: str, options: Mapping[str, Any]) -> str:
    """An attack without the one that it holds."""
    return write(name, {key: value for key, value in options.items() if key != "attack"})


def _clean(results: Iterable[Result], like: Mapping[int, float]) -> dict[int, float]:
    """The clean scores of the same images."""
    clean: dict[int, float] = {}
    for result in results:
        clean |= per_image(result, attacked=False)
    return {index: score for index, score in clean.items() if index in like}


def _mean(scores: Mapping[int, float]) -> float:
    return sum(scores.values()) / len(scores)
