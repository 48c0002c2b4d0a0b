"""An exported model as a service asks it: NumPy, Pillow and a runtime. Never imports torch."""

import io
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from rain.deploy.answering import Answerer, without_paths
from rain.deploy.runtime import Runtime
from rain.deploy.settings import Settings
from rain.errors import ImageError
from rain.limits import check_growth, check_header, list_formats
from rain.plans import Array

PHOTOMETRIC, BITS = 262, 258
"""TIFF tags."""

WHITE = 65535
"""White, where grey has more than 8 bits."""


class Exported(Answerer):
    """A model that ``rain export`` wrote.

    Args:
        settings: of the service.

    Raises:
        ExportError: there is no such model, or it is damaged.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self.runtime = Runtime(settings.model)
        self.manifest = self.runtime.manifest
        origin = self.manifest.origin
        self.digest = f"{origin.classifier_digest}-{origin.defense_digest}"
        self.names = self.manifest.categories
        self.draws = settings.draws if self.manifest.random else 1
        self.independent = self.manifest.independent
        self.side = None if self.manifest.size is None else min(self.manifest.size)

    def decode(self, content: bytes) -> Array:
        """Decode a picture, and bring it to the size at which it enters."""
        picture = decode(content, self.settings.max_pixels)
        if self.manifest.size is not None:
            picture = cut(picture, self.manifest.size)
        else:
            multiple = self.manifest.multiple
            height, width = (side - side % multiple for side in (picture.height, picture.width))
            if min(height, width) < 2:
                raise ImageError(f"a picture must be at least {max(2, multiple)} pixels high and wide")
            picture = cut(picture, (height, width))
        return np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / 255

    def grey(self, side: int) -> Array:
        """A grey picture, of the model's own size if it has one."""
        height, width = self.manifest.size or (side, side)
        return np.full((3, height, width), 0.5, dtype=np.float32)

    def predict(self, images: list[Any], seed: int | list[int]) -> Any:
        """Classify pictures."""
        return self.runtime.predict(images, draws=self.draws, seed=seed)

    def about(self) -> dict[str, Any]:
        """Say what is served, without a path of this machine."""
        gate = self.manifest.gate
        return {
            "classifier": without_paths(self.manifest.origin.classifier),
            "defense": without_paths(self.manifest.origin.defense),
            "gate": gate.share if gate else None,
            "digest": self.digest,
            "draws": self.draws,
            "size": self.side,
            "classes": self.manifest.classes,
            "device": f"cpu ({self.manifest.format})",
        }


def decode(content: bytes, max_pixels: int) -> Image.Image:
    """Decode a picture as RGB with 8 bits.

    Args:
        content: of a file.
        max_pixels: a larger picture is refused from its header, before anything is decoded.

    Raises:
        ImageError: it is no picture of a format that is read, truncated or too large, or its grey has more
            than 8 bits and its white is not known.

    Convention: EXIF rotation is applied, transparency laid over white, of an animation the first frame taken.
    Grey of 16 bits is brought to 8, in PNG, PPM and TIFF.

    Differs: ``rain.read_image`` also looks at colour profiles, and keeps more than 8 bits of grey.
    """
    name = f"{len(content)} bytes"
    try:
        with Image.open(io.BytesIO(content), formats=list_formats()) as picture:
            check_header(picture, name, max_pixels)
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            if picture.mode[0] in "IF":
                upright = _eight_bits(upright, name, has_white=_has_white(picture))
            return _rgb(upright)
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not an image of a format that is read here") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{name}: far more pixels than the {max_pixels:,} that are allowed") from None
    except Exception as error:  # a damaged file makes decoders raise whatever they stumble over
        what = "cannot be read, the file is truncated or damaged"
        raise ImageError(f"{name}: {what} ({error})") from None


def _has_white(picture: Image.Image) -> bool:
    """Whether the largest number of 16 bits is white in a file of grey with more than 8 bits."""
    if picture.format == "TIFF":
        tags = picture.tag_v2  # type: ignore[attr-defined]
        return tags.get(BITS) == (16,) and tags.get(PHOTOMETRIC) == 1
    return picture.format in ("PNG", "PPM")


def _eight_bits(picture: Image.Image, name: str, *, has_white: bool) -> Image.Image:
    """Bring grey of more than 8 bits to 8: Pillow would cut off what is above 255.

    Raises:
        ImageError: it is floating point, or the file does not say what is white.
    """
    values = np.asarray(picture)
    if picture.mode[0] == "F" or not has_white or values.min() < 0 or values.max() > WHITE:
        raise ImageError(f"{name}: grey of more than 8 bits, without a known white; save the picture as PNG")
    levels = (values / (WHITE / 255)).round().astype(np.uint8)
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        levels[values == clear] = 255
    return Image.fromarray(levels)


def _rgb(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    clear = picture.convert("RGBA")
    white = Image.new("RGBA", clear.size, "white")
    return Image.alpha_composite(white, clear).convert("RGB")


def cut(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize a picture so that it covers ``size`` (height, width), and cut out the middle.

    Raises:
        ImageError: it is so long and narrow that it would be scaled up without bounds.
    """
    height, width = size
    scale = max(height / picture.height, width / picture.width)
    if scale != 1:
        columns, rows = max(width, int(scale * picture.width)), max(height, int(scale * picture.height))
        check_growth((picture.height, picture.width), (rows, columns), size)
        picture = picture.resize((columns, rows), Image.Resampling.BICUBIC)
    left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
    return picture.crop((left, top, left + width, top + height))
