"""Results for people: the honest summary, the table, one self-contained HTML file. Never imports torch."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from rich import box
from rich.table import Table
from rich.text import Text

from rain.checks import check
from rain.metrics import eps_text, rows
from rain.results import ACCESSES, Result, dump, load, write_file

Gallery = Mapping[str, NDArray[Any]]
"""The arrays of a cell's ``gallery.npz``: clean, adversarial, randomized (may be absent), enhanced, perturbation, index, says, truth."""

PICTURES = {
    "clean": "Clean",
    "adversarial": "Attacked",
    "perturbation": "Perturbation",
    "randomized": "After SRd",
    "enhanced": "After DG",
}
GALLERY_IMAGES = 20
"""Images shown over all galleries: more would make the file too heavy to send."""

INK = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKS = {"s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖"}
"""Colours (Okabe and Ito, for all kinds of sight) and marks of the defences; the bare classifier is a grey circle."""


@dataclass(frozen=True)
class Headline:
    """What one defence is worth at one eps, as fractions of all images on single draws.

    Args:
        images: that every attack measured.
        lost: clean accuracy lost against the bare classifier; None without one.
        transfer, static, adaptive, query: under the worst attack of that access on each image; None where none was run.
        worst: under the worst attack of all on each image; ``low`` and ``high`` bound it at 95 %.
        bare: ``worst`` of the bare classifier at the same eps; None where it was not attacked.
        sentence: plain English, losses first.
    """

    dataset: str
    size: int | None
    classifier: str
    defense: str
    norm: str
    eps: float
    images: int
    clean: float
    lost: float | None
    transfer: float | None
    static: float | None
    adaptive: float | None
    query: float | None
    worst: float
    low: float
    high: float
    bare: float | None
    sentence: str


def summary(results: Sequence[Result]) -> list[Headline]:
    """Sum up each defence at each eps, with a sentence that says first where it loses."""
    budgets = dict.fromkeys(
        (result.cell.dataset, result.cell.size, result.cell.classifier, result.cell.defense, result.cell.norm, result.cell.eps)
        for result in sorted(results, key=lambda result: (result.cell.defense, result.cell.norm, result.cell.eps))
        if result.cell.attack != "none" and result.cell.defense != "none"
    )
    return [_headline(results, *budget) for budget in budgets]


def table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Lay the rows out for the terminal. What all rows share stands in the title, everything else in a column."""
    rows = list(rows)
    shared = {name: {row[name] for row in rows} for name in ("dataset", "size", "classifier", "norm", "images")}
    columns = [name for name, values in shared.items() if len(values) > 1]
    said = {name: f"{next(iter(values))}" for name, values in shared.items() if len(values) == 1}
    title = ", ".join(f"{value} images" if name == "images" else f"{value} px" if name == "size" else value for name, value in said.items())
    made = Table(title=title.replace("None px", "own size"), box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", caption_justify="left")
    for name in ("defense", "attack", *columns):
        made.add_column(name, overflow="fold")
    for name in ("eps", "access", "eot", "draws", "clean %", "robust %"):
        made.add_column(name, no_wrap=True, justify="left" if name in ("eps", "access") else "right")
    made.add_column("95 %", no_wrap=True, justify="right")
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        attacked = row["attack"] != "none"
        cells = [
            row["defense"] + ("" if row["complete"] else " *"),
            row["attack"],
            *(str(row[name]) for name in columns),
            eps_text(row["eps"], row["norm"]) if attacked else "-",
            row["access"],
            str(row["eot"]) if row["access"] == "adaptive" else "-",
            str(row["draws"]),
            f"{100 * row['clean']:.1f}",
            f"{100 * row['robust']:.1f}",
            f"{100 * row['low']:.1f} to {100 * row['high']:.1f}",
        ]
        last = following is None or (following["defense"], following["draws"]) != (row["defense"], row["draws"])
        made.add_row(*map(Text, cells), end_section=last)
    caption = "access: what the attacker knows. Accuracies are of all images; draws 1: mean over single draws, draws n: probabilities averaged."
    made.caption = caption + ("" if all(row["complete"] for row in rows) else " *: not finished; run the same grid again.")
    return made


def to_json(rows: Iterable[Mapping[str, Any]]) -> str:
    """Write the rows as JSON, one row a line."""
    return "[\n" + ",\n".join(json.dumps(dict(row), allow_nan=False) for row in rows) + "\n]\n"


def write_html(folder: Path, path: Path) -> None:
    """Read the results below a folder, with the galleries beside them, and write the report.

    Raises:
        ResultError: no results, or a file that is not one of ours.
        RainError: the report's libraries are not installed.
    """
    results = load(folder)
    write_file(path, html(results, read_galleries(folder, results)).encode())


def read_galleries(folder: Path, results: Iterable[Result]) -> dict[str, Gallery]:
    """Read ``gallery.npz`` of the cells that have one; nothing is unpickled.

    Raises:
        ResultError: the file is not a gallery.
    """
    paths = {result.cell.key: folder / result.cell.key / "gallery.npz" for result in results}
    return {key: _read_gallery(path) for key, path in paths.items() if path.is_file()}


def html(results: Sequence[Result], galleries: Mapping[str, Gallery]) -> str:
    """Make the report: one HTML page that loads nothing and runs nothing. The same results give the same page.

    Args:
        results: from ``rain.results.load``.
        galleries: by the key of the cell, from ``read_galleries``.

    Raises:
        RainError: the report's libraries are not installed.
    """
    jinja2 = _library("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rain", "templates"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=_percent, eps=eps_text)
    headlines = summary(results)
    page: str = environment.get_template("report.html").render(
        settings=[{"name": name, "rows": rows(group), "curves": curves(group)} for name, group in _settings(results).items()],
        headlines={place: [line for line in headlines if _place(line) == place] for place in dict.fromkeys(map(_place, headlines))},
        findings=check(results),
        galleries=_galleries(results, galleries),
        made_by={name: sorted({result.made_by.get(name, "unknown") for result in results}) for name in sorted({n for r in results for n in r.made_by})},
        cells=[{"key": result.cell.key, "json": dump(asdict(result.cell)), "measured": len(result.outcomes)} for result in results],
        attacks=sorted({result.cell.attack for result in results} - {"none"}),
        defenses=sorted({result.cell.defense for result in results} - {"none"}),
        accesses=ACCESSES,
        unfinished=sum(not result.complete for result in results),
    )
    return page
