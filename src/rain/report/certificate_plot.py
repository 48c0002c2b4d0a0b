"""Certified accuracy against the radius, with what attacks left above it. Never imports torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rain.bench.cells import Result
from rain.bench.certificates import CertifiedResult
from rain.bench.columns import grouped
from rain.bench.metrics import percent_text, place_text
from rain.report.certificates import RADII, Certified, Level, beside_attacks, title
from rain.report.plots import (
    BARE,
    INKS,
    MARKS,
    TEXT,
    TEXTS,
    Entry,
    Panel,
    Plot,
    Style,
    inline,
    library,
    own_style,
)

BEYOND = 0.05
"""So far behind the largest radius the axis ends."""


def certificate_plots(
    certified: Iterable[CertifiedResult], results: Sequence[Result], labels: Mapping[str, str]
) -> list[Plot]:
    """Plot certified accuracy against the radius, one panel a place.

    Args:
        certified, results: as for ``rain.report.certificates.beside_attacks``.
        labels: short names of the defences.
    """
    plots: list[Plot] = []
    every = beside_attacks(certified, results)
    for place, same in grouped(every, lambda one: place_text(one.cell)).items():
        styles = [_style(number) for number in range(len(same))]
        # A prefix holds numbers only, since it goes into the page as it is.
        svg = _draw(same, styles, f"certificate{len(plots)}-0")
        panel = Panel("Certified (steps), attacked (dashed)", svg, _spoken(same, labels))
        legend = [
            Entry(_name(one, labels), style.ink, style.glyph) for one, style in zip(same, styles, strict=True)
        ]
        if any(one.bare for one in same):
            legend.append(Entry("no defence, attacked", BARE.ink, BARE.glyph))
        plots.append(Plot(place, "l2", legend, [panel]))
    return plots


def _style(number: int) -> Style:
    # Where the colours begin again, the marks are shifted against them.
    mark, glyph = MARKS[(number + number // len(INKS)) % len(MARKS)]
    return Style(INKS[number % len(INKS)], mark, glyph)


def _name(one: Certified, labels: Mapping[str, str]) -> str:
    return f"{title(one, labels)}, {one.cell.n} draws"


def _draw(same: Sequence[Certified], styles: Sequence[Style], prefix: str) -> str:
    """Draw one panel as inline SVG, the same bytes for the same certificates."""
    figures = library("matplotlib.figure")
    with own_style(prefix, **dict.fromkeys(TEXTS, TEXT)):
        figure = figures.Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for one, style in zip(same, styles, strict=True):
            draw_steps(axes, one, style)
            draw_levels(axes, one.attacked, style)
        bare = next((one.bare for one in same if one.bare), ())
        draw_levels(axes, bare, BARE)
        axes.set(ylim=(0, 100), xlabel="l2 radius", ylabel="accuracy, %")
        axes.set_xlim(left=0)
        axes.grid(axis="y", color=TEXT, alpha=0.15, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        return inline(figure, prefix)


def draw_steps(axes: Any, one: Certified, style: Style, label: str = "") -> None:
    """Draw certified accuracy as steps: it falls behind each image's radius."""
    images = one.result.images
    ends = sorted(image.radius for image in images if image.is_right)
    total = len(images)
    radii, rates = [0.0], [100 * len(ends) / total]
    for place, end in enumerate(ends):
        radii += [end, end]
        rates += [rates[-1], 100 * (len(ends) - place - 1) / total]
    radii.append((ends[-1] if ends else 0.0) + BEYOND)
    rates.append(0.0)
    axes.plot(radii, rates, color=style.ink, linewidth=1.8, label=label)
    low, high = zip(*((one.at(radius).low, one.at(radius).high) for radius in radii), strict=True)
    axes.fill_between(
        radii,
        [100 * rate for rate in low],
        [100 * rate for rate in high],
        color=style.ink,
        alpha=0.1,
        linewidth=0,
    )


def draw_levels(axes: Any, levels: Sequence[Level], style: Style, label: str = "") -> None:
    """Draw what attacks left, where they were made."""
    if levels:
        radii, rates = zip(*((level.radius, 100 * level.rate) for level in levels), strict=True)
        look = {"marker": style.mark, "markersize": 6, "clip_on": False, "zorder": 3}
        axes.plot(radii, rates, color=style.ink, linewidth=1.2, linestyle="--", label=label, **look)


def _spoken(same: Sequence[Certified], labels: Mapping[str, str]) -> str:
    """Say what a panel shows."""
    parts = []
    for one in same:
        levels = ", ".join(f"{percent_text(one.at(radius).rate)} % at {radius:g}" for radius in RADII)
        parts.append(f"{_name(one, labels)}: certified {levels}")
        if one.attacked:
            left = ", ".join(f"{percent_text(level.rate)} % at {level.radius:g}" for level in one.attacked)
            parts.append(f"attacked {left}")
    return f"Accuracy against the l2 radius. {'; '.join(parts)}."
