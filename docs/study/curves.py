"""Point 4 of the study: accuracy against what an attacker spends, and robustness against clean accuracy."""

from collections.abc import Mapping, Sequence
from typing import Any

import drawing
from drawing import BLUE, GREEN, INK, PALE, PINK, RED, SKY
from readings import (
    CLASSIFIERS,
    HARDENED,
    KEYS,
    LITE0,
    RESTORED,
    SMALL,
    SQUEEZENET,
    Rate,
    count_text,
    only,
    rate,
    rate_of,
    results,
    select,
)

from rain.bench.cells import Result
from rain.bench.metrics import per_image

Facts = dict[str, str]

EPS = 4 / 255
QUERIED = "rain(enhancer=compact(weights=imagenette-first), seam=wrapped)"
"""RAIN with the DG before the shipped one, as ``attacks96`` has it."""

CURVES = {
    "none": ("no defence", PALE, "none"),
    "rain": ("RAIN", BLUE, RESTORED),
    "hardened": ("RAIN, adversarial DG", GREEN, HARDENED),
}
AVERAGED = {
    "first": ("RAIN, the DG before", SKY, QUERIED),
    "rain": ("RAIN", BLUE, RESTORED),
    "hardened": ("RAIN, adversarial DG", GREEN, HARDENED),
}
BUDGETS = (0.5, 1, 2, 3, 4, 6, 8, 16)
"""In grey levels of 255."""

LENGTHS = (0.1, 0.2, 0.5, 1, 2, 5)
WAGNER = "carlini_wagner(searches=5, steps=100)"
SMALLEST = {
    "none": ("no defence", PALE, "none", "static", WAGNER),
    "static": ("RAIN, static", GREEN, QUERIED, "static", WAGNER),
    "adaptive": (
        "RAIN, adaptive",
        RED,
        QUERIED,
        "adaptive",
        "carlini_wagner(confidence=3.0, searches=5, steps=100)",
    ),
}
"""Attacks that look for the smallest perturbation: how a line is called, its colour, and its cell."""

ACCESSES = ("transfer", "static", "adaptive")
ALL_STEPS, LEAVES = "pgd(steps=10, confidence=inf)", "pgd(steps=10, confidence=3.0)"
QUESTIONS = (50, 100, 200, 300, 500, 700, 1000)
ASKERS = {
    "square": ("Square", RED, "square", "square(confidence=3.0)"),
    "nes": ("NES", BLUE, "nes", "nes(confidence=3.0, sigma=0.05)"),
    "simba": ("SimBA", GREEN, "simba(basis=dct)", "simba(basis=dct, confidence=3.0)"),
    "rays": ("RayS, labels only", PINK, "rays(queries=1000)", "rays(queries=1000, confirm=4)"),
}


def budgets() -> tuple[str, Facts]:
    """Accuracy against eps: transferred, static and adaptive attacks."""
    measured = results("frequencies/curves")
    facts: Facts = {}
    with drawing.look("budgets"):
        figure = drawing.sheet(9.6, 3.7)
        panels: Any = figure.subplots(1, len(ACCESSES), sharey=True)
        for axes, access in zip(panels, ACCESSES, strict=True):
            all_rates: list[Rate] = []
            for key, (name, colour, defense) in CURVES.items():
                rates = {eps: _at_budget(measured, defense, access, eps) for eps in BUDGETS}
                there = {eps: one for eps, one in rates.items() if one}
                drawing.draw_rates(axes, list(there), list(there.values()), colour, label=name)
                all_rates += there.values()
                facts |= {f"budgets.{key}.{access}.{eps:g}": one.text for eps, one in there.items()}
            facts[f"budgets.{access}.images"] = count_text(all_rates)
            axes.set_xscale("log", base=2)
            axes.set(title=access, xlabel="eps, in 1/255", xticks=BUDGETS)
            axes.set_xticklabels([f"{eps:g}" for eps in BUDGETS])
            axes.minorticks_off()
        drawing.percent_axis(panels[0])
        drawing.legend_above(figure, panels[0], 3)
        return drawing.as_svg(figure), facts


def _at_budget(
    measured: Sequence[Result], defense: str, access: str, eps: float, eot: int = 5
) -> Rate | None:
    attack = LEAVES if access == "adaptive" else ALL_STEPS
    near = [
        one for one in select(measured, defense=defense, attack=attack, access=access) if _is_near(one, eps)
    ]
    if access == "adaptive":
        near = [one for one in near if one.cell.eot == (1 if defense == "none" else eot)]
    return rate(near[0], attacked=True) if near else None


def _is_near(result: Result, levels: float) -> bool:
    return abs(255 * result.cell.eps - levels) < 1e-6


