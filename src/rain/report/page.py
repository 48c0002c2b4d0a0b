"""The report as one HTML page: pictures, plots and words, in one file that loads nothing and runs nothing.

Never imports torch.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rain.bench.cells import Cell, Result, dump
from rain.bench.checks import check
from rain.bench.columns import grouped
from rain.bench.metrics import access_order, eps_text, percent_text, place_text, reading_order, rows
from rain.report.plots import curves, distances, library
from rain.report.verdict import summary

Gallery = Mapping[str, NDArray[Any]]
"""The arrays of a cell's ``gallery.npz``.

They are clean, adversarial, randomized (may be absent), enhanced, perturbation, index, says, truth.
"""

GALLERY_IMAGES = 8
"""Images shown over all galleries: more would make the file too heavy to send."""

SPECTRUM = (-3.0, 1.5)
"""Decades of magnitude from black to white: the same for every spectrum, so that they can be compared."""

MEANINGS = {
    "transfer": "The attacker knows the bare classifier only, attacks it, and hopes. "
    "The most flattering figure for a defence.",
    "frozen": "The attacker goes through the defence with its randomness fixed to one draw of his own, "
    "and hopes that it carries over.",
    "static": "The attacker goes through the defence, but ignores that it is random "
    "and trusts each gradient as it comes.",
    "adaptive": "The attacker knows everything, averages over the randomness (EOT) "
    "and passes over what has no gradient (BPDA). The only figure that says what a defence is worth.",
    "query": "The attacker sees scores or labels only, and asks many times.",
}

LABELS = {
    "weaker": "Weaker",
    "none": "No gain",
    "unclaimed": "Not a claim",
    "unknown": "Gain unknown",
    "noise": "May be noise",
    "gain": "Gain",
}


class Line(NamedTuple):
    """A line of the table: a cell, its row for single draws and, where it has one, for averaged draws."""

    cell: Cell
    single: Mapping[str, Any]
    averaged: Mapping[str, Any] | None


class Picture(NamedTuple):
    """A picture and its spectrum, as data URIs."""

    name: str
    picture: str
    spectrum: str


def html(results: Sequence[Result], galleries: Mapping[str, Gallery]) -> str:
    """Make the report: one HTML page that loads nothing and runs nothing.

    The same results give the same page.

    Args:
        results: from ``rain.bench.cells.load``.
        galleries: by the key of the cell, from ``rain.report.exports.read_galleries``.

    Raises:
        RainError: jinja2 or matplotlib is not installed.
    """
    jinja2 = library("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rain.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent_text, eps=eps_text, place=place_text, tight=_tight)
    page: str = environment.get_template("report.html").render(
        headlines=grouped(summary(results), place_text),
        labels=LABELS,
        findings=check(results),
        tables=_tables(results),
        curves=curves(results),
        distances=distances(results),
        galleries=_shown_galleries(results, galleries),
        made_by=_made_by(results),
        cells=[_cell_entry(result) for result in results],
        attacks=sorted({result.cell.attack for result in results} - {"none"}),
        defenses=sorted({result.cell.defense for result in results} - {"none"}),
        meanings=MEANINGS,
        unfinished=sum(not result.complete for result in results),
    )
    return page


def png(picture: NDArray[Any]) -> str:
    """Write (H, W, 3) or (H, W), uint8, as a data URI."""
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"


def spectrum(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """Show the frequencies of a picture: the log-magnitude of its luminance's Fourier transform.

    Args:
        picture: (H, W, 3), values in [-1, 1].

    Returns: (H, W), low frequencies in the middle.
    """
    luminance = picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    magnitude = np.abs(np.fft.fftshift(np.fft.fft2(luminance, norm="ortho")))
    black, white = SPECTRUM
    decades = np.log10(np.maximum(magnitude, 10**black))
    shade = np.clip((decades - black) / (white - black), 0, 1)
    # 32 greys are enough for the eye, and halve the file.
    return (np.round(shade * 31) * (255 / 31)).astype(np.uint8)


def _tables(results: Iterable[Result]) -> dict[str, dict[str, list[Line]]]:
    """The lines of the tables, by place and defence."""
    lines = []
    for result in results:
        pair = rows([result])
        if pair:
            lines.append(Line(result.cell, pair[0], pair[1] if len(pair) > 1 else None))
    lines.sort(key=lambda line: reading_order(line.single))
    places = grouped(lines, lambda line: place_text(line.cell))
    return {place: grouped(group, lambda line: line.cell.defense) for place, group in places.items()}


def _made_by(results: Iterable[Result]) -> dict[str, list[str]]:
    """What made the results: by name, every value that occurs."""
    values: dict[str, set[str]] = {}
    for result in results:
        for name, several in result.made_by.items():
            values.setdefault(name, set()).update(several)
    return {name: sorted(several) for name, several in sorted(values.items())}


def _cell_entry(result: Result) -> dict[str, Any]:
    cell = result.cell
    return {"cell": cell, "json": dump(asdict(cell)), "measured": len(result.outcomes)}


def _shown_galleries(results: Iterable[Result], galleries: Mapping[str, Gallery]) -> list[dict[str, Any]]:
    """Choose what to show: attackers who know most first, and as many images of each as the page carries."""
    cells = [result.cell for result in results if result.cell.key in galleries]
    cells = sorted(cells, key=_gallery_order)[:GALLERY_IMAGES]
    images = GALLERY_IMAGES // max(1, len(cells))
    return [{"cell": cell, "images": _shown_images(galleries[cell.key], images)} for cell in cells]


def _gallery_order(cell: Cell) -> tuple[int, str, float]:
    knowledge = 0 if cell.access == "query" else access_order(cell.access)
    return -knowledge, cell.defense, -cell.eps


def _shown_images(gallery: Gallery, most: int) -> list[dict[str, Any]]:
    count = min(most, len(gallery["index"]))
    return [_shown_image(gallery, place) for place in range(count)]


def _shown_image(gallery: Gallery, place: int) -> dict[str, Any]:
    """One image of a gallery: its pictures side by side, and what was answered."""
    pictures = [
        _picture("Clean", gallery["clean"][place]),
        _picture("Attacked", gallery["adversarial"][place]),
    ]
    pictures.append(_perturbation(gallery["perturbation"][place]))
    if "randomized" in gallery:
        pictures.append(_picture("After SRd", gallery["randomized"][place]))
        pictures.append(_picture("After DG", gallery["enhanced"][place]))
    else:
        pictures.append(_picture("After the defence", gallery["enhanced"][place]))
    truth = str(gallery["truth"][place])
    answers = [_answer(str(text), truth) for text in gallery["says"][place]]
    return {
        "index": int(gallery["index"][place]),
        "truth": truth,
        "columns": pictures,
        "answers": {"Bare": answers[:2], "Defended": answers[2:]},
    }


def _picture(name: str, picture: NDArray[Any]) -> Picture:
    return Picture(name, png(picture), png(spectrum(picture / 255)))


def _perturbation(perturbation: NDArray[Any]) -> Picture:
    """A perturbation as a picture, magnified around grey."""
    largest = float(np.abs(perturbation).max())
    factor = max(1, int(0.5 / max(largest, 1e-6)))
    magnified = np.round(255 * np.clip(0.5 + factor * perturbation, 0, 1)).astype(np.uint8)
    name = f"Perturbation, {factor} times" if perturbation.any() else "Perturbation: none"
    return Picture(name, png(magnified), png(spectrum(perturbation)))


def _answer(text: str, truth: str) -> dict[str, Any]:
    """An answer is the class, and behind it, in brackets, how sure the classifier is."""
    label, _, _ = text.rpartition(" (")
    return {"text": text, "right": truth in (text, label)}


def _tight(text: str) -> str:
    """Keep a figure and its % sign on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")
