"""Defense, the only abstract class, and ``harden``, which puts one before a classifier."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from numbers import Integral
from typing import Any, NamedTuple, Self

import torch
from torch import Generator, Tensor, nn

from rain.errors import ClassifierError, ImageError, OptionError
from rain.images import Images, check_images
from rain.registry import load_defense

Draw = Mapping[str, Tensor]
"""All randomness of one call, as tensors by name.

Where a tensor belongs to single images, its first axis is the batch.
"""


class Defense(nn.Module, ABC):
    """Images to images, in the same range, in two steps.

    ``draw`` draws all that is random, then ``transform``, which is pure, computes. ``eval()`` does not
    switch the randomness off: it is the defence.

    Attributes:
        random: False when ``draw`` draws nothing.
        independent: True when each image of a batch has its own draw, so that EOT may put many draws into one
            batch.
        turn: how many of an image's copies, one after the other, ``spread`` draws together.
        differentiable: False when ``transform`` has no useful gradient; an adaptive attacker then wraps it in
            ``StraightThrough``.
    """

    random: bool = True
    independent: bool = True
    turn: int = 1
    differentiable: bool = True

    @abstractmethod
    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw what ``transform`` needs for a batch of this shape, on the images' device."""

    @abstractmethod
    def transform(self, images: Images, draw: Draw) -> Images:
        """Apply the defence: same images and same draw give the same output, bit for bit."""

    def spread(self, images: Images, copies: int, generator: Generator | None = None) -> Draw:
        """Draw for a batch that is ``copies`` repetitions of one: EOT gets the most out of few draws.

        The draws of any one copy must be distributed as ``draw``'s; those of an image's copies may depend on
        one another, so that the mean over them is nearer to the expectation. By default they do not.

        Args:
            images: (copies * N, 3, H, W), one copy of the batch after the other.
            copies: at least 1.
            generator: of the draw; by default, torch's own.
        """
        return self.draw(images, generator)

    def stages(self, images: Images, draw: Draw) -> dict[str, Images]:
        """Name the pictures on the way, for the report; the last one is what ``transform`` returns."""
        return {"enhanced": self.transform(images, draw)}

    def forward(self, images: Images, *, generator: Generator | None = None, copies: int = 1) -> Images:
        """Defend a batch with a fresh draw.

        Args:
            images: (N, 3, H, W) in [0, 1].
            generator: of the draw; by default, torch's own.
            copies: above 1, the batch is so many repetitions of one, and ``spread`` draws.

        Shape: returns (N, 3, H, W).

        Raises:
            ImageError: the batch breaks the convention.
        """
        check_images(images)
        draw = self.spread(images, copies, generator) if copies > 1 else self.draw(images, generator)
        return self.transform(images, draw)


class Prediction(NamedTuple):
    """What a hardened classifier says to a batch.

    Attributes:
        labels: (N,), the class with the highest averaged probability.
        probabilities: (N, classes), float32, averaged over the draws.
        agreement: (N,), the share of draws that alone give the same label.
    """

    labels: Tensor
    probabilities: Tensor
    agreement: Tensor


class Hardened(nn.Module):
    """A classifier behind a defence: images (N, 3, H, W) in [0, 1] to logits. Made by ``harden``.

    The classifier in here is a copy of the given one, always in eval mode: whatever is done to this module
    (moved, halved, trained, other weights loaded) leaves the given one alone.
    """

    def __init__(self, classifier: nn.Module, defense: Defense):
        super().__init__()
        self.classifier = duplicate(classifier)
        self.defense = defense
        self.eval()

    @property
    def independent(self) -> bool:
        """Whether each image of a batch has its own draw."""
        return self.defense.independent

    @property
    def turn(self) -> int:
        """How many copies of an image are drawn together (``Defense.spread``)."""
        return self.defense.turn

    def train(self, mode: bool = True) -> Self:
        """Set the defence's training flag.

        The classifier stays in eval mode, so that its batch-norm statistics stay as given.
        """
        super().train(mode)
        self.classifier.eval()
        return self

    def forward(self, images: Images, *, generator: Generator | None = None, copies: int = 1) -> Tensor:
        """Classify with one fresh draw; ``copies`` as for ``Defense.forward``.

        Shape: (N, 3, H, W) in [0, 1] to logits (N, classes).

        Raises:
            ImageError: the batch breaks the convention.
        """
        try:
            defended = self.defense(images, generator=generator, copies=copies)
        except RuntimeError as error:
            self._explain(images, error)
            raise
        if not len(defended):
            # Not every network takes an empty batch; one blank image tells how many classes there are.
            return self.classifier(images.new_zeros((1, *images.shape[1:])))[:0]
        return self.classifier(defended)

    def _explain(self, images: Images, error: RuntimeError) -> None:
        """Raise ``ImageError`` where images and the defence's weights differ in device or type.

        That will be why it failed.
        """
        weight = _first_weight(self.defense)
        if weight is None or (images.device, images.dtype) == (weight.device, weight.dtype):
            return
        what = f"images are {images.dtype} on {images.device}"
        needed = f"the defence's weights {weight.dtype} on {weight.device}"
        advice = f"give images.to({str(weight.device)!r}, {weight.dtype}), or move the hardened classifier"
        raise ImageError(f"{what}, {needed}: {advice} ({error})") from error

    @torch.no_grad()
    def predict(self, images: Images, draws: int = 8, seed: int | None = None) -> Prediction:
        """Classify with the probabilities averaged over several draws.

        Args:
            images: (N, 3, H, W) in [0, 1].
            draws: fresh draws to average over; a defence without randomness needs one, and gets one.
            seed: for the same answer every time, on any device. Do not use one where an attacker could learn
                it.

        Raises:
            ImageError: the batch breaks the convention.
            OptionError: draws is not a positive integer, or seed no integer of 64 bits.
            ClassifierError: an answer is no number, or not one logit for each of at least two classes.
        """
        if not _is_integer(draws) or draws < 1:
            raise OptionError(f"draws must be a positive integer, got {draws!r}")
        if seed is not None and not (_is_integer(seed) and -(2**63) <= seed < 2**63):
            raise OptionError(f"seed must be an integer of 64 bits, got {seed!r}")
        generator = None if seed is None else Generator().manual_seed(int(seed))
        count = draws if self.defense.random else 1
        of_draws = torch.stack([probabilities_of(self(images, generator=generator)) for _ in range(count)])
        probabilities = of_draws.mean(0)
        labels = probabilities.argmax(1)
        agreement = (of_draws.argmax(2) == labels).float().mean(0)
        return Prediction(labels, probabilities, agreement)


