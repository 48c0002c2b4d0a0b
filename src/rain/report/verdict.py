"""Results for people: the honest summary, the table, one self-contained HTML file. Never imports torch."""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from statistics import fmean
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table
from rich.text import Text

from rain.bench.cells import ACCESSES, Cell, Result, load, write_file
from rain.bench.checks import NOISE, check, knows
from rain.bench.metrics import Paired, eps_text, interval, paired, per_image, unbounded, worst_images
from rain.errors import ResultError

Gallery = Mapping[str, NDArray[Any]]
"""The arrays of a cell's ``gallery.npz``: clean, adversarial, randomized (may be absent), enhanced, perturbation, index, says, truth."""

Verdict = Literal["weaker", "none", "unclaimed", "unknown", "noise", "gain"]

VERDICTS: tuple[Verdict, ...] = ("weaker", "none", "unclaimed", "unknown", "noise", "gain")
"""What a defence is worth, in the order of the report: losses first.

weaker: attacked, it holds less than the bare classifier. none: it holds no more. unclaimed: no adaptive
attack was run. unknown: there is no bare classifier to compare with. noise: it holds more, but so much
happens by chance. gain: it holds more.
"""


@dataclass(frozen=True)
class Headline:
    """What one defence is worth at one eps, as fractions of all images on single draws.

    Args:
        images: that every adaptive attack measured (without one every attack); ``adaptive``, ``worst`` and
            ``bare`` are of them.
        clean: with one draw, on all images; those that the bare classifier was shown, too, where there is
            one.
        lost: clean accuracy lost against the bare classifier on the same images; None without one.
        transfer, frozen, static, adaptive, query: under the worst attack of that access on each image that
            all of these attacks measured; None where none was run.
        worst: under the worst on each image of all attacks that measured ``images``; ``low`` and ``high``
            bound it at 95 %.
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
    frozen: float | None
    static: float | None
    adaptive: float | None
    query: float | None
    worst: float
    low: float
    high: float
    bare: float | None
    verdict: Verdict
    sentence: str


def summary(results: Sequence[Result]) -> list[Headline]:
    """Sum up each defence at each eps, with a sentence that says first where it loses; the defences that lose most come first.

    Attacks that look for the smallest perturbation, without a budget, say nothing here: in the end nothing
    holds against them.
    """
    measured = [result for result in results if result.outcomes and not unbounded(result.cell)]
    attacked = [
        result.cell for result in measured if result.cell.attack != "none" and result.cell.defense != "none"
    ]
    lines = []
    for place, defense, norm, eps in sorted(
        {(_place(cell), cell.defense, cell.norm, cell.eps) for cell in attacked}
    ):
        line = _headline([result for result in measured if _place(result.cell) == place], defense, norm, eps)
        lines += [line] if line else []
    return sorted(
        lines,
        key=lambda line: (
            _place(line),
            min(VERDICTS.index(other.verdict) for other in lines if _same(other, line)),
            line.defense,
        ),
    )


def table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Lay the rows out for the terminal.

    What all rows share stands in the title, everything else in a column.
    """
    rows = list(rows)
    values = {
        name: list(dict.fromkeys(row[name] for row in rows))
        for name in ("dataset", "size", "classifier", "norm", "images")
    }
    columns = [name for name in values if len(values[name]) > 1]
    title = ", ".join(_said(name, shared[0]) for name, shared in values.items() if len(shared) == 1)
    made = Table(
        title=Text(title), box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", caption_justify="left"
    )
    for name in ("defense", "attack", *columns):
        made.add_column(name, overflow="fold")
    for name in ("eps", "access", "eot", "draws", "clean %", "robust %", "95 %"):
        made.add_column(name, no_wrap=True, justify="left" if name in ("eps", "access") else "right")
    for row, following in zip_longest(rows, rows[1:]):
        attacked = row["attack"] != "none"
        texts = [
            row["defense"] + ("" if row["complete"] else " *"),
            row["attack"],
            *(str(row[name]) for name in columns),
            eps_text(row["eps"], row["norm"]) if attacked else "-",
            row["access"] if attacked else "-",
            str(row["eot"]) if row["access"] == "adaptive" else "-",
            str(row["draws"]),
            f"{100 * row['clean']:.1f}",
            f"{100 * row['robust']:.1f}" if attacked else "-",
            f"{100 * row['low']:.1f} to {100 * row['high']:.1f}" if attacked else "-",
        ]
        last = following is None or (following["defense"], following["draws"]) != (
            row["defense"],
            row["draws"],
        )
        made.add_row(*map(Text, texts), end_section=last)
    caption = "access: what the attacker knows. Accuracies are of all images; draws 1: mean over single draws, draws n: probabilities averaged."
    made.caption = caption + (
        "" if all(row["complete"] for row in rows) else " *: not finished; run the same grid again."
    )
    return made


def to_json(rows: Iterable[Mapping[str, Any]]) -> str:
    """Write the rows as JSON, one row a line."""
    return "[\n" + ",\n".join(json.dumps(dict(row), allow_nan=False) for row in rows) + "\n]\n"


