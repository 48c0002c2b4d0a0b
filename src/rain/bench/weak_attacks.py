"""The part of the checklist about attacks: whether they were strong enough to say anything.

One function is one point. It goes by what an attack declared (``rain.registry.Traits``) and by its options.
Never imports torch.
"""

from collections.abc import Sequence
from itertools import pairwise

from rain.bench.cells import Result
from rain.bench.columns import (
    Budget,
    Column,
    access_of,
    budget_of,
    by_budget,
    ends_at_boundary,
    ends_at_success,
    grouped,
    listed,
    most_draws,
    most_steps,
    option,
    steps,
    traits,
    widest,
)
from rain.bench.findings import Finding, Findings
from rain.bench.metrics import access_order, least_images, per_image, strongest, unbounded, worst_images
from rain.bench.significance import Paired, above
from rain.specs import parse

LEAST_EOT = 10
LEAST_STEPS = 20
LUCKY = 0.05
"""The share of images that an attack may give up at a lucky draw, or go without a gradient for."""


def out_of_reach(column: Column) -> Findings:
    """Attacks cannot reach the edge of their budget."""
    for (attack, *_), results in grouped(_by_attack(column), _attack_key).items():
        short = sorted({budget_of(result.cell) for result in results if _falls_short(result)})
        if short:
            what = f"{attack} cannot reach the edge of {listed(short)}, steps times step length is less"
            yield Finding("warning", column.defense, f"{what}: give it more steps or a larger step")


def less_harm(column: Column) -> Findings:
    """Attacks do worse with more of a budget."""
    for (attack, _, access, _), results in grouped(_by_attack(column), _attack_key).items():
        for less, more in pairwise(results):
            if less.cell.eps < more.cell.eps and above(per_image(more), per_image(less)):
                budgets = f"at {budget_of(more.cell)} than at {budget_of(less.cell)}"
                what = f"{attack} ({access}) does less harm {budgets}"
                advice = "it is too weak at the larger budget; give it more steps or draws, or a larger step"
                yield Finding("warning", column.defense, f"{what}: {advice}")


def no_gradient(column: Column) -> Findings:
    """Attacks had no gradient to go by: one that is masked, or a loss that is saturated."""
    for result in column.results:
        flat, observed = flat_images(result)
        if flat > LUCKY * observed:
            where = f"{result.cell.attack} ({result.cell.access})"
            images = f"{flat} of {observed} images"
            what = f"the first gradient of {where} was exactly 0 for {images}, which hold"
            advice = "take loss=margin, which does not saturate as cross-entropy does"
            otherwise = "else look for what masks the gradient (differentiable = False is BPDA)"
            yield Finding("warning", result.cell.defense, f"{what}: {advice}; {otherwise}")


def flat_images(result: Result) -> tuple[int, int]:
    """On how many images that hold the first gradient was exactly 0, and on how many it was observed."""
    right = per_image(result)
    observed = [outcome for outcome in result.outcomes if outcome.flat is not None]
    return sum(outcome.flat is True and right[outcome.index] > 0.5 for outcome in observed), len(observed)


def is_observed(result: Result) -> bool:
    """Whether nearly all images that hold had their first gradient observed: what masks it may hold them."""
    right = per_image(result)
    unseen = sum(outcome.flat is None and right[outcome.index] > 0.5 for outcome in result.outcomes)
    return flat_images(result)[1] > 0 and unseen <= LUCKY * len(result.outcomes)


def hasty(column: Column) -> Findings:
    """Attacks let an image go at a success that may be one of a single draw, or of the bare classifier.

    Beside one of the same access and budget that goes on they are welcome: from a gate they hide best.
    """
    rivals = [result for result in column.attacked if traits(result).sees == "gradients"]
    patient = {_access_and_budget(result) for result in rivals if _is_patient(result)}
    accesses = {
        result.cell.access
        for result in column.attacked
        if ends_at_success(result)
        and result.cell.access != "known"  # there the first success is one of the draw that counts
        and (column.random or result.cell.access == "transfer")
        and _access_and_budget(result) not in patient
    }
    if accesses:
        names = ", ".join(sorted(accesses, key=access_order))
        what = f"confidence 0 ({names}) gives an image up at the attack's first success"
        why = "which against a random defence or on another model says little"
        advice = "set confidence=inf, or a few logits where it averages over draws"
        yield Finding("warning", column.defense, f"{what}, {why}: {advice}")


