"""What ``Hardened.predict`` says, and how pictures of several sizes become batches."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from rain.errors import ImageError
from rain.images import Images

LARGE = 4
"""Images of so many times the side that the classifier sees are told of: what sixteen times the work is."""


class Prediction(NamedTuple):
    """What a hardened classifier says to a batch.

    Attributes:
        labels: (N,), the class with the highest averaged probability; behind noise that can be certified the
            class of most draws, which is what a certificate is about.
        probabilities: (N, classes), float32, averaged over the draws.
        agreement: (N,), the share of draws that alone give the same label.
    """

    labels: Tensor
    probabilities: Tensor
    agreement: Tensor


class GatedPrediction(NamedTuple):
    """What a hardened classifier with a gate, or another detector, says to a batch.

    Attributes:
        labels: (N,), the classifier's own, where it is not flagged; else that of the averaged probabilities
            behind the defence. A detector without a gate answers as the classifier always.
        probabilities: (N, classes), float32, of the one or the other.
        agreement: (N,), the share of draws that alone give the same label.
        suspicion: (N,), how far the answers differ, by the gate's score.
        flagged: (N,), whether that is above the threshold: a gate lets its defence overrule the classifier,
            any other detector says that the picture should be refused.
        bare: (N,), the label that the classifier gives without the defence.
    """

    labels: Tensor
    probabilities: Tensor
    agreement: Tensor
    suspicion: Tensor
    flagged: Tensor
    bare: Tensor


class Group(NamedTuple):
    """The pictures of a list that have one size.

    Attributes:
        places: where they stand in the list.
        images: (N, 3, H, W).
    """

    places: list[int]
    images: Images


def average(of_draws: Tensor) -> Prediction:
    """Average over draws.

    Args:
        of_draws: (draws, N, classes), the probabilities.
    """
    probabilities = of_draws.mean(0)
    labels = probabilities.argmax(1)
    agreement = (of_draws.argmax(2) == labels).float().mean(0)
    return Prediction(labels, probabilities, agreement)


def vote(of_draws: Tensor) -> Prediction:
    """Let draws vote; of classes with as many votes the more probable one wins.

    Args:
        of_draws: (draws, N, classes), the probabilities.
    """
    probabilities = of_draws.mean(0)
    answers = of_draws.argmax(2)
    votes = one_hot(answers, of_draws.shape[2]).sum(0)
    most = votes == votes.max(1, keepdim=True).values
    labels = probabilities.masked_fill(~most, -1).argmax(1)
    return Prediction(labels, probabilities, (answers == labels).float().mean(0))


def group_by_size(pictures: Sequence[Tensor]) -> list[Group]:
    """Make a batch of the pictures of each size, type and device, in the order in which these appear.

    Args:
        pictures: each (3, H, W).

    Raises:
        ImageError: the list is empty, or one of them is no such tensor.
    """
    if not len(pictures):
        what = "the list holds no picture, and nothing says of what size none would be"
        raise ImageError(f"{what}: ask about at least one, or about torch.zeros(0, 3, H, W)")
    groups: dict[object, list[int]] = {}
    for place, picture in enumerate(pictures):
        _check_picture(picture, f"images[{place}]")
        groups.setdefault((picture.shape, picture.dtype, picture.device), []).append(place)
    return [Group(places, torch.stack([pictures[place] for place in places])) for places in groups.values()]


def in_order(
    groups: Sequence[Group], predictions: Sequence[Prediction | GatedPrediction]
) -> Prediction | GatedPrediction:
    """Put the answers to groups of a list in the order of the list."""
    places = torch.tensor([place for group in groups for place in group.places])
    order = places.argsort()
    columns = [torch.cat(parts) for parts in zip(*predictions, strict=True)]
    return type(predictions[0])(*[column[order.to(column.device)] for column in columns])


def warn_of_size(images: Images, side: int) -> bool:
    """Warn of images that are much larger than what the classifier sees; whether it did.

    Args:
        images: (N, 3, H, W).
        side: of the square that the classifier sees, in pixels.
    """
    height, width = images.shape[2:]
    if height * width <= (LARGE * side) ** 2:
        return False
    what = f"images of {height} x {width} before a classifier that sees {side} x {side}"
    why = "the defence computes at the size that it gets, which takes time and memory"
    advice = f"bring each of them to that size first, by rain.images.enter(image, {side})"
    warnings.warn(f"{what}: {why}; {advice}", stacklevel=4)
    return True


def _check_picture(picture: object, name: str) -> None:
    """Check kind and shape; what is in it is checked with the batch."""
    if not isinstance(picture, Tensor):
        advice = "rain.read_image(path) makes one of a file"
        raise ImageError(f"{name} must be a torch.Tensor (3, H, W), got {type(picture).__name__}; {advice}")
    shape = tuple(picture.shape)
    if len(shape) == 3 and shape[0] == 3:
        return
    hint = ""
    if len(shape) == 4:
        hint = "; a list holds single pictures: give the batch itself, or the pictures in it"
    if len(shape) == 3 and shape[2] == 3:
        hint = "; move the channels first with .permute(2, 0, 1)"
    raise ImageError(f"{name} must have shape (3, H, W), got {shape}{hint}")
