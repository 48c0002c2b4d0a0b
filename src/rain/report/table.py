"""The table of results, for the terminal. Never imports torch."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from rain.bench.metrics import eps_text, percent_text, size_text
from rain.errors import visible
from rain.report.labels import defense_labels, spec_text

Row = Mapping[str, Any]
"""One of ``rain.bench.metrics.rows``."""

SHARED = ("dataset", "size", "classifier", "norm", "images")
"""What stands in the title where all rows share it, else in a column."""

FIGURES = ("eps", "access", "eot", "draws", "clean %", "robust %", "95 %", "on all %")
WIDEST = 36
"""A longer name of a defence is folded."""

EXPLANATION = (
    "access: what the attacker knows; eot: draws that he averages over at each step. Accuracies are of all "
    "images; draws 1: mean over single draws, draws n: probabilities averaged; on all: right on each of them."
)
UNFINISHED = "*: not finished; run the same grid again."


def table(rows: Iterable[Row]) -> Table:
    """Lay the rows out for the terminal.

    What all rows share stands in the title, everything else in a column. Defences have short names, which a
    legend explains.
    """
    rows = list(rows)
    labels = defense_labels(dict.fromkeys(row["defense"] for row in rows))
    values = {name: list(dict.fromkeys(row[name] for row in rows)) for name in SHARED}
    varying = [name for name in SHARED if len(values[name]) > 1]
    shared = [_shared_text(name, values[name][0]) for name in SHARED if len(values[name]) == 1]
    grid = Table(
        title=_text(", ".join(shared)),
        caption=_text(_caption(rows, labels)),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )
    grid.add_column("defense", no_wrap=max(map(len, labels.values()), default=0) <= WIDEST)
    for name in ("attack", *varying):
        grid.add_column(name, overflow="fold")
    for name in FIGURES:
        grid.add_column(name, no_wrap=True, justify="left" if name in ("eps", "access") else "right")
    for row, following in zip_longest(rows, rows[1:]):
        last_of_block = following is None or _block(following) != _block(row)
        grid.add_row(*map(_text, _texts(row, labels, varying)), end_section=last_of_block)
    return grid


def plain_table(
    title: str, header: Sequence[str], body: Iterable[Sequence[str]], caption: str, *, left: int = 1
) -> Table:
    """Lay out a table of texts for the terminal; the first columns name the line.

    Args:
        left: how many columns hold words. The others hold figures, which stand to the right.
    """
    grid = Table(
        title=_text(title),
        caption=_text(caption),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )
    for place, name in enumerate(header):
        grid.add_column(_text(name), overflow="fold", justify="right" if place >= left else "left")
    for line in body:
        grid.add_row(*map(_text, line))
    return grid


def _text(text: str) -> Text:
    """Text as it stands: no markup of rich, no command of the terminal."""
    return Text(visible(text))


def _texts(row: Row, labels: Mapping[str, str], varying: Sequence[str]) -> list[str]:
    """What stands in a row, column by column."""
    attacked = row["attack"] != "none"
    label = labels[row["defense"]]
    defense = label if row["complete"] else f"{label} *"
    budget = [eps_text(row["eps"], row["norm"]), row["access"]] if attacked else ["-", "-"]
    eot = str(row["eot"]) if row["access"] == "adaptive" else "-"
    robust = ["-", "-", "-"]
    if attacked:
        robust = [
            percent_text(row["robust"]),
            f"{percent_text(row['low'])} to {percent_text(row['high'])}",
            percent_text(row["worst"]),
        ]
    own = [str(row[name]) for name in varying]
    return [
        defense,
        spec_text(row["attack"]),
        *own,
        *budget,
        eot,
        str(row["draws"]),
        percent_text(row["clean"]),
        *robust,
    ]


def _block(row: Row) -> tuple[str, int]:
    """Rows that share it stand between two lines."""
    return row["defense"], row["draws"]


def _caption(rows: Sequence[Row], labels: Mapping[str, str]) -> str:
    """Explain the columns and the short names, each on a line of its own."""
    lines = [EXPLANATION]
    shortened = {label: spec for spec, label in labels.items() if label != spec and spec != "none"}
    lines += [f"{label}: {spec}" for label, spec in shortened.items()]
    if not all(row["complete"] for row in rows):
        lines.append(UNFINISHED)
    return "\n".join(lines)


def _shared_text(name: str, value: Any) -> str:
    if name == "size":
        return size_text(value)
    return f"{value} images" if name == "images" else str(value)
