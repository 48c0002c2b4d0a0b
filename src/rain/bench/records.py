"""Results as flat tables: one row a cell, or one row an image and draw. Never imports torch."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from statistics import fmean
from typing import Any

from rain.bench.cells import Outcome, Result
from rain.bench.metrics import reading_order
from rain.bench.metrics import rows as rows_of
from rain.errors import OptionError, did_you_mean, shown


def records(results: Iterable[Result], rows: str = "cells") -> Iterator[dict[str, Any]]:
    """Go through results as flat rows, in the order of the tables.

    Args:
        results: from ``rain.bench.cells.load``.
        rows: one of ``KINDS``: "cells" is one row a cell, "draws" one row an image and draw.

    Raises:
        OptionError: there is no such kind of rows.
    """
    if rows not in KINDS:
        hint = did_you_mean(str(rows), tuple(KINDS))
        raise OptionError(f"rows must be {' or '.join(KINDS)}, got {shown(rows)}; {hint}")
    measured = [result for result in results if result.outcomes]
    ordered = sorted(measured, key=_order)
    return KINDS[rows](ordered)


def cell_records(results: Iterable[Result]) -> Iterator[dict[str, Any]]:
    """One row a cell: its fields, how much is measured, its figures, and its key.

    ``clean`` and ``robust`` are means over single draws, with ``low`` and ``high`` as the 95 % interval of
    ``robust``. What ends in ``_averaged`` is of the one answer by averaged probabilities. ``vote`` and
    ``worst`` are of all draws: the majority is right, each of them is right. ``distance`` and ``queries`` are
    means over images; ``queries`` is None where nothing was counted.
    """
    for result in results:
        single, *several = rows_of([result])
        last = several[-1] if several else single
        yield {
            **asdict(result.cell),
            "images": single["images"],
            "complete": result.complete,
            "clean": single["clean"],
            "robust": single["robust"],
            "low": single["low"],
            "high": single["high"],
            "clean_averaged": last["clean"],
            "robust_averaged": last["robust"],
            "low_averaged": last["low"],
            "high_averaged": last["high"],
            "vote": last["vote"],
            "worst": last["worst"],
            "distance": fmean(outcome.distance for outcome in result.outcomes),
            "queries": _mean_queries(result.outcomes),
            "key": result.cell.key,
        }


def draw_records(results: Iterable[Result]) -> Iterator[dict[str, Any]]:
    """One row an image and draw: the cell's fields, the image, and what was answered to it on that draw.

    ``clean_right`` and ``robust_right`` say whether the answer is the label. A gate's scores are None where
    there is no gate.
    """
    for result in results:
        about = {**asdict(result.cell), "key": result.cell.key}
        for outcome in result.outcomes:
            for draw in range(len(outcome.clean)):
                yield about | _of_draw(outcome, draw)


KINDS: dict[str, Callable[[Iterable[Result]], Iterator[dict[str, Any]]]] = {
    "cells": cell_records,
    "draws": draw_records,
}
"""What a row may be, by name."""


def _of_draw(outcome: Outcome, draw: int) -> dict[str, Any]:
    clean, robust = outcome.clean[draw], outcome.robust[draw]
    return {
        "index": outcome.index,
        "draw": draw,
        "label": outcome.label,
        "clean_answer": clean,
        "robust_answer": robust,
        "clean_right": clean == outcome.label,
        "robust_right": robust == outcome.label,
        "distance": outcome.distance,
        "queries": outcome.queries,
        "flat": outcome.flat,
        "clean_suspicion": _at(outcome.clean_suspicion, draw),
        "robust_suspicion": _at(outcome.robust_suspicion, draw),
    }


def _at(scores: tuple[float, ...], draw: int) -> float | None:
    return scores[draw] if scores else None


def _mean_queries(outcomes: Iterable[Outcome]) -> float | None:
    counts = [outcome.queries for outcome in outcomes if outcome.queries is not None]
    return fmean(counts) if counts else None


def _order(result: Result) -> tuple[Any, ...]:
    cell = result.cell
    return (*reading_order(asdict(cell)), cell.seed, cell.examples, cell.chunk)
