"""The ROC curves of the page: what is caught against what is flagged in vain. Never imports torch."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from rain.bench.cells import Result
from rain.bench.columns import grouped
from rain.bench.detection import Detection, detections
from rain.bench.metrics import percent_text, place_text
from rain.report.detector import attacker_texts, detector_text
from rain.report.plots import BARE, INKS, MARKS, TEXT, TEXTS, Entry, Panel, Style, inline, library, own_style

LEAST = 0.5
"""In %, where the axis of false positives begins: it is drawn by its logarithm, which has no 0."""

TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100)

LABEL = Style(BARE.ink, "X", "\N{HEAVY MULTIPLICATION X}")
"""Of another label than the bare classifier's; draw agreement looks as bare classifiers do elsewhere."""

BETWEEN = 60
"""Points that stand for a straight part of a curve."""

Points = Sequence[tuple[float, float]]
"""Of a curve: shares of clean and of attacked images that are flagged."""


class Drawing(NamedTuple):
    """The panels of one place, one for each attack, with their legend."""

    place: str
    legend: list[Entry]
    panels: list[Panel]


def roc_plots(results: Iterable[Result], labels: Mapping[str, str]) -> list[Drawing]:
    """Plot the ROC curve of each detector, one panel for each attack; nothing without a gate.

    Gates of one score and different thresholds have one curve, which is drawn once.

    Args:
        labels: short names of the defences.
    """
    drawings: list[Drawing] = []
    for place, same in grouped(detections(results), lambda one: place_text(one.cell)).items():
        attackers = attacker_texts(one.cell for one in same)
        lines_of = {
            title: _lines([one for one in same if attackers[one.cell] == title], labels)
            for title in dict.fromkeys(attackers.values())
        }
        looks = _looks(lines_of.values())
        panels: list[Panel] = []
        for title, lines in lines_of.items():
            # A prefix holds numbers only, since it goes into the page as it is.
            prefix = f"roc{len(drawings)}-{len(panels)}"
            panels.append(Panel(title, _draw(lines, looks, prefix), _spoken(lines)))
        legend = [Entry(name, look.ink, look.glyph) for name, look in looks.items()]
        drawings.append(Drawing(place, legend, panels))
    return drawings


def _looks(every: Iterable[Mapping[str, Detection]]) -> dict[str, Style]:
    """A colour and a mark for each detector that is drawn; what stands beside the gates is grey."""
    drawn: dict[str, Detection] = {}
    for lines in every:
        drawn |= lines
    looks: dict[str, Style] = {}
    gates = [name for name, one in drawn.items() if one.method == "gate"]
    for place, name in enumerate(gates):
        # Where the colours begin again, the marks are shifted against them.
        mark, glyph = MARKS[(place + place // len(INKS)) % len(MARKS)]
        looks[name] = Style(INKS[place % len(INKS)], mark, glyph)
    looks |= {name: BARE for name, one in drawn.items() if one.method == "agreement"}
    looks |= {name: LABEL for name, one in drawn.items() if one.method == "label"}
    return looks


def _lines(own: Iterable[Detection], labels: Mapping[str, str]) -> dict[str, Detection]:
    """The detectors of a panel by their names, each curve once."""
    lines: dict[str, Detection] = {}
    curves: set[tuple[str, Points]] = set()
    for one in own:
        curve = (one.method, one.every.roc)
        if curve not in curves:
            curves.add(curve)
            lines[detector_text(one, labels)] = one
    return lines


def _draw(lines: Mapping[str, Detection], looks: Mapping[str, Style], prefix: str) -> str:
    """Draw one panel as inline SVG, the same bytes for the same lines."""
    figures = library("matplotlib.figure")
    with own_style(prefix, **dict.fromkeys(TEXTS, TEXT)):
        figure = figures.Figure(figsize=(4.6, 3.3), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        guess = np.geomspace(LEAST, 100, 60)
        axes.plot(guess, guess, color=TEXT, alpha=0.4, linewidth=1, linestyle=":")
        for name, one in lines.items():
            _draw_detector(axes, one, looks[name])
        axes.set(xlim=(LEAST, 100), ylim=(0, 100))
        axes.set(xlabel="clean images flagged, %", ylabel="attacked images flagged, %")
        axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axes.set_xticks([], minor=True)
        axes.grid(axis="both", color=TEXT, alpha=0.15, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        return inline(figure, prefix)


def _draw_detector(axes: Any, one: Detection, style: Style) -> None:
    """Draw a curve with its marks where so many false ones are allowed; of a label there is one point."""
    look = {"color": style.ink, "clip_on": False, "zorder": 3, "marker": style.mark, "markersize": 6}
    if one.method == "label":
        if one.false and one.every.flagged:
            point = max(100 * one.false.rate, LEAST), 100 * one.every.flagged.rate
            axes.plot(*point, linestyle="none", **look)
        return
    false, true = (100 * values for values in _filled(one.every.roc))
    axes.plot(false.clip(LEAST), true, color=style.ink, linewidth=1.8, zorder=2)
    marked = [(100 * level.false, 100 * level.true.rate) for level in one.every.caught]
    # Where scores are equal, fewer may be flagged than allowed: the mark stands where they are.
    axes.plot(*zip(*[point for point in marked if point[0] >= LEAST], strict=True), linestyle="none", **look)


def _filled(corners: Points) -> tuple[np.ndarray, np.ndarray]:
    """The points of a curve, those between two corners as well: on this axis a straight line is none."""
    points = []
    for first, second in pairwise(corners):
        is_step = first[0] == second[0] or first[1] == second[1]
        points.append(np.linspace(first, second, 2 if is_step else BETWEEN))
    false, true = np.concatenate(points).T
    return false, true


def _spoken(lines: Mapping[str, Detection]) -> str:
    """Say what a panel shows."""
    parts = []
    for name, one in lines.items():
        text = f"{name}: AUROC {one.every.auroc.rate:.2f}"
        if one.method != "label":
            levels = [
                f"{percent_text(level.true.rate)} % at {percent_text(level.allowed)} %"
                for level in one.every.caught
            ]
            text += f", {', '.join(levels)}"
        parts.append(text)
    return f"Attacked images flagged against clean images flagged. {'; '.join(parts)}."
