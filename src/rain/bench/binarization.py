"""The binarization test: an attack must find what is planted for it.

Around each image two kinds of points are drawn: some inside the budget, and few at its edge. A linear readout
of the classifier's features behind the defence is made that tells the two apart. Classifier, defence and
readout are then a classifier of two classes, which has adversarial points by construction: those that were
planted. An attack that does not find any says nothing of the defence when it finds none elsewhere.

Source: Zimmermann, Brendel, Tramer, Carlini, "Increasing confidence in adversarial robustness evaluations"
    (arXiv 2206.13991), algorithm 1.

Differs: the readout is the linear discriminant of the two kinds, in closed form. Of a random defence the
    points, and what the attack made, are judged by their mean features over several draws. The features are
    what enters the classifier's last linear layer, as in the paper; its logits where there is none, or where
    the defence answers itself. Behind a gate the readout parts the features of both answers, the bare one and
    the defended one, and the gate, with its threshold, then chooses between the answers of two classes.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from rain.adaptive import Expectation, Model, Seeded, View
from rain.gate import Gated
from rain.hardened import Hardened
from rain.images import Images, project

INNER = 0.95
"""The share of the budget within which the points inside are drawn."""

CLOSENESS = 0.75
"""Where the readout parts the two kinds: 0 at the last point inside, 1 at the nearest one planted."""

MARGIN = 5.0
"""How far, in logits, the clean image is from being answered as the planted points are."""

SHRINK = 0.1
"""The share of their mean that is added to all variances of the features, which may be few or dependent."""

OFTEN = 4
"""So many times the draws are made for each planted point, and for what the attack made."""

TRIES = 3
"""How often other points are drawn, where those before could not be told apart."""

HELD_OUT = 4
"""One point inside for so many goes into the threshold, and not into the direction."""

GRAINS = (1, 2, 4, 8)
"""Of the noise that points are made by, in pixels."""


@dataclass(frozen=True)
class Readout:
    """A linear function of features: above 0 for the planted points, below for those inside.

    Args:
        weights: (F,), of the features.
        offset: what is taken from the sum.
    """

    weights: Tensor
    offset: Tensor

    def score(self, features: Tensor) -> Tensor:
        """Score features (N, F); (N,)."""
        weights = self.weights.to(features)
        return features @ weights - self.offset.to(features)


class Features(nn.Module):
    """A classifier that answers with what enters one of its layers.

    Args:
        network: from images to logits.
        layer: the name of the layer.
    """

    def __init__(self, network: nn.Module, layer: str):
        super().__init__()
        self.network, self.layer = network, layer

    def forward(self, images: Images) -> Tensor:
        """The features of images: (N, F)."""
        entering: list[Tensor] = []
        hooked = self.network.get_submodule(self.layer)
        handle = hooked.register_forward_pre_hook(
            lambda _, inputs, named: entering.extend((*inputs, *named.values())), with_kwargs=True
        )
        try:
            self.network(images)
        finally:
            handle.remove()
        return entering[-1]


def with_features(model: Hardened, image: Images) -> Hardened:
    """The same model, answering with features in the place of logits; itself where there are none to be had.

    Args:
        image: (1, 3, H, W), one that it can be asked about.
    """
    if model.defense.answers_itself:
        return model
    return _before(model, featured(model.classifier, image))


def with_readout(model: Hardened, readout: "Readout", image: Images) -> Hardened:
    """The same model, whose classifier is one of two classes: for a gate, which compares such answers."""
    return _before(model, Binary(featured(model.classifier, image), readout))


def featured(network: nn.Module, image: Images) -> nn.Module:
    """A network that answers with features; itself where it has none."""
    layer = last_linear(network, image)
    return Features(network, layer) if layer else network


def _before(model: Hardened, classifier: nn.Module) -> Hardened:
    """Put the defence of a model before another classifier."""
    other = copy.copy(model)
    other._modules = {**model._modules, "classifier": classifier}
    return other


@torch.no_grad()
def last_linear(network: nn.Module, image: Images) -> str:
    """Name the linear layer that gives a network's logits; "" where none does."""
    calls: list[tuple[str, Tensor, Tensor]] = []

    def remember(name: str, inputs: tuple[Any, ...], named: dict[str, Any], answer: Tensor) -> None:
        given, *_ = (*inputs, *named.values())
        calls.append((name, given, answer))

    layers = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    handles = [
        layer.register_forward_hook(lambda _, *call, name=name: remember(name, *call), with_kwargs=True)
        for name, layer in layers
    ]
    try:
        logits = network(image.clone())
    finally:
        for handle in handles:
            handle.remove()
    fitting = [
        (torch.equal(answer, logits), place, name)  # an auxiliary head may come after the one that answers
        for place, (name, given, answer) in enumerate(calls)
        if given.ndim == 2 and given.shape[1] > 1 and answer.shape == logits.shape
    ]
    return max(fitting)[-1] if fitting else ""


