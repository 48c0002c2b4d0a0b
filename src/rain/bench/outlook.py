"""How long a run will take, estimated before it starts: a few images go through each model that it asks."""

import time
from dataclasses import replace

import torch
from torch import Generator

from rain.bench.access import BACKWARD, attacker_view
from rain.bench.assets import Assets
from rain.bench.cells import Cell
from rain.bench.plan import Plan
from rain.bench.workload import describe
from rain.images import enter
from rain.own_code import ENDINGS
from rain.runtime.forecast import Piece
from rain.runtime.precision import autocast

PROBED = 2
"""Images that go through a model to time it, in each of ``ROUNDS``."""

ROUNDS = 2
"""The first one warms up."""

SMALL = 10
"""Work that is not so many times that of timing it is not timed."""


def seconds_expected(plan: Plan) -> tuple[float, bool] | None:
    """Estimate how long the work of a plan will take.

    Returns: seconds, and whether that is a guess, since most of it is attacks that images may leave early;
        None for work that is soon done, or where a model cannot be asked.
    """
    pairs = describe(plan.assets, plan.work)
    work = [piece for piece, _ in pairs]
    models = {piece.model: cell for piece, cell in pairs}
    units = sum(piece.share * piece.estimate for piece in work)
    if not work or units < SMALL * len(models) * ROUNDS * PROBED * (1 + BACKWARD):
        return None
    try:
        paces = {model: _pace(plan.assets, cell) for model, cell in models.items()}
    except ENDINGS:
        return None  # the run says of which cells that is the end
    seconds = [_needed(piece, cell) * paces[piece.model] for piece, cell in pairs]
    # Of attacks that images may leave early nobody knows how much of the work is needed.
    guessed = sum(length for length, piece in zip(seconds, work, strict=True) if piece.share < 1)
    return sum(seconds), 2 * guessed > sum(seconds)


def _needed(piece: Piece, cell: Cell) -> float:
    """The units of a piece that are expected to be needed."""
    # The estimate counts the answers to attacked images, too.
    return piece.estimate / 2 if cell.attack == "none" else piece.share * piece.estimate


def _pace(assets: Assets, cell: Cell) -> float:
    """Time the pass of one image through the model that a cell's attacker asks, in seconds."""
    image, _ = assets.picture(cell.dataset, assets.first(cell.dataset, cell.examples))
    images = enter(image, cell.size).expand(PROBED, -1, -1, -1).to(assets.device)
    by_gradient = cell.attack != "none" and cell.access != "query"
    # With access query a view gives no gradient; a static attacker's one pass is that of all the others.
    attacker = replace(cell, access="static" if by_gradient else "query")
    twin = assets.twin(cell.classifier, cell.defense, (images.shape[2], images.shape[3]))
    view = attacker_view(twin, attacker, Generator().manual_seed(0))
    model = autocast(assets.device, assets.mixed(cell.classifier, cell.defense))(view)
    seconds = 0.0
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        points = images.clone().requires_grad_(by_gradient)
        logits = model(points)
        if logits.requires_grad:
            torch.autograd.grad(logits.sum(), points)
        logits.sum().item()  # waits for a GPU
        seconds = time.perf_counter() - begin
    return seconds / PROBED / (1 + BACKWARD if by_gradient else 1)
