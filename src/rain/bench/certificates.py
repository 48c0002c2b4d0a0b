"""Certificates on disk, and the numbers that come of them. Never imports torch.

What was certified stands beside what was attacked: ``DIR/certificates/<key>/<chunk>.json``. As a cell's, each
finished chunk is one file that nothing rewrites.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from rain.bench.beside import check_format, fault_of_indices
from rain.bench.cells import (
    Chunked,
    Result,
    chunk_files,
    dump,
    gathered,
    load,
    read_content,
    write_file,
)
from rain.bench.schema import fault_of_certificates
from rain.errors import ResultError

FOLDER = "certificates"
"""Within the folder of the results."""

FORMAT = 1
"""Of the files: raised when an older version of the package could not read what a newer one writes."""

ABSTAINED = -1
"""The answer to an image whose draws do not agree well enough."""


@dataclass(frozen=True)
class CertifiedCell(Chunked):
    """One column of certificates.

    Args:
        dataset, classifier, defense: canonical specs.
        size: images enter as squares of this many pixels; None leaves each at its own size.
        sigma: of the noise, in the unit of the images.
        n0: draws by which the class is chosen.
        n: draws by which it is certified.
        alpha: the chance, at most, that the certificate of an image is wrong.
        seed: of all randomness.
        examples: images, the first ones of the dataset.
        chunk: images in a chunk.
    """

    dataset: str
    size: int | None
    classifier: str
    defense: str
    sigma: float
    n0: int
    n: int
    alpha: float
    seed: int
    examples: int
    chunk: int


@dataclass(frozen=True)
class CertifiedImage:
    """What can be proven of one image. Raw: averages are computed later, never stored.

    Args:
        index: of the image in the dataset.
        label: the right answer.
        answer: the majority's; -1 where the draws do not agree well enough (abstained).
        radius: in l2, within which no attack can change the answer; 0 where abstained.
        guess: the class that the first n0 draws chose.
        votes: how many of the n draws gave it.
    """

    index: int
    label: int
    answer: int
    radius: float
    guess: int
    votes: int

    @property
    def is_right(self) -> bool:
        """Whether the majority's answer is proven, and right."""
        return self.answer == self.label


@dataclass(frozen=True)
class CertifiedResult:
    """All finished chunks of one cell.

    Args:
        images: sorted by index.
        complete: whether every chunk is there.
        made_by: what reproduces the numbers, as in ``rain.bench.cells.Result``.
    """

    cell: CertifiedCell
    images: tuple[CertifiedImage, ...]
    complete: bool
    made_by: Mapping[str, tuple[str, ...]]

    @property
    def key(self) -> str:
        """Of the cell, which names its folder."""
        return self.cell.key


def path_of(folder: Path, cell: CertifiedCell, chunk: int) -> Path:
    """Where a finished chunk lies."""
    return folder / FOLDER / cell.key / f"{chunk:05d}.json"


def pending(folder: Path, cells: Iterable[CertifiedCell]) -> list[tuple[CertifiedCell, int]]:
    """The chunks that have no file yet; all cells of a chunk before the next one."""
    work = []
    for cell in cells:
        chunks = range(cell.chunks)
        work += [(cell, chunk) for chunk in chunks if not path_of(folder, cell, chunk).is_file()]
    return sorted(work, key=lambda item: item[1])


def save(
    folder: Path,
    cell: CertifiedCell,
    chunk: int,
    images: Iterable[CertifiedImage],
    made_by: Mapping[str, str],
) -> None:
    """Write a finished chunk, atomically.

    Raises:
        ResultError: the disk is full or the folder cannot be written.
    """
    content = {
        "format": FORMAT,
        "certified": asdict(cell),
        "chunk": chunk,
        "images": [asdict(image) for image in images],
        "made_by": dict(made_by),
    }
    write_file(path_of(folder, cell, chunk), (dump(content) + "\n").encode())


