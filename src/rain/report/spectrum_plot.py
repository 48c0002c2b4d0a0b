"""The spectra of the page of one picture, each an SVG that stands inside it. Never imports torch."""

from collections.abc import Sequence
from typing import NamedTuple

from rain.bench.explanation import CLEAN, FINE, Curve, Explanation
from rain.report.plots import INKS, TEXT, TEXTS, Entry, Panel, inline, library, own_style

SOLID, DASHED = ("-", "—"), ("--", "╌")
"""How a line is drawn, for matplotlib, and how the legend shows it."""

GREY = "#808080"


class Line(NamedTuple):
    """One line of a panel: its name, its colour, how it is drawn, and its points."""

    name: str
    ink: str
    style: tuple[str, str]
    curve: Curve


class Spectra(NamedTuple):
    """A panel, and its legend."""

    panel: Panel
    legend: list[Entry]


def picture_spectra(about: Explanation, defense: str) -> Spectra:
    """Plot the spectra of the clean picture, before and behind the defence.

    Args:
        defense: what the page calls it.
    """
    detail = about.detail
    lines = [Line("the picture", GREY, SOLID, detail.clean)]
    if detail.randomized is not None:
        lines.append(Line("after SRd", INKS[1], DASHED, detail.randomized))
    last = "after DG" if detail.randomized is not None else f"behind {defense}"
    lines.append(Line(last, INKS[0], SOLID, detail.defended))
    return _spectra("The picture", "picture", lines)


def change_spectra(about: Explanation, defense: str) -> Spectra:
    """Plot the spectra of what the attacks changed, before and behind the defence."""
    lines = [Line("the picture", GREY, SOLID, about.detail.clean)]
    for version, ink in zip(about.attacked, INKS, strict=False):
        if version.kind != CLEAN and version.change is not None:
            lines.append(Line(version.kind, ink, SOLID, version.change.curve))
            lines.append(Line(f"{version.kind}, behind {defense}", ink, DASHED, version.change.left_curve))
    return _spectra("The changes", "change", lines)


def _spectra(title: str, prefix: str, lines: Sequence[Line]) -> Spectra:
    legend = [Entry(line.name, line.ink, line.style[1]) for line in lines]
    return Spectra(Panel(title, _draw(lines, prefix), _spoken(lines)), legend)


def _draw(lines: Sequence[Line], prefix: str) -> str:
    """Draw one panel as inline SVG, the same bytes for the same lines."""
    figures = library("matplotlib.figure")
    with own_style(prefix, **dict.fromkeys(TEXTS, TEXT)):
        figure = figures.Figure(figsize=(4.6, 3.3), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(FINE, color=TEXT, alpha=0.3, linewidth=0.8)
        for line in lines:
            look = {"color": line.ink, "linestyle": line.style[0], "linewidth": 1.8}
            axes.plot(line.curve.radii, line.curve.decibels, **look)
        axes.set(xlim=(0, 1), xlabel="frequency: 1 is stripes of one pixel", ylabel="power, dB")
        axes.grid(axis="y", color=TEXT, alpha=0.15, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        return inline(figure, prefix)


def _spoken(lines: Sequence[Line]) -> str:
    """Say what a panel shows, for those who do not see it: each line at its two ends."""
    parts = []
    for line in lines:
        first, last = float(line.curve.decibels[0]), float(line.curve.decibels[-1])
        ends = f"{line.curve.radii[0]:.2f} to {line.curve.radii[-1]:.2f}"
        parts.append(f"{line.name}: from {first:.0f} to {last:.0f} dB over frequencies {ends}")
    return f"Power against frequency. {'; '.join(parts)}."