def sizes() -> tuple[str, Facts]:
    """Accuracy against the size of the smallest perturbation that an attack finds."""
    measured = results("attacks96")
    facts: Facts = {}
    with drawing.look("sizes"):
        figure = drawing.sheet(9.6, 3.9)
        left, right = figure.subplots(1, 2, sharey=True)
        for key, (name, colour, defense, access, averaged) in SMALLEST.items():
            own = select(measured, defense=defense, access=access)
            bounded = only(own, attack="deepfool", norm="linf")
            rates = {eps: rate_of(_within(bounded, eps / 255)) for eps in BUDGETS}
            drawing.draw_rates(left, list(rates), list(rates.values()), colour, label=name)
            facts |= {f"sizes.{key}.{eps:g}": one.text for eps, one in rates.items()}
            far = only(own, attack=averaged, norm="l2")
            lengths = {length: rate_of(_within(far, length)) for length in LENGTHS}
            drawing.draw_rates(right, list(lengths), list(lengths.values()), colour, label=name)
            facts |= {f"sizes.{key}.l2.{length:g}": one.text for length, one in lengths.items()}
            facts["sizes.images"] = str(len(far.outcomes))
        left.set(title="DeepFool, L-inf", xlabel="size, in 1/255", xscale="log")
        left.set_xticks(BUDGETS, [f"{eps:g}" for eps in BUDGETS])
        right.set(title="Carlini and Wagner, L2", xlabel="size", xscale="log")
        right.set_xticks(LENGTHS, [f"{length:g}" for length in LENGTHS])
        for axes in (left, right):
            axes.minorticks_off()
        drawing.percent_axis(left)
        drawing.legend_above(figure, left, 3)
        return drawing.as_svg(figure), facts


def _within(result: Result, size: float) -> dict[int, float]:
    """Score each image if perturbations up to a size are allowed: as it does clean where one is larger."""
    clean, robust = per_image(result, attacked=False), per_image(result)
    scores = {}
    for outcome in result.outcomes:
        near = outcome.distance <= size * (1 + 1e-6)
        scores[outcome.index] = (robust if near else clean)[outcome.index]
    return scores


def efforts() -> tuple[str, Facts]:
    """Accuracy against steps, draws of EOT, and queries."""
    facts: Facts = {}
    with drawing.look("efforts"):
        figure = drawing.sheet(9.6, 6.8)
        steps, draws, bare, defended = figure.subplots(2, 2).flat
        facts |= _draw_steps(steps)
        facts |= _draw_averages(draws)
        facts |= _draw_questions(bare, "none")
        facts |= _draw_questions(defended, QUERIED)
        facts |= _more_questions()
        for axes in (steps, draws, bare, defended):
            drawing.percent_axis(axes, "")
        for axes in (steps, bare):
            axes.set_ylabel("accuracy, %")
        for axes in (steps, draws, bare):
            axes.legend(loc="upper right", fontsize=9.5)
        return drawing.as_svg(figure), facts


def _draw_steps(axes: Any) -> Facts:
    measured = select(results("imagenette96"), access="adaptive")
    facts: Facts = {}
    for key, (name, colour, defense) in CURVES.items():
        rates = []
        for steps in (20, 40, 80):
            own = only(measured, defense=defense, attack=f"pgd(steps={steps}, step=1/255, confidence=3.0)")
            rates.append(rate(own, attacked=True))
            facts[f"efforts.{key}.steps.{steps}"] = rates[-1].text
        drawing.draw_rates(axes, (20, 40, 80), rates, colour, label=name)
    axes.set_xscale("log", base=2)
    axes.set(
        title="adaptive PGD, EOT of 20 draws", xlabel="steps", xticks=(20, 40, 80), xticklabels=(20, 40, 80)
    )
    axes.minorticks_off()
    return facts


def _draw_averages(axes: Any) -> Facts:
    """The same attack with ever more draws a step: from one, which is static, to twenty."""
    facts: Facts = {}
    attacked = _averaged(results("attacks96")) + _averaged(results("imagenette96"))
    attacked += _averaged(results("frequencies/ablation"))
    for key, (name, colour, defense) in AVERAGED.items():
        own = {one.cell.eot: rate(one, attacked=True) for one in select(attacked, defense=defense)}
        counts = sorted(own)
        drawing.draw_rates(axes, counts, [own[count] for count in counts], colour, label=name)
        facts |= {f"efforts.{key}.eot.{count}": own[count].text for count in counts}
    axes.set_xscale("log", base=2)
    axes.set(title="PGD of 20 steps", xlabel="draws a step", xticks=(1, 5, 20), xticklabels=(1, 5, 20))
    axes.minorticks_off()
    return facts


def _averaged(measured: Sequence[Result]) -> list[Result]:
    attack = "pgd(steps=20, step=1/255, confidence=3.0)"
    through = select(measured, attack=attack, eps=EPS, norm="linf")
    return [one for one in through if one.cell.access in ("static", "adaptive")]


