"""The tensor convention: checks, norms, projections, geometry, rounding to 8 bits.

``rain.pictures`` reads and writes picture files.

Convention:
    ``Images`` is a float tensor (N, 3, H, W): RGB, values in [0, 1], any size. Batches may be empty. What a
    resize rounded past 1 is taken as it is: by 1e-6, or by the type's own rounding where that is coarser.
    ``eps`` and distances are in the same unit: 8/255 is eight grey levels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from rain.errors import ImageError, OptionError
from rain.limits import check_growth
from rain.specs import NORMS
from rain.tracing import value_of

Images = Tensor
"""(N, 3, H, W), floating point, RGB in [0, 1]."""

MAX_PIXELS = 64_000_000
"""What an image may have: a file of a few bytes can ask for more memory than there is."""

RECIPES = {
    "ndarray": "torch.from_numpy(array).permute(0, 3, 1, 2).float() / 255",
    "list": "image[None], of one picture (3, H, W) at a time; predict takes the list itself",
}
"""How a batch is made of what is often given instead."""

INTERPOLATIONS = ("bicubic", "bilinear")


def check_images(images: Tensor, what: str = "images") -> None:
    """Check that a batch keeps the convention.

    Args:
        images: what should be (N, 3, H, W), floating point, in [0, 1]; N may be 0, H and W at least 2.
        what: how the error calls it.

    Raises:
        ImageError: says what is wrong and what to do. Values are not looked at while ``torch.compile``
            traces, nor under ``torch.func.vmap``.
    """
    if not isinstance(images, Tensor):
        kind = type(images).__name__
        recipe = RECIPES.get(kind, "rain.read_image(path)[None], of a file")
        raise ImageError(f"{what} must be a torch.Tensor (N, 3, H, W), got {kind}; make one by {recipe}")
    if images.ndim != 4 or images.shape[1] != 3:
        shape = tuple(images.shape)
        raise ImageError(f"{what} must have shape (N, 3, H, W), got {shape}{_shape_hint(shape)}")
    if min(images.shape[2:]) < 2:
        raise ImageError(f"{what} must be at least 2 pixels high and wide, got {tuple(images.shape[2:])}")
    if not images.dtype.is_floating_point:
        raise ImageError(
            f"{what} must be floating point in [0, 1], got {images.dtype}; for uint8 use images.float() / 255"
        )
    if torch.compiler.is_compiling() or images.numel() == 0:
        return
    low, high = (value_of(bound) for bound in images.detach().aminmax())
    if low is None or high is None:
        return
    if low != low or high != high:
        raise ImageError(f"{what} contain NaN")
    slack = max(1e-6, torch.finfo(images.dtype).eps)
    if low < -slack or high > 1 + slack:
        hint = _range_hint(low, high)
        raise ImageError(f"{what} must lie in [0, 1], found [{low:.7g}, {high:.7g}]; {hint}")


def _shape_hint(shape: tuple[int, ...]) -> str:
    if len(shape) == 4 and shape[3] == 3:
        return "; move the channels first with .permute(0, 3, 1, 2)"
    if len(shape) == 4 and shape[1] == 1:
        return "; give a grey image three equal channels with .expand(-1, 3, -1, -1)"
    if len(shape) == 3 and shape[0] == 3:
        return "; add the batch axis with image[None]"
    return ""


def _range_hint(low: float, high: float) -> str:
    if low > -0.2 and high < 1.2:
        return "bring them back by .clamp(0, 1)"
    if low >= 0 and 2 < high <= 255:
        return "divide by 255"
    return "give RGB before any normalisation by mean and std"


def check_norm(norm: str) -> None:
    """Raise ``OptionError`` unless ``norm`` is one of ``NORMS``."""
    if norm not in NORMS:
        raise OptionError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")


def distance(images: Images, others: Images, norm: str) -> Tensor:
    """Measure how far two batches are apart, image by image.

    Args:
        images, others: (N, 3, H, W).
        norm: "linf" (largest absolute difference) or "l2" (Euclidean, over all values of an image).

    Shape: returns (N,), in the unit of the images.

    Raises:
        OptionError: no such norm.
    """
    check_norm(norm)
    difference = (images - others).flatten(1)
    if norm == "linf":
        return difference.abs().amax(1) if difference.shape[0] else difference.new_zeros(0)
    return difference.norm(dim=1)


def project(images: Images, centre: Images, norm: str, eps: float) -> Images:
    """Bring images back into the eps-ball around ``centre`` and into [0, 1].

    For "linf" this is the exact projection on the intersection; for "l2" the ball comes first and the box
    second, which stays in both.

    Args:
        images, centre: (N, 3, H, W).
        norm: "linf" or "l2".
        eps: the ball's radius, from 0.

    Raises:
        OptionError: no such norm.
    """
    check_norm(norm)
    if norm == "linf":
        inside = torch.maximum(torch.minimum(images, centre + eps), centre - eps)
    else:
        delta = images - centre
        length = delta.flatten(1).norm(dim=1).clamp_min(torch.finfo(delta.dtype).tiny)
        inside = centre + delta * (eps / length).clamp_max(1.0)[:, None, None, None]
    return inside.clamp(0, 1)


def resize_shorter(images: Images, side: int, interpolation: str = "bicubic") -> Images:
    """Resize so that the shorter side is ``side`` pixels, as ``resample`` does; a batch of that size stays.

    Convention: the longer side is rounded down, as torchvision and timm do.

    Raises:
        ImageError: more pixels than any image may have.
    """
    height, width = images.shape[2:]
    shorter = min(height, width)
    if shorter == side:
        return images
    return resample(images, (side * height // shorter, side * width // shorter), interpolation)


def resample(images: Images, size: tuple[int, int], interpolation: str = "bicubic") -> Images:
    """Resize to ``size`` = (height, width).

    Convention: with antialiasing; clamped to [0, 1], because bicubic overshoots; in float32 at least.

    Raises:
        ImageError: more pixels than any image may have.
    """
    if size[0] * size[1] > MAX_PIXELS:
        height, width = images.shape[2:]
        what = f"an image of {height} x {width} pixels would have to become {size[0]} x {size[1]}"
        raise ImageError(f"{what}: cut a part out of it first")
    # On CPUs there is no antialiasing in half precision.
    wide = images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
    resized = F.interpolate(wide, size, mode=interpolation, antialias=True, align_corners=False)
    return resized.clamp(0, 1).to(images.dtype)


def centre_crop(images: Images, side: int) -> Images:
    """Cut out the central square of ``side`` pixels.

    Convention: where the centre lies between two pixels, torchvision's choice.
    """
    top, left = (round((length - side) / 2) for length in images.shape[2:])
    return images[:, :, top : top + side, left : left + side]


def enter(image: Tensor, size: int | None) -> Tensor:
    """Bring an image to the size at which it enters: the shorter side is resized, the centre cut out.

    Args:
        image: (3, H, W).
        size: side of the square, in pixels; None leaves the image as it is.

    Shape: returns (3, size, size), or (3, H, W).

    Raises:
        ImageError: more pixels than any image may have, or so long and narrow that it would be scaled up
            without bounds.
    """
    if size is None:
        return image
    height, width = image.shape[1:]
    shorter = min(height, width)
    resized = (size * height // shorter, size * width // shorter)
    check_growth((height, width), resized, (size, size))
    # A view would hold the whole picture in memory.
    return centre_crop(resize_shorter(image[None], size), size)[0].contiguous()


def quantize(images: Images) -> Images:
    """Round images to the 256 levels of an 8-bit picture.

    Args:
        images: (N, 3, H, W) or (3, H, W), floating point, in [0, 1].

    Shape: as ``images``, and their type. Gradients do not pass: what is returned has none.

    Raises:
        ImageError: ``images`` break the convention.

    Convention:
        To the nearest level. In float32 each value is the one of ``k / 255``, so that an image that
        ``rain.save_image`` writes and ``rain.read_image`` reads is ``quantize(image)``, bit for bit.

        Rounding may break a budget. Around images whose values are k/255, as they come out of 8-bit files, a
        linf budget of whole levels holds. Resized images lie between the levels: there rounding adds up to
        half a level, and 4/255 may become 4.5/255. In l2 it adds up to half a level in each value.
    """
    check_images(images[None] if isinstance(images, Tensor) and images.ndim == 3 else images)
    # Half a level is less than what bfloat16 rounds near 1, but not after a multiplication in it.
    wide = images.detach().float() if images.dtype in (torch.float16, torch.bfloat16) else images.detach()
    return ((wide * 255).round().clamp(0, 255) / 255).to(images.dtype)
