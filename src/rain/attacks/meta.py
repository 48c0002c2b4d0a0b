"""Meta attack: a small network that says the gradient from the image, and learns while it attacks."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.utils import skip_init

from rain import checkpoints
from rain.adaptive import Model
from rain.attacks import ascend, check_arguments, check_counts, check_positive, differentiate, margins
from rain.attacks._draws import below, device_of, draw_weights
from rain.attacks._scores import Scores
from rain.images import Images, project
from rain.registry import ATTACKS, Traits

Weights = Sequence[Tensor]
"""A predictor for each of N images: kernels (N, out, in, 3, 3) and biases (N, out) in turn."""

TINY = 1e-12
"""The least that anything is divided by."""


@ATTACKS.register(traits=Traits(sees="scores"))
def meta(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    queries: int = 1000,
    weights: str | None = None,
    coordinates: int = 12,
    every: int = 3,
    delta: float = 0.1,
    step: float | None = None,
    fits: int = 10,
    rate: float = 0.01,
    batch: int = 50,
    confidence: float = 0.0,
    generator: Generator | None = None,
) -> Images:
    """Predict the margin's gradient with a network, fine-tune it on a few measured values, and descend.

    Without ``weights`` the network knows nothing at first, and learns from this image's queries alone: that
    is coordinate descent with a network that fills in what was not measured, and it says nothing about what
    the paper's attack, whose network was trained on other classifiers, can do.

    Args:
        norm: "linf" (steps along signs) or "l2".
        queries: images sent through the model for each image, at most.
        weights: path of a safetensors file of a ``Predictor`` (``meta_train`` makes one); None is an
            untrained one.
        coordinates: single values of the image that are measured at a time, two queries each: those with the
            largest predictions, none again before every other one had its turn.
        every: steps from one measurement to the next; those between follow the network, which sees the image
            as it has become.
        delta: how far to both sides to ask. A single value must go far to be heard, above all from a random
            model.
        step: length of a step, in the unit of eps; None is 2.5 eps / steps.
        fits: steps of Adam on all that was measured, after each measurement.
        rate: Adam's.
        batch: images in one forward pass of the model.
        confidence: an image leaves when the best wrong logit is above the right one by more than this.
        generator: of the untrained weights, and of the choice where predictions are equal.

    Raises:
        WeightsError: the file is missing, or of another network.

    Source: Du et al. (arXiv 1906.02398): algorithm 2, and algorithm 1 for ``meta_train``; Reptile: Nichol et
        al. (arXiv 1803.02999).

    Differs: within a budget, by projection; margin of the logits. A step moves all values, not only the
    measured ones, and takes the last measured slope, in place of the prediction, where there is one: a small
    network cannot remember single values. Slopes are divided by their root mean square. The network is
    smaller, and keeps the size of the image. Each image has weights of its own. Each step is looked at for
    one query, and of the images after each step the one with the lowest margin is returned, or with a
    confidence the last.
    """
    check_arguments(norm, eps)
    check_counts(queries=queries, coordinates=coordinates, every=every, fits=fits, batch=batch)
    check_positive(delta=delta, rate=rate, step=step)
    length = 2.5 * eps / max(1, every * queries // (2 * coordinates + every)) if step is None else step
    # The network and the slopes stay in float32 at least, whatever the images are in: squares of small
    # numbers are zero in half precision.
    wide = torch.promote_types(images.dtype, torch.float32)
    first = Predictor(images.to(wide), generator)
    if weights is not None:
        checkpoints.load(first, weights)
    search = Scores(model, images, labels, queries, confidence, batch)
    current = images[search.active]
    own: Weights = [value.detach().expand(len(current), *value.shape) for value in first.parameters()]
    slopes = torch.zeros_like(current, dtype=wide).flatten(1)
    times = torch.zeros_like(slopes)
    steps = 0
    while search.running:
        affordable = min(coordinates, slopes.shape[1], (search.queries_left - 1) // 2)
        if affordable and steps % every == 0:
            values = choose(predict(own, current.to(wide)).flatten(1), times, affordable, generator)
            slopes = slopes.scatter(1, values, search.measure_slopes(current, values, delta))
            times = times.scatter_add(1, values, torch.ones_like(values, dtype=times.dtype))
            measured = times > 0
            target = scaled(slopes, measured).view_as(current)
            own = fit(own, current.to(wide), target, measured.view_as(current), fits, rate)
        steps += 1
        measured = times > 0
        predicted = predict(own, current.to(wide)).flatten(1)
        gradient = torch.where(measured, scaled(slopes, measured), predicted).view_as(current)
        moved = current - (length * ascend(gradient, norm)).to(current)
        current = project(moved, images[search.active], norm, eps)
        stay = search.try_points(current)
        current, slopes, times = current[stay], slopes[stay], times[stay]
        own = [value[stay] for value in own]
    return search.best


def choose(predicted: Tensor, times: Tensor, count: int, generator: Generator | None) -> Tensor:
    """Choose values to measure: first what was measured least often, then what is predicted to be large.

    Args:
        predicted: (A, values), the gradient.
        times: (A, values), how often each was measured.

    Returns: (A, count), their numbers; chance decides between equals.
    """
    size = predicted.abs()
    device = device_of(generator, predicted)
    chance = torch.rand(size.shape, generator=generator, device=device).to(size)
    priority = size / (2 * size.amax(1, keepdim=True) + TINY) + chance / 1e4 - times
    return priority.topk(count, dim=1).indices


class Predictor(nn.Module):
    """Three convolutions from an image to the gradient of the margin, up to its scale.

    Untrained, it predicts zero everywhere.

    Args:
        like: whose type and device the weights have.
        generator: of the untrained weights.
        width: channels between the convolutions.
    """

    def __init__(self, like: Tensor, generator: Generator | None = None, width: int = 16):
        super().__init__()
        channels = ((3, width), (width, width), (width, 3))
        self.layers = nn.ModuleList(skip_init(nn.Conv2d, *pair, 3, padding=1).to(like) for pair in channels)
        draw_weights(self, generator)
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]

    def forward(self, images: Images) -> Tensor:
        """Predict the gradient at images (N, 3, H, W); of the same shape."""
        return predict([value.expand(len(images), *value.shape) for value in self.parameters()], images)


def predict(weights: Weights, images: Images) -> Tensor:
    """What the predictor of each image predicts for it: (N, 3, H, W).

    No gradient unless the caller switched them on for the weights.
    """
    if not len(images):
        return torch.zeros_like(images)
    flow = (images - 0.5).flatten(0, 1)[None]
    for kernels, biases in zip(weights[::2], weights[1::2], strict=True):
        flow = F.relu(flow) if kernels is not weights[0] else flow
        flow = F.conv2d(flow, kernels.flatten(0, 1), biases.flatten(), padding=1, groups=len(images))
    return flow[0].unflatten(0, images.shape[:2])


def fit(
    weights: Weights, images: Images, gradient: Tensor, measured: Tensor, steps: int, rate: float
) -> Weights:
    """Fit each predictor to the gradient at its image: squared error on the measured values, Adam.

    Args:
        gradient: (N, 3, H, W).
        measured: (N, 3, H, W), which values of it count.
    """
    # Made as parameters, and differentiated here only: the classifier has no part in it. Copies, since what
    # was made in inference mode has no gradients outside of it either.
    with torch.inference_mode(False), torch.enable_grad():
        own = [nn.Parameter(value.detach().clone()) for value in weights]
        optimizer = torch.optim.Adam(own, lr=rate)
        images, gradient, measured = images.clone(), gradient.clone(), measured.clone()
        shares = measured / measured.flatten(1).sum(1).clamp_min(1)[:, None, None, None]
        for _ in range(steps):
            optimizer.zero_grad()
            loss = ((predict(own, images) - gradient).square() * shares).sum()
            torch.autograd.backward(loss, inputs=own)
            optimizer.step()
    return [value.detach() for value in own]


def scaled(slopes: Tensor, measured: Tensor) -> Tensor:
    """Divide by the root mean square of the measured ones, image by image. Shape: (A, values)."""
    mean_square = (slopes.square() * measured).sum(1) / measured.sum(1).clamp_min(1)
    return slopes / mean_square.sqrt().clamp_min(TINY)[:, None]


def meta_train(
    models: Sequence[Model],
    images: Images,
    labels: Tensor,
    *,
    steps: int = 1000,
    inner: int = 10,
    rate: float = 0.01,
    pace: float = 0.1,
    batch: int = 8,
    generator: Generator | None = None,
) -> Predictor:
    """Train a predictor on the gradients of classifiers, by Reptile.

    ``rain.checkpoints.save`` makes of it a file for the option ``weights``.

    Args:
        models: classifiers with gradients; none of them should be the one that is attacked later.
        images: (N, 3, H, W) in [0, 1]. No image that is attacked later should be among them.
        labels: (N,), the right answers.
        steps: of the predictor that is trained.
        inner: steps of Adam on a task, which is one image and one classifier.
        rate: Adam's.
        pace: the share of the way to where a task led on average that is gone in a step.
        batch: tasks for a step, with the same classifier.
        generator: of the untrained weights, and of the tasks.
    """
    check_counts(steps=steps, inner=inner, batch=batch, models=len(models), images=len(images))
    check_positive(rate=rate, pace=pace)
    network = Predictor(images, generator)
    everything = torch.ones_like(images[:1], dtype=torch.bool).expand(batch, -1, -1, -1)
    for _ in range(steps):
        rows = below(len(images), (batch,), labels, generator)
        model = models[int(below(len(models), (), labels, generator))]
        gradient, _, _ = differentiate(model, images[rows], partial(margins, labels=labels[rows]))
        gradient = scaled(gradient.flatten(1), everything.flatten(1)).view_as(gradient)
        start = [value.detach().expand(batch, *value.shape) for value in network.parameters()]
        fitted = fit(start, images[rows], gradient, everything, inner, rate)
        for value, end in zip(network.parameters(), fitted, strict=True):
            value.data += pace * (end.mean(0) - value.data)
    return network.eval()