def _draw_questions(axes: Any, defense: str) -> Facts:
    measured = select(results("attacks96"), defense=defense, access="query")
    facts: Facts = {}
    for key, (name, colour, bare, random) in ASKERS.items():
        own = only(measured, attack=bare if defense == "none" else random, eps=EPS)
        rates = [rate_of(_after(own, count)) for count in QUESTIONS]
        drawing.draw_rates(axes, QUESTIONS, rates, colour, label=name)
        facts[f"efforts.{'none' if defense == 'none' else 'rain'}.{key}"] = rates[-1].text
        facts["efforts.queries.images"] = str(rates[-1].images)
    axes.set(title="no defence" if defense == "none" else "RAIN", xlabel="queries")
    return facts


def _more_questions() -> Facts:
    """What is left of RAIN after ten times the queries."""
    facts: Facts = {}
    for one in results("queries96"):
        name = one.cell.attack.partition("(")[0]
        facts[f"efforts.rain.{name}.10000"] = rate(one, attacked=True).text
        (fewer,) = select(results("attacks96"), defense=one.cell.defense, attack=ASKERS[name][3], eps=EPS)
        asked = {outcome.index for outcome in one.outcomes}
        same = {index: score for index, score in _after(fewer, 1000).items() if index in asked}
        facts[f"efforts.rain.{name}.1000.same"] = rate_of(same).text
        facts["efforts.rain.10000.images"] = str(len(one.outcomes))
    return facts


def _after(result: Result, queries: int) -> dict[int, float]:
    """Score each image if an attack may ask so often: as it does clean as long as the attack goes on."""
    clean, robust = per_image(result, attacked=False), per_image(result)
    scores = {}
    for outcome in result.outcomes:
        done = (outcome.queries or 0) <= queries
        scores[outcome.index] = (robust if done else clean)[outcome.index]
    return scores


POINTS: Mapping[str, Mapping[str, str]] = {
    LITE0: {
        "none": "none",
        "jpeg": "jpeg",
        "resize_pad": "resize_pad",
        "srd": "rain(enhancer=bicubic, seam=wrapped)",
        "rain": "rain",
        "hardened": "rain(enhancer=compact(weights=adversarial224))",
    },
    SQUEEZENET: {"none": "none", "jpeg": "jpeg", "resize_pad": "resize_pad", "rain": "rain"},
    SMALL: {
        "none": "none",
        "srd": "rain(enhancer=bicubic, seam=wrapped)",
        "rain": RESTORED,
        "hardened": HARDENED,
    },
}
"""The defences of the last figure, by classifier."""

SHAPES = {
    "none": ("no defence", "o"),
    "jpeg": ("JPEG", "x"),
    "resize_pad": ("resize and pad", "+"),
    "srd": ("SRd, bicubic", "v"),
    "rain": ("RAIN", "s"),
    "hardened": ("RAIN, adversarial DG", "*"),
}
HOMES = {LITE0: "nips2017", SQUEEZENET: "frequencies/filters", SMALL: "imagenette96"}
COLOURS = {LITE0: BLUE, SQUEEZENET: RED, SMALL: GREEN}


def balance() -> tuple[str, Facts]:
    """Robustness against clean accuracy: every classifier, bare and defended."""
    facts: Facts = {}
    with drawing.look("balance"):
        figure = drawing.sheet(9.6, 4.8)
        panels: Any = figure.subplots(1, 2, sharey=True)
        for axes, access in zip(panels, ("transfer", "adaptive"), strict=True):
            for classifier, home in HOMES.items():
                facts |= _draw_points(axes, classifier, results(home), access)
            axes.set(title=f"{access}, 4/255", xlabel="clean accuracy, %", xlim=(40, 100), ylim=(-4, 84))
        panels[0].set_ylabel("accuracy under attack, %")
        handles = [_handle(panels[0], "s", COLOURS[one], name) for one, name in CLASSIFIERS.items()]
        handles += [_handle(panels[0], shape, INK, name) for name, shape in SHAPES.values()]
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
        return drawing.as_svg(figure), facts


def _handle(axes: Any, shape: str, colour: str, label: str) -> Any:
    """A mark for the legend."""
    return axes.plot([], [], shape, color=colour, label=label)[0]


def _draw_points(axes: Any, classifier: str, measured: Sequence[Result], access: str) -> Facts:
    """One point a defence; where several attacks were made, the one that leaves least."""
    facts: Facts = {}
    for key, defense in POINTS[classifier].items():
        own = select(measured, classifier=classifier, defense=defense, access=access, eps=EPS)
        if not own:
            continue
        strongest = min(own, key=lambda one: rate(one, attacked=True).rate)
        clean, robust = rate(strongest, attacked=False), rate(strongest, attacked=True)
        style = {"color": COLOURS[classifier], "markersize": 9, "alpha": 0.85, "markeredgewidth": 1.8}
        axes.plot(100 * clean.rate, 100 * robust.rate, SHAPES[key][1], **style)
        facts[f"balance.{KEYS[classifier]}.{key}.{access}"] = robust.text
        facts[f"balance.{KEYS[classifier]}.{key}.{access}.clean"] = clean.text
    return facts
