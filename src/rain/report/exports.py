"""The report as files: rows as JSON, the page as HTML, and the galleries that the page shows.

Never imports torch.
"""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from rain.bench.alarms import Alarms, alarms, most_clean
from rain.bench.cells import Result
from rain.bench.certificates import load_both
from rain.bench.streams import Stream, levels, streams, streams_of_attacks
from rain.bench.worth import leads, worth
from rain.errors import ResultError
from rain.files import encode, to_path, write_named
from rain.report.page import html
from rain.report.pictures import Gallery

PICTURES = ("clean", "adversarial", "enhanced")
"""Arrays of pictures that every gallery has; ``randomized``, of RAIN, is one more."""

KINDS = {"perturbation": "f", "index": "iu", "says": "U", "truth": "U"}
"""The other arrays, with the kinds of numpy types that they may have."""


STREAM_SHARES = tuple(percent / 100 for percent in range(0, 101, 5))
"""Of adversarial images, at which a stream is written."""


def to_json(rows: Iterable[Mapping[str, Any]]) -> str:
    """Write the rows as JSON, one row a line."""
    lines = [json.dumps(dict(row), allow_nan=False) for row in rows]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def streams_to_json(results: Sequence[Result]) -> str:
    """Write mixed traffic as JSON, one stream a line.

    First those against the worst, on each image, of all attacks of an access, whose ``attack`` is null; then
    those against each attack alone, with the alarms where there is a gate.
    """
    rows = [_stream_row(stream, None) for stream in streams(results)]
    for result, stream in streams_of_attacks(results):
        counts = alarms(result, clean=most_clean(results, result))
        rows.append(_stream_row(stream, result, counts))
    return to_json(rows)


def _stream_row(stream: Stream, result: Result | None, counts: Alarms | None = None) -> dict[str, Any]:
    value = worth(stream)
    return {
        "dataset": stream.dataset,
        "classifier": stream.classifier,
        "size": stream.size,
        "defense": stream.defense,
        "norm": stream.norm,
        "eps": stream.eps,
        "access": stream.access,
        "attack": result.cell.attack if result else None,
        "eot": result.cell.eot if result else None,
        "images": stream.images,
        "complete": stream.complete,
        "pays": value._asdict() if value else None,
        "accuracy": levels(stream, STREAM_SHARES),
        "ahead": leads(stream, STREAM_SHARES),
        "alarms": _alarm_row(counts) if counts else None,
    }


def _alarm_row(counts: Alarms) -> dict[str, Any]:
    return {
        "images": counts.images,
        "clean_images": counts.clean_images,
        "share": counts.share,
        "stream": counts.stream,
        "true": counts.true,
        "false": counts.false,
        "misses": counts.misses,
        "precision": counts.precision,
    }


def write_html(folder: Path, path: Path) -> None:
    """Read the results below a folder, with the galleries beside them, and write the report.

    Raises:
        ResultError: no results, or a file that is not one of ours.
        RainError: the report's libraries are not installed.
    """
    results, certified = load_both(folder)
    write_output(path, encode(html(results, read_galleries(folder, results), certified)))


def write_output(path: Path, content: bytes) -> None:
    """Write a file that a person named; of a link, what it leads to.

    Raises:
        ResultError: with the system's reason.
    """
    try:
        write_named(to_path(path), content)
    except OSError as error:
        reason = error.strerror or error
        raise ResultError(f"{path}: cannot be written: {reason}; give another file") from error


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
    fault = _fault(arrays)
    if fault:
        raise ResultError(f"{path}: not a gallery ({fault}); delete it")
    return arrays


def _fault(arrays: Gallery) -> str:
    """Name the first array that is not as it should be; empty when all are."""
    missing = [name for name in (*PICTURES, *KINDS) if name not in arrays]
    if missing:
        return f"without {', '.join(missing)}"
    pictures = [*PICTURES, "randomized"] if "randomized" in arrays else PICTURES
    for name in (*pictures, *KINDS):
        array = arrays[name]
        right_type = array.dtype.kind in KINDS[name] if name in KINDS else array.dtype == np.uint8
        if array.shape != _shape(name, arrays) or not array.size or not right_type:
            return f"{name} has shape {array.shape} and type {array.dtype}"
    return "" if np.isfinite(arrays["perturbation"]).all() else "perturbation is not finite"


def _shape(name: str, arrays: Gallery) -> tuple[int, ...]:
    """The shape that an array of a gallery should have; pictures may be of any size."""
    count = arrays["index"].size
    if name in ("index", "truth"):
        return (count,)
    if name == "says":
        return count, 4
    return count, *arrays[name].shape[1:3], 3
