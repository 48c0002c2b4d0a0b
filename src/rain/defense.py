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
"""All randomness of one call, as tensors by name; where a tensor belongs to single images, its first axis is the batch."""


class Defense(nn.Module, ABC):
    """Images to images, in the same range, in two steps: ``draw`` all that is random, then ``transform``, which is pure.

    ``eval()`` does not switch the randomness off: it is the defence.

    Attributes:
        random: False when ``draw`` draws nothing.
        independent: True when each image of a batch has its own draw, so that EOT may put many draws into one
            batch.
        turn: of an image's copies, so many in a row are drawn together by ``spread``.
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
        """Draw for a batch that is ``copies`` repetitions of one, one after the other, so that EOT gets the most out of few draws.

        The draws of any one copy must be distributed as ``draw``'s; those of an image's copies may depend on
        one another, so that the mean over them is nearer to the expectation. By default they do not.
        """
        return self.draw(images, generator)

    def stages(self, images: Images, draw: Draw) -> dict[str, Images]:
        """Name the pictures on the way, for the report; the last one is what ``transform`` returns."""
        return {"enhanced": self.transform(images, draw)}

    def forward(self, images: Images, *, generator: Generator | None = None, copies: int = 1) -> Images:
        """Defend a batch (N, 3, H, W) in [0, 1] with a fresh draw, as ``spread`` says if it is ``copies`` repetitions of one.

        Raises:
            ImageError: the batch breaks the convention.
        """
        check_images(images)
        return self.transform(
            images, self.spread(images, copies, generator) if copies > 1 else self.draw(images, generator)
        )


def check_word(defense: Defense, images: Images) -> None:
    """Hold a defence to what it says of itself, on some images: an attacker who believes it would be blind, and the figure flattering.

    Raises:
        OptionError: it does not give images in [0, 1]; the same draw gives other outputs, or, with random =
            False, other draws do; or, with differentiable = True, no gradient comes through it.
    """
    name = type(defense).__name__

    def output(seed: int, entering: Images = images) -> Images:
        return defense.transform(entering, defense.draw(entering, Generator().manual_seed(seed)))

    def differ(first: Images, second: Images) -> bool:
        return first.shape != second.shape or not torch.allclose(first, second, rtol=0, atol=1e-4)

    with torch.no_grad():
        first = output(0)
        if first.ndim != 4 or first.shape[:2] != images.shape[:2]:
            raise OptionError(
                f"{name} gives {tuple(first.shape)} for images {tuple(images.shape)}: a defence gives images for images"
            )
        if not -1e-3 <= float(first.min()) <= float(first.max()) <= 1 + 1e-3:
            raise OptionError(
                f"{name} gives values from {float(first.min()):.4g} to {float(first.max()):.4g}: keep to [0, 1], .clamp(0, 1) does"
            )
        if differ(first, output(0)):
            raise OptionError(
                f"{name}: the same draw gives other outputs: all that is random belongs into draw, where seeds and attackers find it"
            )
        if not defense.random and differ(first, output(1)):
            raise OptionError(
                f"{name} says random = False, and other draws give other outputs: take that line out of it"
            )
    if defense.differentiable:
        with torch.enable_grad():
            leaf = images.clone().requires_grad_()
            found = output(0, leaf)
            values = (found * torch.linspace(-1, 1, found.numel()).reshape(found.shape).to(found)).sum()
            gradient = (
                torch.autograd.grad(values, leaf, allow_unused=True)[0] if found.requires_grad else None
            )
        if gradient is None or not gradient.any():
            raise OptionError(
                f"{name} says differentiable = True, and no gradient comes through it, which blinds attackers (gradient masking): say "
                "differentiable = False, and adaptive attacks pass over it by BPDA"
            )


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
        """So many copies of an image are drawn together (``Defense.spread``)."""
        return self.defense.turn

    def train(self, mode: bool = True) -> Self:
        """Set the defence's training flag; the classifier stays in eval mode, so that its batch-norm statistics stay as given."""
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
        """Raise ``ImageError`` where images are on another device than the defence's weights, or of another type: that will be why it failed."""
        own = next((weight for weight in self.defense.parameters() if weight.is_floating_point()), None)
        if own is not None and (images.device, images.dtype) != (own.device, own.dtype):
            raise ImageError(
                f"images are {images.dtype} on {images.device}, the defence's weights {own.dtype} on {own.device}: "
                f"give images.to({str(own.device)!r}, {own.dtype}), or move the hardened classifier ({error})"
            ) from error

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
        if isinstance(draws, bool) or not isinstance(draws, Integral) or draws < 1:
            raise OptionError(f"draws must be a positive integer, got {draws!r}")
        if seed is not None and (
            isinstance(seed, bool) or not isinstance(seed, Integral) or not -(2**63) <= seed < 2**63
        ):
            raise OptionError(f"seed must be an integer of 64 bits, got {seed!r}")
        generator = None if seed is None else torch.Generator().manual_seed(int(seed))
        count = draws if self.defense.random else 1
        single = torch.stack([probabilities_of(self(images, generator=generator)) for _ in range(count)])
        probabilities = single.mean(0)
        labels = probabilities.argmax(1)
        return Prediction(labels, probabilities, (single.argmax(2) == labels).float().mean(0))


def probabilities_of(logits: Tensor) -> Tensor:
    """Softmax in float32, of logits (N, classes).

    Raises:
        ClassifierError: a probability is no number, the largest of which would be class 0; or these are no
            logits of several classes.
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        got = (
            f"of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        )
        raise ClassifierError(
            f"the classifier must answer with logits (N, classes), at least two of them for an image; got {got}"
        )
    probabilities = logits.float().softmax(1)
    bad = (~torch.isfinite(probabilities).all(1)).nonzero()[:, 0].tolist()
    if bad:
        some = ", ".join(map(str, bad[:4])) + (" and others" if len(bad) > 4 else "")
        raise ClassifierError(
            f"the classifier answers NaN or infinite logits for images {some} of a batch of {len(logits)}: half precision overflows in some "
            "networks, take float32 or bfloat16; else look at its weights"
        )
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
        raise OptionError(
            f"classifier must be an nn.Module from images to logits, got {type(classifier).__name__}"
        )
    if any(isinstance(module, Defense) for module in classifier.modules()):
        raise OptionError(
            "this classifier is hardened already, and its randomness would be hidden from seeds and attackers: give the bare one"
        )
    if isinstance(defense, Defense):
        if options:
            raise OptionError(
                f"options {', '.join(options)} go with a defence's name; this one is already made"
            )
        return Hardened(classifier, defense)
    if not isinstance(defense, str):
        got = (
            f"the class {defense.__name__}: make one, {defense.__name__}(...)"
            if isinstance(defense, type)
            else f"a {type(defense).__name__}"
        )
        raise OptionError(
            f"defense must be a name (rain list defenses) or an instance of rain.Defense, got {got}"
        )
    own = next((weight for weight in classifier.parameters() if weight.is_floating_point()), None)
    built = load_defense(defense, **options)
    return Hardened(classifier, built if own is None else built.to(own.device, own.dtype))


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
