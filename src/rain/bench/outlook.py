"""How long a run will take, estimated before it starts: a few images go through each model that it asks."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Generator

from rain.bench.access import BACKWARD, attacker_view
from rain.bench.assets import Assets
from rain.bench.cells import Cell
from rain.bench.plan import Plan
from rain.bench.workload import described
from rain.images import enter
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
        None for work that is soon done.
    """
    pairs = described(plan.assets, plan.work)
    work = [piece for piece, _ in pairs]
    models = {piece.model: cell for piece, cell in pairs}
    units = sum(piece.share * piece.estimate for piece in work)
    if not work or units < SMALL * len(models) * ROUNDS * PROBED * (1 + BACKWARD):
        return None
    paces = {model: _pace(plan.assets, cell) for model, cell in models.items()}
    seconds = sum(piece.share * piece.estimate * paces[piece.model] for piece in work)
    return seconds, _is_guess(work, paces)


def _is_guess(work: Sequence[Piece], paces: Mapping[str, float]) -> bool:
    """Whether most of the time is expected for work of which nobody knows how much of it is needed."""
    lengths = [(piece.share * piece.estimate * paces[piece.model], piece.share < 1) for piece in work]
    guessed = sum(seconds for seconds, is_guess in lengths if is_guess)
    return 2 * guessed > sum(seconds for seconds, _ in lengths)


def _pace(assets: Assets, cell: Cell) -> float:
    """Time the pass of one image through the model that a cell's attacker asks, in seconds."""
    image, _ = assets.picture(cell.dataset, assets.first(cell.dataset, cell.examples))
    images = enter(image, cell.size).expand(PROBED, -1, -1, -1).to(assets.device)
    by_gradient = cell.attack != "none" and cell.access != "query"
    # With access query a view gives no gradient; a static attacker's one pass is that of all the others.
    asking = replace(cell, access="static" if by_gradient else "query")
    twin = assets.twin(cell.classifier, cell.defense, (images.shape[2], images.shape[3]))
    view = attacker_view(twin, asking, Generator().manual_seed(0))
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