def html(results: Sequence[Result], galleries: Mapping[str, Gallery]) -> str:
    """Make the report: one HTML page that loads nothing and runs nothing. The same results give the same page.

    Args:
        results: from ``rain.results.load``.
        galleries: by the key of the cell, from ``read_galleries``.

    Raises:
        RainError: the report's libraries are not installed.
    """
    from rain.report.page import render

    return render(results, headlines=summary(results), findings=check(results), galleries=galleries)


def write_html(folder: Path, path: Path) -> None:
    """Read the results below a folder, with the galleries beside them, and write the report.

    Raises:
        ResultError: no results, or a file that is not one of ours.
        RainError: the report's libraries are not installed.
    """
    results = load(folder)
    write_file(path, html(results, read_galleries(folder, results)).encode())


def read_galleries(folder: Path, results: Iterable[Result]) -> dict[str, Gallery]:
    """Read ``gallery.npz`` of the cells that have one, by the key of the cell; nothing is unpickled.

    Raises:
        ResultError: a file is not a gallery.
    """
    paths = {result.cell.key: folder / result.cell.key / "gallery.npz" for result in results}
    return {key: _read_gallery(path) for key, path in paths.items() if path.is_file()}


def _read_gallery(path: Path) -> Gallery:
    try:
        # numpy leaves a file open that turns out to be no archive, unless it is given an open one.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        RuntimeError,
        MemoryError,
        BadZipFile,
        zlib.error,
    ) as error:
        raise ResultError(f"{path}: not a gallery ({type(error).__name__}: {error}); delete it") from None
    wrong = _wrong(arrays)
    if wrong:
        raise ResultError(f"{path}: not a gallery ({wrong}); delete it")
    return arrays


def _wrong(arrays: Gallery) -> str:
    """Name the first array that is not as it should be; empty when all are."""
    pictures = [
        name
        for name in ("clean", "adversarial", "randomized", "enhanced")
        if name in arrays or name != "randomized"
    ]
    missing = [name for name in (*pictures, "perturbation", "index", "says", "truth") if name not in arrays]
    if missing:
        return f"without {', '.join(missing)}"
    count, kinds = arrays["index"].size, {"perturbation": "f", "index": "iu", "says": "U", "truth": "U"}
    for name in (*pictures, "perturbation", "index", "says", "truth"):
        array, picture = arrays[name], name in pictures or name == "perturbation"
        shape = (count, *array.shape[1:3], 3) if picture else (count, 4) if name == "says" else (count,)
        if (
            array.shape != shape
            or not array.size
            or array.dtype.kind not in kinds.get(name, "u")
            or (name in pictures and array.dtype != np.uint8)
        ):
            return f"{name} has shape {array.shape} and type {array.dtype}"
    return "" if np.isfinite(arrays["perturbation"]).all() else "perturbation is not finite"


def _headline(here: Sequence[Result], defense: str, norm: str, eps: float) -> Headline | None:
    """Sum up one defence; None where its attacks, not finished yet, have no image in common."""
    column, bare = (
        [result for result in here if _attacked_at(result.cell, name, norm, eps)]
        for name in (defense, "none")
    )
    adaptive = [result for result in column if knows(result)]
    # What decides is what an attacker who knows the defence leaves, on the images that he attacked. Others
    # that did not get so far are no part of the worst of all, or ten images of the dearest attack would
    # decide over four hundred.
    images = set(worst_images(adaptive or column))
    if not images:
        return None
    worst, bare_worst = (worst_images(_covering(results, images)) for results in (column, bare))
    clean, bare_clean = _clean(here, defense), _clean(here, "none")
    cost, gain = (
        _paired_on(clean.keys() & bare_clean.keys(), bare_clean, clean),
        _paired_on(images, worst, bare_worst),
    )
    known = {
        access: worst_images([result for result in column if result.cell.access == access])
        for access in ACCESSES
    }
    known["adaptive"] = worst_images(adaptive)
    most = max(map(len, (clean, *known.values())))
    level, bare_level = _mean_on(images, worst) or 0.0, _mean_on(images, bare_worst)
    low, high = interval(level, len(images))
    cell = column[0].cell
    verdict = _verdict(_mean(known["adaptive"]), gain)
    where = "at " + eps_text(eps, norm) + ("" if norm == "linf" else f" in {norm}")
    paid = _mean_on(clean.keys() & bare_clean.keys(), clean) if cost else _mean(clean)
    sentence = " ".join(
        [
            f"{defense} {_cost_text(paid or 0.0, cost, _few(cost.images if cost else len(clean), most))} and",
            f"{_held_text(_mean(known['adaptive']), len(adaptive), level, bare_level, where, _few(len(images), most))}:",
            f"{_verdict_text(verdict, level, gain)}{_others_text(known, column, most)}{_unfinished_text(column + bare, len(images))}.",
        ]
    )
    return Headline(
        dataset=cell.dataset,
        size=cell.size,
        classifier=cell.classifier,
        defense=defense,
        norm=norm,
        eps=eps,
        images=len(images),
        clean=paid or 0.0,
        lost=cost.difference if cost else None,
        **{access: _mean(scores) for access, scores in known.items()},
        worst=level,
        low=low,
        high=high,
        bare=bare_level,
        verdict=verdict,
        sentence=sentence,
    )


