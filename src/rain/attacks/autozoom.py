"""AutoZOOM: Adam on a gradient that is estimated along single random directions, in an image of few values that a decoder enlarges."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init

from rain import checkpoints
from rain.adaptive import Model
from rain.attacks import check_arguments, check_counts, check_positive
from rain.attacks._scores import Adam, Scores, below, draw_weights, gaussian
from rain.errors import OptionError
from rain.images import Images, project
from rain.registry import ATTACKS, Traits

SHRINK, PROBE, SMALL = 4, 0.1, 1e-8
"""By how much an autoencoder shrinks each side, how long the codes are with which its scale is found, and what nothing is divided by less than."""

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
        model: images to logits; it need not have gradients.
        images: (N, 3, H, W) in [0, 1].
        labels: (N,), the right answers.
        eps: budget, for values in [0, 1].
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
        generator: of the directions; its device need not be that of the images.

    Raises:
        OptionError: an argument out of range.
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
    check_positive(delta=delta)
    if rate is not None:
        check_positive(rate=rate)
    size, decode = (
        bilinear(images, side) if decoder == "bilinear" else learned(decoder, images, side, generator)
    )
    if rate is None:
        rate = (
            2.5
            * eps
            / max(1, queries // (samples + 1)) ** 0.5
            / (images.shape[1:].numel() ** 0.5 if norm == "l2" else 1)
        )
    search = Scores(model, images, labels, queries, confidence, batch)
    current = images[search.active]
    # Codes stay in float32 at least, whatever the images are in: the squares of half precision end at 6e-8.
    code = search.least.new_zeros(len(current), 3, *size)
    gradient, adam = torch.zeros_like(code), Adam(code)
    while search:
        count = min(samples, search.left - 1)
        if count:
            moves = delta * gaussian((count, *code.shape), code, generator)
            near = current + (
                decode((code + moves).flatten(0, 1)).unflatten(0, moves.shape[:2]) - decode(code)
            ).to(current)
            change = (search.ask(near.clamp(0, 1)) - search.heard).nan_to_num(0.0, 0.0, 0.0)
            gradient = (change[:, :, None, None, None] * moves).mean(0) / delta**2
        code = code - rate * adam(gradient)
        if norm == "linf":
            code = code.clamp(-eps, eps)
        else:
            code = (
                code
                * (eps / decode(code).flatten(1).norm(dim=1).clamp_min(SMALL)).clamp_max(1)[
                    :, None, None, None
                ]
            )
        current = project(images[search.active] + decode(code).to(images), images[search.active], norm, eps)
        stay = search.look(current)
        current, code, gradient = current[stay], code[stay], gradient[stay]
        adam.keep(stay)
    return search.best


def bilinear(images: Images, side: int) -> tuple[tuple[int, int], Decode]:
    """The size of the codes, and the decoder that enlarges them to the size of the images."""
    height, width = images.shape[2:]
    return (min(side, height), min(side, width)), lambda codes: F.interpolate(
        codes, (height, width), mode="bilinear", align_corners=False
    )


def learned(
    path: str, images: Images, side: int, generator: Generator | None
) -> tuple[tuple[int, int], Decode]:
    """The size of the codes, and the decoder of an autoencoder, whose output is enlarged to the size of the images.

    Raises:
        OptionError: no path.
        WeightsError: the file is missing, or of another network.
    """
    if path == "autoencoder":
        raise OptionError(
            "decoder must be bilinear, or the path of a safetensors file of an Autoencoder; fit_autoencoder makes one"
        )
    network = Autoencoder()
    checkpoints.load(network, path)
    network.to(images.device)
    height, width = images.shape[2:]
    size = min(side, -(-height // SHRINK)), min(side, -(-width // SHRINK))

    @torch.no_grad()
    def change(codes: Tensor) -> Images:
        enlarged = network.decode(torch.cat([codes, torch.zeros_like(codes[:1])]))
        return F.interpolate(
            enlarged[:-1] - enlarged[-1:], (height, width), mode="bilinear", align_corners=False
        )

    # Codes of an autoencoder have a scale of their own; this brings it to that of the images.
    probe = PROBE * gaussian((8, 3, *size), torch.empty(0, device=images.device), generator)
    gain = (change(probe).square().mean().sqrt() / PROBE).clamp_min(SMALL)
    return size, lambda codes: change(codes / gain)


class Autoencoder(nn.Module):
    """A small convolutional autoencoder: images to codes (N, 3, H / 4, W / 4), and back.

    Source: Tu et al. (arXiv 1805.11770), its autoencoder: convolutions, with pooling on the way in and
        enlargement on the way out.
    """

    def __init__(self, width: int = 16):
        super().__init__()
        sides = ((3, width), (width, width), (width, 3))
        self.inward, self.outward = (
            nn.ModuleList(skip_init(nn.Conv2d, *pair, 3, padding=1) for pair in sides) for _ in range(2)
        )

    def encode(self, images: Images) -> Tensor:
        """Images (N, 3, H, W), both sides of which are multiples of 4, to codes (N, 3, H / 4, W / 4)."""
        first, second, third = self.inward
        return third(F.max_pool2d(F.relu(second(F.max_pool2d(F.relu(first(images - 0.5)), 2))), 2))

    def decode(self, codes: Tensor) -> Images:
        """Codes (N, 3, h, w) to images (N, 3, 4 h, 4 w), not clamped."""
        first, second, third = self.outward
        return (
            third(
                F.interpolate(
                    F.relu(second(F.interpolate(F.relu(first(codes)), scale_factor=2.0))), scale_factor=2.0
                )
            )
            + 0.5
        )

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
    """Train an autoencoder on images, for ``rain.checkpoints.save`` and the option ``decoder``: squared error, Adam.

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
            some = images[below(len(images), (batch,), images, generator)]
            optimizer.zero_grad()
            F.mse_loss(network(some), some).backward()
            optimizer.step()
    return network.eval()
