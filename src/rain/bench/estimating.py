"""Measure what a grid needs for an image: a picture goes through each model that it asks."""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from rain.bench.assets import Assets, device_name
from rain.bench.cells import Cell, Outcome, save
from rain.bench.estimate import Need
from rain.bench.grid import Grid
from rain.bench.outlook import Part, seconds_of
from rain.bench.plan import Plan, settle
from rain.bench.sharing import bundles
from rain.errors import GridError
from rain.runtime.memory import Batches, pick_device

AT_ONCE = {"cuda": 32, "cpu": 2}
"""Images that go through a model to time it: a GPU needs many to be busy."""


def measure_need(grid: Grid, dataset: str = "samples", device: str | None = None) -> Need:
    """Time the models that a grid asks, on one picture, and count what comes of it.

    Args:
        grid: whose own dataset need not be there.
        dataset: of the picture; it enters at the size at which the grid's images do.
        device: where to compute; by default a GPU if there is one.

    Raises:
        GridError: the cells of the grid have different chunks.
        RainError: something that it names is not there.
    """
    place = pick_device(device)
    assets = Assets(place, batches=Batches.fitting(place))
    if len({cell.chunk for cell in grid.cells}) > 1:
        raise GridError("an estimate is of a grid with one size of chunks")
    one = [replace(cell, dataset=dataset, examples=1, chunk=1) for cell in grid.cells]
    settled = [settle(assets, cell, grid.default_size) for cell in one]
    # Cells that differ in their number of images alone are one here, and of the larger number.
    images: dict[Cell, int] = {}
    for cell, own in zip(settled, grid.cells, strict=True):
        images[cell] = max(own.examples, images.get(cell, 0))
    total = most = 0.0
    of_bundle: dict[str, float] = defaultdict(float)
    for cells in _alike(images):
        plan = Plan(assets, Path(), tuple(cells), tuple((cell, 0) for cell in cells), 0)
        count = images[cells[0]]
        names = dict(zip(cells, bundles(assets, plan.work), strict=True))
        for part, seconds in seconds_of(plan, AT_ONCE.get(place.type, 2)):
            total += seconds * count
            most += seconds / part.share * count
            of_bundle[f"{count}, {_bundle(part, names)}"] += seconds
    return Need(
        sizes=tuple(sorted(Counter(images.values()).items())),
        seconds=total,
        most_seconds=most,
        bundle_seconds=max(of_bundle.values()),
        row_seconds=sum(of_bundle.values()),
        file_bytes=_mean(_file_bytes(assets, cell, 0) for cell in images),
        image_bytes=_mean(_file_bytes(assets, cell, 1) - _file_bytes(assets, cell, 0) for cell in images),
        weights_bytes=_weights_bytes(assets, images),
        device=device_name(place),
        threads=torch.get_num_threads(),
    )


def _alike(images: dict[Cell, int]) -> list[list[Cell]]:
    """Sort cells by their number of images: those of one number share what is transferred."""
    groups: dict[int, list[Cell]] = defaultdict(list)
    for cell, count in images.items():
        groups[count].append(cell)
    return list(groups.values())


def _bundle(part: Part, names: dict[Cell, str]) -> str:
    """The bundle in which a part of the work is done."""
    return names.get(part.cell, part.cell.key)


def _file_bytes(assets: Assets, cell: Cell, images: int) -> int:
    """The size of a result file of a cell, with so many images."""
    answers = (100,) * cell.draws
    outcome = Outcome(10_000, 100, answers, 100, answers, 100, cell.eps / 3)
    with tempfile.TemporaryDirectory() as folder:
        path = save(Path(folder), cell, 0, [outcome] * images, assets.made_by(cell))
        return path.stat().st_size


def _weights_bytes(assets: Assets, cells: Iterable[Cell]) -> int:
    """Of all classifiers and defences, each once."""
    tensors = {}
    for cell in cells:
        for tensor in assets.hardened(cell.classifier, cell.defense).state_dict().values():
            tensors[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
    return sum(tensors.values())


def _mean(values: Iterable[float]) -> float:
    several = list(values)
    return sum(several) / len(several)