def _is_integer(value: object) -> bool:
    """Whether it is an integer, of any library; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def probabilities_of(logits: Tensor) -> Tensor:
    """Softmax in float32, of logits (N, classes).

    Raises:
        ClassifierError: a probability is no number, the largest of which would be class 0; or these are no
            logits of several classes.
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        is_tensor = isinstance(logits, Tensor)
        answer = f"of shape {tuple(logits.shape)}" if is_tensor else f"a {type(logits).__name__}"
        needed = "logits (N, classes), at least two of them for an image"
        raise ClassifierError(f"the classifier must answer with {needed}; got {answer}")
    probabilities = logits.float().softmax(1)
    broken = (~torch.isfinite(probabilities).all(1)).nonzero()[:, 0].tolist()
    if broken:
        places = ", ".join(map(str, broken[:4])) + (" and others" if len(broken) > 4 else "")
        what = f"NaN or infinite logits for images {places} of a batch of {len(logits)}"
        advice = "half precision overflows in some networks, take float32 or bfloat16"
        raise ClassifierError(f"the classifier answers {what}: {advice}; else look at its weights")
    return probabilities


def harden(classifier: nn.Module, defense: str | Defense = "rain", **options: Any) -> Hardened:
    """Put a defence before a classifier, which is not changed in any way.

    Args:
        classifier: from images (N, 3, H, W) in [0, 1] to logits; it owns its resize, crop and normalisation
            (``rain.load_classifier`` gives such ones; ``rain.Preprocessed`` makes one of a network that wants
            normalised input).
        defense: a name (``rain list defenses``), built on the classifier's device and in its type, or a
            ``Defense``, taken as it is.
        options: of the defence, by name.

    Raises:
        UnknownNameError: no such defence.
        OptionError: no such option, or ``classifier`` is not an ``nn.Module``, cannot be copied, or is
            hardened already; or ``defense`` is neither.
    """
    if not isinstance(classifier, nn.Module):
        kind = type(classifier).__name__
        raise OptionError(f"classifier must be an nn.Module from images to logits, got {kind}")
    if any(isinstance(module, Defense) for module in classifier.modules()):
        what = "its randomness would be hidden from seeds and attackers"
        raise OptionError(f"this classifier is hardened already, and {what}: give the bare one")
    if isinstance(defense, Defense):
        if options:
            names = ", ".join(options)
            raise OptionError(f"options {names} go with a defence's name; this one is already made")
        return Hardened(classifier, defense)
    if not isinstance(defense, str):
        needed = "a name (rain list defenses) or an instance of rain.Defense"
        raise OptionError(f"defense must be {needed}, got {_kind(defense)}")
    loaded, weight = load_defense(defense, **options), _first_weight(classifier)
    return Hardened(classifier, loaded if weight is None else loaded.to(weight.device, weight.dtype))


def _kind(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}: make one, {value.__name__}(...)"
    return f"a {type(value).__name__}"


def own_size(classifier: nn.Module) -> int | None:
    """The side of the square that a classifier sees, in pixels; None where it does not say that.

    Convention: it is the attribute ``crop``, as ``rain.Preprocessed`` has it.
    """
    side = getattr(classifier, "crop", None)
    if not isinstance(side, Integral) or side < 2:
        return None
    return int(side)


def _first_weight(module: nn.Module) -> nn.Parameter | None:
    """The first floating-point parameter, whose device and type are taken for the module's."""
    return next((weight for weight in module.parameters() if weight.is_floating_point()), None)


def duplicate(classifier: nn.Module) -> nn.Module:
    """Copy a classifier, in eval mode.

    Raises:
        OptionError: it cannot be copied.
    """
    try:
        return copy.deepcopy(classifier).eval()
    except (RuntimeError, TypeError) as error:
        advice = "weight norm and spectral norm from torch.nn.utils.parametrizations can be"
        raise OptionError(f"{type(classifier).__name__} cannot be copied ({error}); {advice}") from error
