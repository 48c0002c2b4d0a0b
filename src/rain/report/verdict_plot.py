"""One plot for the README: what defences keep as the attacker learns more of them. Never imports torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rain.bench.cells import Result
from rain.bench.columns import access_of, clean_scores
from rain.bench.counted import left_of_each
from rain.bench.metrics import eps_text, interval
from rain.report.plots import PAPER, file_text, library, own_style

DEFENSES = {
    "none": ("no defence", "#8a8a8a"),
    "jpeg": ("JPEG", "#56b4e9"),
    "resize_pad": ("resize and pad", "#e69f00"),
    "rain": ("RAIN", "#0072b2"),
    "gated(defense=rain, share=0.02)": ("RAIN with a gate of 2 %", "#009e73"),
}
"""The defences of the plot, with what they are called and their colours (Okabe and Ito's)."""

ATTACKERS = {
    "clean": "no attack",
    "transfer": "transfer\nknows only the\nbare classifier",
    "static": "static\nknows the defence,\nnot that it is random",
    "adaptive": "adaptive\nknows everything",
}

INK, LINE = "#24292f", "#d0d7de"
WIDTH = 0.165
"""Of a bar; the distance between two groups is 1."""


class Bar(NamedTuple):
    """An accuracy with the bounds of its 95 % interval."""

    rate: float
    low: float
    high: float


def verdict_plot(results: Sequence[Result], eps: float) -> str:
    """Draw clean accuracy and accuracy under attackers who know ever more, with 95 % intervals, as SVG.

    The same results give the same bytes. The paper is white, so that it can be read on any page.

    Args:
        results: of one place; the defences are those of ``DEFENSES``.
        eps: the budget, in linf.
    """
    figures = library("matplotlib.figure")
    with own_style("verdict"):
        figure = figures.Figure(figsize=(8.6, 3.9), layout="constrained", facecolor=PAPER)
        axes = figure.add_subplot()
        for place, (defense, (name, colour)) in enumerate(DEFENSES.items()):
            offset = WIDTH * (place - (len(DEFENSES) - 1) / 2)
            _draw_bars(axes, _bars(results, defense, eps), offset, name, colour)
        _dress(axes, eps)
        return file_text(figure)


def _bars(results: Iterable[Result], defense: str, eps: float) -> dict[str, Bar]:
    """What a defence keeps, by what the attacker knows; what was not measured is missing."""
    results = list(results)
    own = [one for one in results if one.cell.defense == defense and one.cell.attack != "none"]
    attacked = [one for one in own if (one.cell.norm, one.cell.eps) == ("linf", eps)]
    scores: dict[str, Mapping[int, float]] = {"clean": clean_scores(results, defense)}
    for access in ("transfer", "static", "adaptive"):
        scores[access] = left_of_each([one for one in attacked if access_of(one) == access])
    return {attacker: _bar(one) for attacker, one in scores.items() if one}


def _bar(scores: Mapping[int, float]) -> Bar:
    rate = sum(scores.values()) / len(scores)
    return Bar(rate, *interval(rate, len(scores)))


def _draw_bars(axes: Any, bars: Mapping[str, Bar], offset: float, name: str, colour: str) -> None:
    places = [list(ATTACKERS).index(attacker) + offset for attacker in bars]
    heights = [100 * bar.rate for bar in bars.values()]
    below = [100 * (bar.rate - bar.low) for bar in bars.values()]
    above = [100 * (bar.high - bar.rate) for bar in bars.values()]
    axes.bar(places, heights, 0.92 * WIDTH, color=colour, label=name)
    whiskers = {"fmt": "none", "ecolor": INK, "elinewidth": 1, "capsize": 2.5}
    axes.errorbar(places, heights, (below, above), **whiskers)
    for place, bar in zip(places, bars.values(), strict=True):
        text = {"ha": "center", "va": "bottom", "fontsize": 8.5, "color": INK}
        axes.text(place, 100 * bar.high + 1.5, f"{100 * bar.rate:.0f}", **text)


def _dress(axes: Any, eps: float) -> None:
    """Name the axes, and leave nothing in the drawing that says nothing."""
    axes.set_xticks(range(len(ATTACKERS)), list(ATTACKERS.values()), color=INK)
    axes.set_yticks(range(0, 101, 20), [str(level) for level in range(0, 101, 20)], color=INK)
    axes.set(ylim=(0, 104), ylabel=f"accuracy, %  (eps {eps_text(eps, 'linf')})")
    axes.yaxis.label.set_color(INK)
    axes.tick_params(length=0)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    axes.legend(loc="upper right", facecolor=PAPER, edgecolor=PAPER, framealpha=1, labelcolor=INK)
