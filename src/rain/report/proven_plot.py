"""What is proven with a denoiser and by noise alone, one panel a sigma, as an SVG. Never imports torch."""

from collections.abc import Iterable, Sequence
from typing import Any

from rain.bench.cells import Result
from rain.bench.certificates import CertifiedResult
from rain.bench.columns import grouped
from rain.report.certificate_plot import draw_levels, draw_steps
from rain.report.certificates import Certified, beside_attacks
from rain.report.plots import BARE, INKS, MARKS, PAPER, Style, file_text, library, own_style
from rain.specs import parse

INK, LINE = "#24292f", "#d0d7de"

ALONE = Style(INKS[1], *MARKS[1])
DENOISED = Style(INKS[0], *MARKS[0])


def proven_plot(certified: Iterable[CertifiedResult], results: Sequence[Result]) -> str:
    """Draw certified accuracy against the l2 radius, and above it what attacks left at the same radii.

    The same certificates and results give the same bytes.

    Args:
        certified: of one dataset, size and classifier, behind ``smooth`` with and without an enhancer.
        results: of l2 attacks on them, and on the bare classifier.
    """
    by_sigma = grouped(beside_attacks(certified, results), lambda one: one.cell.sigma)
    figures = library("matplotlib.figure")
    with own_style("proven"):
        figure = figures.Figure(figsize=(10, 3.8), layout="constrained", facecolor=PAPER)
        every = figure.subplots(1, len(by_sigma), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (sigma, same) in zip(every, sorted(by_sigma.items()), strict=True):
            _draw_panel(axes, same)
            _dress(axes, sigma)
        every[0].set_xlim(left=0)  # only now, since it ends where the data of all panels end
        every[0].set_ylabel("accuracy, %", color=INK)
        handles, labels = every[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, labelcolor=INK)
        return file_text(figure)


def _draw_panel(axes: Any, same: Sequence[Certified]) -> None:
    for one in same:
        denoised = "enhancer" in parse(one.cell.defense)[1]
        style, name = (DENOISED, "with a denoiser") if denoised else (ALONE, "noise alone")
        draw_steps(axes, one, style, f"{name}, certified")
        draw_levels(axes, one.attacked, style, f"{name}, attacked")
    draw_levels(axes, next((one.bare for one in same if one.bare), ()), BARE, "no defence, attacked")


def _dress(axes: Any, sigma: float) -> None:
    """Name the axes, and leave nothing in the drawing that says nothing."""
    axes.set_title(f"sigma {sigma:g}", color=INK, fontsize=11)
    axes.set_xlabel("l2 radius", color=INK)
    axes.set(ylim=(0, 100))
    axes.tick_params(length=0, colors=INK)
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