def few_steps(column: Column) -> Findings:
    """Adaptive attacks are short."""
    longest = {budget: most_steps(results) for budget, results in by_budget(column.bounded_adaptive).items()}
    for count, budgets in sorted(grouped(longest, lambda budget: longest[budget]).items()):
        if count < LEAST_STEPS:
            number = "1 step" if count == 1 else f"{count:.0f} steps"
            what = f"the adaptive attack made only {number} at {listed(budgets)}: more of them may leave less"
            advice = f"set {LEAST_STEPS} or more, and double them until the figure stops falling"
            yield Finding("warning", column.defense, f"{what}, {advice}")


def adaptive_above_others(column: Column) -> Findings:
    """The adaptive figure, which should be the lowest, is above another one."""
    weaker = [result for result in column.attacked if access_of(result) not in ("adaptive", "known", "")]
    weaker_by_budget = by_budget(weaker)
    # Of attacks without a budget only the curve says which is the stronger.
    for budget, adaptive in by_budget(column.bounded_adaptive).items():
        ordered = sorted(weaker_by_budget.get(budget, []), key=lambda result: result.cell.access)
        for access, others in grouped(ordered, lambda result: result.cell.access).items():
            excess = excess_over(adaptive, others)
            if excess:
                points = f"{100 * excess.difference:.1f} points above the {access} one (p = {excess.p:.2g})"
                what = f"at {budget} the adaptive figure is {points}, so the adaptive attack is too weak"
                advice = "give it more steps, a larger step or more draws (eot)"
                yield Finding("warning", column.defense, f"{what}: {advice}")


def bound_above_others(column: Column) -> Findings:
    """A bound, which sees the draw that judges, is above what the same attack leaves that does not see it."""
    for bound in column.attacked if column.random else ():
        if bound.cell.access != "known" or unbounded(bound.cell):
            continue
        for other in column.attacked:
            is_same = (other.cell.attack, budget_of(other.cell)) == (bound.cell.attack, budget_of(bound.cell))
            if not is_same or other.cell.access not in ("static", "adaptive"):
                continue
            excess = above(per_image(bound), per_image(other))
            if excess:
                gap = f"{100 * excess.difference:.1f} points above {other.cell.access}"
                points = f"{gap} (p = {excess.p:.2g})"
                what = f"the bound (known) of {bound.cell.attack} at {budget_of(bound.cell)} is {points}"
                advice = "the attack fails behind single draws; give it more steps or another loss"
                yield Finding("warning", column.defense, f"{what}: {advice}")


def all_of_a_kind(column: Column) -> Findings:
    """All adaptive attacks of a budget are of one weak kind: one that is not is enough."""
    for budget, attacks in by_budget(column.bounded_adaptive).items():
        weaknesses = []
        if all(traits(result).sees != "gradients" for result in attacks):
            weaknesses.append("asks for scores or labels only: add one by gradients (pgd)")
        if all(traits(result).targeted for result in attacks):
            what = "drives images to one class, and leaves those of that class"
            weaknesses.append(f"{what}: add one that is not targeted")
        if column.random and all(map(ends_at_boundary, attacks)):
            advice = "add pgd with a confidence of a few logits, or set one"
            weaknesses.append(f"ends where a single draw is fooled, just: {advice}")
        for weakness in weaknesses:
            yield Finding("warning", column.defense, f"every adaptive attack at {budget} {weakness}")


def none_around_the_gate(column: Column) -> Findings:
    """Adaptive attacks went through a gate, and none around it: a gate adds nothing to its defence."""
    name, _ = parse(column.defense)
    for budget, attacks in by_budget(column.bounded_adaptive).items() if name == "gated" else ():
        if not any(goes_around(result) for result in attacks):
            what = f"no adaptive attack at {budget} went around the gate, which may blind those through it"
            advice = "add ungated(attack=...), made on the defence alone"
            yield Finding("warning", column.defense, f"{what}: {advice}")


