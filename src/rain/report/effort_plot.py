"""Accuracy against what an attacker spends: draws, steps, queries, restarts. Never imports torch."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from rain.bench.cells import Result
from rain.bench.columns import grouped, is_random
from rain.bench.metrics import access_order, eps_text, per_image, percent_text, place_text, unbounded
from rain.errors import OptionError
from rain.report.labels import spec_text
from rain.report.plots import (
    TEXT,
    TEXTS,
    Panel,
    Plot,
    Point,
    Style,
    draw_line,
    inline,
    legend_of,
    library,
    own_style,
    point_of,
    styles_of,
)
from rain.specs import parse, write

EFFORTS = {
    "eot": "draws averaged over at each step (eot)",
    "steps": "steps",
    "queries": "queries",
    "restarts": "restarts",
}
"""What may be spent, and what axes call it."""

Lines = dict[str, list[Point]]
"""The curves of a panel, by defence."""


class Family(NamedTuple):
    """What the points of a curve share.

    Args:
        effort: what they differ in; one of ``EFFORTS``.
        attack: its spec without that.
        eot: draws that were averaged over at each step; 0 where it is the effort, or where nothing is random.
        seed: of the attack; a repetition with another one is another curve.
    """

    access: str
    eps: float
    attack: str
    effort: str
    eot: int
    seed: int


def efforts(results: Iterable[Result], labels: Mapping[str, str]) -> list[Plot]:
    """Plot accuracy against effort: a panel for each attack that was measured with several amounts of it.

    Where a curve still falls at its end, more of the same would leave less. Each point is that attack alone,
    on single draws, and all points of a panel's line are of the images that each of them measured.

    Args:
        labels: short names of the defences, in the order of the legend.
    """
    attacked = [one for one in results if one.outcomes and one.cell.attack != "none"]
    bounded = [one for one in attacked if not unbounded(one.cell)]
    plots: list[Plot] = []
    for (place, norm), group in grouped(bounded, lambda one: (place_text(one.cell), one.cell.norm)).items():
        families = _families(group)
        present = {defense for lines in families.values() for defense in lines}
        styles = styles_of(present, labels)
        panels: list[Panel] = []
        several = len({family.seed for family in families}) > 1
        for family, lines in families.items():
            ordered = {name: lines[name] for name in styles if name in lines}
            svg = _draw(ordered, styles, family.effort, f"effort{len(plots)}-{len(panels)}")
            seed = f", seed {family.seed}" if several else ""
            panels.append(Panel(_title(family, norm) + seed, svg, _spoken(ordered, labels, family.effort)))
        if panels:
            plots.append(Plot(place, norm, legend_of(styles, labels), panels))
    return plots


def _families(group: Iterable[Result]) -> dict[Family, Lines]:
    """The curves of one place and norm, those of the weakest access first."""
    members: dict[Family, dict[str, dict[int, Result]]] = {}
    for result in group:
        for family, amount in _memberships(result):
            by_amount = members.setdefault(family, {}).setdefault(result.cell.defense, {})
            # Of several with as much, that of most draws, which says most.
            if amount not in by_amount or by_amount[amount].cell.draws < result.cell.draws:
                by_amount[amount] = result
    families: dict[Family, Lines] = {}
    for family in sorted(members, key=_order):
        curves = {name: _points(by_amount) for name, by_amount in members[family].items()}
        lines = {name: points for name, points in curves.items() if len(points) > 1}
        if lines:
            families[family] = lines
    return _joined(families)


def _joined(families: Mapping[Family, Lines]) -> dict[Family, Lines]:
    """Put defences without randomness beside the others, whatever these average over."""
    joined = {family: dict(lines) for family, lines in families.items()}
    for family, lines in families.items():
        homes = [other for other in families if other.eot and other._replace(eot=0) == family]
        for home in homes:
            joined[home] |= lines
        if homes:
            del joined[family]
    return joined


def _memberships(result: Result) -> list[tuple[Family, int]]:
    """The curves that a result may be a point of, and where on it."""
    cell = result.cell
    curves: list[tuple[Family, int]] = []
    if cell.access == "adaptive":
        curves.append((Family(cell.access, cell.eps, cell.attack, "eot", 0, cell.seed), cell.eot))
    try:
        name, options = parse(cell.attack)
    except OptionError:
        return curves
    for effort in sorted(EFFORTS.keys() & options.keys()):
        amount = options[effort]
        if type(amount) is int and amount > 0:
            rest = {key: value for key, value in options.items() if key != effort}
            eot = cell.eot if is_random(result) else 0
            curves.append((Family(cell.access, cell.eps, write(name, rest), effort, eot, cell.seed), amount))
    return curves


def _points(by_amount: Mapping[int, Result]) -> list[Point]:
    """A curve over the images that all of its points are of; nothing where there are none."""
    scores = {amount: per_image(by_amount[amount]) for amount in sorted(by_amount)}
    shared = set.intersection(*map(set, scores.values()))
    if not shared:
        return []
    return [point_of(amount, {index: score[index] for index in shared}) for amount, score in scores.items()]


def _draw(lines: Lines, styles: Mapping[str, Style], effort: str, prefix: str) -> str:
    """Draw one panel as inline SVG; efforts double, so the axis is logarithmic."""
    figures, ticker = map(library, ("matplotlib.figure", "matplotlib.ticker"))
    with own_style(prefix, **dict.fromkeys(TEXTS, TEXT)):
        figure = figures.Figure(figsize=(4.6, 3.3), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        for name, points in lines.items():
            draw_line(axes, points, styles[name])
        axes.set(ylim=(0, 100), xlabel=EFFORTS[effort], ylabel="accuracy, %")
        axes.xaxis.set_major_locator(ticker.FixedLocator(_ticks(lines)))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.grid(axis="y", color=TEXT, alpha=0.15, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        return inline(figure, prefix)


APART = 1.25
"""Ticks that stand closer than this factor would be written over each other."""


def _ticks(lines: Lines) -> list[float]:
    """The amounts that were measured, as far as they can be read beside each other."""
    ticks: list[float] = []
    for amount in sorted({point.eps for points in lines.values() for point in points}):
        if not ticks or amount >= APART * ticks[-1]:
            ticks.append(amount)
    return ticks


def _title(family: Family, norm: str) -> str:
    norm_text = "" if norm == "linf" else f" in {norm}"
    eot = f", eot {family.eot}" if family.eot > 1 else ""
    return f"{family.access}, {eps_text(family.eps, norm)}{norm_text}: {spec_text(family.attack)}{eot}"


def _spoken(lines: Lines, labels: Mapping[str, str], effort: str) -> str:
    """Say what a panel shows."""
    parts = []
    for name, points in lines.items():
        levels = ", ".join(f"{percent_text(point.accuracy)} % at {point.eps:g}" for point in points)
        parts.append(f"{labels[name]}: {levels}")
    return f"Accuracy against {EFFORTS[effort]}. {'; '.join(parts)}."


def _order(family: Family) -> tuple[Any, ...]:
    return (
        access_order(family.access),
        -family.eps,
        list(EFFORTS).index(family.effort),
        family.attack,
        family.eot,
        family.seed,
    )
