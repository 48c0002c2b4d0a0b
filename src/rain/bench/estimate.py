"""What a large run needs, from what a small part of it was measured to need. Never imports torch.

All of it is linear in the images: ``benchmarks/grid.py`` shows that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rain.errors import OptionError, ResultError
from rain.files import read_foreign
from rain.tables import parse_json_table

BEAT = 5.0
"""Seconds between two signs of life of a lease, as ``rain.bench.leases`` has it."""


NEED_BYTES = 100_000
"""Of a file of what was measured, at most."""

CHUNKS = (25, 100, 400)
"""Sizes of chunks that are compared, unless others are asked for."""

WORKERS = (1, 8, 64)
"""Numbers of workers that are compared, unless others are asked for."""


@dataclass(frozen=True)
class Need:
    """What an image needs, as measured.

    Args:
        sizes: pairs of a number of images and of how many cells have so many.
        seconds: for all images of all cells.
        most_seconds: the same, where no image leaves an attack early.
        bundle_seconds: for an image, of the largest bundle: what one worker claims at a time.
        row_seconds: for an image of which all cells are measured.
        file_bytes: of a result file without images.
        image_bytes: that each image adds to it.
        weights_bytes: of the classifiers, and the defences, that each worker reads.
        device: that it was measured on.
        threads: of a CPU.
    """

    sizes: tuple[tuple[int, int], ...]
    seconds: float
    most_seconds: float
    bundle_seconds: float
    row_seconds: float
    file_bytes: float
    image_bytes: float
    weights_bytes: int
    device: str
    threads: int


@dataclass(frozen=True)
class Estimate:
    """What a run needs with some size of its chunks.

    Args:
        chunk: images in one.
        rows: chunk numbers: as many workers have all cells of a chunk for themselves.
        files: of results.
        result_bytes: that are written.
        bundle_seconds: that a worker who dies loses at most.
        row_seconds: that one worker needs for all cells of a chunk.
    """

    chunk: int
    rows: int
    files: int
    result_bytes: float
    bundle_seconds: float
    row_seconds: float


def read_need(path: Path) -> Need:
    """Read what ``rain plan --json`` wrote.

    Raises:
        ResultError: it is something else.
    """
    try:
        table = parse_json_table(read_foreign(path, NEED_BYTES).decode("utf-8"))
        sizes = tuple((int(images), int(cells)) for images, cells in table.pop("sizes"))
        return Need(sizes=sizes, **table)
    except OSError as error:
        raise ResultError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError) as error:
        what = "not what rain plan --json writes"
        raise ResultError(f"{path}: {what} ({type(error).__name__}: {error})") from None


def estimate(need: Need, chunk: int) -> Estimate:
    """Say what a run needs with chunks of so many images.

    Raises:
        OptionError: the chunk has no image.
    """
    if chunk < 1:
        raise OptionError(f"a chunk has at least one image, got {chunk}")
    files = sum(cells * -(-images // chunk) for images, cells in need.sizes)
    outcomes = sum(cells * images for images, cells in need.sizes)
    # No chunk has more images than there are.
    filled = min(chunk, max(images for images, _ in need.sizes))
    return Estimate(
        chunk=chunk,
        rows=max(-(-images // chunk) for images, _ in need.sizes),
        files=files,
        result_bytes=files * need.file_bytes + outcomes * need.image_bytes,
        bundle_seconds=filled * need.bundle_seconds,
        row_seconds=filled * need.row_seconds,
    )


def table(need: Need, chunks: Sequence[int] = CHUNKS, workers: Sequence[int] = WORKERS) -> str:
    """Write an estimate as Markdown.

    Args:
        need: what was measured.
        chunks: sizes of chunks to compare.
        workers: numbers of them to compare. However many there are, one of them has the largest bundle.
    """
    longest = estimate(need, min(chunks)).bundle_seconds
    where = need.device if need.device != "cpu" else f"a CPU with {_count(need.threads, 'thread')}"
    cells = sum(cells for _, cells in need.sizes)
    what = f"{cells} cells of up to {max(images for images, _ in need.sizes):,} images, on {where}"
    times = f"{_time(need.seconds)}; {_time(need.most_seconds)} where no image leaves an attack early"
    lines = [
        f"{what}: {times}.",
        "",
        "| workers | time |",
        "|---:|---:|",
        *(f"| {number} | {_time(max(need.seconds / number, longest))} |" for number in workers),
        "",
        "| chunk | chunk numbers | files | MB of results | a dead worker loses | all cells of a chunk |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for size in chunks:
        one = estimate(need, size)
        row = [
            f"{one.chunk}",
            f"{one.rows:,}",
            f"{one.files:,}",
            f"{one.result_bytes / 1e6:,.1f}",
            _time(one.bundle_seconds),
            _time(one.row_seconds),
        ]
        lines.append(f"| {' | '.join(row)} |")
    weights = f"each worker reads {need.weights_bytes / 1e6:,.0f} MB of weights once"
    images = "Each image is read once, by the worker who has its chunk"
    leases = f"Leases write {_count(round(need.seconds / BEAT), 'sign')} of life, of about 100 bytes each"
    lines += ["", f"Traffic: {weights}. {images}. {leases}."]
    return "\n".join(lines)


def _time(seconds: float) -> str:
    """Write a time in the unit in which people say it."""
    for name, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {name}"
    return f"{seconds:.0f} s"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
