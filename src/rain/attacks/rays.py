"""RayS: the signs of a direction, flipped block by block, by labels only."""

import torch
from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import check_counts
from rain.attacks._labels import RECEDE, Labels
from rain.attacks._minimising import check_minimising
from rain.errors import OptionError
from rain.images import Images
from rain.registry import ATTACKS, Traits


@ATTACKS.register(traits=Traits(sees="labels"))
def rays(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    queries: int = 1000,
    tolerance: float = 0.01,
    patience: int = 50,
    confirm: int = 0,
    generator: Generator | None = None,
) -> Images:
    """Flip the signs of a direction block by block, wherever that makes the way to the boundary shorter.

    Large blocks come first.

    Args:
        eps: an image goes as soon as it is fooled within it, and comes back as it was if it never is. With
            ``math.inf``, or one that holds the whole box, the search goes on until the queries are used up,
            and the smallest is returned.
        norm: "linf" only.
        queries: images sent through the model for each image, at most.
        tolerance: a bisection ends when its interval is this share of the distance.
        patience: after so many refused directions in a row, the best is asked again. Against a random model a
            lucky answer makes the best distance too small, and everything would be refused from then on: a
            best that fools no longer is set farther away.
        confirm: how many more answers must agree before a direction or a distance is accepted, and before an
            image goes: 0 for a model that answers the same each time, 2 or more for a random one.
        generator: of the first directions.

    Source: Chen, Gu (arXiv 2006.12792): algorithm 3, with the quick check and the bisection of algorithm 2.

    Differs: the first direction is one that fools at all, of random signs in tiles, which are smaller after
        each try; the paper has ones. The tolerance is relative, where the paper's is 0.001. After blocks of
        one value the whole image is next. A bisection asks at eps first. ``patience`` and ``confirm`` are
        additions.
    """
    check_minimising(norm, eps, norms=("linf",))
    check_counts(patience=patience)
    if not 0 < tolerance < 1:
        raise OptionError(f"tolerance must be above 0 and below 1, got {tolerance!r}")
    search = Labels(model, images, labels, norm, eps, queries, confirm)
    if not len(images):
        return search.best
    signs = 2 * search.find_starts(generator, corners=True) - 1
    places = torch.arange(images[0].numel(), device=images.device)
    blocks = 2 ** (len(places) - 1).bit_length() + len(places) - 1
    # The boundary along the best direction is between low and high.
    low, high = torch.zeros_like(search.best_sizes), torch.ones_like(search.best_sizes)
    block, refusals = torch.ones_like(labels), torch.zeros_like(labels)
    while len(rows := search.active):
        # Each image does one of three things: ask its best point again, bisect, or try another direction.
        doubted = refusals[rows] >= patience
        bisecting = ~doubted & (high[rows] - low[rows] > tolerance * high[rows])
        flipping = ~doubted & ~bisecting
        other = flipped(signs[rows], block[rows], places)
        direction = torch.where(flipping[:, None, None, None], other, signs[rows])
        reach = torch.where(bisecting, search.between(low[rows], high[rows]), high[rows])
        points = search.clean[rows] + reach[:, None, None, None] * direction
        fooled = search.try_points(rows, points, confirm_all=True)

        better, worse = flipping & fooled, flipping & ~fooled
        lost = doubted & ~fooled
        outside = lost | (bisecting & ~fooled)
        signs[rows] = torch.where(better[:, None, None, None], direction, signs[rows])
        low[rows] = torch.where(better, 0, torch.where(outside, reach, low[rows]))
        nearer = torch.where(fooled, reach, high[rows])
        high[rows] = torch.where(lost, (RECEDE * reach).clamp_max(1), nearer)
        settled = fooled | (lost & (reach == 1))
        refusals[rows] = torch.where(worse, refusals[rows] + 1, torch.where(settled, 0, refusals[rows]))
        block[rows] = torch.where(flipping, block[rows] % blocks + 1, block[rows])
    return search.best


def flipped(signs: Tensor, block: Tensor, places: Tensor) -> Tensor:
    """Flip one block of each direction (A, 3, H, W).

    Args:
        block: (A,), numbers: 1 is everything, 2 and 3 are its halves, 4 to 7 the quarters, and so on; the
            last ones are single values.
        places: (3 * H * W,), the numbers of the values in a flattened image.
    """
    first = 2 ** block.double().log2().floor().long()
    mine = places * first[:, None].clamp_max(len(places)) // len(places) == (block - first)[:, None]
    return torch.where(mine.view_as(signs), -signs, signs)
