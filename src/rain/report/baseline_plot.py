"""One plot of robust against clean accuracy: classifiers made robust, alone and behind a defence.

Never imports torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rain.bench.cells import Result
from rain.bench.columns import clean_scores, grouped, is_adaptive
from rain.bench.counted import left_of_each
from rain.bench.metrics import eps_text, interval
from rain.report.labels import defense_labels
from rain.report.plots import PAPER, file_text, library, own_style, styles_of

INK, LINE = "#24292f", "#d0d7de"


class Spot(NamedTuple):
    """One classifier behind one defence, in %, with the 95 % interval of its robust accuracy."""

    classifier: str
    clean: float
    robust: float
    low: float
    high: float


def baseline_plot(results: Sequence[Result], eps: float, names: Mapping[str, str]) -> str:
    """Draw each classifier behind each defence by its clean accuracy and its adaptive one, as SVG.

    What is to the upper right is better. A line joins the classifiers that stand behind one defence. The
    same results give the same bytes.

    Args:
        results: of one dataset and size.
        eps: the budget, in linf.
        names: what the plot calls a classifier, by its spec, and in which order a line goes through them;
            others are left out.
    """
    spots = spots_by_defense(results, eps, names)
    labels = defense_labels(spots)
    looks = styles_of(spots, labels)
    figures = library("matplotlib.figure")
    with own_style("baseline"):
        figure = figures.Figure(figsize=(7.2, 4.6), layout="constrained", facecolor=PAPER)
        axes = figure.add_subplot()
        for defense, same in spots.items():
            look = looks[defense]
            _draw_line(axes, same, look.ink, look.mark, labels[defense], names)
        _dress(axes, eps)
        return file_text(figure)


def spots_by_defense(
    results: Iterable[Result], eps: float, names: Mapping[str, str]
) -> dict[str, list[Spot]]:
    """The spots of each defence, in the order of ``names``; the bare classifiers come first."""
    by_defense = grouped(results, lambda result: result.cell.defense)
    spots: dict[str, list[Spot]] = {}
    for defense in sorted(by_defense, key=lambda spec: (spec != "none", spec)):
        by_classifier = grouped(by_defense[defense], lambda result: result.cell.classifier)
        same = [_spot(classifier, by_classifier.get(classifier, []), defense, eps) for classifier in names]
        spots[defense] = [spot for spot in same if spot]
    return {defense: same for defense, same in spots.items() if same}


def _spot(classifier: str, results: Sequence[Result], defense: str, eps: float) -> Spot | None:
    attacked = [one for one in results if (one.cell.norm, one.cell.eps) == ("linf", eps)]
    adaptive = [one for one in attacked if one.cell.attack != "none" and is_adaptive(one)]
    clean, robust = clean_scores(results, defense), left_of_each(adaptive)
    if not clean or not robust:
        return None
    rate = sum(robust.values()) / len(robust)
    low, high = interval(rate, len(robust))
    return Spot(classifier, 100 * sum(clean.values()) / len(clean), 100 * rate, 100 * low, 100 * high)


def _draw_line(
    axes: Any, spots: Sequence[Spot], ink: str, mark: str, label: str, names: Mapping[str, str]
) -> None:
    clean = [spot.clean for spot in spots]
    robust = [spot.robust for spot in spots]
    below = [spot.robust - spot.low for spot in spots]
    above = [spot.high - spot.robust for spot in spots]
    axes.errorbar(clean, robust, (below, above), fmt="none", ecolor=ink, elinewidth=1, alpha=0.5)
    axes.plot(clean, robust, mark, linestyle="-", color=ink, linewidth=1.2, markersize=7, label=label)
    for spot in spots:
        style = {"fontsize": 8.5, "color": ink, "ha": "left", "va": "bottom"}
        place = (spot.clean, spot.robust)
        axes.annotate(names[spot.classifier], place, (6, 3), textcoords="offset points", **style)


def _dress(axes: Any, eps: float) -> None:
    """Name the axes, and leave nothing in the drawing that says nothing."""
    axes.set_xlabel("clean accuracy, %", color=INK)
    axes.set_ylabel(f"left by adaptive attacks, %  (eps {eps_text(eps, 'linf')})", color=INK)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.12)
    axes.tick_params(length=0, colors=INK)
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    look = {"facecolor": PAPER, "edgecolor": PAPER, "labelcolor": INK, "fontsize": 9.5}
    axes.legend(title="behind", loc="lower left", **look)
