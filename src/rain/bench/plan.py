"""What a run is about to do: every thing that it names is built, and checked, before hours of work."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rain.bench.access import check_gate, crafted_by, try_options
from rain.bench.assets import Assets
from rain.bench.cells import OWN_SIZE, Cell, load, make_folder, pending
from rain.bench.grid import Grid, read
from rain.bench.kept import Space, check_form, finished_without, space_for
from rain.bench.provenance import refused_fact
from rain.bench.taking_over import take_over
from rain.detector import Detector
from rain.errors import DatasetError, GateError, GridError, OptionError, RainError, ResultError
from rain.images import enter
from rain.networks import own_size
from rain.own_code import ENDINGS
from rain.promises import check_promises
from rain.runtime.memory import Batches, pick_device

CHANGED = {
    "data digest": "other images than there are now (one that was mended, added or taken away counts)",
    "left out": "other damaged images left out than now",
}
"""What a refusal calls some facts."""

PICTURED = ("transfer", "adaptive")
"""The accesses of which pictures are kept: an attack that a defence may undo, and one made against it."""


@dataclass(frozen=True)
class Plan:
    """A run that can be done.

    Args:
        assets: what the cells name.
        folder: of the results.
        cells: all of the grid, settled.
        work: the chunks that have no file yet, in the order of the work.
        pictures: kept of the first chunk of each transferred and adaptive cell at its largest budget.
        keeps: in which form all attacked images are kept (``rain.bench.kept_lists.FORMS``); "" keeps none.
        taken: chunks that were taken over from cells of another number of images.
    """

    assets: Assets
    folder: Path
    cells: tuple[Cell, ...]
    work: tuple[tuple[Cell, int], ...]
    pictures: int
    keeps: str = ""
    taken: int = 0


def prepare(
    grid: Grid | str | Path,
    folder: str | Path,
    *,
    device: str | torch.device | None = None,
    precision: str = "32-true",
    attack_batch: int | None = None,
    eot_batch: int | None = None,
    skip_damaged: bool = False,
    keep_images: str = "",
) -> Plan:
    """See that a grid can be measured into a folder, and what of it is left to do.

    Args and Raises: as ``rain.bench.runners.run``.
    """
    grid = grid if isinstance(grid, Grid) else read(grid)
    folder, place = Path(folder), pick_device(device)
    check_form(keep_images)
    assets = Assets(place, precision, Batches.fitting(place, attack_batch, eot_batch), skip_damaged)
    settled = [settle(assets, cell, grid.default_size) for cell in grid.cells]
    cells = tuple(dict.fromkeys(settled))
    warn_of_other_sizes(assets, cells)
    warn_of_damage(assets, cells)
    check_defenses(assets, cells)
    make_folder(folder)
    refuse_others(assets, folder, cells)
    pictured = largest_budgets(cells) if grid.gallery else frozenset[Cell]()
    taken = take_over(folder, cells, assets.made_by, pictured=pictured, clean_only=bool(keep_images))
    # All cells of a chunk before the next chunk: neighbours share images, clean answers and transferred
    # attacks, and a run that is stopped early leaves a whole table, if a coarse one.
    work = sorted(pending(folder, cells), key=lambda item: item[1])
    if keep_images:
        warn_of_images_not_kept(assets, folder, cells)
    return Plan(assets, folder, cells, tuple(work), grid.gallery, keep_images, taken)


def warn_of_images_not_kept(assets: Assets, folder: Path, cells: Iterable[Cell]) -> None:
    """Warn of finished chunks whose attacked images were not kept, and of cells whose images never are."""
    attacked = [cell for cell in cells if cell.attack != "none"]
    pairs = [(cell, source_of(assets, cell)) for cell in attacked]
    count = finished_without(folder, [pair for pair in pairs if pair[1].access != "known"])
    if count:
        what = f"{count} chunks in {folder} were finished before without keeping their attacked images"
        warnings.warn(f"{what}: only those that are made now are kept", stacklevel=4)
    if any(source.access == "known" for _, source in pairs):
        warnings.warn("images of access known are made for each draw, and not kept", stacklevel=4)


def source_of(assets: Assets, cell: Cell) -> Cell:
    """The cell whose attacker makes the images of an attacked one (``crafted_by``)."""
    return crafted_by(cell, random=assets.hardened(cell.classifier, cell.defense).defense.random)


def space_of(plan: Plan) -> Space:
    """Estimate what the images that a run keeps will take; where they differ in size the first one counts."""
    pixels: dict[tuple[str, int | None], int] = {}
    pieces = []
    for cell, chunk in plan.work:
        if cell.attack == "none":
            continue
        place = cell.dataset, cell.size
        if place not in pixels:
            first = plan.assets.first(cell.dataset, cell.examples)
            image, _ = plan.assets.picture(cell.dataset, first)
            pixels[place] = cell.size**2 if cell.size else image[0].numel()
        pieces.append((source_of(plan.assets, cell), chunk, pixels[place]))
    return space_for(plan.folder, plan.keeps, pieces)


def settle(assets: Assets, cell: Cell, default_size: int | None = None) -> Cell:
    """Build everything that a cell names, so that a mistake shows before hours of work.

    Args:
        default_size: where the cell leaves its size to a classifier that does not say what it sees.

    Returns: the cell, at the classifier's own size if it leaves that open, and with a single draw where the
        defence has no randomness to draw.

    Raises:
        GridError: the dataset has fewer images than the cell asks for.
        UnknownNameError, OptionError, DatasetError, WeightsError: as the loaders do.
    """
    defense = assets.hardened(cell.classifier, cell.defense).defense
    settle_gate(assets, cell)
    if cell.attack != "none":
        try_options(cell)
    check_examples(assets, cell)
    if cell.size == OWN_SIZE:
        cell = replace(cell, size=own_size(assets.classifier(cell.classifier)) or default_size)
    if isinstance(defense, Detector) and cell.size:
        defense.check_size(cell.size, cell.size)
    return cell if defense.random else replace(cell, draws=1, eot=1)


def without_uncalibrated(grid: Grid) -> Grid:
    """Leave out the cells whose gate is not calibrated for their classifier; warn of each such gate once."""
    assets = Assets(torch.device("cpu"))
    sound: list[Cell] = []
    for cell in grid.cells:
        try:
            settle_gate(assets, cell)
        except GateError as error:
            warnings.warn(f"{cell.defense} before {cell.classifier} is left out: {error}", stacklevel=2)
        else:
            sound.append(cell)
    return replace(grid, cells=tuple(sound))


def settle_gate(assets: Assets, cell: Cell) -> None:
    """Raise ``GateError`` for a gate without calibration, ``OptionError`` for an attack on no gate."""
    defense = assets.hardened(cell.classifier, cell.defense).defense
    if isinstance(defense, Detector):
        if cell.access == "known":
            what = f'access "known" is not for {cell.defense!r}, which answers by a score as well'
            raise OptionError(f'{what}: take "static" and "adaptive"')
        defense.check_calibrated()
    check_gate(cell, defense.gates if isinstance(defense, Detector) else ())


def check_examples(assets: Assets, cell: Cell) -> None:
    """Raise ``DatasetError`` if a cell's dataset cannot be opened, ``GridError`` if it has too few images."""
    try:
        count = len(assets.dataset(cell.dataset))
    except DatasetError as error:
        kind, path, _ = cell.dataset.partition(":")
        advice = (
            f". If the images lie elsewhere, say where: rain run ... --dataset {kind}:PATH" if path else ""
        )
        raise DatasetError(f"{error}{advice}") from None
    if count < cell.examples:
        raise GridError(
            f"{cell.dataset} has {count} images, the grid asks for {cell.examples}: set examples = {count}"
        )


