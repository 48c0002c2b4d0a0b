"""Images as NumPy arrays: what an exported model takes, checked. Never imports torch.

Convention: as ``rain.images``: floating point (N, 3, H, W), RGB in [0, 1].
"""

from typing import Any, NamedTuple

import numpy as np

from rain.errors import ImageError
from rain.plans import Array

SLACK = 1e-6
"""How far a rounded resize may leave [0, 1]."""


class Group(NamedTuple):
    """The pictures of a list that have one size.

    Attributes:
        places: where they stand in the list.
        images: (N, 3, H, W).
    """

    places: list[int]
    images: Array


def check_images(images: Any) -> Array:
    """Check a batch, and give it as contiguous float32.

    Args:
        images: what should be an array (N, 3, H, W), floating point, in [0, 1]; N may be 0.

    Raises:
        ImageError: says what is wrong and what to do.
    """
    if not isinstance(images, np.ndarray):
        kind = type(images).__name__
        recipe = "images.numpy()" if kind == "Tensor" else "numpy.stack(pictures), of pictures (3, H, W)"
        raise ImageError(f"images must be a numpy array (N, 3, H, W), got {kind}; make one by {recipe}")
    shape = images.shape
    if images.ndim != 4 or shape[1] != 3:
        raise ImageError(f"images must have shape (N, 3, H, W), got {shape}{_shape_hint(shape)}")
    if min(shape[2:]) < 2:
        raise ImageError(f"images must be at least 2 pixels high and wide, got {shape[2:]}")
    if not np.issubdtype(images.dtype, np.floating):
        advice = "for uint8 use images.astype(numpy.float32) / 255"
        raise ImageError(f"images must be floating point in [0, 1], got {images.dtype}; {advice}")
    _check_range(images)
    return np.ascontiguousarray(images, dtype=np.float32)


def _check_range(images: Array) -> None:
    if not images.size:
        return
    low, high = float(images.min()), float(images.max())
    if low != low or high != high:
        raise ImageError("images contain NaN")
    slack = max(SLACK, float(np.finfo(images.dtype).eps))
    if low < -slack or high > 1 + slack:
        hint = _range_hint(low, high)
        raise ImageError(f"images must lie in [0, 1], found [{low:.7g}, {high:.7g}]; {hint}")


def _shape_hint(shape: tuple[int, ...]) -> str:
    if len(shape) == 4 and shape[3] == 3:
        return "; move the channels first with images.transpose(0, 3, 1, 2)"
    if len(shape) == 3 and shape[0] == 3:
        return "; add the batch axis with image[None]"
    if len(shape) == 3 and shape[2] == 3:
        return "; make it a batch with image.transpose(2, 0, 1)[None]"
    return ""


def _range_hint(low: float, high: float) -> str:
    if low > -0.2 and high < 1.2:
        return "bring them back by .clip(0, 1)"
    if low >= 0 and 2 < high <= 255:
        return "divide by 255"
    return "give RGB before any normalisation by mean and std"


def group_by_size(pictures: list[Any] | tuple[Any, ...]) -> list[Group]:
    """Make a batch of the pictures of each size and type, in the order in which these appear.

    Args:
        pictures: each (3, H, W).

    Raises:
        ImageError: the list is empty, or one of them is no such array.
    """
    if not len(pictures):
        raise ImageError("the list holds no picture: ask about at least one")
    groups: dict[object, list[int]] = {}
    for place, picture in enumerate(pictures):
        if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[0] != 3:
            shape = getattr(picture, "shape", type(picture).__name__)
            raise ImageError(f"images[{place}] must be a numpy array (3, H, W), got {shape}")
        groups.setdefault((picture.shape, picture.dtype), []).append(place)
    return [Group(places, np.stack([pictures[place] for place in places])) for places in groups.values()]