def none_below_the_alarm(column: Column) -> Findings:
    """Adaptive attacks tried to fool the classifier behind a detector, and none to keep its score low."""
    name, _ = parse(column.defense)
    for budget, attacks in by_budget(column.bounded_adaptive).items() if name == "squeezing" else ():
        if not any(traits(result).gate == "parts" for result in attacks):
            what = f"no adaptive attack at {budget} kept the score of the detector below its threshold"
            advice = "add gate(aim=close), which knows the score"
            yield Finding("warning", column.defense, f"{what}: {advice}")


def goes_around(result: Result) -> bool:
    """Whether an attack is made on the defence behind a gate."""
    # Files of before say it by the attack's name only.
    return traits(result).gate == "around" or parse(result.cell.attack)[0] == "ungated"


def no_strong_attack(column: Column) -> Findings:
    """Of the adaptive attacks on a random defence some average over draws, and others make many steps."""
    apart = []
    for budget, attacks in by_budget(column.adaptive).items():
        long = [result for result in attacks if steps(result) >= LEAST_STEPS]
        if long and most_draws(attacks) >= LEAST_EOT > most_draws(long):
            apart.append(budget)
    if apart and column.random:
        both = f"both {LEAST_EOT} draws a step (eot) and {LEAST_STEPS} steps"
        what = f"no single adaptive attack at {listed(apart)} has {both}"
        yield Finding("warning", column.defense, f"{what}: add one that has")


def few_draws(column: Column) -> Findings:
    """The adaptive attacks on a random defence average over few draws."""
    draws = {budget: most_draws(attacks) for budget, attacks in by_budget(column.adaptive).items()}
    few = [budget for budget, count in draws.items() if count < LEAST_EOT]
    if few and column.random:
        most = max(draws[budget] for budget in few)
        what = f"a random defence was attacked with at most {most} draws a step (eot) at {listed(few)}"
        advice = f"set {LEAST_EOT} or more, and see that the figure stops falling"
        yield Finding("warning", column.defense, f"{what}: {advice}")


def lucky_draws(column: Column) -> Findings:
    """Attacks by queries took a lucky draw for a success: most fresh draws get the image right."""
    for result in column.results if column.random else ():
        right = per_image(result)
        most = max((outcome.queries or 0 for outcome in result.outcomes), default=0)
        early = [
            outcome for outcome in result.outcomes if outcome.queries is not None and outcome.queries < most
        ]
        given_up = sum(right[outcome.index] > 0.5 for outcome in early)
        if given_up > LUCKY * len(result.outcomes):
            images = f"{given_up} of {len(result.outcomes)} images"
            what = f"{result.cell.attack} ({result.cell.access}) gave up {images} at a lucky draw"
            advice = "set confidence (scores) to a few logits, or confirm (labels) to 2 or more"
            yield Finding(
                "warning",
                column.defense,
                f"{what}, which hold on fresh ones: {advice}; higher where it is set",
            )


def _is_patient(result: Result) -> bool:
    """Whether an attack follows the model, in several steps, and does not end at its first success."""
    does_follow = traits(result).follows and steps(result) > 1
    return does_follow and not ends_at_success(result) and not ends_at_boundary(result)


def _access_and_budget(result: Result) -> tuple[str, Budget]:
    return result.cell.access, budget_of(result.cell)


def _attack_key(result: Result) -> tuple[str, str, str, int]:
    cell = result.cell
    return cell.attack, cell.norm, cell.access, cell.eot


def _by_attack(column: Column) -> list[Result]:
    """The results of one attack beside one another, smaller budgets first."""
    return sorted(column.attacked, key=lambda result: (*_attack_key(result), result.cell.eps))


def _falls_short(result: Result) -> bool:
    reach = option(result, "steps") * option(result, "step", "step_size")
    return 0 < reach < result.cell.eps * (1 - 1e-6)


def excess_over(strong: Sequence[Result], others: Sequence[Result]) -> Paired | None:
    """By how much attacks leave more than others: than the worst of these, or than any single one; or None.

    What few images say hides nothing that many do: a rival counts with all of its images.
    """
    own = least_images(strong)
    rivals = [worst_images(widest(others)), *map(per_image, strongest(others))]
    excesses = [excess for scores in rivals if (excess := above(own, scores))]
    return max(excesses, key=lambda excess: excess.difference, default=None)
