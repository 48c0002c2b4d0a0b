"""Results that nobody measured, for the tests of what is made of results. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rain.bench.cells import Cell, Outcome, Result, gathered, path_of, save

Answers = Sequence[int | tuple[int, ...]]

CELL = Cell(
    dataset="samples",
    size=224,
    classifier="small",
    defense="rain",
    attack="pgd(confidence=inf)",
    norm="linf",
    eps=4 / 255,
    access="adaptive",
    eot=20,
    draws=1,
    seed=0,
    examples=4,
    chunk=4,
)
MADE_BY = {"rain": "0", "torch": "2", "revision": "abc"}


def cell(**changes: Any) -> Cell:
    return replace(CELL, **changes)


def unattacked(**changes: Any) -> Cell:
    return cell(attack="none", access="none", eps=0.0, eot=1, **changes)


def result(
    about: Cell, robust: Answers, clean: Answers | None = None, mean: Sequence[int] | None = None, **more: Any
) -> Result:
    """Make a result.

    An answer is 1 or 0, right or wrong on every draw, or a tuple of labels, one a draw; the right label is 0.
    """
    clean = clean if clean is not None else [1] * len(robust)
    outcomes = []
    for index, (before, after) in enumerate(zip(clean, robust, strict=True)):
        first, second = (
            answer if isinstance(answer, tuple) else (1 - answer,) * about.draws for answer in (before, after)
        )
        outcomes.append(
            Outcome(index, 0, first, first[0], second, mean[index] if mean else second[0], about.eps)
        )
    about = replace(about, examples=max(1, len(robust))) if more.get("complete", True) else about
    return Result(
        about, tuple(outcomes), more.get("complete", True), more.get("made_by", gathered([MADE_BY]))
    )


def share(rate: float, count: int = 200) -> list[int]:
    """Answers of which the first part is right."""
    return [int(index < rate * count) for index in range(count)]


def write(folder: Path, results: Sequence[Result]) -> None:
    for one in results:
        about = one.cell
        for chunk in range(about.chunks):
            outcomes = [outcome for outcome in one.outcomes if outcome.index in about.indices(chunk)]
            if len(outcomes) == len(about.indices(chunk)):
                save(
                    folder, about, chunk, outcomes, {name: values[0] for name, values in one.made_by.items()}
                )


def gallery(count: int = 2, side: int = 8, name: str = "cat", **changes: Any) -> dict[str, Any]:
    rough = np.random.default_rng(0)
    clean = rough.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return {
        "clean": clean,
        "adversarial": clean,
        "randomized": clean[:, ::2, ::2],
        "enhanced": clean,
        "perturbation": np.where(clean > 127, 4 / 255, -4 / 255).astype(np.float32),
        "index": np.arange(count),
        "says": np.array([[f"{name} (91 %)", "dog (60 %)", name, "bird (99 %)"]] * count),
        "truth": np.array([name] * count),
        **changes,
    }


def write_gallery(folder: Path, about: Cell, arrays: Mapping[str, Any]) -> Path:
    path = path_of(folder, about, 0).with_name("gallery.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path
