"""Certify the images of a dataset: what has no file yet, chunk by chunk."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from rain import specs
from rain.bench.assets import Assets, kept
from rain.bench.cells import Cell, Result, make_folder
from rain.bench.certificates import (
    SHELF,
    CertifiedCell,
    CertifiedImage,
    CertifiedResult,
    load_certified,
    path_of,
    pending,
    save,
)
from rain.bench.grid import Grid, clean_cell
from rain.bench.measure import Bench
from rain.bench.outcomes import Batch
from rain.bench.plan import CHANGED, settle, warn_of_damage, warn_of_other_sizes
from rain.bench.provenance import refused_fact
from rain.bench.sharing import shared_out
from rain.certificates import certify, check_certifiable, check_numbers, load_special
from rain.errors import CertificateError, OptionError, ResultError
from rain.hardened import Hardened
from rain.hardening import harden
from rain.runtime.forecast import Piece
from rain.runtime.memory import pick_device
from rain.runtime.precision import Sparing, autocast
from rain.runtime.progress import Tick
from rain.seeding import seed_for

PASSES = {"cpu": 32, "cuda": 1024}
"""Draws in one forward pass, by the kind of device. A GPU whose memory is full takes half as many."""

FEW = 60
"""The same on any other kind of device."""


@dataclass(frozen=True)
class Numbers:
    """How much is drawn, and how sure the certificates are; as for ``Hardened.certify``.

    Raises:
        OptionError: a number is out of range.
    """

    n0: int = 100
    n: int = 1000
    alpha: float = 0.001

    def __post_init__(self) -> None:
        check_numbers(self.n0, self.n, self.alpha)


@dataclass(frozen=True)
class CertifyingPlan:
    """Work that can be done.

    Args:
        assets: what the cells name.
        folder: of the results.
        cells: each with the clean cell that settles what it is of.
        work: the chunks that have no file yet, in the order of the work.
        batch: draws in one forward pass, at most.
    """

    assets: Assets
    folder: Path
    cells: dict[CertifiedCell, Cell]
    work: tuple[tuple[CertifiedCell, int], ...]
    batch: int


def clean_cells(grid: Grid) -> list[Cell]:
    """What a grid's cells are of, whatever the attack; of several numbers of images the largest."""
    largest: dict[tuple[object, ...], Cell] = {}
    for cell in grid.cells:
        place = (cell.dataset, cell.size, cell.classifier, cell.defense, cell.seed)
        before = largest.get(place, cell)
        largest[place] = clean_cell(
            cell.dataset,
            cell.classifier,
            cell.defense,
            size=cell.size,
            seed=cell.seed,
            examples=max(before.examples, cell.examples),
            chunk=before.chunk,
        )
    return list(largest.values())


def with_sigma(defense: str, sigma: float) -> str:
    """A spec of ``smooth``, or of a chain that begins with it, with another sigma.

    Raises:
        OptionError: it is neither.
    """
    name, options = specs.parse(defense)
    if name == "smooth":
        return specs.write(name, options | {"sigma": float(sigma)})
    first, *others = specs.apart(str(options.get("parts", "")))
    if name == "chain" and first:
        return specs.write(name, {"parts": "+".join([with_sigma(first, sigma), *others])})
    raise OptionError(f"sigma is an option of smooth, and {defense!r} does not begin with it")


def certifiable(assets: Assets, cells: Iterable[Cell]) -> tuple[list[Cell], dict[str, str]]:
    """Part the cells whose defence can be certified from the others.

    Returns: the cells, and why the other defences cannot be, by their specs.
    """
    sound: list[Cell] = []
    reasons: dict[str, str] = {}
    for cell in cells:
        try:
            check_certifiable(assets.hardened(cell.classifier, cell.defense).defense)
        except CertificateError as error:
            reasons[cell.defense] = str(error)
        else:
            sound.append(cell)
    return sound, reasons


def prepare(
    cells: Iterable[Cell],
    folder: Path,
    numbers: Numbers,
    *,
    device: str | torch.device | None = None,
    batch: int | None = None,
    precision: str = "32-true",
    skip_damaged: bool = False,
    default_size: int | None = None,
) -> tuple[CertifyingPlan, dict[str, str]]:
    """See that images can be certified, and what of it is left to do.

    Args:
        cells: of clean images (``clean_cell``).
        folder: of the results.
        numbers: of draws.
        device: where to compute; by default a GPU if there is one.
        batch: draws in one forward pass; by default as many as the device's memory takes.
        precision: of the passes, one of ``rain.specs.PRECISIONS``. What is certified is the network as it
            computes in it.
        skip_damaged: leave out images whose files are damaged.
        default_size: in pixels, before a classifier that does not say what it sees.

    Returns: the plan, and why some of the defences are left out, by their specs.

    Raises:
        CertificateError: no defence can be certified; says why.
        GridError, UnknownNameError, OptionError, DatasetError, WeightsError: as ``rain.bench.plan.settle``.
        ResultError: the folder cannot be made, or holds certificates of other images, weights or precision.
        RainError: scipy is not installed.
    """
    load_special()
    place = pick_device(device)
    assets = Assets(place, precision, skip_damaged=skip_damaged)
    sound, reasons = certifiable(assets, cells)
    if not sound:
        raise CertificateError("; ".join(f"{spec}: {reason}" for spec, reason in reasons.items()))
    settled = [settle(assets, cell, default_size) for cell in sound]
    warn_of_other_sizes(assets, settled)
    warn_of_damage(assets, settled)
    both = {_certified_cell(assets, cell, numbers): cell for cell in settled}
    make_folder(folder)
    _refuse_others(assets, folder, both)
    SHELF.take_over(folder, both, lambda cell: assets.made_by(both[cell]))
    work = tuple(pending(folder, both))
    return CertifyingPlan(assets, folder, both, work, batch or PASSES.get(place.type, FEW)), reasons


