"""The evaluation checklist: what a robustness claim needs before it may be printed. Never imports torch.

One function is one point. What is asked of the attacks themselves stands in ``rain.bench.weak_attacks``.
"""

from collections.abc import Iterable, Sequence

from rain.bench import weak_attacks
from rain.bench.cells import Cell, Result, indices_text
from rain.bench.columns import (
    Budget,
    Column,
    budget_of,
    by_budget,
    grouped,
    is_attacked,
    listed,
    says_its_traits,
    settings,
    without_corruptions,
)
from rain.bench.findings import LEVELS, Finding, Findings
from rain.bench.metrics import access_order, interval
from rain.bench.provenance import differences
from rain.specs import parse

LEAST_IMAGES = 100

NAMED = 3
"""Of the cells that are missing, so many are named."""


def check(results: Sequence[Result], missing: Sequence[Cell] = ()) -> list[Finding]:
    """Hold results against the checklist: errors first; an empty list when nothing is to be said.

    Args:
        missing: cells that were planned, and of which there is no result (``rain.bench.planned``).
    """
    findings = [*made_differently(results), *traits_not_said(results), *never_begun(missing)]
    for setting in settings(results):
        findings += [*images_left_out(setting), *few_images(setting), *fewer_images(setting)]
        for column in setting:
            findings += _of_any_column(column, setting)
            if column.defense != "none":
                findings += _of_a_defense(column)
    return sorted(dict.fromkeys(findings), key=lambda finding: LEVELS.index(finding.level))


def _of_any_column(column: Column, setting: Sequence[Column]) -> list[Finding]:
    return [
        *bare_missing(column, setting),
        *bare_attacked_by_others(column, setting),
        *unfinished(column),
        *other_numbers(column),
        *weak_attacks.out_of_reach(column),
        *weak_attacks.less_harm(column),
        *weak_attacks.no_gradient(column),
    ]


def _of_a_defense(column: Column) -> list[Finding]:
    return [
        *not_adaptive(column),
        *weak_attacks.hasty(column),
        *weak_attacks.few_steps(column),
        *weak_attacks.adaptive_above_others(column),
        *weak_attacks.bound_above_others(column),
        *weak_attacks.all_of_a_kind(column),
        *weak_attacks.no_strong_attack(column),
        *weak_attacks.none_around_the_gate(column),
        *weak_attacks.none_below_the_alarm(column),
        *weak_attacks.few_draws(column),
        *scored_on_one_draw(column),
        *unfit(column),
        *weak_attacks.lucky_draws(column),
    ]


def made_differently(results: Iterable[Result]) -> Findings:
    """Results are compared that were not made by the same."""
    for name, defense, values in differences(results):
        what = (
            f"results in one report were made with different {name.replace('_', ' ')} ({', '.join(values)})"
        )
        advice = "where that may touch what they measure, run the older ones again, into a fresh folder"
        yield Finding("warning", defense, f"{what}: {advice}")


def traits_not_said(results: Iterable[Result]) -> Findings:
    """Files do not say what their attacks do, so that other points of this list go by defaults."""
    attacked = [result for result in results if result.cell.attack != "none"]
    silent = [result for result in attacked if not says_its_traits(result)]
    if silent:
        what = f"{len(silent)} of {len(attacked)} attacked cells do not say what their attacks do"
        meanwhile = "they are taken for attacks by gradients that make all their steps"
        yield Finding("warning", "", f"{what}: {meanwhile}; run them again, into a fresh folder")


def never_begun(missing: Sequence[Cell]) -> Findings:
    """Cells of the grid have no result at all."""
    if not missing:
        return
    names = list(dict.fromkeys(_cell_text(cell) for cell in missing))
    which = "; ".join(names[:NAMED])
    more = f"; and {len(names) - NAMED} more" if len(names) > NAMED else ""
    cells = "1 cell of the grid has" if len(missing) == 1 else f"{len(missing)} cells of the grid have"
    advice = "run the same grid again; if it was given up, delete its list in the folder planned"
    yield Finding("warning", "", f"{cells} no result ({which}{more}): {advice}")