class Binary(View):
    """A model behind a readout: class 0 inside, class 1 planted, and two more that are never the answer.

    Args:
        model: from images to features.
        readout: of these.
    """

    def __init__(self, model: Model, readout: Readout):
        super().__init__(model)
        self.readout = readout
        self.independent: bool = getattr(model, "independent", False)
        self.turn: int = getattr(model, "turn", 1)

    def forward(self, images: Images, *, copies: int = 1) -> Tensor:
        """Classify images, or a batch that is one batch ``copies`` times; logits (N, 4)."""
        asked = self.model(images, copies=copies) if copies > 1 else self.model(images)
        half = self.readout.score(asked) / 2
        never = torch.minimum(half, -half) - 1
        return torch.stack([-half, half, never, never], 1)


def inside(image: Images, count: int, norm: str, eps: float, generator: Generator) -> Images:
    """Draw points inside the budget around one image (1, 3, H, W); the image itself is the first.

    Uniform noise, in grains of 1, 2, 4 and 8 pixels in turn: a defence may smooth away what is fine.

    Shape: (count, 3, H, W).
    """
    moved = [_grained(image, number, generator) for number in range(count - 1)]
    noise = torch.stack(moved) if norm == "linf" else _unit(torch.stack(moved))
    points = image + INNER * eps * noise.to(image)
    return torch.cat([image, project(points, image.expand_as(points), norm, eps)])


def at_edge(image: Images, count: int, norm: str, eps: float, generator: Generator) -> Images:
    """Draw points as far from one image (1, 3, H, W) as the budget allows, in the coarsest grain.

    In linf these are corners of the box.

    Shape: (count, 3, H, W).
    """
    coarsest = len(GRAINS) - 1
    moved = torch.stack([_grained(image, coarsest, generator) for _ in range(count)])
    noise = moved.sign() if norm == "linf" else _unit(moved)
    points = image + eps * noise.to(image)
    return project(points, image.expand_as(points), norm, eps)


