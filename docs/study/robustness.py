"""Point 3 of the study: RAIN taken apart."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import drawing
from drawing import ADAPTIVE, CLEAN, TRANSFER
from readings import (
    HARDENED,
    RESTORED,
    Rate,
    count_text,
    only,
    points_lost,
    rate,
    rate_of,
    results,
    select,
)

from rain.bench.cells import Result

Facts = dict[str, str]

TRANSFERRED = "pgd(steps=20, step=1/255, confidence=inf)"
AVERAGED = "pgd(steps=20, step=1/255, confidence=3.0)"

PARTS = {
    "none": ("no defence", "none"),
    "halved": ("halved by bicubic", "rain(down=bicubic, shift=0.0, enhancer=bicubic)"),
    "shift": ("shift alone", "rain(down=bicubic, enhancer=bicubic)"),
    "pick": ("pick alone", "rain(shift=0.0, enhancer=bicubic)"),
    "both": ("pick and shift: SRd", "rain(enhancer=bicubic)"),
    "dg": ("DG alone", "rain(down=bicubic, shift=0.0, enhancer=compact(weights=imagenette))"),
    "shift-dg": ("shift, DG", "rain(down=bicubic, enhancer=compact(weights=imagenette))"),
    "sr": ("DG of bicubic alone", "rain(down=bicubic, shift=0.0, enhancer=compact(weights=sr))"),
    "shift-sr": ("shift, DG of bicubic", "rain(down=bicubic, enhancer=compact(weights=sr))"),
    "pick-dg": ("pick, DG", "rain(shift=0.0, enhancer=compact(weights=imagenette))"),
    "whole": ("pick, shift, DG: RAIN", RESTORED),
    "hardened": ("RAIN, adversarial DG", HARDENED),
}
"""RAIN in parts. Without DG, bicubic enlarges; without the pick, bicubic halves.

