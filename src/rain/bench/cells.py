"""What was asked and what came out: cells, outcomes, and the files between runs. Never imports torch.

A *cell* is one column of an evaluation: one attack on one defended classifier. It is measured in *chunks* of
images, the single unit of randomness, batching and resuming: a finished chunk is one file,
``DIR/<key>/<chunk>.json``, that nothing rewrites. Pending work is the grid minus the files, so a killed run,
a resumed run and a run on several workers leave the same files.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rain.errors import ResultError
from rain.files import write_atomically
from rain.specs import NORMS

ACCESSES = ("transfer", "frozen", "static", "adaptive", "query")
"""What the attacker knows.

transfer: attacks the bare classifier and hopes. frozen: attacks through the defence with its randomness fixed
to one draw of his own, and hopes. static: attacks through the defence, ignoring that it is random. adaptive:
attacks through the defence, averaging over its randomness (EOT) and passing over what has no gradient (BPDA).
query: sees scores or labels only.
"""


@dataclass(frozen=True)
class Cell:
    """One column of an evaluation.

    Args:
        dataset, classifier, defense, attack: canonical specs (``rain.specs``); attack "none" measures clean
            images only.
        size: images enter as squares of this many pixels; None leaves each at its own size. The perturbation
            lives at this size.
        norm: "linf" or "l2".
        eps: the budget, for values in [0, 1].
        access: one of ``ACCESSES``; "none" without an attack.
        eot: draws that the attacker averages over at each step; 1 unless access is adaptive.
        draws: fresh draws on which each image is scored; 1 for a defence without randomness.
        seed: of all randomness.
        examples: images, the first ones of the dataset.
        chunk: images in a chunk.
    """

    dataset: str
    size: int | None
    classifier: str
    defense: str
    attack: str
    norm: str
    eps: float
    access: str
    eot: int
    draws: int
    seed: int
    examples: int
    chunk: int

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON, the first 16 hex digits."""
        return hashlib.sha256(dump(asdict(self)).encode()).hexdigest()[:16]

    @property
    def chunks(self) -> int:
        """How many chunks the cell has."""
        return -(-self.examples // self.chunk)

    def indices(self, chunk: int) -> range:
        """The dataset's indices in a chunk."""
        return range(chunk * self.chunk, min((chunk + 1) * self.chunk, self.examples))


@dataclass(frozen=True)
class Outcome:
    """What the classifier said to one image. Raw: averages are computed later, never stored.

    Args:
        index: of the image in the dataset.
        label: the right answer.
        clean: the answer to the clean image, for each draw.
        clean_mean: the answer to the clean image by the probabilities averaged over the draws, as
            ``predict(draws=...)`` does.
        robust, robust_mean: the same for the attacked image; as clean without an attack.
        distance: how far the attack moved the image, in the cell's norm.
        queries: images that an attack with access query sent through the model for this one; None for the
            others.
        flat: whether the first gradient that the attack was given for this image was exactly 0, so that it
            had nothing to go by.
    """

    index: int
    label: int
    clean: tuple[int, ...]
    clean_mean: int
    robust: tuple[int, ...]
    robust_mean: int
    distance: float
    queries: int | None = None
    flat: bool = False


@dataclass(frozen=True)
class Result:
    """All finished chunks of one cell.

    Args:
        outcomes: sorted by index.
        complete: whether every chunk is there.
        made_by: what reproduces the numbers: versions, digests, device, revision, the attack with all its
            options. From ``gathered``: more than one value where chunks were made by different ones.
    """

    cell: Cell
    outcomes: tuple[Outcome, ...]
    complete: bool
    made_by: Mapping[str, tuple[str, ...]]


def gathered(makers: Iterable[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """Collect what made the chunks of a cell: by name, every value that occurs, sorted.

    Precision is 32-true where nothing else is said.
    """
    makers = [{"precision": "32-true", **maker} for maker in makers]
    names = sorted({name for maker in makers for name in maker})
    return {name: tuple(sorted({maker[name] for maker in makers if name in maker})) for name in names}


def dump(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces to choose, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def path_of(folder: Path, cell: Cell, chunk: int) -> Path:
    """Where a finished chunk lies."""
    return folder / cell.key / f"{chunk:05d}.json"


def pending(folder: Path, cells: Iterable[Cell]) -> list[tuple[Cell, int]]:
    """The chunks that have no file yet, in the order of the cells."""
    return [
        (cell, chunk)
        for cell in cells
        for chunk in range(cell.chunks)
        if not path_of(folder, cell, chunk).is_file()
    ]


def save(
    folder: Path, cell: Cell, chunk: int, outcomes: Iterable[Outcome], made_by: Mapping[str, str]
) -> Path:
    """Write a finished chunk: to a temporary name first, then ``os.replace``, so that a reader sees all of it or nothing.

    Raises:
        ResultError: the disk is full or the folder cannot be written; nothing is left behind, and what was
            finished stays.
    """
    path = path_of(folder, cell, chunk)
    content = dump(
        {
            "cell": asdict(cell),
            "chunk": chunk,
            "outcomes": [asdict(outcome) for outcome in outcomes],
            "made_by": dict(made_by),
        }
    )
    write_file(path, (content + "\n").encode())
    return path


def make_folder(folder: Path) -> None:
    """Make the folder of the results, if it is not there.

    Raises:
        ResultError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultError(
            f"{folder}: no folder can be made there: {error.strerror or error}; choose another one"
        ) from None


def write_file(path: Path, content: bytes) -> None:
    """Write a file atomically and durably.

    Raises:
        ResultError: with the system's reason.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        kept = "What is finished is kept; run the same command again"
        raise ResultError(f"{path}: cannot be written: {error.strerror or error}. {kept}") from error


def load(folder: Path) -> list[Result]:
    """Read all results below a folder, sorted by what they are about.

    Raises:
        ResultError: no such folder, nothing in it, or a file that is not a chunk of the cell that its folder
            names.
    """
    if not folder.is_dir():
        raise ResultError(f"{folder}: no such folder; make results with: rain run GRID.toml --out {folder}")
    found: dict[Cell, dict[int, tuple[list[Outcome], dict[str, str]]]] = {}
    for path in sorted(folder.glob("*/[0-9]*.json")):
        cell, chunk, outcomes, made_by = _read(path)
        found.setdefault(cell, {})[chunk] = (outcomes, made_by)
    if not found:
        raise ResultError(f"{folder}: no results in it; make some with: rain run GRID.toml --out {folder}")
    return [
        Result(
            cell=cell,
            outcomes=tuple(outcome for _, (outcomes, _) in sorted(chunks.items()) for outcome in outcomes),
            complete=len(chunks) == cell.chunks,
            made_by=gathered(made_by for _, made_by in chunks.values()),
        )
        for cell, chunks in sorted(found.items(), key=lambda item: tuple(map(str, asdict(item[0]).values())))
    ]


def _read(path: Path) -> tuple[Cell, int, list[Outcome], dict[str, str]]:
    try:
        content = json.loads(path.read_text())
        cell = Cell(**content["cell"])
        outcomes = [_outcome(row) for row in content["outcomes"]]
        chunk, made_by = content["chunk"], dict(content["made_by"])
        wrong = _wrong(cell, chunk, outcomes, made_by)
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        raise ResultError(
            f"{path}: not a result file ({type(error).__name__}: {error}); delete it and run the grid again"
        ) from None
    if wrong:
        raise ResultError(f"{path}: not a result file ({wrong}); delete it and run the grid again")
    indices = cell.indices(chunk)
    if (
        path != path_of(path.parent.parent, cell, chunk)
        or len(outcomes) != len(indices)
        or any(map(_elsewhere, outcomes, indices))
    ):
        raise ResultError(f"{path}: does not hold what its name says; delete it and run the grid again")
    return cell, chunk, outcomes, made_by


def _wrong(cell: Cell, chunk: Any, outcomes: Sequence[Outcome], made_by: Mapping[Any, Any]) -> str:
    """Name the first thing in a file that is not as it should be; empty when all is.

    Whoever sends one may have written anything into it.
    """
    counts = (cell.eot, cell.draws, cell.examples, cell.chunk, 1 if cell.size is None else cell.size)
    if not all(isinstance(text, str) for text in (cell.dataset, cell.classifier, cell.defense, cell.attack)):
        return "a spec that is no text"
    if cell.norm not in NORMS or cell.access not in (*ACCESSES, "none"):
        return f"norm {cell.norm!r}, access {cell.access!r}"
    if not all(_whole(count) and count >= 1 for count in counts) or not (
        _whole(cell.seed) and _whole(chunk) and chunk >= 0
    ):
        return "counts that are none"
    if not _real(cell.eps):
        return f"eps {cell.eps!r}"
    for row in outcomes:
        answers = (row.clean, row.robust)
        if not all(
            isinstance(several, tuple) and len(several) == cell.draws and all(map(_whole, several))
            for several in answers
        ):
            return f"answers that are not one for each of {cell.draws} draws"
        if not all(
            map(_whole, (row.index, row.label, row.clean_mean, row.robust_mean, row.queries or 0))
        ) or not _real(row.distance):
            return "an outcome that is no number"
        if type(row.flat) is not bool:
            return f"flat {row.flat!r}"
    return (
        ""
        if all(isinstance(text, str) for pair in made_by.items() for text in pair)
        else "made by what is no text"
    )


def _outcome(row: Mapping[str, Any]) -> Outcome:
    """Read an outcome; files from before 26 November 2026 do not say ``flat``."""
    return Outcome(
        **{
            field.name: _tuple(row[field.name])
            for field in fields(Outcome)
            if field.name in row or field.name != "flat"
        }
    )


def _elsewhere(outcome: Outcome, index: int) -> bool:
    return outcome.index != index


def _whole(value: Any) -> bool:
    return type(value) is int


def _real(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
