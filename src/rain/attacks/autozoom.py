"""AutoZOOM: Adam on a gradient that is estimated in a small image, which a decoder enlarges."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init

from rain import checkpoints
from rain.adaptive import Model
from rain.attacks import check_arguments, check_counts, check_positive
from rain.attacks._adam import Adam
from rain.attacks._draws import below, draw_weights, gaussian
from rain.attacks._scores import Scores
from rain.errors import OptionError
from rain.images import Images, project
from rain.registry import ATTACKS, Traits

SHRINK = 4
"""By how much an autoencoder shrinks each side."""

PROBE = 0.1
"""Standard deviation of the codes that measure the scale of an autoencoder."""

SMALL = 1e-8
"""The least that anything is divided by."""

Decode = Callable[[Tensor], Images]
"""From codes (N, 3, h, w) to changes of images (N, 3, H, W); zeros give zeros."""


@ATTACKS.register(traits=Traits(sees="scores"))
def autozoom(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    queries: int = 1000,
    decoder: str = "bilinear",
    side: int = 32,
    samples: int = 1,
    delta: float = 0.02,
    rate: float | None = None,
    batch: int = 50,
    confidence: float = 0.0,
    generator: Generator | None = None,
) -> Images:
    """Search for a small image whose enlargement fools: one random direction for each step, and Adam.

    Args:
        norm: "linf" or "l2": of the projection, which follows each step.
        queries: images sent through the model for each image, at most.
        decoder: "bilinear" (AutoZOOM-BiLIN), or the path of a safetensors file of an ``Autoencoder``
            (AutoZOOM-AE).
        side: of the small image, in pixels, where the image is larger.
        samples: directions averaged for one step, each asked on one side only, and compared with the image of
            the step.
        delta: by how much a typical value of the image changes in a sample, about. Against a random model it
            must move the margin by more than the randomness does.
        rate: Adam's, in the small image; None is 2.5 eps over the root of the number of steps, since noise
            goes to and fro; for l2 divided by the root of the number of the image's values.
        batch: images in one forward pass.
        confidence: an image leaves when the best wrong logit is above the right one by more than this.
        generator: of the directions.

    Raises:
        WeightsError: the decoder's file is missing, or of another network.

    Source: Tu et al. (arXiv 1805.11770): algorithm 1, with its random vectors and decoders; ADAM as in ZOO.

    Differs: within a budget, by projection, instead of a penalty on the distance, so that there is no second
    phase with more samples after the first success; margin of the logits; Gaussian directions instead of the
    unit sphere (the same up to the scale). The change by zeros is subtracted from an autoencoder's, so that
    the search begins at the image, and its codes are scaled so that they change the image by as much as they
    are long. The small image is kept within the budget, too. Samples are clamped to [0, 1] and only serve the
    estimate: of the images after each step the one with the lowest margin is returned, or with a confidence
    the last.
    """
    check_arguments(norm, eps)
    check_counts(queries=queries, side=side, samples=samples, batch=batch)
    check_positive(delta=delta, rate=rate)
    if decoder == "bilinear":
        size, decode = bilinear(images, side)
    else:
        size, decode = learned(decoder, images, side, generator)
    if rate is None:
        steps = max(1, queries // (samples + 1))
        spread = images.shape[1:].numel() ** 0.5 if norm == "l2" else 1
        rate = 2.5 * eps / steps**0.5 / spread
    search = Scores(model, images, labels, queries, confidence, batch)
    current = images[search.active]
    # Codes stay in float32 at least, whatever the images are in: the squares of half precision end at 6e-8.
    code = search.best_margins.new_zeros(len(current), 3, *size)
    gradient, adam = torch.zeros_like(code), Adam(code)
    while search.running:
        count = min(samples, search.queries_left - 1)
        if count:
            moves = delta * gaussian((count, *code.shape), code, generator)
            moved = decode((code + moves).flatten(0, 1)).unflatten(0, moves.shape[:2])
            points = current + (moved - decode(code)).to(current)
            rise = (search.ask(points.clamp(0, 1)) - search.last_margins).nan_to_num(0.0, 0.0, 0.0)
            gradient = (rise[:, :, None, None, None] * moves).mean(0) / delta**2
        code = code - rate * adam(gradient)
        if norm == "linf":
            code = code.clamp(-eps, eps)
        else:
            length = decode(code).flatten(1).norm(dim=1).clamp_min(SMALL)
            code = code * (eps / length).clamp_max(1)[:, None, None, None]
        clean = images[search.active]
        current = project(clean + decode(code).to(images), clean, norm, eps)
        stay = search.try_points(current)
        current, code, gradient = current[stay], code[stay], gradient[stay]
        adam.keep(stay)
    return search.best


def bilinear(images: Images, side: int) -> tuple[tuple[int, int], Decode]:
    """The size of the codes, and the decoder that enlarges them to the size of the images."""
    height, width = images.shape[2:]
    enlarge = partial(F.interpolate, size=(height, width), mode="bilinear", align_corners=False)
    return (min(side, height), min(side, width)), enlarge


def learned(
    path: str, images: Images, side: int, generator: Generator | None
) -> tuple[tuple[int, int], Decode]:
    """The size of the codes, and an autoencoder's decoder, whose output is enlarged to the images' size.

    Raises:
        OptionError: no path.
        WeightsError: the file is missing, or of another network.
    """
    if path == "autoencoder":
        what = "decoder must be bilinear, or the path of a safetensors file of an Autoencoder"
        raise OptionError(f"{what}; fit_autoencoder makes one")
    network = Autoencoder()
    checkpoints.load(network, path)
    network.to(images.device)
    height, width = images.shape[2:]
    size = min(side, -(-height // SHRINK)), min(side, -(-width // SHRINK))

    @torch.no_grad()
    def change(codes: Tensor) -> Images:
        decoded = network.decode(torch.cat([codes, torch.zeros_like(codes[:1])]).float())
        difference = (decoded[:-1] - decoded[-1:]).to(codes)
        return F.interpolate(difference, (height, width), mode="bilinear", align_corners=False)

    # Codes of an autoencoder have a scale of their own; this brings it to that of the images.
    probe = PROBE * gaussian((8, 3, *size), torch.empty(0, device=images.device), generator)
    gain = (change(probe).square().mean().sqrt() / PROBE).clamp_min(SMALL)
    return size, lambda codes: change(codes / gain)


def _convolutions(width: int) -> nn.ModuleList:
    channels = ((3, width), (width, width), (width, 3))
    return nn.ModuleList(skip_init(nn.Conv2d, *pair, 3, padding=1) for pair in channels)


class Autoencoder(nn.Module):
    """A small convolutional autoencoder: images to codes (N, 3, H / 4, W / 4), and back.

    Source: Tu et al. (arXiv 1805.11770), its autoencoder: convolutions, with pooling on the way in and
        enlargement on the way out.
    """

    def __init__(self, width: int = 16):
        super().__init__()
        self.inward, self.outward = _convolutions(width), _convolutions(width)

    def encode(self, images: Images) -> Tensor:
        """Images (N, 3, H, W), both sides of which are multiples of 4, to codes (N, 3, H / 4, W / 4)."""
        first, second, third = self.inward
        flow = F.max_pool2d(F.relu(first(images - 0.5)), 2)
        flow = F.max_pool2d(F.relu(second(flow)), 2)
        return third(flow)

    def decode(self, codes: Tensor) -> Images:
        """Codes (N, 3, h, w) to images (N, 3, 4 h, 4 w), not clamped."""
        first, second, third = self.outward
        flow = F.interpolate(F.relu(first(codes)), scale_factor=2.0)
        flow = F.interpolate(F.relu(second(flow)), scale_factor=2.0)
        return third(flow) + 0.5

    def forward(self, images: Images) -> Images:
        """Encode, and decode."""
        return self.decode(self.encode(images))


def fit_autoencoder(
    images: Images,
    *,
    steps: int = 2000,
    rate: float = 1e-3,
    batch: int = 16,
    generator: Generator | None = None,
) -> Autoencoder:
    """Train an autoencoder on images by squared error and Adam.

    ``rain.checkpoints.save`` makes of it a file for the option ``decoder``.

    Args:
        images: (N, 3, H, W) in [0, 1], both sides multiples of 4. No image that is attacked later should be
            among them.
        steps: of the optimiser.
        rate: Adam's.
        batch: images in each step, drawn at random.
        generator: of the first weights, and of the batches.
    """
    network = Autoencoder().to(images)
    draw_weights(network, generator)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    with torch.enable_grad():
        for _ in range(steps):
            sample = images[below(len(images), (batch,), images, generator)]
            optimizer.zero_grad()
            F.mse_loss(network(sample), sample).backward()
            optimizer.step()
    return network.eval()
