"""What was asked and what came out: cells, outcomes, and the files between runs. Never imports torch.

A *cell* is one column of an evaluation: one attack on one defended classifier. It is measured in *chunks* of
images, the single unit of randomness, batching and resuming: a finished chunk is one file,
``DIR/<key>/<chunk>.json``, that nothing rewrites. Pending work is the grid minus the files, so a killed run,
a resumed run and a run on several workers leave the same files.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from rain.bench.schema import ACCESSES as ACCESSES
from rain.bench.schema import FILE_BYTES, fault_of
from rain.errors import ResultError, shown
from rain.files import check_home, is_folder, leaves, read_foreign, write_atomically
from rain.tables import parse_json_table

FORMAT = 1
"""Of the result files: raised when an older version of the package could not read what a newer one writes."""

FORMAT_OF_SOME = 2
"""Of a file of a cell from which damaged images are left out (``left_out``)."""

FORMAT_OF_GATED = 3
"""Of a file that holds what a gate thought of the images."""

FORMATS = (FORMAT, FORMAT_OF_SOME, FORMAT_OF_GATED)

OWN_SIZE = 0
"""The size of a grid's cell that leaves it to the classifier; ``rain.bench.plan`` puts its own size there.

No result has it.
"""

SUSPICIONS = ("clean_suspicion", "robust_suspicion")
"""The fields of an outcome that only a gate fills."""


class Chunked:
    """What a frozen column has that is measured in chunks of images; its fields are a dataclass's."""

    examples: int
    chunk: int

    @cached_property
    def fields(self) -> dict[str, Any]:
        """By their names, made once: each of its chunks has them in its file."""
        return asdict(cast(Any, self))

    @cached_property
    def key(self) -> str:
        """SHA-256 of the canonical JSON, the first 16 hex digits."""
        return hashlib.sha256(dump(self.fields).encode()).hexdigest()[:16]

    @property
    def chunks(self) -> int:
        """How many chunks the cell has."""
        return -(-self.examples // self.chunk)

    def indices(self, chunk: int) -> range:
        """The dataset's indices in a chunk."""
        return range(chunk * self.chunk, min((chunk + 1) * self.chunk, self.examples))


AnyCell = TypeVar("AnyCell", bound=Chunked)


def alike(cell: AnyCell) -> AnyCell:
    """Give the one cell for all that differ in their number of images only."""
    return replace(cast(Any, cell), examples=1)


@dataclass(frozen=True)
class Cell(Chunked):
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


@dataclass(frozen=True)
class Outcome:
    """What the classifier said to one image. Raw: averages are computed later, never stored.

    Args:
        index: of the image in the dataset.
        label: the right answer.
        clean: the answer to the clean image, for each draw.
        clean_mean: the answer to the clean image by the probabilities averaged over the draws, as
            ``predict(draws=...)`` does.
        robust, robust_mean: the same for the attacked image; as clean without an attack. With access
            "known" each draw answers to the image that was made behind it.
        distance: how far the attack moved the image, in the cell's norm; of several images the farthest.
        queries: images that an attack with access query sent through the model for this one; None for the
            others.
        flat: whether the first gradient that the attack was given for this image was exactly 0, so that it
            had nothing to go by; None where no gradient was observed. Files of before may say False there.
        clean_suspicion, robust_suspicion: of a gate, its score of the clean and of the attacked image, for
            each draw; empty without one. The draw is flagged where it is above the fact ``gate_threshold``.
    """

    index: int
    label: int
    clean: tuple[int, ...]
    clean_mean: int
    robust: tuple[int, ...]
    robust_mean: int
    distance: float
    queries: int | None = None
    flat: bool | None = None
    clean_suspicion: tuple[float, ...] = ()
    robust_suspicion: tuple[float, ...] = ()


@dataclass(frozen=True)
class Result:
    """All finished chunks of one cell.

    Args:
        outcomes: sorted by index.
        complete: whether every chunk is there.
        made_by: what reproduces the numbers: versions, digests, device, revision, the attack with all its
            options. From ``gathered``: more than one value where chunks were made by different ones.
        aside: the ``examples`` of cells that are the same in all else and stand back for this one, since
            fewer of their images are finished (``rain.bench.taking_over``).
    """

    cell: Cell
    outcomes: tuple[Outcome, ...]
    complete: bool
    made_by: Mapping[str, tuple[str, ...]]
    aside: tuple[int, ...] = ()

    @cached_property
    def scores(self) -> dict[tuple[bool, bool], Mapping[int, float]]:
        """What ``rain.bench.metrics.per_image`` has computed of it: it is asked for often."""
        return {}

    @property
    def left_out(self) -> frozenset[int]:
        """The indices of the images that are left out, since they are damaged."""
        return frozenset().union(*map(indices_in, self.made_by.get("left_out", ())))


def gathered(makers: Iterable[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """Collect what made the chunks of a cell: by name, every value that occurs, sorted."""
    values: dict[str, set[str]] = {}
    for maker in makers:
        for name, value in maker.items():
            values.setdefault(name, set()).add(value)
    return {name: tuple(sorted(several)) for name, several in sorted(values.items())}


def indices_text(indices: Iterable[int]) -> str:
    """Write the indices of images as the fact ``left_out``: ``3, 17``."""
    return ", ".join(map(str, sorted(indices)))


def indices_in(text: str) -> frozenset[int]:
    """Read what ``indices_text`` wrote.

    Raises:
        ValueError: it is something else.
    """
    return frozenset(map(int, text.split(", "))) if text else frozenset()


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
    """Write a finished chunk, atomically: a reader sees all of it or nothing.

    Raises:
        ResultError: the disk is full or the folder cannot be written; nothing is left behind, and what was
            finished stays.
    """
    outcomes = list(outcomes)
    content = {
        "format": _format_of(outcomes, made_by),
        "cell": cell.fields,
        "chunk": chunk,
        "outcomes": [_row(outcome) for outcome in outcomes],
        "made_by": dict(made_by),
    }
    path = path_of(folder, cell, chunk)
    write_file(path, (dump(content) + "\n").encode())
    return path


def make_folder(folder: Path) -> None:
    """Make the folder of the results, if it is not there.

    Raises:
        ResultError: it cannot be made.
    """
    try:
        check_home(folder)
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
    if folder.exists() and not is_folder(folder):
        raise ResultError(f"{folder}: is no folder; give the one that rain run --out named")
    if not is_folder(folder):
        raise ResultError(f"{folder}: no such folder; make results with: rain run GRID.toml --out {folder}")
    chunks: dict[Cell, list[Chunk]] = {}
    for path in chunk_files(folder):
        chunk = read_chunk(path)
        chunks.setdefault(chunk.cell, []).append(chunk)
    if not chunks:
        raise ResultError(f"{folder}: no results in it; make some with: rain run GRID.toml --out {folder}")
    ordered = sorted(chunks, key=lambda cell: tuple(map(str, cell.fields.values())))
    return [_joined(chunks[cell]) for cell in ordered]


def chunk_files(folder: Path, within: str = "") -> list[Path]:
    """List the files of finished chunks below a folder of results, sorted.

    Args:
        folder: of the results.
        within: the folder in it whose chunks they are; "" for its own.

    Raises:
        ResultError: a link leads out of the folder: what it names would be shown as if it belonged here.
    """
    # Other files may stand there, too, such as a report that is called by its day.
    paths = sorted(path for path in (folder / within).glob("*/[0-9]*.json") if path.stem.isdigit())
    folders = {path.parent for path in paths} | {folder / within}
    for place in (*sorted(folders), *paths):
        if place.is_symlink() and place != folder:
            check_inside(place, folder)
    return paths


def check_inside(path: Path, folder: Path) -> None:
    """Raise ``ResultError`` for a link that leads out of a folder of results."""
    if leaves(path, folder):
        raise ResultError(f"{path}: a link that leads out of {folder}: put a copy in its place")


class Chunk(NamedTuple):
    """What one file holds: some of a cell's images."""

    cell: Cell
    number: int
    outcomes: list[Outcome]
    made_by: dict[str, str]


def read_chunk(path: Path) -> Chunk:
    """Read a finished chunk. Whoever sends one may have written anything into it: all of it is checked.

    Raises:
        ResultError: it is not the file that its name says, or of a newer format.
    """
    advice = "delete it and run the grid again"
    content = read_content(path, "result file", advice)
    form = content.get("format", FORMAT)
    if type(form) is not int or form not in FORMATS:
        other = f"its format is {shown(form)}, and this version of rain reads up to {FORMATS[-1]}"
        raise ResultError(f"{path}: {other}: install the version that wrote it")
    fault = fault_of(content)
    if fault:
        raise ResultError(f"{path}: not a result file ({fault}); {advice}")
    cell, made_by = Cell(**content["cell"]), content["made_by"]
    if "format" not in content:  # rain 0.1 said the precision only where it was another one
        made_by.setdefault("precision", "32-true")
    chunk = Chunk(cell, content["chunk"], [_outcome(row) for row in content["outcomes"]], made_by)
    if chunk.number >= cell.chunks:
        raise ResultError(f"{path}: not a result file (a chunk that the cell does not have); {advice}")
    try:
        left_out = indices_in(made_by.get("left_out", ""))
    except ValueError as error:
        raise ResultError(f"{path}: not a result file (left_out: {error}); {advice}") from None
    indices = cell.indices(chunk.number)
    count = len(indices) - sum(index in indices for index in left_out)
    sound = (index for index in indices if index not in left_out)
    here = [outcome.index for outcome in chunk.outcomes]
    if len(here) != count or here != list(sound) or path != path_of(path.parent.parent, cell, chunk.number):
        raise ResultError(f"{path}: does not hold what its name says; {advice}")
    return chunk


def read_content(path: Path, kind: str, advice: str) -> dict[str, Any]:
    """Read the table that a result file is, whatever it holds.

    Args:
        path: of the file.
        kind: what errors call it.
        advice: how they end.

    Raises:
        ResultError: it is no table, or no regular file of a usual size.
    """
    try:
        return parse_json_table(read_foreign(path, FILE_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise ResultError(f"{path}: cannot be read: {error.strerror or error}; {advice}") from None
    except ValueError as error:
        raise ResultError(f"{path}: not a {kind} ({type(error).__name__}: {error}); {advice}") from None


def _joined(chunks: Sequence[Chunk]) -> Result:
    """Put the chunks of one cell together, in their order."""
    cell, ordered = chunks[0].cell, sorted(chunks, key=lambda chunk: chunk.number)
    return Result(
        cell=cell,
        outcomes=tuple(outcome for chunk in ordered for outcome in chunk.outcomes),
        complete=len(ordered) == cell.chunks,
        made_by=gathered(chunk.made_by for chunk in ordered),
    )


def _outcome(row: Mapping[str, Any]) -> Outcome:
    values: dict[str, Any] = dict(row)
    for name in ("clean", "robust", *SUSPICIONS):
        values[name] = tuple(values.get(name, ()))
    return Outcome(**values)


def _row(outcome: Outcome) -> dict[str, Any]:
    """An outcome as a file holds it; older versions read it, too, without what there is nothing to say of."""
    empty = {name for name in ("flat", *SUSPICIONS) if getattr(outcome, name) in (None, ())}
    return {name: value for name, value in vars(outcome).items() if name not in empty}


def _format_of(outcomes: Sequence[Outcome], made_by: Mapping[str, str]) -> int:
    if any(outcome.clean_suspicion for outcome in outcomes):
        return FORMAT_OF_GATED
    return FORMAT_OF_SOME if "left_out" in made_by else FORMAT
