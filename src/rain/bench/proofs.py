"""Proofs of attacks on disk: whether an attack finds what is planted for it. Never imports torch.

The binarization test (``rain.bench.binarization``) plants adversarial points within the budget, and counts
how many an attack finds. What it says stands beside the results: ``DIR/proofs/<key>/<chunk>.json``. As a
cell's, each finished chunk is one file that nothing rewrites.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rain.bench.beside import Chunk, Indexed, Shelf
from rain.bench.cells import Cell, Chunked, Result, gathered
from rain.bench.schema import fault_of_proof

FOLDER = "proofs"
"""Within the folder of the results."""

FORMAT = 1
"""Of the files: raised when an older version of the package could not read what a newer one writes."""

LEAST_SHARE = 0.95
"""An attack that finds less of what is planted is not fit to call a defence robust.

Source: Zimmermann et al. (arXiv 2206.13991).
"""

LEAST_FIT = 14
"""Images on which a test must have been made, before a claim may rest on it.

An attack that finds four of five finds all of 14 by luck in 4 % of cases, and all of 5 in 33 %.
"""


@dataclass(frozen=True)
class ProofCell(Chunked):
    """One test of one attack on one defence.

    Args:
        dataset, classifier, defense, attack: canonical specs.
        size: images enter as squares of this many pixels; None leaves each at its own size.
        norm, eps, access, eot: of the attack, as in ``rain.bench.cells.Cell``.
        inside: points around each image that must stay in its class.
        planted: points at the edge of the budget, at least one of which must be found.
        draws: of a random defence, over which its answer to each point is averaged; 1 of any other.
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
    inside: int
    planted: int
    draws: int
    seed: int
    examples: int
    chunk: int


@dataclass(frozen=True)
class ProvenImage(Indexed):
    """What one image says of the attack. Raw: shares are computed later, never stored.

    Args:
        index: of the image in the dataset.
        fit: whether the planted points can be told from those inside: only then there is something to find.
        found: whether the attack came to an image that is answered as the planted points are.
        random_found: whether one of as many random points of the budget as there are inside is.
    """

    fit: bool
    found: bool
    random_found: bool


@dataclass(frozen=True)
class Proof:
    """What a test says of an attack on a defence, over all its finished chunks.

    Args:
        classifier, defense, attack, norm, eps, access, eot: what was tested, as in a result's cell.
        images: on which the test could be made; the shares are of these.
        found: share of them, 0 to 1, where the attack found what was planted. 0 without an image.
        random_found: share of them where random points did.
        unfit: images on which it could not be made, since no readout told the planted points apart.
        dataset, size, seed: of the images.
        complete: whether every chunk is there.
        made_by: what reproduces the numbers, as in ``rain.bench.cells.Result``.
        key: of the test, which names its folder.
    """

    classifier: str
    defense: str
    attack: str
    norm: str
    eps: float
    access: str
    eot: int
    images: int
    found: float
    random_found: float
    unfit: int
    dataset: str
    size: int | None
    seed: int
    complete: bool
    made_by: Mapping[str, tuple[str, ...]]
    key: str = ""

    @property
    def passed(self) -> bool:
        """Whether the attack is fit to call this defence robust."""
        return self.images > 0 and self.found >= LEAST_SHARE


def _fault_of_image(image: ProvenImage, _: ProofCell) -> str:
    if not image.fit and (image.found or image.random_found):
        return f"image {image.index}: something was found where nothing could be planted"
    return ""


SHELF = Shelf(
    folder=FOLDER,
    format=FORMAT,
    cell=ProofCell,
    image=ProvenImage,
    word="proof",
    noun="file of a proof",
    advice="delete it and run rain prove again",
    fault_of_content=fault_of_proof,
    fault_of_image=_fault_of_image,
)
"""Where they stand. Whoever sends files may have written anything into them: all of it is checked."""

path_of, pending, save = SHELF.path_of, SHELF.pending, SHELF.save


def load(folder: Path) -> list[Proof]:
    """Read all proofs below a folder of results, sorted by what they are about; none if there are none.

    Raises:
        ResultError: a file is not a chunk of the proof that its folder names.
    """
    return [_joined(cell, chunks) for cell, chunks in SHELF.load(folder).items()]


def as_result(proof: Proof) -> Result:
    """What made a proof, as results have it: it is held against them.

    Without the images that are left out, which are those of more images than a proof takes.
    """
    about: dict[str, Any] = {field.name: getattr(proof, field.name, 1) for field in fields(Cell)}
    made_by = {name: values for name, values in proof.made_by.items() if name != "left_out"}
    return Result(Cell(**about), (), proof.complete, made_by)


def _joined(cell: ProofCell, chunks: Sequence[Chunk[ProofCell, ProvenImage]]) -> Proof:
    """Put the chunks of one test together."""
    images = [image for chunk in chunks for image in chunk.images]
    fit = [image for image in images if image.fit]
    return Proof(
        classifier=cell.classifier,
        defense=cell.defense,
        attack=cell.attack,
        norm=cell.norm,
        eps=cell.eps,
        access=cell.access,
        eot=cell.eot,
        images=len(fit),
        found=_share(sum(image.found for image in fit), len(fit)),
        random_found=_share(sum(image.random_found for image in fit), len(fit)),
        unfit=len(images) - len(fit),
        dataset=cell.dataset,
        size=cell.size,
        seed=cell.seed,
        complete=len(chunks) == cell.chunks,
        made_by=gathered(chunk.made_by for chunk in chunks),
        key=cell.key,
    )


def _share(count: int, total: int) -> float:
    return count / total if total else 0.0