def load_certified(folder: Path) -> list[CertifiedResult]:
    """Read all certificates below a folder of results, sorted by what they are about; none if there are none.

    Raises:
        ResultError: a file is not a chunk of the cell that its folder names.
    """
    chunks: dict[CertifiedCell, list[_Chunk]] = {}
    for path in chunk_files(folder, FOLDER):
        chunk = _read(folder, path)
        chunks.setdefault(chunk.cell, []).append(chunk)
    results = [_joined(cell, same) for cell, same in chunks.items()]
    return sorted(results, key=lambda result: tuple(map(str, asdict(result.cell).values())))


def load_both(folder: Path) -> tuple[list[Result], list[CertifiedResult]]:
    """Read the results below a folder, and the certificates; one of the two may be missing.

    Raises:
        ResultError: both are; or a file is none of ours.
    """
    certified = load_certified(folder)
    if certified and not any(folder.glob("*/[0-9]*.json")):
        return [], certified
    return load(folder), certified


def certified_accuracy(images: Sequence[CertifiedImage], radius: float) -> float:
    """The share of images whose answer is right, and proven to stay so within an l2 radius."""
    return fmean(image.is_right and image.radius >= radius for image in images)


def average_radius(images: Sequence[CertifiedImage]) -> float:
    """The mean radius over all images, 0 for those whose answer is not right.

    Source: Zhai et al., MACER (arXiv 2001.02378): the average certified radius.
    """
    return fmean(image.radius if image.is_right else 0.0 for image in images)


def abstained_share(images: Sequence[CertifiedImage]) -> float:
    """The share of images whose draws do not agree well enough."""
    return fmean(image.answer == ABSTAINED for image in images)


@dataclass(frozen=True)
class _Chunk:
    """What one file holds."""

    cell: CertifiedCell
    number: int
    images: tuple[CertifiedImage, ...]
    made_by: dict[str, str]


def _read(folder: Path, path: Path) -> _Chunk:
    """Read a finished chunk. Whoever sends one may have written anything into it: all of it is checked."""
    advice = "delete it and certify again"
    content = read_content(path, "file of certificates", advice)
    check_format(path, content, FORMAT)
    fault = fault_of_certificates(content)
    if not fault:
        images = tuple(CertifiedImage(**row) for row in content["images"])
        chunk = _Chunk(CertifiedCell(**content["certified"]), content["chunk"], images, content["made_by"])
        fault = _fault(chunk)
    if fault:
        raise ResultError(f"{path}: not a file of certificates ({fault}); {advice}")
    if path != path_of(folder, chunk.cell, chunk.number):
        raise ResultError(f"{path}: does not hold what its name says; {advice}")
    return chunk


def _fault(chunk: _Chunk) -> str:
    """Name the first thing in a chunk that is not as it should be; empty when all is."""
    cell = chunk.cell
    if not 0 < cell.alpha < 1:
        return f"alpha {cell.alpha!r}"
    indices = [image.index for image in chunk.images]
    fault = fault_of_indices(cell, chunk.number, indices, chunk.made_by, "cell")
    if fault:
        return fault
    return next(filter(None, (_fault_of_image(image, cell) for image in chunk.images)), "")


def _fault_of_image(image: CertifiedImage, cell: CertifiedCell) -> str:
    if not 0 <= image.votes <= cell.n or image.answer not in (ABSTAINED, image.guess):
        return f"image {image.index}: votes or answer that cannot be"
    if image.answer == ABSTAINED and image.radius:
        return f"image {image.index}: a radius where it abstains"
    return ""


def _joined(cell: CertifiedCell, chunks: Sequence[_Chunk]) -> CertifiedResult:
    """Put the chunks of one cell together, in their order."""
    ordered = sorted(chunks, key=lambda chunk: chunk.number)
    return CertifiedResult(
        cell=cell,
        images=tuple(image for chunk in ordered for image in chunk.images),
        complete=len(ordered) == cell.chunks,
        made_by=gathered(chunk.made_by for chunk in ordered),
    )
