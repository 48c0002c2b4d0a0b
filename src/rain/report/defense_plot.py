"""One plot of many defences: what each costs clean, and what it keeps under attack. Never imports torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rain.bench.cells import Result
from rain.bench.columns import access_of, clean_scores
from rain.bench.counted import left_of_each
from rain.bench.metrics import eps_text, interval
from rain.report.labels import defense_labels
from rain.report.plots import PAPER, file_text, library, own_style

INK, LINE, MARK, BARE = "#24292f", "#d0d7de", "#0072b2", "#8a8a8a"
ROW_INCHES = 0.27

PANELS = {
    "clean": "no attack",
    "transfer": "transfer: he knows\nthe bare classifier",
    "static": "static: he ignores that\nthe defence is random",
    "adaptive": "adaptive: he knows\nthe defence",
}


class Dot(NamedTuple):
    """An accuracy with the bounds of its 95 % interval, in %."""

    rate: float
    low: float
    high: float


def defense_plot(
    results: Sequence[Result],
    eps: float,
    costs: Mapping[str, float] | None = None,
    names: Mapping[str, str] | None = None,
) -> str:
    """Draw one row for each defence, the most accurate on clean images first, as SVG.

    The same results give the same bytes. The paper is white, so that it can be read on any page.

    Args:
        results: of one place.
        eps: the budget, in linf.
        costs: the time of a forward pass as a multiple of the bare classifier's, by defence. With it there is
            a panel more.
        names: what rows are called in the place of their defence's name.
    """
    rows = dots_by_defense(results, eps)
    order = sorted(rows, key=lambda spec: (spec != "none", -rows[spec]["clean"].rate, spec))
    labels = defense_labels(order) | dict(names or {})
    columns = [column for column in PANELS if any(column in dots for dots in rows.values())]
    figures = library("matplotlib.figure")
    with own_style("defenses"):
        count = len(columns) + bool(costs)
        size = (2.3 + 1.75 * count, 1.3 + ROW_INCHES * len(order))
        figure = figures.Figure(figsize=size, layout="constrained", facecolor=PAPER)
        panels = figure.subplots(1, count, sharey=True)
        for axes, column in zip(panels, columns, strict=False):
            _draw_dots(axes, [rows[spec].get(column) for spec in order], order)
            axes.set(xlim=(-4, 104), xticks=(0, 50, 100), title=PANELS[column], xlabel="accuracy, %")
            bare = rows.get("none", {}).get(column)
            if bare:
                axes.axvline(bare.rate, color=BARE, linewidth=1, linestyle=":", zorder=1)
        if costs:
            _draw_costs(panels[-1], [costs.get(spec) for spec in order])
        for axes in panels:
            _dress(axes)
        panels[0].set_yticks(range(len(order)), [labels[spec] for spec in order], color=INK)
        panels[0].invert_yaxis()
        figure.suptitle(f"eps {eps_text(eps, 'linf')}", color=INK, fontsize=11, x=0.01, ha="left")
        return file_text(figure)


def dots_by_defense(results: Iterable[Result], eps: float) -> dict[str, dict[str, Dot]]:
    """What each defence keeps, by column of the plot; what was not measured is missing."""
    results = list(results)
    rows: dict[str, dict[str, Dot]] = {}
    for defense in dict.fromkeys(result.cell.defense for result in results):
        own = [one for one in results if one.cell.defense == defense and one.cell.attack != "none"]
        attacked = [one for one in own if (one.cell.norm, one.cell.eps) == ("linf", eps)]
        scores: dict[str, Mapping[int, float]] = {"clean": clean_scores(results, defense)}
        for access in ("transfer", "static", "adaptive"):
            scores[access] = left_of_each([one for one in attacked if access_of(one) == access])
        rows[defense] = {column: _dot(one) for column, one in scores.items() if one}
    return {defense: dots for defense, dots in rows.items() if "clean" in dots}


def _dot(scores: Mapping[int, float]) -> Dot:
    rate = sum(scores.values()) / len(scores)
    low, high = interval(rate, len(scores))
    return Dot(100 * rate, 100 * low, 100 * high)


def _draw_dots(axes: Any, dots: Sequence[Dot | None], order: Sequence[str]) -> None:
    for row, (dot, spec) in enumerate(zip(dots, order, strict=True)):
        if dot is None:
            continue
        colour = BARE if spec == "none" else MARK
        axes.plot((dot.low, dot.high), (row, row), color=colour, linewidth=2, alpha=0.4)
        axes.plot(dot.rate, row, "o", color=colour, markersize=5)
        beyond = dot.rate > 70
        offset = (-7, 0) if beyond else (7, 0)
        style = {"fontsize": 8, "color": INK, "va": "center", "ha": "right" if beyond else "left"}
        edge = dot.low if beyond else dot.high
        axes.annotate(f"{dot.rate:.0f}", (edge, row), offset, textcoords="offset points", **style)


def _draw_costs(axes: Any, costs: Sequence[float | None]) -> None:
    for row, cost in enumerate(costs):
        if cost is not None:
            axes.plot(cost, row, "o", color=MARK, markersize=5)
            style = {"fontsize": 8, "color": INK, "va": "center"}
            text = f"{cost:.1f}" if cost < 9.95 else f"{cost:.0f}"
            axes.annotate(text, (cost, row), (7, 0), textcoords="offset points", **style)
    largest = max([cost for cost in costs if cost is not None], default=1.0)
    axes.set(xscale="log", xlim=(0.8, 4 * largest), title="time of a pass", xlabel="times the bare one")
    ticks = [tick for tick in (1, 10, 100, 1000) if tick <= largest] or [1]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()


def _dress(axes: Any) -> None:
    """Leave nothing in the drawing that says nothing."""
    axes.title.set(fontsize=9.5, color=INK)
    axes.xaxis.label.set(fontsize=9.5, color=INK)
    axes.tick_params(length=0, labelsize=9.5, colors=INK)
    axes.grid(axis="both", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
