"""Certificates on disk, and the numbers that come of them. Never imports torch.

What was certified stands beside what was attacked: ``DIR/certificates/<key>/<chunk>.json``. As a cell's, each
finished chunk is one file that nothing rewrites.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, fmean

from rain.bench.beside import Chunk, Indexed, Shelf
from rain.bench.cells import Chunked, Result, gathered
from rain.bench.schema import fault_of_certificates
from rain.bench.taking_over import load_each_once, of_most_images

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
class CertifiedImage(Indexed):
    """What can be proven of one image. Raw: averages are computed later, never stored.

    Args:
        index: of the image in the dataset.
        label: the right answer.
        answer: the majority's; -1 where the draws do not agree well enough (abstained).
        radius: in l2, within which no attack can change the answer; 0 where abstained.
        guess: the class that the first n0 draws chose.
        votes: how many of the n draws gave it.
    """

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


def _fault_of_image(image: CertifiedImage, cell: CertifiedCell) -> str:
    if not 0 < cell.alpha < 1:
        return f"alpha {cell.alpha!r}"
    if not 0 <= image.votes <= cell.n or image.answer not in (ABSTAINED, image.guess):
        return f"image {image.index}: votes or answer that cannot be"
    if image.answer == ABSTAINED and image.radius:
        return f"image {image.index}: a radius where it abstains"
    if image.answer != ABSTAINED and image.radius > _farthest(image.votes, cell):
        return f"image {image.index}: a radius that its votes do not prove"
    return ""


def _farthest(votes: int, cell: CertifiedCell) -> float:
    """A radius that no certificate of so many votes exceeds; below 0 where they prove no answer."""
    # The exact bound of the share needs scipy. It is below the share that was seen, and for all votes this.
    share = cell.alpha ** (1 / cell.n) if votes == cell.n else votes / cell.n
    return cell.sigma * NormalDist().inv_cdf(share) if share > 0.5 else -1.0


SHELF = Shelf(
    folder=FOLDER,
    format=FORMAT,
    cell=CertifiedCell,
    image=CertifiedImage,
    word="certified",
    noun="file of certificates",
    advice="delete it and certify again",
    fault_of_content=fault_of_certificates,
    fault_of_image=_fault_of_image,
)
"""Where they stand. Whoever sends files may have written anything into them: all of it is checked."""

path_of, save = SHELF.path_of, SHELF.save


def pending(folder: Path, cells: Iterable[CertifiedCell]) -> list[tuple[CertifiedCell, int]]:
    """The chunks that have no file yet; all cells of a chunk before the next one."""
    return sorted(SHELF.pending(folder, cells), key=lambda item: item[1])


def load_certified(folder: Path) -> list[CertifiedResult]:
    """Read the certificates below a folder of results, sorted by what they are about; none if there are none.

    As everywhere in a report, of what differs in its number of images only there is the one with most
    finished images (``rain.bench.taking_over``).

    Raises:
        ResultError: a file is not a chunk of the cell that its folder names.
    """
    results = [_joined(cell, chunks) for cell, chunks in SHELF.load(folder).items()]
    return [result for result, _ in of_most_images(results, lambda result: result.images)]


def load_both(folder: Path) -> tuple[list[Result], list[CertifiedResult]]:
    """Read what a report shows of a folder: results, and certificates; one of the two may be missing.

    Raises:
        ResultError: both are; or a file is none of ours.
    """
    certified = load_certified(folder)
    if certified and not any(folder.glob("*/[0-9]*.json")):
        return [], certified
    return load_each_once(folder), certified


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


def _joined(cell: CertifiedCell, chunks: Sequence[Chunk[CertifiedCell, CertifiedImage]]) -> CertifiedResult:
    """Put the chunks of one cell together."""
    return CertifiedResult(
        cell=cell,
        images=tuple(image for chunk in chunks for image in chunk.images),
        complete=len(chunks) == cell.chunks,
        made_by=gathered(chunk.made_by for chunk in chunks),
    )
