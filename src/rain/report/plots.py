"""The curves of the page, each an SVG that stands inside it. Never imports torch."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import StringIO
from typing import Any, NamedTuple

import numpy as np

from rain.bench.cells import Result
from rain.bench.columns import access_of, grouped
from rain.bench.counted import left_of_each
from rain.bench.metrics import (
    access_order,
    by_distance,
    eps_text,
    interval,
    per_image,
    percent_text,
    place_text,
    strongest,
    unbounded,
)
from rain.errors import RainError


class Style(NamedTuple):
    """How a defence's line looks: a colour, matplotlib's name of a mark, and the same mark as a letter."""

    ink: str
    mark: str
    glyph: str


# Colours: Okabe and Ito's, for all kinds of sight.
INKS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#c28c00", "#56b4e9")
MARKS = (("s", "■"), ("^", "▲"), ("D", "◆"), ("v", "▼"), ("P", "✚"), ("X", "✖"))
BARE = Style("#808080", "o", "●")

TEXT = "#010203"
"""Stands for the colour of the page's text while matplotlib draws: the reader may prefer light or dark."""

PAPER = "#ffffff"
"""Of a plot that is a file of its own."""

TEXTS = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")

MARKED = 6
"""Of a thinned curve every so many points have a mark."""


class Point(NamedTuple):
    """One point of a curve; ``low`` and ``high`` bound the accuracy at 95 %."""

    eps: float
    accuracy: float
    low: float
    high: float


Lines = Mapping[str, Sequence[Point]]
"""The curves of a panel, by defence."""


class Entry(NamedTuple):
    """One entry of a legend."""

    name: str
    colour: str
    mark: str


class Panel(NamedTuple):
    """One set of axes: its title, the drawing, and what it shows in words, for those who do not see it."""

    title: str
    svg: str
    text: str


class Plot(NamedTuple):
    """The panels of one place and norm, with their legend."""

    place: str
    norm: str
    legend: list[Entry]
    panels: list[Panel]