def _certified_cell(assets: Assets, cell: Cell, numbers: Numbers) -> CertifiedCell:
    noise = check_certifiable(assets.hardened(cell.classifier, cell.defense).defense)
    return CertifiedCell(
        dataset=cell.dataset,
        size=cell.size,
        classifier=cell.classifier,
        defense=cell.defense,
        sigma=noise.sigma,
        n0=numbers.n0,
        n=numbers.n,
        alpha=numbers.alpha,
        seed=cell.seed,
        examples=cell.examples,
        chunk=cell.chunk,
    )


def _refuse_others(assets: Assets, folder: Path, cells: dict[CertifiedCell, Cell]) -> None:
    """Raise ``ResultError`` if certificates were made with other images or weights than there are now."""
    now = {cell: assets.made_by(cell) for cell in cells.values()}
    for result in load_certified(folder):
        fact = refused_fact(_as_result(result), now)
        if (
            not fact
            and result.cell in cells
            and set(result.made_by.get("precision", ())) != {_precision(assets)}
        ):
            fact = "precision"
        if fact:
            why = CHANGED.get(fact, f"another {fact} than now")
            what = f"certificates ({result.cell.defense}) that were made with {why}"
            raise ResultError(f"{folder} holds {what}: choose a fresh folder")


def _precision(assets: Assets) -> str:
    """What the networks compute in."""
    return "bf16-mixed" if assets.fast else "32-true"


def _as_result(result: CertifiedResult) -> Result:
    """What made certificates, as results have it."""
    cell = result.cell
    clean = clean_cell(
        cell.dataset, cell.classifier, cell.defense, size=cell.size, seed=cell.seed, examples=cell.examples
    )
    return Result(clean, (), result.complete, result.made_by)


def run(plan: CertifyingPlan, progress: bool = False) -> list[CertifiedResult]:
    """Certify what has no file yet, and write a file for each finished chunk.

    Other processes may be at work on the same folder: each chunk is certified by one of them.

    Args:
        progress: show a progress bar with the time left.

    Returns: the plan's results.

    Raises:
        ImageError: an image is damaged.
        DatasetError: a label is not one of the classifier's.
        ClassifierError: an answer is no number.
        ResultError: a file cannot be written or read.
    """
    certifier, computed = _Certifier(plan), {"precision": _precision(plan.assets)}
    with shared_out(plan.folder, plan.work, path_of, _pieces(plan), progress) as share:
        for cell, chunk, tick in share:
            images = certifier.certify_chunk(cell, chunk, tick)
            save(plan.folder, cell, chunk, images, plan.assets.made_by(plan.cells[cell]) | computed)
    return [result for result in load_certified(plan.folder) if result.cell in plan.cells]


def _pieces(plan: CertifyingPlan) -> list[Piece]:
    """The work as the progress bar sees it: in images."""
    return [
        Piece(f"{cell.defense}, sigma {cell.sigma:g}", float(len(cell.indices(chunk))), (cell.key,), cell.key)
        for cell, chunk in plan.work
    ]


class _Certifier:
    """Certifies chunks. Its passes become smaller when the device's memory is full."""

    def __init__(self, plan: CertifyingPlan):
        self.plan, self.batch = plan, plan.batch
        self.bench = Bench(plan.assets)
        self._sparing: dict[str, Hardened] = {}

    def certify_chunk(self, cell: CertifiedCell, chunk: int, tick: Tick) -> list[CertifiedImage]:
        """Certify the images of one chunk, in the dataset's order."""
        clean = self.plan.cells[cell]
        images: list[CertifiedImage] = []
        for batch in self.bench.batches(clean, chunk):
            self.bench.check_classes(clean, batch.labels, self._classes(clean, batch))
            for row in range(len(batch.indices)):
                images.append(self._certify_image(cell, batch, row))
                tick(1.0)
        return sorted(images, key=lambda image: image.index)

    def _classes(self, clean: Cell, batch: Batch) -> int:
        model = self.plan.assets.hardened(clean.classifier, clean.defense)
        with torch.no_grad():
            return model.classify(batch.images[:1]).shape[1]

    def _model(self, cell: CertifiedCell) -> Hardened:
        """What is certified: in bfloat16 without the layers that are slower in it."""
        model = self.plan.assets.hardened(cell.classifier, cell.defense)
        if not self.plan.assets.fast:
            return model
        return kept(self._sparing, cell.key, lambda: harden(Sparing(model.classifier), model.defense))

    def _certify_image(self, cell: CertifiedCell, batch: Batch, row: int) -> CertifiedImage:
        """Certify one image; its draws depend on the seed, the dataset and its index only."""
        index, image = batch.indices[row], batch.images[row : row + 1]
        model = self._model(cell)
        seed = [seed_for(cell.seed, cell.dataset, index, "certificate")]
        while True:
            try:
                with autocast(image.device, self.plan.assets.fast):
                    proven = certify(model, image, cell.n0, cell.n, cell.alpha, seed, self.batch)
                break
            except torch.OutOfMemoryError:
                if self.batch == 1:
                    raise
                self.batch = max(1, self.batch // 2)
        return CertifiedImage(
            index=index,
            label=int(batch.labels[row]),
            answer=int(proven.labels[0]),
            radius=float(proven.radii[0]),
            guess=int(proven.guesses[0]),
            votes=int(proven.counts[0]),
        )
