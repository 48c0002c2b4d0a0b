"""The tensor convention: checks, norms, projections, geometry, and reading image files.

Convention:
    ``Images`` is a float tensor (N, 3, H, W): RGB, values in [0, 1], any size. Batches may be empty.
    ``eps`` and distances are in the same unit: 8/255 is eight grey levels.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from rain.errors import ImageError, OptionError

Images = Tensor
"""(N, 3, H, W), floating point, RGB in [0, 1]."""

NORMS = ("linf", "l2")


def check_images(images: Tensor, what: str = "images") -> None:
    """Check that a batch keeps the convention.

    Args:
        images: what should be (N, 3, H, W), floating point, in [0, 1]; N may be 0, H and W at least 2.
        what: how the error calls it.

    Raises:
        ImageError: says what is wrong and what to do. Values are not looked at while ``torch.compile`` traces.
    """
    if not isinstance(images, Tensor):
        raise ImageError(f"{what} must be a torch.Tensor (N, 3, H, W), got {type(images).__name__}")
    if images.ndim != 4 or images.shape[1] != 3:
        hint = "; add the batch axis with image[None]" if images.ndim == 3 and images.shape[0] == 3 else ""
        hint = "; move the channels first with .permute(0, 3, 1, 2)" if images.ndim == 4 and images.shape[3] == 3 else hint
        raise ImageError(f"{what} must have shape (N, 3, H, W), got {tuple(images.shape)}{hint}")
    if min(images.shape[2:]) < 2:
        raise ImageError(f"{what} must be at least 2 pixels high and wide, got {tuple(images.shape[2:])}")
    if not images.dtype.is_floating_point:
        raise ImageError(f"{what} must be floating point in [0, 1], got {images.dtype}; for uint8 use images.float() / 255")
    if torch.compiler.is_compiling() or images.numel() == 0:
        return
    low, high = (bound.item() for bound in images.detach().aminmax())
    if low != low or high != high:
        raise ImageError(f"{what} contain NaN")
    if low < 0 or high > 1:
        hint = "; divide by 255" if low >= 0 and 2 < high <= 255 else "; give RGB before any normalisation by mean and std"
        raise ImageError(f"{what} must lie in [0, 1], found [{low:.4g}, {high:.4g}]{hint}")


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
    """
    check_norm(norm)
    difference = (images - others).flatten(1)
    if norm == "linf":
        return difference.abs().amax(1) if difference.shape[0] else difference.new_zeros(0)
    return difference.norm(dim=1)


def project(images: Images, centre: Images, norm: str, eps: float) -> Images:
    """Bring images back into the eps-ball around ``centre`` and into [0, 1].

    For "linf" this is the exact projection on the intersection; for "l2" the ball comes first and the box second, which stays in both.
    """
    check_norm(norm)
    if norm == "linf":
        inside = torch.maximum(torch.minimum(images, centre + eps), centre - eps)
    else:
        delta = images - centre
        length = delta.flatten(1).norm(dim=1).clamp_min(1e-12)
        inside = centre + delta * (eps / length).clamp_max(1.0)[:, None, None, None]
    return inside.clamp(0, 1)


def resize_shorter(images: Images, side: int) -> Images:
    """Resize so that the shorter side is ``side`` pixels: bicubic with antialiasing, clamped to [0, 1]; nothing to do, nothing done."""
    height, width = images.shape[2:]
    if min(height, width) == side:
        return images
    scale = side / min(height, width)
    size = (max(side, round(height * scale)), max(side, round(width * scale)))
    return F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def centre_crop(images: Images, side: int) -> Images:
    """Cut the central square of ``side`` pixels."""
    top, left = (images.shape[2] - side) // 2, (images.shape[3] - side) // 2
    return images[:, :, top : top + side, left : left + side]


MAX_PIXELS = 64_000_000


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read one image file as RGB in [0, 1].

    Args:
        path: any format that Pillow reads.
        max_pixels: a larger picture is refused from its header, before anything is decoded.

    Shape: returns (3, H, W), float32, at the picture's own size.

    Convention:
        EXIF rotation is applied. Grey-scale is repeated on three channels, 16-bit keeps its precision, CMYK and palettes
        become RGB, transparency is laid over white, of an animation the first frame is taken.

    Raises:
        ImageError: the file is missing, not an image, truncated or too large.
    """
    import numpy as np  # Pillow and NumPy are loaded when a file is read, not when the package is imported
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    try:
        with _bomb_check_is_ours(Image), Image.open(path) as picture:
            if picture.width * picture.height > max_pixels:
                raise ImageError(
                    f"{path}: {picture.width} x {picture.height} pixels is more than the limit of {max_pixels:,}; scale the picture down first"
                )
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I;16"):
                grey = np.asarray(upright).astype(np.float32) / 65535
                return torch.from_numpy(grey).expand(3, -1, -1).clone()
            if upright.mode in ("I", "F"):
                return _wide_grey(np.asarray(upright).astype(np.float32), path)
            if upright.has_transparency_data:
                layer = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
            values = np.array(upright.convert("RGB"))
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path}: not an image that Pillow can read") from None
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise ImageError(f"{path}: cannot be read, the file is truncated or damaged ({error})") from None
    return torch.from_numpy(values).permute(2, 0, 1).contiguous().float() / 255


def _bomb_check_is_ours(pillow_image):
    """Silence Pillow's own size guard: ``max_pixels`` is checked from the header, and a warning may be an error to the caller."""
    import contextlib

    @contextlib.contextmanager
    def guard():
        saved, pillow_image.MAX_IMAGE_PIXELS = pillow_image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            pillow_image.MAX_IMAGE_PIXELS = saved

    return guard()


def _wide_grey(grey, path: Path) -> Tensor:
    """Turn 32-bit integer or float grey values into [0, 1]: 16-bit files arrive in Pillow's mode "I" too."""
    low, high = float(grey.min()), float(grey.max())
    if not low >= 0 or high > 65535:
        raise ImageError(f"{path}: grey values span [{low:.4g}, {high:.4g}]; save the picture as 8- or 16-bit RGB")
    return torch.from_numpy(grey / (1.0 if high <= 1.0 and grey.dtype.kind == "f" and path.suffix.lower() in (".tif", ".tiff") else 65535)).expand(3, -1, -1).clone()