def library(name: str) -> Any:
    """Import what only the page needs.

    Raises:
        RainError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        what = f"the HTML report needs {name.partition('.')[0]} ({error})"
        raise RainError(f"{what}: pip install 'rain-defense[report]'") from None


def curves(results: Iterable[Result], labels: Mapping[str, str]) -> list[Plot]:
    """Plot accuracy against eps: for each place and norm a legend and one panel for each access.

    Args:
        labels: short names of the defences, in the order of the legend.
    """
    plots: list[Plot] = []
    bounded = [result for result in results if result.outcomes and not unbounded(result.cell)]
    for place, group in grouped(bounded, _place).items():
        styles = styles_of(map(_defense, group), labels)
        attacked = [result for result in group if result.cell.attack != "none"]
        for norm, normed in grouped(attacked, _norm).items():
            panels: list[Panel] = []
            for access in _accesses(normed, styles):
                lines = {name: _curve(group, name, norm, access) for name in styles}
                lines = {name: points for name, points in lines.items() if points}
                svg = _draw(lines, styles, norm, _prefix("plot", plots, panels))
                panels.append(Panel(access, svg, _spoken(lines, labels, norm)))
            plots.append(Plot(place, norm, legend_of(styles, labels), panels))
    return plots


def distances(results: Iterable[Result], labels: Mapping[str, str]) -> list[Plot]:
    """Plot accuracy against the size of the perturbation, for attacks without a budget.

    Each place and norm has a panel for each of them. ``labels`` are as for ``curves``.
    """
    plots: list[Plot] = []
    free = [result for result in results if result.outcomes and unbounded(result.cell)]
    for (place, norm), group in grouped(free, lambda result: (_place(result), _norm(result))).items():
        styles = styles_of(map(_defense, group), labels)
        panels: list[Panel] = []
        several = len({result.cell.seed for result in group}) > 1
        for (attack, access, seed), column in grouped(sorted(strongest(group), key=_attack), _attack).items():
            curve_of = {result.cell.defense: _thinned(result) for result in column}
            lines = {name: curve_of[name] for name in styles if name in curve_of}
            svg = _draw(lines, styles, norm, _prefix("distance", plots, panels), ticks=False)
            title = f"{attack}, {access}, seed {seed}" if several else f"{attack}, {access}"
            panels.append(Panel(title, svg, _halved(lines, labels, norm)))
        plots.append(Plot(place, norm, legend_of(styles, labels), panels))
    return plots


def _accesses(normed: Iterable[Result], styles: Mapping[str, Style]) -> list[str]:
    """The accesses of the defences; those of the bare classifier where there is no defence."""
    only_bare = styles.keys() <= {"none"}
    shown = [result for result in normed if only_bare or result.cell.defense != "none"]
    accesses = {access_of(result) or result.cell.access for result in shown}
    return sorted(accesses, key=access_order)


def _curve(group: Iterable[Result], defense: str, norm: str, access: str) -> list[Point]:
    """Begin at the clean accuracy, then go on with the worst attack of this access on each image.

    The bare classifier meets the worst of all its attacks: without a defence to know of, the words mean the
    same.
    """
    own = [result for result in group if result.cell.defense == defense]
    attacked = [result for result in own if result.cell.attack != "none" and result.cell.norm == norm]
    if defense != "none":
        attacked = [result for result in attacked if (access_of(result) or result.cell.access) == access]
        if not attacked:
            return []
    clean: dict[int, float] = {}
    for result in own:
        clean |= per_image(result, attacked=False)
    scores_by_eps = {0.0: clean}
    for eps, results in grouped(sorted(attacked, key=_eps), _eps).items():
        scores_by_eps[eps] = left_of_each(results)
    return [point_of(eps, scores) for eps, scores in scores_by_eps.items() if scores]


def point_of(eps: float, scores: Mapping[int, float]) -> Point:
    """The mean of scores, at a place of a curve."""
    mean = sum(scores.values()) / len(scores)
    return Point(eps, mean, *interval(mean, len(scores)))


def _thinned(result: Result, count: int = 24) -> list[Point]:
    """The curve over distances, at some of its points: enough for the eye."""
    curve = by_distance(result)
    places = sorted({round(step * (len(curve) - 1) / (count - 1)) for step in range(count)})
    images = len(result.outcomes)
    return [Point(*curve[place], *interval(curve[place][1], images)) for place in places]


def _draw(
    lines: Lines,
    styles: Mapping[str, Style],
    norm: str,
    prefix: str,
    ticks: bool = True,
) -> str:
    """Draw one panel as inline SVG, the same bytes for the same lines.

    Args:
        prefix: of all names within it.
        ticks: stand at the points that were measured.
    """
    figures, ticker = map(library, ("matplotlib.figure", "matplotlib.ticker"))
    scale = 255 if norm == "linf" else 1
    with own_style(prefix, **dict.fromkeys(TEXTS, TEXT)):
        figure = figures.Figure(figsize=(4.6, 3.3), layout="constrained")
        axes = figure.add_subplot()
        for name, points in lines.items():
            draw_line(axes, points, styles[name], scale, every=1 if ticks else MARKED)
        size = "eps" if ticks else "size"
        label = f"{size}, in 1/255" if norm == "linf" else f"{size} ({norm})"
        axes.set(ylim=(0, 100), xlabel=label, ylabel="accuracy, %")
        axes.set_xlim(left=0)
        if ticks:
            axes.set_xticks(sorted({scale * point.eps for points in lines.values() for point in points}))
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.grid(axis="y", color=TEXT, alpha=0.15, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        return inline(figure, prefix)


def draw_line(axes: Any, points: Sequence[Point], style: Style, scale: int = 1, every: int = 1) -> None:
    """Draw one curve with its interval; every so many points have a mark."""
    eps, accuracy, low, high = (np.array(values) for values in zip(*points, strict=True))
    axes.fill_between(scale * eps, 100 * low, 100 * high, color=style.ink, alpha=0.12, linewidth=0)
    look = {"color": style.ink, "linewidth": 1.8, "clip_on": False, "zorder": 3}
    marks = {"marker": style.mark, "markersize": 6, "markevery": every}
    axes.plot(scale * eps, 100 * accuracy, **look, **marks)


@contextmanager
def own_style(salt: str, **settings: Any) -> Iterator[None]:
    """Draw in matplotlib's own style, whatever the reader's matplotlibrc says: the same bytes each time.

    Args:
        salt: of the names within the drawing.
        settings: more of matplotlib's.
    """
    matplotlib = library("matplotlib")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.hashsalt": salt, "svg.fonttype": "none", "font.size": 11.0})
        matplotlib.rcParams.update(settings)
        yield


def file_text(figure: Any) -> str:
    """Write a figure as an SVG file on white paper, so that it can be read on any page."""
    file = StringIO()
    figure.savefig(file, format="svg", facecolor=PAPER, metadata={"Date": None, "Creator": None})
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", file.getvalue(), flags=re.DOTALL)
    return re.sub(r"'DejaVu Sans',[^;\"]*?sans-serif", "system-ui, sans-serif", svg)


def inline(figure: Any, prefix: str) -> str:
    """Write a figure as a part of a page.

    It gets no header, no metadata, no fixed size, names of its own, and text in the colour of the page.
    """
    file = StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", svg)
    return svg.replace(TEXT, "currentColor").replace("<svg", '<svg aria-hidden="true"', 1)


def _prefix(kind: str, plots: Sequence[Plot], panels: Sequence[Panel]) -> str:
    """A prefix for the next panel. It holds numbers only, since it goes into the page as it is."""
    return f"{kind}{len(plots)}-{len(panels)}"


def styles_of(defenses: Iterable[str], labels: Mapping[str, str]) -> dict[str, Style]:
    """Give a style to each defence, in the order of the labels; the bare classifier's is grey."""
    present = set(defenses)
    styles = {"none": BARE} if "none" in present else {}
    for place, name in enumerate(name for name in labels if name in present - {"none"}):
        # Where the colours begin again, the marks are shifted against them.
        mark, glyph = MARKS[(place + place // len(INKS)) % len(MARKS)]
        styles[name] = Style(INKS[place % len(INKS)], mark, glyph)
    return styles


def legend_of(styles: Mapping[str, Style], labels: Mapping[str, str]) -> list[Entry]:
    """Name the lines of a plot, with their colours and marks."""
    return [Entry(labels[name], style.ink, style.glyph) for name, style in styles.items()]


def _spoken(lines: Lines, labels: Mapping[str, str], norm: str) -> str:
    """Say what a panel over eps shows."""
    parts = []
    for name, points in lines.items():
        levels = ", ".join(_level_text(point, norm) for point in points)
        parts.append(f"{labels[name]}: {levels}")
    return f"Accuracy against eps. {'; '.join(parts)}."


def _level_text(point: Point, norm: str) -> str:
    eps = eps_text(point.eps, norm) if point.eps else "0"
    return f"{percent_text(point.accuracy)} % at eps {eps}"


def _halved(lines: Lines, labels: Mapping[str, str], norm: str) -> str:
    """Say of a panel over sizes where half of the clean accuracy is gone."""
    parts = []
    for name, points in lines.items():
        half = points[0].accuracy / 2
        sizes = [point.eps for point in points if point.accuracy <= half]
        where = f"at {_size_text(sizes[0], norm)}" if sizes else "nowhere"
        parts.append(f"{labels[name]}: {where}")
    what = "Accuracy against the size of the perturbation. Half of the clean accuracy is gone"
    return f"{what}: {'; '.join(parts)}."


def _size_text(size: float, norm: str) -> str:
    return f"{255 * size:.1f}/255" if norm == "linf" else f"{size:.3g}"


def _place(result: Result) -> str:
    return place_text(result.cell)


def _norm(result: Result) -> str:
    return result.cell.norm


def _defense(result: Result) -> str:
    return result.cell.defense


def _eps(result: Result) -> float:
    return result.cell.eps


def _attack(result: Result) -> tuple[str, str, int]:
    return result.cell.attack, result.cell.access, result.cell.seed
