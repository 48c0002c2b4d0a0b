"""Draw the curves of the notebook: every data/NN.csv becomes NN-training.svg beside this file.

Run it with ``python docs/notebook/plots.py``. The same data give the same bytes.
"""

import csv
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

HERE = Path(__file__).parent
GREY = "#777777"
"""The colour of text and frames: it can be read on white and on dark."""

INKS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#c28c00", "#56b4e9")
"""Okabe and Ito's colours, for all kinds of sight."""

MARKS = ("o", "s", "^", "D", "v", "P")
NO_METRIC = ("run", "step", "note")
SPANS = {"KL (nats)": 0.06, "PSNR (dB)": 1.0}
SHARE_SPAN = 0.12
"""A panel shows at least this much, so that noise looks small: 0.12 is the 95 % interval of 200 images."""

STYLE = {
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans", "Arial"],
    "font.size": 10.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
}


def draw(rows: list[dict[str, str]]) -> Figure:
    """Draw one panel for each metric, and in it one line for each run.

    Args:
        rows: lines of a table with the columns ``run``, ``step``, ``note`` and one for each metric. An empty
            cell was not measured. The note "chosen" is drawn as a ring.
    """
    metrics = [name for name in rows[0] if name not in NO_METRIC]
    runs = list(dict.fromkeys(row["run"] for row in rows))
    columns = len(metrics) if len(metrics) < 4 else 2
    lines = len(metrics) // columns
    figure = Figure(figsize=(7.0 if columns > 1 else 4.2, 2.0 * lines + 0.5), layout="constrained")
    grid: Any = figure.subplots(lines, columns, squeeze=False, sharex=True)
    for panel, metric in zip(grid.flat, metrics, strict=True):
        panel.set_title(metric, loc="left")
        panel.locator_params(nbins=4)
        panel.grid(color=GREY, alpha=0.25, linewidth=0.5)
        for run, ink, mark in zip(runs, INKS, MARKS, strict=False):
            _line(panel, [row for row in rows if row["run"] == run and row[metric]], metric, ink, mark)
        bottom, top = panel.get_ylim()
        missing = max(0.0, SPANS.get(metric, SHARE_SPAN) - (top - bottom))
        panel.set_ylim(bottom - missing / 2, top + missing / 2)
    for panel in grid[-1]:
        panel.set_xlabel("step")
    if len(runs) > 1:
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(runs), frameon=False)
    return figure


def _line(panel: Any, rows: list[dict[str, str]], metric: str, ink: str, mark: str) -> None:
    """Draw one metric of one run."""
    steps = [float(row["step"]) for row in rows]
    values = [float(row[metric]) for row in rows]
    panel.plot(steps, values, color=ink, marker=mark, markersize=4, linewidth=1.5, label=rows[0]["run"])
    for row, step, value in zip(rows, steps, values, strict=True):
        if row["note"] == "chosen":
            panel.plot([step], [value], "o", markersize=10, markerfacecolor="none", markeredgecolor=ink)


def main() -> None:
    """Draw every table of ``data``."""
    for table in sorted((HERE / "data").glob("*.csv")):
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": table.stem}):
            target = HERE / f"{table.stem}-training.svg"
            draw(rows).savefig(target, transparent=True, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
