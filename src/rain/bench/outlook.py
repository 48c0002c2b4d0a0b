"""How long a run will take, estimated before it starts: a few images go through each model that it asks."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Generator

from rain.bench.access import BACKWARD, attacker_view
from rain.bench.assets import Assets
from rain.bench.cells import Cell
from rain.bench.measure import unattacked
from rain.bench.plan import Plan
from rain.bench.workload import describe
from rain.images import Images, enter
from rain.own_code import ENDINGS
from rain.runtime.precision import Mixed
from rain.runtime.rehearsal import seconds_for

PROBED = 2
"""Images that go through a model to time it, in each of ``ROUNDS``."""

ROUNDS = 2
"""The first one warms up. The fastest counts: others at work on the machine only slow it."""

MOST_ROUNDS = 6
"""So many are made where they are short."""

LONG = 0.5
"""Seconds; who has timed a model for longer makes no further round."""

SMALL = 10
"""Work that is not so many times that of timing it is not timed, but for its defences alone."""

NOTICE = 10.0
"""Seconds that slow defences must come to, to be worth a word about small work."""


@dataclass(frozen=True)
class Part:
    """A part of the work: image passes through one model.

    Args:
        cell: whose attacker asks, or who judges.
        units: of work, a backward pass as two forward passes.
        attacked: whether these are an attack's steps, or answers.
        share: of the work that is expected, where images may leave early.
    """

    cell: Cell
    units: float
    attacked: bool = False
    share: float = 1.0

    @property
    def model(self) -> tuple[str, str, int | None]:
        """What is asked: the classifier, the defence, and the side of the images."""
        return self.cell.classifier, self.cell.defense, self.cell.size

    @property
    def by_gradient(self) -> bool:
        """Whether there are backward passes in it."""
        return self.attacked and self.cell.access != "query"


@dataclass(frozen=True)
class Pace:
    """What a model needs, in seconds.

    Args:
        answer: for an image.
        unit: for a unit of an attack's work.
    """

    answer: float
    unit: float

    def seconds(self, part: Part) -> float:
        """What a part of the work is expected to need."""
        return part.share * part.units * (self.unit if part.attacked else self.answer)


def seconds_expected(plan: Plan) -> tuple[float, bool] | None:
    """Estimate how long the work of a plan will take.

    Returns: seconds, and whether that is a guess, since most of it is attacks that images may leave early;
        None for work that is soon done, or where a model cannot be asked.
    """
    parts = list(_parts(plan))
    cells = {part.model: part.cell for part in parts}
    by_gradient = {part.model: part.cell for part in parts if part.by_gradient}
    units = sum(part.share * part.units for part in parts)
    is_small = units < SMALL * len(cells) * ROUNDS * PROBED * (1 + BACKWARD)
    pace = _pace_of_defense if is_small else _pace
    try:
        paces = {model: pace(plan.assets, cell) for model, cell in (cells | by_gradient).items()}
    except ENDINGS:
        return None  # the run says of which cells that is the end
    seconds = [paces[part.model].seconds(part) for part in parts]
    if not parts or (is_small and sum(seconds) < NOTICE):
        return None
    # Of attacks that images may leave early nobody knows how much of the work is needed.
    guessed = sum(length for length, part in zip(seconds, parts, strict=True) if part.share < 1)
    return sum(seconds), 2 * guessed > sum(seconds)


def seconds_of(plan: Plan, count: int) -> list[tuple[Part, float]]:
    """Time each model that the work of a plan asks, and say what each part of the work needs.

    Args:
        plan: of the work.
        count: images that go through a model at a time.

    Returns: the parts, each with the seconds that it is expected to need.
    """
    parts = list(_parts(plan))
    cells = {part.model: part.cell for part in parts}
    by_gradient = {part.model: part.cell for part in parts if part.by_gradient}
    paces = {model: _pace(plan.assets, cell, count) for model, cell in (cells | by_gradient).items()}
    return [(part, paces[part.model].seconds(part)) for part in parts]


def _parts(plan: Plan) -> Iterator[Part]:
    """The answers and the attacks of each chunk; what several have in common is there once."""
    answered: set[tuple[Cell, int]] = set()
    pairs = describe(plan.assets, plan.work)
    for (piece, asked), (cell, chunk) in zip(pairs, plan.work, strict=True):
        images = len(cell.indices(chunk))
        clean = unattacked(cell, chunk), chunk
        if clean not in answered:
            answered.add(clean)
            yield Part(cell, float(images * cell.draws))
        if cell.attack == "none":
            continue
        yield Part(cell, float(images * cell.draws))
        attack = piece.estimate - 2 * images * cell.draws
        if attack:
            yield Part(asked, attack, attacked=True, share=piece.share)


def _pace(assets: Assets, cell: Cell, count: int = PROBED) -> Pace:
    """Time a few images through the model that a cell's attacker asks."""
    images = _image(assets, cell).expand(count, -1, -1, -1)
    by_gradient = cell.attack != "none" and cell.access != "query"
    # With access query a view gives no gradient; a static attacker's one pass is that of all the others.
    attacker = replace(cell, access="static" if by_gradient else "query")
    twin = assets.twin(cell.classifier, cell.defense, (images.shape[2], images.shape[3]))
    view = attacker_view(twin, attacker, Generator().manual_seed(0))
    model = Mixed(view, assets.device, assets.mixed(cell.classifier, cell.defense))
    forward = both = inf
    first = time.perf_counter()
    for number in range(MOST_ROUNDS):
        begin = time.perf_counter()
        if number >= ROUNDS and begin - first > LONG:
            break
        points = images.clone().requires_grad_(by_gradient)
        logits = model(points)
        logits.sum().item()  # waits for a GPU
        forward = min(forward, time.perf_counter() - begin)
        if logits.requires_grad:
            (slope,) = torch.autograd.grad(logits.sum(), points)
            slope.sum().item()
        both = min(both, time.perf_counter() - begin)
    return Pace(forward / count, both / count / (1 + BACKWARD if by_gradient else 1))


def _pace_of_defense(assets: Assets, cell: Cell) -> Pace:
    """What the defence itself takes at the least, by a part of an image."""
    defense = assets.hardened(cell.classifier, cell.defense).defense
    _, _, height, width = _image(assets, cell).shape
    each = seconds_for(defense, (height, width), assets.device)
    by_gradient = cell.attack != "none" and cell.access != "query"
    return Pace(each, each / (1 + BACKWARD if by_gradient else 1))


def _image(assets: Assets, cell: Cell) -> Images:
    """The first image of a cell, as it enters: (1, 3, H, W)."""
    image, _ = assets.picture(cell.dataset, assets.first(cell.dataset, cell.examples))
    return enter(image, cell.size)[None].to(assets.device)