def _grained(image: Images, number: int, generator: Generator) -> Tensor:
    """Uniform noise from -1 to 1 (3, H, W), in grains of the size whose turn it is."""
    _, _, height, width = image.shape
    grain = min(GRAINS[number % len(GRAINS)], height, width)
    rows, columns = -(-height // grain), -(-width // grain)
    coarse = 2 * torch.rand((3, rows, columns), generator=generator) - 1
    fine = coarse.repeat_interleave(grain, 1).repeat_interleave(grain, 2)
    return fine[:, :height, :width]


def direction_between(own: Tensor, planted: Tensor) -> Tensor | None:
    """Find the linear discriminant of two kinds of features.

    Args:
        own: (N, F), of the points inside.
        planted: (M, F), of the planted ones.

    Shape: (F,), in float64; None where all points inside are one.
    """
    own, planted = own.double(), planted.double()
    center = own.mean(0)
    spread = own - center
    covariance = spread.T @ spread / len(own)
    size = covariance.diagonal().mean()
    if not size > 0:
        return None
    covariance += SHRINK * size * torch.eye(len(covariance), dtype=own.dtype, device=own.device)
    return torch.linalg.solve(covariance, planted.mean(0) - center)


def part(direction: Tensor, own: Tensor, planted: Tensor) -> Readout | None:
    """Place the threshold between two kinds of features along a direction.

    Args:
        own: (N, F), of points inside, none of which made the direction; the clean image's are the first.
        planted: (M, F), of the planted ones, on draws that did not make it either.

    Returns: None if no threshold tells all of them apart.
    """
    inner, edge = own.double() @ direction, planted.double() @ direction
    threshold = inner.max() + CLOSENESS * (edge.min() - inner.max())
    reach = threshold - inner[0]
    if not (edge.min() > inner.max() and reach > 0):
        return None
    return Readout(MARGIN / reach * direction, MARGIN / reach * threshold)


@dataclass(frozen=True)
class Judge:
    """Says what features an image has, in the mean over draws.

    Args:
        model: as it judges, with features for answers (``with_features``).
        draws: of a random defence.
        batch: images in one forward pass.
        generator: of all draws.
    """

    model: Hardened
    draws: int
    batch: int
    generator: Generator

    @torch.no_grad()
    def features(self, images: Images, times: int = 1) -> Tensor:
        """The mean features (N, F), over so many times the draws."""
        if not self.model.defense.random:
            return torch.cat([self.model(piece) for piece in images.split(self.batch)])
        seeded = Seeded(self.model, self.generator)
        averaged = Expectation(seeded, self.draws * times, batch=self.batch)
        return torch.cat([averaged(piece) for piece in images.split(self.batch)])

    def scores(self, readout: Readout, images: Images, times: int = 1) -> Tensor:
        """The readout's mean scores (N,): above 0 for the other class."""
        return readout.score(self.features(images, times))


@dataclass(frozen=True)
class GateJudge(Judge):
    """The same for a defence with a gate.

    Args:
        model: the defence behind the gate, with features for answers.
        gate: the gated model, as it judges; its classifier is the one that these features are of.
    """

    gate: Hardened

    @torch.no_grad()
    def features(self, images: Images, times: int = 1) -> Tensor:
        """The features of the bare classifier, and then those behind the defence: (2 N, F)."""
        bare = torch.cat([self.model.classify(piece) for piece in images.split(self.batch)])
        return torch.cat([bare, super().features(images, times)])

    def scores(self, readout: Readout, images: Images, times: int = 1) -> Tensor:
        """The mean scores (N,) of the answers that the gate lets through."""
        system = _before(self.gate, Binary(self.model.classifier, readout))
        logits = Judge(system, self.draws, self.batch, self.generator).features(images, times)
        return logits[:, 1] - logits[:, 0]


def judge_of(model: Hardened, image: Images, draws: int, batch: int, generator: Generator) -> Judge:
    """The judge of a model; ``image`` as for ``with_features``, the others as for ``Judge``."""
    if not isinstance(model.defense, Gated):
        return Judge(with_features(model, image), draws, batch, generator)
    behind = with_features(model.with_defense(model.defense.defense), image)
    return GateJudge(behind, draws, batch, generator, model)


def plant(
    judge: Judge, image: Images, own: int, planted: int, norm: str, eps: float, generator: Generator
) -> Readout | None:
    """Make a readout of which at least one planted point is in the other class than the image.

    Where it cannot be had, other points are tried.

    Args:
        judge: of the points.
        image: (1, 3, H, W).
        own: points inside.
        planted: points at the edge.
        norm, eps: the budget.
        generator: of the points.

    Returns: None if that cannot be had: the kinds cannot be told apart, or fresh draws mix them up.
    """
    tries = (_plant_once(judge, image, own, planted, norm, eps, generator) for _ in range(TRIES))
    return next((readout for readout in tries if readout is not None), None)


def _plant_once(
    judge: Judge, image: Images, own: int, planted: int, norm: str, eps: float, generator: Generator
) -> Readout | None:
    inner = inside(image, own, norm, eps, generator)
    edge = at_edge(image, planted, norm, eps, generator)
    direction = direction_between(judge.features(inner), judge.features(edge, OFTEN))
    if direction is None:
        return None
    # What made the direction is told apart by it too well: a few features tell hundreds of points apart.
    others = inside(image, max(2, own // HELD_OUT), norm, eps, generator)
    readout = part(direction, judge.features(others), judge.features(edge, OFTEN))
    if readout is None:
        return None
    is_clean = bool(judge.scores(readout, image, OFTEN)[0] < 0)
    return readout if is_clean and finds(judge, readout, edge) else None


def finds(judge: Judge, readout: Readout, images: Images) -> bool:
    """Whether one of these images is in the other class, by its mean over fresh draws."""
    return bool((judge.scores(readout, images, OFTEN) > 0).any())


def searches(
    judge: Judge, readout: Readout, image: Images, count: int, norm: str, eps: float, generator: Generator
) -> bool:
    """Whether random search finds the other class: the best of as many points as there were inside."""
    points = inside(image, count, norm, eps, generator)
    best = points[judge.scores(readout, points).argmax()][None]
    return finds(judge, readout, best)


def _unit(vectors: Tensor) -> Tensor:
    """Scale each to length 1."""
    return vectors / vectors.flatten(1).norm(dim=1)[:, None, None, None]
