"""The tensor convention: checks, norms, projections, geometry, and reading image files.

Convention:
    ``Images`` is a float tensor (N, 3, H, W): RGB, values in [0, 1], any size. Batches may be empty. What a
    resize rounded past 1 is taken as it is: by 1e-6, or by the type's own rounding where that is coarser.
    ``eps`` and distances are in the same unit: 8/255 is eight grey levels.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from rain.errors import ImageError, OptionError
from rain.specs import NORMS
from rain.tracing import value_of

if TYPE_CHECKING:
    from PIL import Image

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
        ImageError: more pixels than any image may have.
    """
    if size is None:
        return image
    return centre_crop(resize_shorter(image[None], size), size)[0]


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read one image file as RGB in [0, 1].

    Args:
        path: any format that Pillow reads, except PostScript.
        max_pixels: a larger picture is refused from its header, before anything is decoded. Pillow's own
            limit, twice its ``MAX_IMAGE_PIXELS`` (179 million unless it was changed), stays in force.

    Shape: returns (3, H, W), float32, at the picture's own size.

    Convention:
        EXIF rotation is applied. Grey-scale is repeated on three channels, CMYK and palettes become RGB,
        transparency is laid over white, of an animation the first frame is taken. Grey integers of more than
        8 bits are divided by 65535, grey floats are taken as they are. Colour has 8 bits: Pillow cuts 16-bit
        colour down.

    Raises:
        ImageError: the file is missing, not an image, truncated or too large.
    """
    # Pillow is loaded when a file is read, not when the package is imported.
    from PIL import Image, UnidentifiedImageError

    path, smaller = Path(path), "scale the picture down first"
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 million pixels on; ``max_pixels`` decides instead.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path)
        with picture:
            if picture.width * picture.height > max_pixels:
                what = f"{picture.width} x {picture.height} pixels is more than the limit of {max_pixels:,}"
                raise ImageError(f"{path}: {what}; {smaller}")
            if picture.format == "EPS":
                what = "PostScript is a program, which is not run here"
                raise ImageError(f"{path}: {what}; save the picture as PNG")
            return _decode(picture, path)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (IsADirectoryError, PermissionError) as error:
        raise ImageError(f"{path}: cannot be opened as a file ({error.strerror})") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path}: not an image that Pillow can read") from None
    except Image.DecompressionBombError as error:
        what = f"far more pixels than the limit of {max_pixels:,}"
        raise ImageError(f"{path}: {what}; {smaller} ({error})") from None
    except Exception as error:  # a damaged file makes Pillow's decoders raise whatever they stumble over
        raise ImageError(f"{path}: cannot be read, the file is truncated or damaged ({error})") from None


def _decode(picture: "Image.Image", path: Path) -> Tensor:
    """Decode an opened picture to (3, H, W) in [0, 1]; ``path`` is what the error names.

    Raises:
        ImageError: its grey values have no known range. Pillow's own errors pass.
    """
    import numpy as np
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(picture)
    if upright.mode[0] in "IF":  # I;16, I;16B and I are integers of more than 8 bits, F is floating point
        white = 65535 if upright.mode[0] == "I" else 1
        grey = torch.from_numpy(np.array(upright, dtype=np.float32))
        low, high = grey.min().item(), grey.max().item()
        if not (low >= 0 and high <= white):
            what = f"grey values span [{low:.4g}, {high:.4g}], not [0, {white}]"
            raise ImageError(f"{path}: {what}; save the picture as 8- or 16-bit PNG")
        return (grey / white).expand(3, -1, -1).contiguous()
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return torch.from_numpy(np.array(upright.convert("RGB"))).permute(2, 0, 1).contiguous().float() / 255
