"""Substitute: a small network learns the model's labels around the images, and is attacked in its place."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init

from rain.adaptive import Model
from rain.attacks import check_arguments, check_counts, check_positive, differentiate
from rain.attacks._draws import below, draw_weights, orders, uniform
from rain.images import Images
from rain.registry import ATTACKS, Traits, load_attack
from rain.seeding import keyword_for

CELLS = 16
"""Cells of the noise, and of the network's view, along the shorter side."""

FARTHEST, LEAST = 0.5, 1 / 255
"""The amplitude of the farthest noise, and of the nearest where eps is smaller."""


@ATTACKS.register(traits=Traits(sees="labels"))
def substitute(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    queries: int = 1000,
    confirm: int = 0,
    rounds: int = 5,
    epochs: int = 10,
    step: float = 0.1,
    rate: float = 0.002,
    attack: str = "pgd(steps=40, confidence=inf)",
    batch: int = 50,
    generator: Generator | None = None,
) -> Images:
    """Train a small network on the model's labels for points around the images, and attack it.

    Points are added by its Jacobian.

    The paper's substitute learns a whole task from images of all classes. This one gets the images of a batch
    and no others, and under access "query" the engine gives it a single one: it learns where the label of
    this image ends, within the reach of noise and of its own steps. If the model gives all its points the
    same label, it has learnt nothing, and what it returns is as good as noise. The images of a larger batch
    share one substitute, and each pays its own queries.

    Args:
        norm: "linf" or "l2", as far as the attack knows it.
        queries: images sent through the model for each image, at most; 1 for one that is fooled already,
            which comes back as it is. All points are kept in memory, for 1000 of 224x224 pixels that is 0.6
            GB.
        confirm: how many more answers must agree that an image is fooled already: 2 or more for a random
            model.
        rounds: of augmentation. The image and its neighbours, and the points of each round, have equal shares
            of the queries.
        epochs: passes through all points after each round.
        step: length of a step of augmentation, in each value (the paper's lambda).
        rate: Adam's.
        attack: spec of the attack on the substitute; it goes to the model unseen, so let it make all its
            steps.
        batch: images in one pass, of the model and of the substitute.
        generator: of the neighbours, the weights, the order, and the attack.

    Raises:
        UnknownNameError: no such attack.
        OptionError: an option that the attack cannot take, and what all attacks raise.

    Source: Papernot et al. (arXiv 1602.02697): algorithm 1, lambda as there. Signs of the step that
    alternate, and a random part of the points for each round instead of all, so that queries do not double:
    the ideas of Papernot et al. (arXiv 1605.07277), periodic steps and reservoir sampling.

    Differs: the first points are the images and neighbours of theirs, uniform noise in cells, at most 16 to
    31 along the shorter side, of a random amplitude between the budget's (an l2 one spread evenly) and 0.5,
    as likely on each scale; the paper has images of the attacker's own.
    """
    check_arguments(norm, eps)
    check_counts(queries=queries, rounds=rounds, epochs=epochs, batch=batch)
    check_positive(step=step, rate=rate)
    craft = partial(load_attack(attack), eps=eps, norm=norm)
    # An empty batch shows whether the attack takes its options.
    craft(lambda empty: empty.flatten(1)[:, :2], images[:0], labels[:0])

    best = images.clone()
    if not len(images):
        return best
    with torch.no_grad():
        logits = torch.cat([model(piece) for piece in images.split(batch)])
    wrong, spent = logits.argmax(1) != labels, 1
    while wrong.any() and spent <= min(confirm, queries - 1):
        wrong[wrong.clone()] = ask(model, images[None, wrong], batch)[0] != labels[wrong]
        spent += 1
    active = (~wrong).nonzero()[:, 0]
    network = Network(images, logits.shape[1], generator)
    if not len(active):
        return best

    share = (queries - spent) // (rounds + 1)
    remainder = queries - spent - rounds * share
    points, answers = images[None, active], labels[None, active]
    columns = torch.arange(len(active), device=images.device)
    for turn in range(rounds + 1):
        if turn == 0:
            amplitude = eps if norm == "linf" else eps / images[0].numel() ** 0.5
            fresh = neighbours(images[active], remainder, amplitude, generator)
        else:
            rows = below(len(points), (share, len(active)), labels, generator)
            length = step if turn % 2 else -step
            fresh = stepped(network, points[rows, columns], answers[rows, columns], length, batch)
        points = torch.cat([points, fresh])
        answers = torch.cat([answers, ask(model, fresh, batch)])
        fit(network, points.flatten(0, 1), answers.flatten(), epochs, rate, batch, generator)
    best[active] = craft(network, images[active], labels[active], **keyword_for(craft, generator))
    return best


