"""The look of the study's figures, and how they become SVG."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from readings import Rate

INK, PAPER, LINE, PALE = "#24292f", "#ffffff", "#d0d7de", "#8a8a8a"
BLUE, RED, GREEN, PINK, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
"""Okabe and Ito's colours, for all kinds of sight; each line has a mark of its own, too."""

CLEAN, TRANSFER, STATIC, ADAPTIVE = BLUE, ORANGE, GREEN, RED
MARKS = {BLUE: "o", ORANGE: "s", GREEN: "^", RED: "D", PINK: "v", SKY: "P", INK: "x", PALE: "."}

STYLE = {
    "svg.fonttype": "none",
    "font.size": 11.0,
    "axes.titlesize": 11.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
}


@contextmanager
def look(name: str) -> Iterator[None]:
    """Draw in the study's style, whatever the reader's own settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**STYLE, "svg.hashsalt": name})
        yield


def as_svg(figure: Figure) -> str:
    """Write a figure; the same figure gives the same bytes."""
    file = StringIO()
    figure.savefig(file, format="svg", facecolor=PAPER, metadata={"Date": None, "Creator": None})
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", file.getvalue(), flags=re.DOTALL)
    svg = re.sub(r' transform="rotate\(-?0 [^"]*"', "", svg)
    svg = re.sub(r"(\.\d\d)\d+", r"\1", svg)  # a hundredth of a point is fine enough
    return re.sub(r"'DejaVu Sans',[^;\"]*?sans-serif", "system-ui, sans-serif", svg)


def sheet(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    return Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)


def draw_rates(
    axes: Any, places: Sequence[float], rates: Sequence[Rate], colour: str, **options: Any
) -> None:
    """Draw accuracies in per cent with their intervals, joined by a line."""
    heights = [100 * one.rate for one in rates]
    below = [100 * (one.rate - one.low) for one in rates]
    above = [100 * (one.high - one.rate) for one in rates]
    settings = {"fmt": f"{MARKS[colour]}-", "color": colour, "elinewidth": 0.9, "capsize": 2} | options
    axes.errorbar(places, heights, (below, above), **settings)


def draw_band(axes: Any, places: Sequence[float], fact: dict[str, Any], colour: str, label: str) -> None:
    """Draw a mean over pictures with its interval as a band."""
    low = [mean - half for mean, half in zip(fact["mean"], fact["half"], strict=True)]
    high = [mean + half for mean, half in zip(fact["mean"], fact["half"], strict=True)]
    axes.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(places, fact["mean"], color=colour, marker=MARKS[colour], markevery=4, label=label)


def percent_axis(axes: Any, label: str = "accuracy, %") -> None:
    """Make the upright axis one of per cent."""
    axes.set(ylim=(-2, 102), yticks=range(0, 101, 20))
    if label:
        axes.set_ylabel(label)


def legend_above(figure: Figure, axes: Any, columns: int) -> None:
    """Name the lines of all panels once, above them."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)
