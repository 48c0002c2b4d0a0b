"""The evaluation checklist: what a robustness claim needs before it may be printed. Never imports torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import inf
from typing import Any, Literal

from rain.bench.cells import Cell, Result
from rain.bench.metrics import (
    Paired,
    access_order,
    eps_text,
    interval,
    paired,
    per_image,
    unbounded,
    worst_images,
)
from rain.bench.provenance import differences
from rain.registry import Traits
from rain.specs import innermost, parse

Level = Literal["error", "warning", "note"]

LEVELS: tuple[Level, ...] = ("error", "warning", "note")
LEAST_EOT = 10
LEAST_IMAGES = 100
LEAST_STEPS = 20
LUCKY = 0.05
"""The share of images that an attack may give up at a lucky draw, or go without a gradient for."""

NOISE = 0.05
"""A difference with a p-value of at least this may be noise."""


@dataclass(frozen=True)
class Finding:
    """One point of the checklist that is not met.

    Args:
        level: "error": what is printed must not be called robustness. "warning": the figures may mislead.
            "note": good to know.
        defense: its spec; "" when the whole report is concerned.
        text: what is the matter and what to do.
    """

    level: Level
    defense: str
    text: str


def check(results: Sequence[Result]) -> list[Finding]:
    """Hold results against the checklist: errors first; an empty list when nothing is to be said."""
    findings = [*_differing(results)]
    for _, setting in _grouped(results, _setting):
        findings += [*_images(setting), *_baseline(setting)]
        for defense, column in _grouped(setting, lambda cell: (cell.defense,)):
            findings += [
                *_complete(column),
                *_attacks(column),
                *_flat(column),
            ]
            if defense != ("none",):
                findings += [*_adaptive(column), *_kinds(column), *_draws(column), *_lucky(column)]
    return sorted(dict.fromkeys(findings), key=lambda finding: LEVELS.index(finding.level))


def _differing(results: Sequence[Result]) -> Iterable[Finding]:
    for name, defense, values in differences(results):
        text = (
            f"results in one report were made with different {name.replace('_', ' ')} ({', '.join(values)}): "
        )
        advice = "where that may touch what they measure, run the older ones again, into a fresh folder"
        yield Finding("warning", defense, text + advice)


def _images(setting: Sequence[Result]) -> Iterable[Finding]:
    images = min(len(result.outcomes) for result in setting)
    if images < LEAST_IMAGES:
        low, high = interval(0.5, images)
        text = f"only {images} images of {setting[0].cell.dataset}: an accuracy near 50 % has a 95 % interval {100 * (high - low):.0f} points wide; "
        yield Finding(
            "warning",
            "",
            text + f"smaller differences between defences mean nothing here; measure at least {LEAST_IMAGES}",
        )


def _baseline(setting: Sequence[Result]) -> Iterable[Finding]:
    bare = {_budget(result.cell) for result in setting if result.cell.defense == "none"}
    met = {(*_budget(result.cell), result.cell.attack) for result in setting if result.cell.defense == "none"}
    for (defense,), column in _grouped(setting, lambda cell: (cell.defense,)):
        missing = sorted({_budget(result.cell) for result in column if result.cell.attack != "none"} - bare)
        if not bare:
            text = "no bare classifier beside it, so that nobody can see what the defence costs and gains: add defense none to the grid"
            yield Finding("warning", defense, text)
        elif missing:
            text = f"the bare classifier was not attacked at {_list(missing)}: add defense none there, or the gain over no defence is unknown"
            yield Finding("note", defense, text)
        attacked = _grouped([result for result in column if result.cell.attack != "none"], _budget)
        others = [
            budget
            for budget, same in attacked
            if budget in bare and not {(*budget, result.cell.attack) for result in same} & met
        ]
        if others:
            text = f"at {_list(others)} the bare classifier met other attacks than the defence, which may be the gain: attack both by the same"
            yield Finding("warning", defense, text)


def _complete(column: Sequence[Result]) -> Iterable[Finding]:
    unfinished = [result for result in column if not result.complete]
    if unfinished:
        done, asked = (
            sum(counts)
            for counts in zip(
                *((len(result.outcomes), result.cell.examples) for result in unfinished), strict=True
            )
        )
        text = f"{len(unfinished)} of {len(column)} cells are not finished ({done} of {asked} images): run the same grid again, it goes on from there"
        yield Finding("warning", column[0].cell.defense, text)


def _adaptive(column: Sequence[Result]) -> Iterable[Finding]:
    """Ask for the adaptive figure beside every other one, and that it is the lower one."""
    defense, missing = column[0].cell.defense, []
    for budget, attacked in _grouped([result for result in column if result.cell.attack != "none"], _budget):
        adaptive = [result for result in attacked if knows(result)]
        others = [result for result in attacked if result.cell.access != "adaptive"]
        if not adaptive:
            missing.append(budget)
        if not adaptive or unbounded(
            adaptive[0].cell
        ):  # of attacks without a budget only the curve says which is the stronger
            continue
        for access, weaker in _grouped(others, lambda cell: (cell.access,)):
            above = _above(worst_images(adaptive), worst_images(weaker))
            if above:
                text = f"at {_list([budget])} the adaptive figure is {100 * above.difference:.1f} points above the {access[0]} one (p = {above.p:.2g}), "
                yield Finding(
                    "warning",
                    defense,
                    text
                    + "so the adaptive attack is too weak: give it more steps, a larger step or more draws (eot)",
                )
    if missing:
        text = f"no adaptive attack at {_list(missing)}: what stands there is not a robustness claim; attack again with access adaptive"
        yield Finding("error", defense, text)


def _kinds(column: Sequence[Result]) -> Iterable[Finding]:
    """Look at what the adaptive attacks of a budget are all of: one that is none of this is enough."""
    defense, random = column[0].cell.defense, _random(column)
    kinds = (
        (
            "asks for scores or labels only",
            "add one by gradients (pgd)",
            lambda result: traits(result).sees != "gradients",
        ),
        (
            "drives images to one class, and leaves those of that class",
            "add one that is not targeted",
            lambda result: traits(result).targeted,
        ),
        (
            "ends where a single draw is fooled, just",
            "add pgd with a confidence of a few logits, or set one",
            lambda result: random and _at_the_boundary(result),
        ),
    )
    for budget, attacks in _grouped(
        [result for result in column if knows(result) and not unbounded(result.cell)], _budget
    ):
        for what, advice, is_so in kinds:
            if all(map(is_so, attacks)):
                yield Finding(
                    "warning", defense, f"every adaptive attack at {_list([budget])} {what}: {advice}"
                )


def _flat(column: Sequence[Result]) -> Iterable[Finding]:
    """Look for attacks that had no gradient to go by: one that is masked, or a loss that is saturated."""
    for result in column:
        held = per_image(result)
        flat = sum(outcome.flat and held[outcome.index] > 0.5 for outcome in result.outcomes)
        if flat > LUCKY * len(result.outcomes):
            what = f"the first gradient of {result.cell.attack} ({result.cell.access}) was exactly 0"
            text = f"{what} for {flat} of {len(result.outcomes)} images, which hold: take loss=margin, which does not saturate as "
            text += (
                "cross-entropy does; else look for what masks the gradient (differentiable = False is BPDA)"
            )
            yield Finding("warning", result.cell.defense, text)


def _draws(column: Sequence[Result]) -> Iterable[Finding]:
    defense, cells = column[0].cell.defense, [result.cell for result in column]
    if not _random(column):
        return
    adaptive = _grouped([result for result in column if knows(result)], _budget)
    most = {budget: max(result.cell.eot for result in attacked) for budget, attacked in adaptive}
    few = [budget for budget, eot in most.items() if eot < LEAST_EOT]
    long = {
        budget: [result for result in attacked if _steps(result) >= LEAST_STEPS]
        for budget, attacked in adaptive
    }
    apart = [
        budget
        for budget in most
        if budget not in few and long[budget] and max(result.cell.eot for result in long[budget]) < LEAST_EOT
    ]
    if apart:
        text = f"no single adaptive attack at {_list(apart)} has both {LEAST_EOT} draws a step (eot) and {LEAST_STEPS} steps: add one that has"
        yield Finding("warning", defense, text)
    if few:
        text = f"a random defence was attacked with at most {max(most[budget] for budget in few)} draws a step (eot) at {_list(few)}: "
        text += f"set {LEAST_EOT} or more, and see that the figure stops falling"
        yield Finding("warning", defense, text)
    single = sum(cell.draws == 1 for cell in cells)
    if single:
        text = f"{single} of {len(cells)} cells score a random defence on 1 draw: set the same number of draws, more than 1, for all of them"
        yield Finding("warning", defense, text)


def _lucky(column: Sequence[Result]) -> Iterable[Finding]:
    """Look for attacks by queries that took a lucky draw for a success: they gave an image up that most fresh draws get right."""
    for result in column:
        most = max((outcome.queries or 0 for outcome in result.outcomes), default=0)
        held = per_image(result)
        given_up = sum(
            outcome.queries is not None and outcome.queries < most and held[outcome.index] > 0.5
            for outcome in result.outcomes
        )
        if _random(column) and given_up > LUCKY * len(result.outcomes):
            text = f"{result.cell.attack} ({result.cell.access}) gave up {given_up} of {len(result.outcomes)} images at a lucky draw, which hold on "
            text += "fresh ones: set confidence (scores) to a few logits, or confirm (labels) to 2 or more; higher where it is set"
            yield Finding("warning", result.cell.defense, text)


def _attacks(column: Sequence[Result]) -> Iterable[Finding]:
    """Look for attacks that cannot reach their budget, or that do worse with more of it."""
    defense = column[0].cell.defense
    random = _random(column)
    hasty = sorted({result.cell.access for result in column if _hasty(result, random)}, key=access_order)
    if hasty:
        text = f"confidence 0 ({', '.join(hasty)}) gives an image up at the attack's first success, which against a random defence or on another "
        yield Finding(
            "warning",
            defense,
            text + "model says little: set confidence=inf, or a few logits where it averages over draws",
        )
    adaptive = _grouped(
        [result for result in column if knows(result) and not unbounded(result.cell)], _budget
    )
    most = {budget: max(map(_steps, attacked)) for budget, attacked in adaptive}
    for steps in sorted(set(most.values())):
        if steps < LEAST_STEPS and defense != "none":
            where = _list(budget for budget in most if most[budget] == steps)
            text = f"the adaptive attack made only {steps:.0f} {'step' if steps == 1 else 'steps'} at {where}: more of them may leave less, "
            yield Finding(
                "warning",
                defense,
                text + f"set {LEAST_STEPS} or more, and double them until the figure stops falling",
            )
    for (attack, *_), same in _grouped(
        [result for result in column if result.cell.attack != "none"], _attack
    ):
        options = _worker(same[0])[1]
        reach = _number(options.get("steps")) * _number(options.get("step", options.get("step_size")))
        short = sorted({_budget(result.cell) for result in same if 0 < reach < result.cell.eps * (1 - 1e-6)})
        if short:
            text = f"{attack} cannot reach the edge of {_list(short)}, steps times step length is less: give it more steps or a larger step"
            yield Finding("warning", defense, text)
        for less, more in pairwise(sorted(same, key=lambda result: result.cell.eps)):
            if less.cell.eps < more.cell.eps and _above(per_image(more), per_image(less)):
                text = f"{attack} ({more.cell.access}) does less harm at {_list([_budget(more.cell)])} than at {_list([_budget(less.cell)])}: "
                yield Finding(
                    "warning",
                    defense,
                    text
                    + "it is too weak at the larger budget; give it more steps or draws, or a larger step",
                )


def knows(result: Result) -> bool:
    """Whether an attack may count as adaptive: it had that access, and it looked at the model that it was to fool."""
    return result.cell.access == "adaptive" and traits(result).follows


def traits(result: Result) -> Traits:
    """What the attack declared of itself; the defaults where a file does not say it."""
    (text, *_) = result.made_by.get("attack_traits", ("traits",))
    return Traits(**parse(text)[1])


def _in_full(result: Result) -> str:
    """The attack with all the options it had; older results know only those that their spec says."""
    return result.made_by.get("attack", (result.cell.attack,))[0]


def _worker(result: Result) -> tuple[str, dict[str, Any]]:
    """The attack that does the work, with its options."""
    return innermost(_in_full(result))


def _steps(result: Result) -> float:
    """The steps that an attack made; infinite where it does not say."""
    _, options = _worker(result)
    return _number(options.get("steps")) or traits(result).steps or inf


def _hasty(result: Result, random: bool) -> bool:
    """Whether images left the attack at a success that may be one of a single draw, or of the bare classifier only."""
    _, options = _worker(result)
    stops = traits(result).stops == "fooled" and _number(options.get("confidence")) == 0
    return stops and result.cell.defense != "none" and (random or result.cell.access == "transfer")


def _at_the_boundary(result: Result) -> bool:
    """Whether an attack ends at the first success of a single draw."""
    _, options = _worker(result)
    return traits(result).stops == "boundary" and not _number(options.get("confidence")) > 0


def _random(column: Sequence[Result]) -> bool:
    """Whether the defence is random; older results show it by draws only."""
    return any(
        "yes" in result.made_by.get("defense_random", ()) or result.cell.draws > 1 or result.cell.eot > 1
        for result in column
    )


def _above(first: Mapping[int, float], second: Mapping[int, float]) -> Paired | None:
    """Compare two scores per image; None unless the first is above the second by more than the noise."""
    if not first.keys() & second.keys():
        return None
    found = paired(first, second)
    return found if found.difference > 0 and found.p < NOISE else None


def _setting(cell: Cell) -> tuple[Any, ...]:
    return cell.dataset, cell.size or 0, cell.classifier


def _budget(cell: Cell) -> tuple[Any, ...]:
    """The norm and eps, infinite where it is no budget."""
    return cell.norm, inf if unbounded(cell) else cell.eps


def _attack(cell: Cell) -> tuple[Any, ...]:
    return cell.attack, cell.norm, cell.access, cell.eot


def _grouped(results: Sequence[Result], by: Any) -> list[tuple[tuple[Any, ...], list[Result]]]:
    ordered = sorted(results, key=lambda result: by(result.cell))
    return [(key, list(group)) for key, group in groupby(ordered, key=lambda result: by(result.cell))]


def _list(budgets: Iterable[tuple[Any, ...]]) -> str:
    return ", ".join(f"eps {eps_text(eps, norm)} ({norm})" for norm, eps in budgets)


def _number(value: Any) -> float:
    """Read an option of an attack; 0 where the spec leaves it to the attack."""
    return float(value) if isinstance(value, int | float) else 0.0