class Network(nn.Module):
    """The substitute: two convolutions and a linear layer, for images of one size.

    Args:
        like: images (N, 3, H, W) of this size.
        classes: the number of logits.
        generator: of the first weights.
    """

    def __init__(self, like: Images, classes: int, generator: Generator | None, channels: int = 32):
        super().__init__()
        stride = max(1, min(like.shape[2:]) // CELLS)
        height, width = (-(-(side // stride) // 2) for side in like.shape[2:])
        self.first = skip_init(nn.Conv2d, 3, channels, stride + 2, stride=stride, padding=1)
        self.second = skip_init(nn.Conv2d, channels, channels, 3, stride=2, padding=1)
        self.last = skip_init(nn.Linear, channels * height * width, classes)
        self.to(like.device, torch.promote_types(like.dtype, torch.float32))
        draw_weights(self, generator)

    def forward(self, images: Images) -> Tensor:
        """Classify (N, 3, H, W) in [0, 1]; returns logits (N, classes)."""
        features = F.relu(self.second(F.relu(self.first(images.to(self.last.weight.dtype) - 0.5))))
        logits: Tensor = self.last(features.flatten(1))
        return logits


def neighbours(images: Images, count: int, amplitude: float, generator: Generator | None) -> Images:
    """Some points around each image: uniform noise in cells, of amplitudes from this one to ``FARTHEST``.

    Shape: returns (count, A, 3, H, W).
    """
    height, width = images.shape[2:]
    side = max(1, min(height, width) // CELLS)
    cells = (count, len(images), 3, -(-height // side), -(-width // side))
    noise = 2 * uniform(cells, images, generator) - 1
    low = min(max(amplitude, LEAST), FARTHEST)
    reach = low * (FARTHEST / low) ** uniform((count, len(images), 1, 1, 1), images, generator)
    noise = (reach * noise).repeat_interleave(side, 3).repeat_interleave(side, 4)[..., :height, :width]
    return (images + noise).clamp(0, 1)


def ask(model: Model, points: Images, batch: int) -> Tensor:
    """The labels of points. Shape: (P, A, 3, H, W) to (P, A)."""
    answers = points.new_zeros(points.shape[:2], dtype=torch.long).flatten()
    with torch.no_grad():
        for rows in torch.arange(len(answers), device=points.device).split(batch) if len(answers) else ():
            answers[rows] = model(points.flatten(0, 1)[rows]).argmax(1)
    return answers.view(points.shape[:2])


def fit(
    network: Network,
    points: Images,
    answers: Tensor,
    epochs: int,
    rate: float,
    batch: int,
    generator: Generator | None,
) -> None:
    """Train the substitute on points (P, 3, H, W) and their labels (P,): cross-entropy, Adam."""
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    for _ in range(epochs):
        (order,) = orders(1, len(points), points, generator)
        for rows in order.split(batch):
            optimizer.zero_grad()
            with torch.enable_grad():
                F.cross_entropy(network(points[rows]), answers[rows]).backward()
            optimizer.step()


def stepped(network: Network, points: Images, answers: Tensor, step: float, batch: int) -> Images:
    """Move each value of points by a step along the sign of the Jacobian's row for their label.

    A negative step leads away from the label.
    """
    if not points.numel():
        return points
    signs = []
    pieces = zip(points.flatten(0, 1).split(batch), answers.flatten().split(batch), strict=True)
    for piece, labels in pieces:
        gradient, _, _ = differentiate(network, piece, partial(_own_logits, labels=labels))
        signs.append(gradient.sign())
    return (points + step * torch.cat(signs).view_as(points)).clamp(0, 1)


def _own_logits(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.gather(1, labels[:, None])[:, 0]