def warn_of_other_sizes(assets: Assets, cells: Iterable[Cell]) -> None:
    """Warn, once for each, of a classifier that is given images of another size than it sees."""
    for spec, size in dict.fromkeys((cell.classifier, cell.size) for cell in cells):
        own = own_size(assets.classifier(spec))
        if own and size and own != size:
            what = f"images enter at {size} pixels, and {spec} sees {own}"
            why = "it resizes them behind the defence"
            warnings.warn(f"{what}: {why}; leave size out for {own}", stacklevel=4)


def warn_of_damage(assets: Assets, cells: Iterable[Cell]) -> None:
    """Warn, once for each dataset, of the damaged images that are left out.

    Raises:
        DatasetError: no image is left.
    """
    most: dict[str, int] = {}
    for cell in cells:
        most[cell.dataset] = max(cell.examples, most.get(cell.dataset, 0))
    for spec, examples in most.items():
        damaged = assets.damaged(spec, examples)
        if not damaged:
            continue
        reasons = "; ".join(list(damaged.values())[:3])
        what = f"{len(damaged)} of {examples} images of {spec} are damaged"
        if len(damaged) == examples:
            raise DatasetError(f"{what}, and none is left: {reasons}")
        more = "; ..." if len(damaged) > 3 else ""
        warnings.warn(f"{what} and left out: {reasons}{more}", stacklevel=4)


def check_defenses(assets: Assets, cells: Iterable[Cell]) -> None:
    """Raise ``OptionError`` if an attacked defence is not what it says of itself, on the first image."""
    attacked = [cell for cell in cells if cell.attack != "none"]
    once = {(cell.classifier, cell.defense, cell.dataset, cell.size): cell for cell in attacked}
    for cell in once.values():
        image, _ = assets.picture(cell.dataset, assets.first(cell.dataset, cell.examples))
        images = enter(image, cell.size)[None].to(assets.device)
        try:
            check_promises(assets.hardened(cell.classifier, cell.defense).defense, images)
        except RainError:
            raise
        except ENDINGS:
            continue  # one that cannot defend at all: the run leaves out its cells, and says why


def refuse_others(assets: Assets, folder: Path, cells: Iterable[Cell]) -> None:
    """Raise ``ResultError`` if finished chunks were made with other images or weights than there are now."""
    if not any(folder.glob("*/[0-9]*.json")):
        return
    now = {cell: assets.made_by(cell) for cell in cells}
    for result in load(folder):
        fact = refused_fact(result, now)
        if fact:
            attack = "clean images" if result.cell.attack == "none" else result.cell.attack
            what = f"results (defense {result.cell.defense}, {attack})"
            why = f"that were made with {CHANGED.get(fact, f'another {fact} than now')}"
            raise ResultError(f"{folder} holds {what} {why}: choose a fresh folder")


def largest_budgets(cells: Iterable[Cell]) -> set[Cell]:
    """The cells worth a picture: attacks on a defence, transferred and adaptive, each at its largest eps."""
    best: dict[Cell, Cell] = {}
    for cell in cells:
        if cell.access in PICTURED and cell.defense != "none":
            place = replace(cell, eps=0.0)
            best[place] = max(best.get(place, cell), cell, key=lambda other: other.eps)
    return set(best.values())
