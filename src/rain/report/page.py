"""The report as one HTML page: pictures, plots and words, inside one file that loads nothing and runs nothing. Never imports torch."""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from io import BytesIO, StringIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rain.bench.cells import Result, dump
from rain.bench.metrics import (
    access_order,
    by_distance,
    eps_text,
    interval,
    per_image,
    place_text,
    reading_order,
    rows,
    unbounded,
    worst_images,
)
from rain.errors import RainError

GALLERY_IMAGES = 8
"""Images shown over all galleries: more would make the file too heavy to send."""

SPECTRUM = (-3.0, 1.5)
"""Decades of magnitude from black to white: the same for every spectrum, so that they can be compared."""

INK = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#c28c00", "#56b4e9")
MARKS = {"s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖"}
BARE = ("#808080", "o", "●")
"""Colours (Okabe and Ito's, for all kinds of sight) and marks of the defences; the bare classifier is a grey circle."""

TEXT = "#010203"
"""Stands for the colour of the page's text while matplotlib draws: the reader may prefer light or dark."""

MEANINGS = {
    "transfer": "The attacker knows the bare classifier only, attacks it, and hopes. The most flattering figure for a defence.",
    "frozen": "The attacker goes through the defence with its randomness fixed to one draw of his own, and hopes that it carries over.",
    "static": "The attacker goes through the defence, but ignores that it is random and trusts each gradient as it comes.",
    "adaptive": "The attacker knows everything, averages over the randomness (EOT) and passes over what has no gradient (BPDA). "
    "The only figure that says what a defence is worth.",
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


class Point(NamedTuple):
    """One point of a curve; ``low`` and ``high`` bound the accuracy at 95 %."""

    eps: float
    accuracy: float
    low: float
    high: float


def render(
    results: Sequence[Result],
    *,
    headlines: Sequence[Any],
    findings: Sequence[Any],
    galleries: Mapping[str, Any],
) -> str:
    """Make the page.

    Args:
        results: all of them.
        headlines, findings: what ``rain.report.summary`` and ``rain.checks.check`` make of the results.
        galleries: arrays by the key of the cell.

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
    environment.filters.update(percent=_percent, eps=eps_text, place=place_text, tight=_tight)
    names = sorted({name for result in results for name in result.made_by})
    page: str = environment.get_template("report.html").render(
        headlines=_grouped(headlines, place_text),
        labels=LABELS,
        findings=findings,
        tables={
            place: _grouped(group, lambda line: line["cell"].defense)
            for place, group in _grouped(_lines(results), _place_of_line).items()
        },
        curves=curves(results),
        distances=distances(results),
        galleries=_galleries(results, galleries),
        made_by={
            name: sorted({value for result in results for value in result.made_by.get(name, ())})
            for name in names
        },
        cells=[
            {"cell": result.cell, "json": dump(asdict(result.cell)), "measured": len(result.outcomes)}
            for result in results
        ],
        attacks=sorted({result.cell.attack for result in results} - {"none"}),
        defenses=sorted({result.cell.defense for result in results} - {"none"}),
        meanings=MEANINGS,
        unfinished=sum(not result.complete for result in results),
    )
    return page


def library(name: str) -> Any:
    """Import what only the page needs.

    Raises:
        RainError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise RainError(
            f"the HTML report needs {name.partition('.')[0]} ({error}): pip install 'rain-defense[report]'"
        ) from None


def curves(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Plot accuracy against eps: for each place and norm a legend and one panel for each access."""
    made: list[dict[str, Any]] = []
    bounded = [result for result in results if result.outcomes and not unbounded(result.cell)]
    for place, group in _grouped(bounded, lambda result: place_text(result.cell)).items():
        for norm, normed in _grouped(
            [result for result in group if result.cell.attack != "none"], lambda result: result.cell.norm
        ).items():
            defenses = sorted({result.cell.defense for result in group} - {"none"})
            known = sorted(
                {result.cell.access for result in normed if result.cell.defense != "none" or not defenses},
                key=access_order,
            )
            styles = _styles(defenses, bare=any(result.cell.defense == "none" for result in group))
            panels: list[dict[str, Any]] = []
            for access in known:
                lines = {name: points for name in styles if (points := _line(group, name, norm, access))}
                # Numbers only: a prefix goes into the page as it is.
                prefix = f"plot{len(made)}-{len(panels)}"
                panels.append(
                    {
                        "access": access,
                        "svg": _plot(lines, styles, norm, prefix),
                        "text": _spoken(lines, norm),
                    }
                )
            legend = [
                {"name": _named(name), "colour": ink, "mark": glyph}
                for name, (ink, _, glyph) in styles.items()
            ]
            made.append({"place": place, "norm": norm, "legend": legend, "panels": panels})
    return made


def distances(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Plot accuracy against the size of the perturbation, for attacks without a budget: in each place and norm a panel for each of them."""
    made: list[dict[str, Any]] = []
    free = [result for result in results if result.outcomes and unbounded(result.cell)]
    for (place, norm), group in _grouped(
        free, lambda result: (place_text(result.cell), result.cell.norm)
    ).items():
        defenses = sorted({result.cell.defense for result in group} - {"none"})
        styles = _styles(defenses, bare=any(result.cell.defense == "none" for result in group))
        panels: list[dict[str, Any]] = []
        for (attack, access), column in _grouped(sorted(group, key=_asked), _asked).items():
            found = {result.cell.defense: _thinned(result) for result in column}
            lines = {name: found[name] for name in styles if name in found}
            prefix = f"distance{len(made)}-{len(panels)}"
            text = f"{attack}, {access}"
            panels.append(
                {
                    "access": text,
                    "svg": _plot(lines, styles, norm, prefix, ticks=False),
                    "text": _halved(lines, norm),
                }
            )
        legend = [
            {"name": _named(name), "colour": ink, "mark": glyph} for name, (ink, _, glyph) in styles.items()
        ]
        made.append({"place": place, "norm": norm, "legend": legend, "panels": panels})
    return made


def _asked(result: Result) -> tuple[str, str]:
    return result.cell.attack, result.cell.access


def _thinned(result: Result, points: int = 24) -> list[Point]:
    """The curve over distances, at some of its points: enough for the eye."""
    curve = by_distance(result)
    chosen = sorted({round(place * (len(curve) - 1) / (points - 1)) for place in range(points)})
    return [
        Point(curve[place][0], curve[place][1], *interval(curve[place][1], len(result.outcomes)))
        for place in chosen
    ]


def _halved(lines: Mapping[str, Sequence[Point]], norm: str) -> str:
    """Say at which size half of the clean accuracy is gone, for those who do not see the panel."""
    said = []
    for name, points in lines.items():
        gone = next((point for point in points if point.accuracy <= points[0].accuracy / 2), None)
        said.append(f"{_named(name)}: {f'at {_size_text(gone.eps, norm)}' if gone else 'nowhere'}")
    return f"Accuracy against the size of the perturbation. Half of the clean accuracy is gone: {'; '.join(said)}."


def _size_text(size: float, norm: str) -> str:
    return f"{255 * size:.1f}/255" if norm == "linf" else f"{size:.3g}"


def png(picture: NDArray[Any]) -> str:
    """Write (H, W, 3) or (H, W), uint8, as a data URI."""
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"


def spectrum(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """Turn (H, W, 3), values in [-1, 1], into the log-magnitude of its luminance's Fourier transform: (H, W), low frequencies in the middle."""
    luminance = picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    magnitude = np.abs(np.fft.fftshift(np.fft.fft2(luminance, norm="ortho")))
    decades = np.log10(np.maximum(magnitude, 10 ** SPECTRUM[0]))
    shade = np.clip((decades - SPECTRUM[0]) / (SPECTRUM[1] - SPECTRUM[0]), 0, 1)
    # 32 greys are enough for the eye, and halve the file.
    return (np.round(shade * 31) * (255 / 31)).astype(np.uint8)


def _lines(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Make the table: one line a cell, with its row for single draws and, where it has one, its row for averaged draws beside it."""
    lines = [
        {"cell": result.cell, "single": pair[0], "averaged": pair[1] if len(pair) > 1 else None}
        for result in results
        if (pair := rows([result]))
    ]
    return sorted(lines, key=lambda line: reading_order(line["single"]))


def _line(group: Iterable[Result], defense: str, norm: str, access: str) -> list[Point]:
    """Begin at the clean accuracy, then go on with the worst attack of this access on each image.

    The bare classifier meets the worst of all its attacks: without a defence to know of, the words mean the
    same.
    """
    own = [result for result in group if result.cell.defense == defense]
    hit = [result for result in own if result.cell.attack != "none" and result.cell.norm == norm]
    hit = [result for result in hit if defense == "none" or result.cell.access == access]
    if not hit and defense != "none":
        return []
    clean = {index: score for result in own for index, score in per_image(result, attacked=False).items()}
    levels = _grouped(sorted(hit, key=_eps), _eps)
    scored = {0.0: clean, **{eps: worst_images(results) for eps, results in levels.items()}}
    means = {eps: sum(scores.values()) / len(scores) for eps, scores in scored.items() if scores}
    return [Point(eps, mean, *interval(mean, len(scored[eps]))) for eps, mean in means.items()]


def _plot(
    lines: Mapping[str, Sequence[Point]],
    styles: Mapping[str, tuple[str, str, str]],
    norm: str,
    prefix: str,
    ticks: bool = True,
) -> str:
    """Draw one panel as inline SVG, the same bytes for the same lines; ``ticks`` stand at the points that were measured."""
    matplotlib, figures, ticker = map(library, ("matplotlib", "matplotlib.figure", "matplotlib.ticker"))
    scale = 255 if norm == "linf" else 1
    with matplotlib.rc_context():
        # The reader's own matplotlibrc would make other bytes of the same results.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.hashsalt": prefix, "svg.fonttype": "none", "font.size": 11.0})
        matplotlib.rcParams.update(
            dict.fromkeys(
                ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), TEXT
            )
        )
        figure = figures.Figure(figsize=(4.6, 3.3), layout="constrained")
        axes = figure.add_subplot()
        for name, points in lines.items():
            ink, mark, _ = styles[name]
            x, y, low, high = (np.array(values) for values in zip(*points, strict=True))
            axes.fill_between(scale * x, 100 * low, 100 * high, color=ink, alpha=0.12, linewidth=0)
            every = 1 if ticks else 6
            axes.plot(
                scale * x,
                100 * y,
                color=ink,
                marker=mark,
                markersize=6,
                markevery=every,
                linewidth=1.8,
                clip_on=False,
                zorder=3,
            )
        what = "eps" if ticks else "size"
        axes.set(
            ylim=(0, 100),
            xlabel=f"{what}, in 1/255" if norm == "linf" else f"{what} ({norm})",
            ylabel="accuracy, %",
        )
        axes.set_xlim(left=0)
        if ticks:
            axes.set_xticks(sorted({scale * point.eps for points in lines.values() for point in points}))
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.grid(axis="y", color=TEXT, alpha=0.15, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        file = StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return _inline(file.getvalue(), prefix)


def _inline(svg: str, prefix: str) -> str:
    """Make an SVG file a part of a page: no header, no metadata, no fixed size, names of its own, and text in the colour of the page."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", svg)
    return svg.replace(TEXT, "currentColor").replace("<svg", '<svg aria-hidden="true"', 1)


def _spoken(lines: Mapping[str, Sequence[Point]], norm: str) -> str:
    """Say what a panel shows, for those who do not see it."""
    said = []
    for name, points in lines.items():
        levels = [
            f"{_percent(point.accuracy)} % at eps {eps_text(point.eps, norm) if point.eps else 0}"
            for point in points
        ]
        said.append(f"{_named(name)}: {', '.join(levels)}")
    return f"Accuracy against eps. {'; '.join(said)}."


def _styles(defenses: Sequence[str], bare: bool) -> dict[str, tuple[str, str, str]]:
    marks = list(MARKS.items())
    coloured = {
        name: (INK[place % len(INK)], *marks[(place + place // len(INK)) % len(marks)])
        for place, name in enumerate(defenses)
    }
    return {**({"none": BARE} if bare else {}), **coloured}


def _galleries(results: Iterable[Result], galleries: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Choose what to show: attackers who know most first, and as many images of each as the page can carry."""
    cells = [result.cell for result in results if result.cell.key in galleries]
    cells = sorted(
        cells,
        key=lambda cell: (
            -access_order(cell.access) if cell.access != "query" else 0,
            cell.defense,
            -cell.eps,
        ),
    )[:GALLERY_IMAGES]
    shown = max(1, GALLERY_IMAGES // max(1, len(cells)))
    return [
        {
            "cell": cell,
            "images": [
                _shown(galleries[cell.key], place)
                for place in range(len(galleries[cell.key]["index"]))[:shown]
            ],
        }
        for cell in cells
    ]


def _shown(gallery: Mapping[str, NDArray[Any]], place: int) -> dict[str, Any]:
    perturbation, truth = gallery["perturbation"][place], str(gallery["truth"][place])
    factor = max(1, int(0.5 / max(float(np.abs(perturbation).max()), 1e-6)))
    magnified = np.round(255 * np.clip(0.5 + factor * perturbation, 0, 1)).astype(np.uint8)
    staged = "randomized" in gallery
    names = {
        "clean": "Clean",
        "adversarial": "Attacked",
        "perturbation": f"Perturbation, {factor} times" if perturbation.any() else "Perturbation: none",
    }
    names |= (
        {"randomized": "After SRd", "enhanced": "After DG"} if staged else {"enhanced": "After the defence"}
    )
    columns = [
        {"name": title, "picture": png(magnified), "spectrum": png(spectrum(perturbation))}
        if name == "perturbation"
        else {
            "name": title,
            "picture": png(gallery[name][place]),
            "spectrum": png(spectrum(gallery[name][place] / 255)),
        }
        for name, title in names.items()
    ]
    # An answer is the class, and behind it, in brackets, how sure the classifier is.
    answers = [
        {"text": str(text), "right": str(text) == truth or str(text).rpartition(" (")[0] == truth}
        for text in gallery["says"][place]
    ]
    return {
        "index": int(gallery["index"][place]),
        "truth": truth,
        "columns": columns,
        "answers": {"Bare": answers[:2], "Defended": answers[2:]},
    }


def _grouped(items: Iterable[Any], by: Any) -> dict[Any, list[Any]]:
    """Collect items by a key, in the order in which the keys come."""
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(by(item), []).append(item)
    return groups


def _place_of_line(line: Mapping[str, Any]) -> str:
    return place_text(line["cell"])


def _named(defense: str) -> str:
    return "no defence" if defense == "none" else defense


def _eps(result: Result) -> float:
    return result.cell.eps


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}"


def _tight(text: str) -> str:
    """Keep a figure and its % sign on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")
