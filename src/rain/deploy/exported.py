"""An exported model as a service asks it: NumPy, Pillow and a runtime. Never imports torch."""

import io
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from rain.deploy.answering import Answerer, without_paths
from rain.deploy.runtime import Runtime
from rain.deploy.settings import Settings
from rain.errors import ImageError
from rain.plans import Array


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
        self.digest = self.manifest.digest
        self.names = self.manifest.categories
        self.draws = settings.draws if self.manifest.random else 1
        self.independent = self.manifest.independent
        self.side = None if self.manifest.size is None else min(self.manifest.size)
        self.sizes = self.manifest.gate.sizes if self.manifest.gate else ()

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

    def grey(self, height: int, width: int) -> Array:
        """A grey picture, of the model's own size if it has one."""
        height, width = self.manifest.size or (height, width)
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
        ImageError: it is no picture, truncated or too large.

    Convention: EXIF rotation is applied, transparency laid over white, of an animation the first frame taken.

    Differs: ``rain.read_image`` also looks at colour profiles and at more than 8 bits.
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.width * picture.height > max_pixels:
                what = f"{picture.width} x {picture.height} pixels"
                raise ImageError(f"{len(content)} bytes: {what}, and {max_pixels:,} are allowed")
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            if upright.has_transparency_data:
                clear = upright.convert("RGBA")
                white = Image.new("RGBA", clear.size, "white")
                return Image.alpha_composite(white, clear).convert("RGB")
            return upright.convert("RGB")
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{len(content)} bytes: not an image that Pillow can read") from None
    except Exception as error:  # a damaged file makes decoders raise whatever they stumble over
        what = "cannot be read, the file is truncated or damaged"
        raise ImageError(f"{len(content)} bytes: {what} ({error})") from None


def cut(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize a picture so that it covers ``size`` (height, width), and cut out the middle."""
    height, width = size
    scale = max(height / picture.height, width / picture.width)
    if scale != 1:
        sides = max(width, int(scale * picture.width)), max(height, int(scale * picture.height))
        picture = picture.resize(sides, Image.Resampling.BICUBIC)
    left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
    return picture.crop((left, top, left + width, top + height))
