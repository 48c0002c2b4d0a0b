"""The report as files: rows as JSON, the page as HTML, and the galleries that the page shows.

Never imports torch.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from rain.bench.cells import Result, load, write_file
from rain.errors import ResultError
from rain.files import encode
from rain.report.page import html
from rain.report.pictures import Gallery

PICTURES = ("clean", "adversarial", "enhanced")
"""Arrays of pictures that every gallery has; ``randomized``, of RAIN, is one more."""

KINDS = {"perturbation": "f", "index": "iu", "says": "U", "truth": "U"}
"""The other arrays, with the kinds of numpy types that they may have."""


def to_json(rows: Iterable[Mapping[str, Any]]) -> str:
    """Write the rows as JSON, one row a line."""
    lines = [json.dumps(dict(row), allow_nan=False) for row in rows]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def write_html(folder: Path, path: Path) -> None:
    """Read the results below a folder, with the galleries beside them, and write the report.

    Raises:
        ResultError: no results, or a file that is not one of ours.
        RainError: the report's libraries are not installed.
    """
    results = load(folder)
    write_file(path, encode(html(results, read_galleries(folder, results))))


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