def images_left_out(setting: Sequence[Column]) -> Findings:
    """Damaged images are left out."""
    results = [result for column in setting for result in column.results]
    most = max(results, key=lambda result: len(result.left_out))
    if most.left_out:
        count, examples = len(most.left_out), most.cell.examples
        which = indices_text(most.left_out)
        what = f"{count} of {examples} images of {most.cell.dataset} are damaged and left out (index {which})"
        advice = "the figures are of the others; mend them and run the grid again, into a fresh folder"
        yield Finding("warning", "", f"{what}: {advice}")


def few_images(setting: Sequence[Column]) -> Findings:
    """Nothing in a place was measured on enough images."""
    counts = [len(result.outcomes) for column in setting for result in column.results]
    if max(counts) >= LEAST_IMAGES:
        return
    fewest = min(counts)
    dataset = setting[0].results[0].cell.dataset
    width = f"an accuracy near 50 % has a 95 % interval {_width(fewest)} points wide"
    advice = f"smaller differences between defences mean nothing here; measure at least {LEAST_IMAGES}"
    yield Finding("warning", "", f"only {fewest} images of {dataset}: {width}; {advice}")


def fewer_images(setting: Sequence[Column]) -> Findings:
    """Some results of a place were measured on too few images, beside others that were not."""
    if all(_is_small(result) for column in setting for result in column.results):
        return  # few_images says it of all of them
    for column in setting:
        small = sorted(filter(_is_small, column.results), key=lambda result: len(result.outcomes))
        if not small:
            continue
        by_count = grouped(small, lambda result: len(result.outcomes))
        where = "; ".join(f"{count} images {_attackers(results)}" for count, results in by_count.items())
        width = f"up to {_width(min(by_count))}" if len(by_count) > 1 else _width(min(by_count))
        what = f"only {where}: an accuracy near 50 % there has a 95 % interval {width} points wide"
        advice = f"smaller differences mean nothing there; measure at least {LEAST_IMAGES}"
        yield Finding("warning", column.defense, f"{what}; {advice}")


def bare_missing(column: Column, setting: Sequence[Column]) -> Findings:
    """Nothing, or nothing at the same budget, was measured without a defence."""
    bare = _bare(setting)
    if bare is None:
        what = "no bare classifier beside it, so that nobody can see what the defence costs and gains"
        yield Finding("warning", column.defense, f"{what}: add defense none to the grid")
        return
    missing = sorted(column.budgets - bare.budgets)
    if missing:
        what = f"the bare classifier was not attacked at {listed(missing)}"
        advice = "add defense none there, or the gain over no defence is unknown"
        yield Finding("note", column.defense, f"{what}: {advice}")


def bare_attacked_by_others(column: Column, setting: Sequence[Column]) -> Findings:
    """A defence and the bare classifier were attacked by nothing that is the same."""
    bare = _bare(setting)
    if bare is None:
        return
    bare_attacks = _attacks_by_budget(bare)
    attacks = _attacks_by_budget(column)
    shared = sorted(attacks.keys() & bare_attacks.keys())
    others = [budget for budget in shared if not attacks[budget] & bare_attacks[budget]]
    if others:
        what = f"at {listed(others)} the bare classifier met other attacks than the defence"
        yield Finding("warning", column.defense, f"{what}, which may be the gain: attack both by the same")


def unfinished(column: Column) -> Findings:
    """Cells lack images."""
    cut = [result for result in column.results if not result.complete]
    if cut:
        done = sum(len(result.outcomes) for result in cut)
        images = sum(result.cell.examples for result in cut)
        what = f"{len(cut)} of {len(column.results)} cells are not finished ({done} of {images} images)"
        yield Finding("warning", column.defense, f"{what}: run the same grid again, it goes on from there")