def _verdict(adaptive: float | None, gain: Paired | None) -> Verdict:
    if adaptive is None:
        return "unclaimed"
    if gain is None:
        return "unknown"
    if gain.difference > 0:
        return "gain" if gain.p < NOISE else "noise"
    return "weaker" if gain.difference < 0 and gain.p < NOISE else "none"


def _cost_text(clean: float, cost: Paired | None, few: str) -> str:
    if cost is None:
        return f"has {_percent(clean)} clean accuracy{f' ({few})' if few else ''} (at what cost is unknown, without the bare classifier)"
    if abs(cost.difference) < 0.0005:
        return f"keeps clean accuracy at {_percent(clean)}{f' ({few})' if few else ''}"
    chance = "" if cost.p < NOISE else ", which may be noise,"
    return f"{'loses' if cost.difference > 0 else 'adds'} {_points(cost)} of clean accuracy{f' ({few})' if few else ''}{chance}"


def _held_text(
    adaptive: float | None, attacks: int, worst: float, bare: float | None, where: str, few: str
) -> str:
    if adaptive is None:
        return f"was not attacked adaptively {where}"
    beside = [few] if few else []
    if _percent(worst) != _percent(adaptive):
        beside.append(f"{_percent(worst)} when each image meets the worst of all attacks")
    if bare is not None:
        beside.append(f"the bare classifier {_percent(bare)}")
    which = (
        "the adaptive attack" if attacks == 1 else f"the worst on each image of {attacks} adaptive attacks"
    )
    return f"keeps {_percent(adaptive)} under {which} {where}" + (f" ({'; '.join(beside)})" if beside else "")


def _verdict_text(verdict: Verdict, worst: float, gain: Paired | None) -> str:
    points = _points(gain) if gain else ""
    return {
        "weaker": f"it makes the classifier weaker, by {points}, against an attacker who knows it",
        "none": f"it {'adds' if worst >= 0.0005 else 'gives'} no robustness against an attacker who knows it",
        "unclaimed": "nothing here is a robustness claim",
        "unknown": "what it gains is unknown, because the bare classifier was not attacked there",
        "noise": f"it gains {points} against an attacker who knows it, which may be noise",
        "gain": f"it gains {points} against an attacker who knows it",
    }[verdict]


def _others_text(known: Mapping[str, Mapping[int, float]], column: Sequence[Result], most: int) -> str:
    others = []
    for access, scores in known.items():
        if scores and access != "adaptive":
            attacks = sum(result.cell.access == access for result in column)
            beside = ", ".join(
                filter(None, (f"the worst of {attacks}" if attacks > 1 else "", _few(len(scores), most)))
            )
            others.append(f"{access} {_percent(fmean(scores.values()))}{f' ({beside})' if beside else ''}")
    return f"; against {', '.join(others)}" if others else ""


def _few(images: int, most: int) -> str:
    """Say of how many images a figure is, where others of the same sentence are of more."""
    return f"{images} images" if images < most else ""


def _unfinished_text(results: Iterable[Result], images: int) -> str:
    return "" if all(result.complete for result in results) else f" (not finished: {images} images so far)"


def _covering(results: Sequence[Result], images: set[int]) -> list[Result]:
    """The results that are of all these images; all of them where none is."""
    return [result for result in results if images <= {outcome.index for outcome in result.outcomes}] or list(
        results
    )


def _paired_on(
    images: AbstractSet[int], first: Mapping[int, float], second: Mapping[int, float]
) -> Paired | None:
    shared = images & first.keys() & second.keys()
    return (
        paired({index: first[index] for index in shared}, {index: second[index] for index in shared})
        if shared
        else None
    )


def _mean_on(images: AbstractSet[int], scores: Mapping[int, float]) -> float | None:
    return _mean({index: scores[index] for index in sorted(images & scores.keys())})


def _mean(scores: Mapping[int, float]) -> float | None:
    return fmean(scores.values()) if scores else None


def _clean(here: Sequence[Result], defense: str) -> dict[int, float]:
    return {
        index: score
        for result in here
        if result.cell.defense == defense
        for index, score in per_image(result, attacked=False).items()
    }


def _attacked_at(cell: Cell, defense: str, norm: str, eps: float) -> bool:
    return cell.attack != "none" and (cell.defense, cell.norm, cell.eps) == (defense, norm, eps)


def _same(first: Headline, second: Headline) -> bool:
    return (_place(first), first.defense) == (_place(second), second.defense)


def _place(item: Cell | Headline) -> tuple[str, int, str]:
    return item.dataset, item.size or 0, item.classifier


def _said(name: str, value: Any) -> str:
    if name == "size":
        return f"{value} pixels" if value else "own size"
    return f"{value} images" if name == "images" else str(value)


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _points(found: Paired) -> str:
    return f"{100 * abs(found.difference):.1f} points"
