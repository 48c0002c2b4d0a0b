"""Defense, the only abstract class, and ``harden``, which puts one before a classifier."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from numbers import Integral
from typing import Any, NamedTuple, Self

import torch
from torch import Generator, Tensor, nn

from rain.errors import ClassifierError, OptionError
from rain.folding import duplicate
from rain.images import Images, check_images
from rain.registry import load_defense

Draw = Mapping[str, Tensor]
"""All randomness of one call, as tensors by name; where a tensor belongs to single images, its first axis is the batch."""


class Defense(nn.Module, ABC):
    """Images to images, in the same range, in two steps: ``draw`` all that is random, then ``transform``, which is pure.

    ``eval()`` does not switch the randomness off: it is the defence.

    Attributes:
        random: False when ``draw`` draws nothing.
        independent: True when each image of a batch has its own draw, so that EOT may put many draws into one batch.
        differentiable: False when ``transform`` has no useful gradient; an adaptive attacker then wraps it in ``StraightThrough``.
    """

    random: bool = True
    independent: bool = True
    differentiable: bool = True

    @abstractmethod
    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw what ``transform`` needs for a batch of this shape, on the images' device."""

    @abstractmethod
    def transform(self, images: Images, draw: Draw) -> Images:
        """Apply the defence: same images and same draw give the same output, bit for bit."""

    def spread(self, images: Images, copies: int, generator: Generator | None = None) -> Draw:
        """Draw for a batch that is ``copies`` repetitions of one, one after the other, so that EOT gets the most out of few draws.

        The draws of any one copy must be distributed as ``draw``'s; those of an image's copies may depend on one another, so that the mean over
        them is nearer to the expectation. By default they do not.
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
        return self.transform(images, self.spread(images, copies, generator) if copies > 1 else self.draw(images, generator))


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

    The classifier in here is a copy of the given one, always in eval mode: whatever is done to this module (moved, halved, trained, other
    weights loaded) leaves the given one alone.
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
        defended = self.defense(images, generator=generator, copies=copies)
        if not len(defended):
            # Not every network takes an empty batch; one blank image tells how many classes there are.
            return self.classifier(images.new_zeros((1, *images.shape[1:])))[:0]
        return self.classifier(defended)

    @torch.no_grad()
    def predict(self, images: Images, draws: int = 8, seed: int | None = None) -> Prediction:
        """Classify with the probabilities averaged over several draws.

        Args:
            images: (N, 3, H, W) in [0, 1].
            draws: fresh draws to average over; a defence without randomness needs one, and gets one.
            seed: for the same answer every time, on any device. Do not use one where an attacker could learn it.

        Raises:
            ImageError: the batch breaks the convention.
            OptionError: draws is not a positive integer, or seed no integer of 64 bits.
            ClassifierError: an answer is no number, or not one logit for each of at least two classes.
        """
        if isinstance(draws, bool) or not isinstance(draws, Integral) or draws < 1:
            raise OptionError(f"draws must be a positive integer, got {draws!r}")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, Integral) or not -(2**63) <= seed < 2**63):
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
        ClassifierError: a probability is no number, the largest of which would be class 0; or these are no logits of several classes.
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        got = f"of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ClassifierError(f"the classifier must answer with logits (N, classes), at least two of them for an image; got {got}")
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
        classifier: from images (N, 3, H, W) in [0, 1] to logits; it owns its resize, crop and normalisation (``rain.load_classifier``
            gives such ones; ``rain.Preprocessed`` makes one of a network that wants normalised input).
        defense: a name (``rain list defenses``) or a ``Defense``.
        options: of the defence, by name.

    Raises:
        UnknownNameError: no such defence.
        OptionError: no such option, or ``classifier`` is not an ``nn.Module``, cannot be copied, or is hardened already.
    """
    if not isinstance(classifier, nn.Module):
        raise OptionError(f"classifier must be an nn.Module from images to logits, got {type(classifier).__name__}")
    if any(isinstance(module, Defense) for module in classifier.modules()):
        raise OptionError("this classifier is hardened already, and its randomness would be hidden from seeds and attackers: give the bare one")
    if isinstance(defense, Defense):
        if options:
            raise OptionError(f"options {', '.join(options)} go with a defence's name; this one is already made")
        return Hardened(classifier, defense)
    return Hardened(classifier, load_defense(defense, **options))
