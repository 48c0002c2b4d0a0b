"""The report as files: rows as JSON, the page as HTML, and the galleries that the page shows.

Never imports torch.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from rain.bench.alarms import Alarms, alarms, most_clean
from rain.bench.cells import Result, check_inside
from rain.bench.certificates import CertifiedResult, load_both
from rain.bench.planned import never_begun
from rain.bench.proofs import load as load_proofs
from rain.bench.schema import GALLERY, GALLERY_BYTES
from rain.bench.streams import Stream, levels, streams, streams_of_attacks
from rain.bench.worth import leads, worth
from rain.errors import ResultError
from rain.files import encode, read_foreign, to_path, try_to_write, write_named
from rain.report.page import html
from rain.report.pictures import Gallery

PICTURES = ("clean", "adversarial", "enhanced")
"""Arrays of pictures that every gallery has; ``randomized``, of RAIN, is one more."""

KINDS = {"perturbation": "f", "index": "iu", "says": "U", "truth": "U"}
"""The other arrays, with the kinds of numpy types that they may have."""


MEMBERS = 20
"""Arrays of a gallery, at most."""

GALLERIES_BYTES = 2**30
"""Of all galleries of a report together, unpacked, at most."""

SIDE = 4096
"""Of a picture in a gallery, in pixels, at most."""

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
    """Read the results below a folder, and write the report.

    Raises:
        ResultError: no results, or a file that is not one of ours.
        RainError: the report's libraries are not installed.
    """
    write_output(path, encode(page(folder, *load_both(folder))))


def page(folder: Path, results: Sequence[Result], certified: Sequence[CertifiedResult]) -> str:
    """Make the report of what was read from a folder, with the galleries and proofs that stand there.

    Raises:
        ResultError: one of those is not ours.
        RainError: the report's libraries are not installed.
    """
    missing = never_begun(folder, results)
    return html(results, read_galleries(folder, results), certified, load_proofs(folder), missing)


def check_output(path: Path) -> None:
    """See, before long work, that ``write_output`` will be able to write.

    Raises:
        ResultError: with the system's reason.
    """
    with _telling(path):
        try_to_write(to_path(path))


def write_output(path: Path, content: bytes) -> None:
    """Write a file that a person named; of a link, what it leads to.

    Raises:
        ResultError: with the system's reason.
    """
    with _telling(path):
        write_named(to_path(path), content)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ResultError(f"{path}: cannot be written: {reason}; give another file") from error


def read_galleries(folder: Path, results: Iterable[Result]) -> dict[str, Gallery]:
    """Read ``gallery.npz`` of the cells that have one, by the key of the cell; nothing is unpickled.

    Raises:
        ResultError: a file is not a gallery.
    """
    galleries: dict[str, Gallery] = {}
    left = GALLERIES_BYTES
    for key in dict.fromkeys(result.cell.key for result in results):
        path = folder / key / GALLERY
        if not path.exists():
            continue
        check_inside(path, folder)
        galleries[key] = _read_gallery(path, min(left, GALLERY_BYTES))
        left -= sum(array.nbytes for array in galleries[key].values())
    return galleries


def _read_gallery(path: Path, most: int) -> Gallery:
    """Read a gallery of at most so many bytes of arrays."""
    try:
        content = read_foreign(path, GALLERY_BYTES)
        with ZipFile(BytesIO(content)) as archive:
            inflated = sum(member.file_size for member in archive.infolist())
            if len(archive.infolist()) > MEMBERS:
                raise ValueError(f"{len(archive.infolist())} arrays")
            if inflated > most:
                raise ValueError(f"{inflated:,} bytes when it is unpacked, more than {most:,}")
            # What a member inflates to is never more than it says.
            arrays = {
                member.filename.removesuffix(".npy"): _array(archive.read(member))
                for member in archive.infolist()
            }
    except Exception as error:  # a damaged archive makes zipfile, zlib and NumPy raise what they stumble over
        raise ResultError(f"{path}: not a gallery ({type(error).__name__}: {error}); delete it") from None
    fault = _fault(arrays)
    if fault:
        raise ResultError(f"{path}: not a gallery ({fault}); delete it")
    return arrays


def _array(content: bytes) -> NDArray[Any]:
    """Read an .npy file. Its header must not ask for more memory than it has bytes.

    Raises:
        ValueError: it is none.
    """
    file = BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"version {version} of NumPy's format")
    shape, by_columns, kind = np.lib.format.read_array_header_1_0(file)
    if kind.hasobject:
        raise ValueError("an array of objects, which would be unpickled")
    values = np.frombuffer(content, kind, math.prod(shape), file.tell())
    return values.reshape(shape[::-1]).T if by_columns else values.reshape(shape)


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
    side = max(max(arrays[name].shape[1:3]) for name in pictures)
    if side > SIDE:
        return f"pictures of {side} pixels, more than {SIDE}"
    return "" if np.isfinite(arrays["perturbation"]).all() else "perturbation is not finite"


def _shape(name: str, arrays: Gallery) -> tuple[int, ...]:
    """The shape that an array of a gallery should have; pictures may be of any size."""
    count = arrays["index"].size
    if name in ("index", "truth"):
        return (count,)
    if name == "says":
        return count, 4
    return count, *arrays[name].shape[1:3], 3