DG was trained behind the pick. That of bicubic was last trained behind bicubic, on pictures alone.
"""

NETWORKS = {
    "bicubic": ("bicubic", "rain(enhancer=bicubic)"),
    "imagenette": ("imagenette", RESTORED),
    "first": ("imagenette-first", "rain(enhancer=compact(weights=imagenette-first))"),
    "adversarial": ("adversarial", HARDENED),
    "blind": ("blind", "rain(enhancer=compact(weights=blind))"),
    "default": ("default", "rain"),
    "large": ("large", "rain(enhancer=compact(weights=large))"),
    "adversarial224": ("adversarial224", "rain(enhancer=compact(weights=adversarial224))"),
}
"""What enlarges after SRd."""

SHIFTS = {
    0: "rain(shift=0.0, enhancer=compact(weights=imagenette))",
    1: "rain(shift=0.025, enhancer=compact(weights=imagenette))",
    2: RESTORED,
    3: "rain(shift=0.075, enhancer=compact(weights=imagenette))",
    4: "rain(shift=0.1, enhancer=compact(weights=imagenette))",
}
"""The largest shift in pixels of 48: fractions 0, 0.025, 0.05, 0.075 and 0.1."""

KEEPS = {
    1: "rain(enhancer=bicubic)",
    2: "rain(keep=2, enhancer=bicubic)",
    3: "rain(keep=3, enhancer=bicubic)",
}
VOTES = (1, 2, 4, 8, 16, 32, 64)


def ablation() -> tuple[str, Facts]:
    """Each part alone and together, against who knows nothing and who knows all."""
    measured = results("frequencies/ablation")
    facts = _losses(measured)
    with drawing.look("ablation"):
        figure = drawing.sheet(9.6, 4.6)
        axes = figure.add_subplot()
        for offset, (access, colour, name) in enumerate(_columns()):
            places, rates = [], []
            for place, (key, (_, defense)) in enumerate(PARTS.items()):
                one = _rate(measured, defense, access)
                places.append(place + 0.22 * (offset - 1))
                rates.append(one)
                facts[f"ablation.{key}.{access}"] = one.text
            facts[f"ablation.{access}.images"] = count_text(rates)
            drawing.draw_rates(axes, places, rates, colour, fmt=drawing.MARKS[colour], label=name)
        axes.set_xticks(range(len(PARTS)), [name for name, _ in PARTS.values()], rotation=28, ha="right")
        drawing.percent_axis(axes)
        axes.grid(axis="x", visible=False)
        drawing.legend_above(figure, axes, 3)
        return drawing.as_svg(figure), facts


def _columns() -> tuple[tuple[str, str, str], ...]:
    return (
        ("clean", CLEAN, "clean"),
        ("transfer", TRANSFER, "transferred PGD, 4/255"),
        ("adaptive", ADAPTIVE, "adaptive PGD, 4/255"),
    )


def _rate(measured: Iterable[Result], defense: str, access: str) -> Rate:
    """The accuracy of a defence, clean or under an access."""
    attack = AVERAGED if access == "adaptive" else TRANSFERRED
    column = "adaptive" if access == "adaptive" else "transfer"
    cells = select(measured, defense=defense, attack=attack, access=column)
    few = [one for one in cells if one.cell.draws < 64]
    return rate(few[0], attacked=access != "clean")


def _losses(measured: Sequence[Result]) -> Facts:
    """The parts of the loss, in points of clean accuracy, each beside the bare classifier."""
    bare = only(measured, defense="none", access="transfer")
    lines = ["| What is done | Clean accuracy | Points lost |", "| --- | ---: | ---: |"]
    facts: Facts = {}
    for key, (name, defense) in PARTS.items():
        own = [one for one in select(measured, defense=defense, access="transfer") if one.cell.draws < 64]
        lost = points_lost(bare, own[0])
        lines.append(f"| {name} | {rate(own[0], attacked=False).text} | {lost:.1f} |")
        facts[f"ablation.{key}.lost"] = f"{lost:.1f} points"
    facts["ablation.table"] = "\n\n" + "\n".join(lines) + "\n"
    return facts


def sweeps() -> tuple[str, Facts]:
    """Each DG, the width of the shift, how many pixels are kept, how many draws vote."""
    measured = results("frequencies/ablation")
    facts: Facts = {}
    with drawing.look("sweeps"):
        figure = drawing.sheet(9.6, 6.6)
        grid: Any = figure.subplots(2, 2)
        networks, shifts, keeps, votes = grid.flat
        _draw_named(networks, measured, dict(NETWORKS.values()))
        networks.set(title="what enlarges after SRd")
        _draw_sweep(shifts, measured, SHIFTS)
        shifts.set(title="the largest shift", xlabel="pixels of 48", xticks=list(SHIFTS))
        _draw_sweep(keeps, measured, KEEPS)
        keeps.set(
            title="pixels kept of each cell, enlarged by bicubic", xlabel="pixels of 4", xticks=list(KEEPS)
        )
        facts |= _draw_votes(votes, measured)
        for name, table in (
            ("dg", {key: spec for key, (_, spec) in NETWORKS.items()}),
            ("shift", SHIFTS),
            ("keep", KEEPS),
        ):
            facts |= _sweep_facts(measured, table, name)
        for axes in grid.flat:
            drawing.percent_axis(axes, "")
        for axes in grid[:, 0]:
            axes.set_ylabel("accuracy, %")
        drawing.legend_above(figure, shifts, 2)
        return drawing.as_svg(figure), facts


def _sweep_facts(measured: Sequence[Result], table: Mapping[Any, str], name: str) -> Facts:
    facts = {}
    for key, defense in table.items():
        for access in ("clean", "transfer"):
            facts[f"sweeps.{name}.{key}.{access}"] = _rate(measured, defense, access).text
    return facts


def _draw_named(axes: Any, measured: Sequence[Result], table: Mapping[str, str]) -> None:
    for access, colour, name in _columns()[:2]:
        rates = [_rate(measured, defense, access) for defense in table.values()]
        drawing.draw_rates(axes, range(len(table)), rates, colour, fmt=drawing.MARKS[colour], label=name)
    axes.set_xticks(range(len(table)), list(table), rotation=28, ha="right")


def _draw_sweep(axes: Any, measured: Sequence[Result], table: Mapping[int, str]) -> None:
    for access, colour, name in _columns()[:2]:
        rates = [_rate(measured, defense, access) for defense in table.values()]
        drawing.draw_rates(axes, list(table), rates, colour, label=name)


def _draw_votes(axes: Any, measured: Sequence[Result]) -> Facts:
    """What the first n draws of one cell vote."""
    cell = only(measured, defense=RESTORED, draws=64)
    facts: Facts = {}
    for attacked, colour, name in ((False, CLEAN, "clean"), (True, TRANSFER, "transfer")):
        rates = [rate_of(_votes(cell, count, attacked)) for count in VOTES]
        drawing.draw_rates(axes, VOTES, rates, colour, label=name)
        facts |= {f"sweeps.votes.{n}.{name}": one.text for n, one in zip(VOTES, rates, strict=True)}
        facts["sweeps.votes.images"] = str(rates[0].images)
    axes.set_xscale("log", base=2)
    axes.set(
        title="draws that vote", xlabel="draws", xticks=VOTES, xticklabels=[str(count) for count in VOTES]
    )
    return facts


def _votes(result: Result, count: int, attacked: bool) -> dict[int, float]:
    """Whether the majority of the first draws is right; of a tie, the class that was first to be drawn."""
    scores = {}
    for outcome in result.outcomes:
        answers = (outcome.robust if attacked else outcome.clean)[:count]
        winner = Counter(answers).most_common(1)[0][0]
        scores[outcome.index] = float(winner == outcome.label)
    return scores