def other_numbers(column: Column) -> Findings:
    """Of cells that differ in their number of images only, all but one stand back."""
    several = [result for result in column.results if result.aside]
    if not several:
        return
    numbers = sorted({examples for result in several for examples in result.aside})
    of = f"{len(several)} of {len(column.results)} cells"
    what = f"{of} were measured with another number of images, too ({', '.join(map(str, numbers))})"
    shown = "of each the one with most finished images is told, and the other counts nowhere"
    advice = "they differ where a chunk was cut, so let examples be a multiple of chunk"
    if any(max(result.aside) > result.cell.examples for result in several):
        advice = "run the grid of more images again, it goes on from there"
    yield Finding("note", column.defense, f"{what}: {shown}; {advice}")


def not_adaptive(column: Column) -> Findings:
    """There is no adaptive figure beside the others."""
    budgets = {budget_of(result.cell) for result in column.adaptive}
    missing = sorted(column.budgets - budgets)
    if missing:
        what = f"no adaptive attack at {listed(missing)}: what stands there is not a robustness claim"
        yield Finding("error", column.defense, f"{what}; attack again with access adaptive")


def scored_on_one_draw(column: Column) -> Findings:
    """A random defence is scored on a single draw."""
    results = without_corruptions(column.results)
    single = sum(result.cell.draws == 1 for result in results)
    if single and column.random:
        what = f"{single} of {len(results)} cells score a random defence on 1 draw"
        advice = "set the same number of draws, more than 1, for all of them"
        yield Finding("warning", column.defense, f"{what}: {advice}")


def unfit(column: Column) -> Findings:
    """A part of the defence was trained for another way to use it: no ablation, whatever it looks like."""
    reasons = {reason for result in column.results for reason in result.made_by.get("unfit", ())}
    name, options = parse(column.defense)
    if name == "rain" and options == {"preset": "no_pick"} and any(map(_of_first_version, column.results)):
        # It did not say so.
        reasons = {"rain halves by bicubic, and its DG was not trained for that"}
    for reason in sorted(reasons):
        why = "it restores less than one that was trained for it"
        if name == "rain":
            why += "; do not read the difference to rain as what picking, or keeping fewer pixels, is worth"
        yield Finding("warning", column.defense, f"{reason}: {why}")


def _cell_text(cell: Cell) -> str:
    """Name a cell by what is attacked, and how."""
    if cell.attack == "none":
        return f"{cell.defense} without an attack"
    return f"{cell.defense} at {budget_of(cell)} by {cell.attack}, {cell.access}"


def _of_first_version(result: Result) -> bool:
    return any(version.startswith("0.1.") for version in result.made_by.get("rain", ()))


def _is_small(result: Result) -> bool:
    return len(result.outcomes) < LEAST_IMAGES


def _width(images: int) -> str:
    """How wide the interval of an accuracy near 50 % is, in points."""
    low, high = interval(0.5, images)
    return f"{100 * (high - low):.0f}"


def _attackers(results: Iterable[Result]) -> str:
    """Name the budgets and accesses of results: ``at eps 4/255 (linf; static, adaptive)``."""
    ordered = sorted(results, key=lambda result: (budget_of(result.cell), access_order(result.cell.access)))
    attacked = [result for result in ordered if is_attacked(result)]
    texts = [] if len(attacked) == len(ordered) else ["without an attack"]
    for budget, same in by_budget(attacked).items():
        accesses = dict.fromkeys(result.cell.access for result in same)
        texts.append(f"at {str(budget).removesuffix(')')}; {', '.join(accesses)})")
    return ", ".join(texts)


def _bare(setting: Iterable[Column]) -> Column | None:
    return next((column for column in setting if column.defense == "none"), None)


def _attacks_by_budget(column: Column) -> dict[Budget, set[str]]:
    groups = by_budget(column.attacked)
    return {budget: {result.cell.attack for result in results} for budget, results in groups.items()}
