"""Access "known": the attacker sees the very draw that will judge him, which bounds every average over draws.

For each judging draw of a cell the images are attacked behind that draw, and judged behind it. The draws are
those that judge every other access.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from rain.adaptive import Model, View, attackable, repeat_draw
from rain.answers import probabilities_of
from rain.bench.access import BACKWARD, Attacked, Ticking, attack_in_pieces
from rain.bench.assets import Assets
from rain.bench.cells import Cell
from rain.defense import Defense, Draw
from rain.hardened import Hardened
from rain.images import Images, distance
from rain.runtime.precision import Mixed
from rain.runtime.progress import Tick

Wrap = Callable[[Model], Model]
"""What stands around the model that an attack asks, such as autocast."""


MANY = 10**6
"""More than any attack averages over: the images of a draw stay together."""


class OtherImagesError(Exception):
    """The attack asked about a part of the images, and nobody can tell which draws are theirs."""


class BehindDraw(View):
    """The classifier behind one draw, as an attacker sees it who knows the draw.

    Args:
        model: with a gradient (``attackable``).
        draw: of the images that are attacked.
        count: how many they are. Of a single image, any number of rows are versions of it.

    Raises:
        OtherImagesError: asked about another number of images.
    """

    def __init__(self, model: Hardened, draw: Draw, count: int):
        super().__init__(model)
        self.draw, self.count = draw, count

    def forward(self, images: Images) -> Tensor:
        """Classify with the draw; logits (N, classes)."""
        if len(images) == self.count:
            return self.model.answer(images, self.draw)
        if self.count != 1:
            raise OtherImagesError
        rows = len(images)
        if not rows:
            return self.model(images)
        return self.model.answer(images, {name: repeat_draw(each, rows) for name, each in self.draw.items()})


@dataclass(frozen=True)
class Bound:
    """What came of attacking a batch of N images behind each of the draws that judge it.

    Args:
        attacked: of each image the version that moved farthest.
        single: (draws, N), the label of each draw, for the image that was made behind it.
        mean: (N,), the label of the probabilities averaged over the draws.
        classes: how many the model knows.
    """

    attacked: Attacked
    single: Tensor
    mean: Tensor
    classes: int


def attack_known(
    assets: Assets,
    cell: Cell,
    images: Images,
    labels: Tensor,
    judging: Generator,
    start: Generator,
    tick: Tick,
    answered: Tick,
) -> Bound:
    """Attack a batch behind each draw that judges it, and judge what came of that.

    Args:
        assets: what the cell names.
        judging: of the draws that judge.
        start: of the attack.
        tick: told about the attack's work, in image passes.
        answered: told about each draw, in images.

    Raises:
        AttackError: the attack broke its promise.
    """
    model = assets.hardened(cell.classifier, cell.defense)
    twin = assets.twin(cell.classifier, cell.defense, (images.shape[2], images.shape[3]))
    mixed = assets.mixed(cell.classifier, cell.defense)
    wrap = partial(Mixed, device=assets.device, mixed=mixed)
    attacked, probabilities = [], []
    for _ in range(cell.draws):
        draw = model.defense.fresh_draw(images, judging)
        made = attack_behind(twin, draw, images, labels, cell, start, tick, wrap)
        with torch.no_grad():
            probabilities.append(probabilities_of(model.answer(made.images, draw), model))
        attacked.append(made)
        answered(len(images))
    single = torch.stack(probabilities)
    farthest = _farthest(cell, images, attacked)
    return Bound(farthest, single.argmax(2).cpu(), single.mean(0).argmax(1).cpu(), single.shape[2])


def attack_behind(
    twin: Hardened,
    draw: Draw,
    images: Images,
    labels: Tensor,
    cell: Cell,
    generator: Generator,
    tick: Tick,
    wrap: Wrap,
) -> Attacked:
    """Attack a batch behind one draw: all images together, or each alone if the attack lets some go.

    Args:
        twin: what attacks ask.
        draw: of the batch.
        generator: of the attack.
        tick: told about work done, in image passes.
        wrap: put around the model.

    Raises:
        AttackError: the attack broke its promise.
    """
    through = attackable(twin)

    def attack(rows: slice, part: Draw) -> Attacked:
        count = len(images[rows])
        view = wrap(Ticking(BehindDraw(through, part, count), tick, 1 + BACKWARD))
        return attack_in_pieces(view, images[rows], labels[rows], cell, generator, batch=count * MANY)

    start = generator.get_state()
    try:
        return attack(slice(None), draw)
    except OtherImagesError:
        generator.set_state(start)
    own = per_image(twin.defense, images)
    count = len(images)
    each = [attack(slice(row, row + 1), _row(draw, own, row)) for row in range(count)]
    flat = [value for one in each for value in one.flat]
    return Attacked(torch.cat([one.images for one in each]), None, flat)


def per_image(defense: Defense, images: Images) -> frozenset[str]:
    """The names of a draw's tensors that belong to single images; the others are shared by the batch."""
    one = defense.draw(images[:1], Generator().manual_seed(0))
    two = defense.draw(images[:1].repeat(2, 1, 1, 1), Generator().manual_seed(0))
    return frozenset(name for name in one if one[name].shape[:1] == (1,) and two[name].shape[:1] == (2,))


def _farthest(cell: Cell, clean: Images, attacked: list[Attacked]) -> Attacked:
    """Of the images that the draws made, for each the one that moved farthest.

    It stands for all of them where one picture, and one distance, is told. Its first gradient counts as
    exactly 0 where each draw's was, of those where one was observed.
    """
    made = torch.stack([one.images for one in attacked])
    moved = torch.stack([distance(one.images.double(), clean.double(), cell.norm) for one in attacked])
    rows = torch.arange(len(clean), device=clean.device)
    flat = [_all_flat(values) for values in zip(*(one.flat for one in attacked), strict=True)]
    return Attacked(made[moved.argmax(0), rows], None, flat)


def _all_flat(values: Iterable[bool | None]) -> bool | None:
    seen = [value for value in values if value is not None]
    return all(seen) if seen else None


def _row(draw: Draw, own: frozenset[str], row: int) -> Draw:
    return {name: each[row : row + 1] if name in own else each for name, each in draw.items()}
