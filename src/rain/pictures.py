"""Picture files: read and written, and the one list of those that the package reads."""

import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from rain.errors import ImageError, OptionError
from rain.files import open_regular, to_path, write_named
from rain.images import MAX_PIXELS, Images, check_images, quantize
from rain.limits import USUAL, check_header, list_formats
from rain.pixels import decode, read_header, read_orientation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

SUFFIXES = frozenset(
    (
        *(".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".icb", ".j2c", ".j2k"),
        *(".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pcx", ".pfm"),
        *(".pgm", ".png", ".pnm", ".ppm", ".qoi", ".sgi", ".tga", ".tif", ".tiff", ".vda", ".vst", ".webp"),
    )
)
"""How the names of pictures end, in small letters: what a folder is searched for."""

LOSSLESS = {
    **{".png": "PNG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"},
    **{".ppm": "PPM", ".tga": "TGA", ".webp": "WEBP"},
}
LOSSY = {".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG"}

HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""How the content of such a file says what it is, from its ninth byte on."""

AVIF = (b"avif", b"avis")

_recording = threading.RLock()
"""Python's warnings are of the process: two threads that record them at once would lose them for good."""

Source: TypeAlias = "str | os.PathLike[str] | bytes | IO[bytes] | Image"


def read_image(source: Source, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read one image as RGB in [0, 1].

    Args:
        source: a path, in which ``~`` is the home folder; the bytes of a file; a file that was opened for
            reading bytes, read from its beginning; or a ``PIL.Image``. The formats are those of
            ``SUFFIXES``; HEIC where the package pillow-heif is installed. Another one may be opened by Pillow
            and given as ``PIL.Image``.
        max_pixels: a larger picture is refused from its header, before anything is decoded; and so is one
            that would take more than 0.98 GB of memory. Pillow's own limit, twice its ``MAX_IMAGE_PIXELS``
            (179 million unless it was changed), stays in force.

    Shape: returns (3, H, W), float32, at the picture's own size.

    Convention:
        EXIF rotation is applied. Grey-scale is repeated on three channels, CMYK and palettes become RGB,
        transparency is laid over white, of an animation the first frame is taken. Grey integers of more than
        8 bits are divided by 65535, grey floats are taken as they are; white that is stored as 0 becomes 1.
        Colour has 8 bits: Pillow cuts 16-bit colour down. A colour profile other than sRGB is converted to
        sRGB, perceptually, with 8 bits; one that moves no colour by more than a level leaves the pixels.

        Warns of what may be wrong: a damaged colour profile or EXIF block, and a picture of 16 bits that uses
        less than a sixteenth of its range, since that is what 12-bit values look like.

    Raises:
        ImageError: the file is missing, not an image, truncated or too large.
    """
    # Pillow is loaded when a file is read, not when the package is imported.
    from PIL import Image, UnidentifiedImageError

    name = _name(source)
    remarks: list[str] = []
    smaller = "scale the picture down first"
    try:
        with _opened(source, name, remarks) as picture:
            check_header(picture, name, max_pixels)
            header = read_header(picture)
            picture.load()
            with _recorded(remarks):
                header = replace(header, orientation=read_orientation(picture, remarks))
            image = decode(picture, header, name, remarks)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not an image of a format that is read here") from None
    except Image.DecompressionBombError as error:
        what = f"far more pixels than the limit of {max_pixels:,}"
        raise ImageError(f"{name}: {what}; {smaller} ({error})") from None
    except MemoryError:
        raise ImageError(f"{name}: there is not enough memory for it; {smaller}") from None
    except Exception as error:  # a damaged file makes Pillow's decoders raise whatever they stumble over
        raise ImageError(f"{name}: cannot be read, the file is truncated or damaged ({error})") from None
    for remark in dict.fromkeys(remarks):
        with _recording:  # or a thread that records would take it for its own picture's
            warnings.warn(f"{name}: {remark}", stacklevel=2)
    return image


def _name(source: Any) -> str:
    """What messages call a source."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return f"{len(source)} bytes"
    # Of a picture that was opened from a file, Pillow keeps the path; of none that was made.
    for attribute in ("filename", "name"):
        path = getattr(source, attribute, None)
        if isinstance(path, str) and path:
            return path
    return type(source).__name__


@contextmanager
def _opened(source: Any, name: str, remarks: list[str]) -> Iterator["Image"]:
    """Open a source. What was opened before stays open.

    Raises:
        ImageError: there is no such file, it may not be read, or the source is something else.
    """
    from PIL import Image

    if isinstance(source, Image.Image):
        yield source
    elif isinstance(source, bytes | bytearray | memoryview):
        yield _identified(io.BytesIO(source), name, remarks)
    elif isinstance(source, str | os.PathLike):
        with _file(source, name) as file, _identified(file, name, remarks) as picture:
            yield picture
    elif isinstance(source, io.TextIOBase):
        raise ImageError(f'{name}: opened as text; open it by open(path, "rb")')
    elif hasattr(source, "read"):
        yield _identified(_rewindable(source), name, remarks)
    else:
        needed = "a path, the bytes of a file, a file opened for reading bytes, or a PIL.Image"
        raise ImageError(f"read_image takes {needed}, got {name}{_recipe(name)}")


def _rewindable(file: IO[bytes]) -> IO[bytes]:
    """A file that can be read again from its beginning: of a pipe or an answer of a server, what it holds."""
    seekable = getattr(file, "seekable", None)
    if seekable is None or not seekable():
        return io.BytesIO(file.read())
    return file


def _recipe(kind: str) -> str:
    if kind == "ndarray":
        return "; of an array, make images by torch.from_numpy(array).permute(2, 0, 1).float() / 255"
    return "; a tensor needs no reading" if kind == "Tensor" else ""


def _file(path: str | os.PathLike[str], name: str) -> IO[bytes]:
    """Open a path for reading.

    Raises:
        ImageError: with the system's reason.
    """
    try:
        return open_regular(to_path(path))
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except OSError as error:
        raise ImageError(f"{name}: cannot be opened as a file ({error.strerror})") from None


def _identified(file: IO[bytes], name: str, remarks: list[str]) -> "Image":
    """Let Pillow see what a file is.

    Raises:
        ImageError: it is of a format that needs another package.
    """
    from PIL import Image, UnidentifiedImageError

    with _recorded(remarks):
        with suppress(UnidentifiedImageError):
            return Image.open(file, formats=USUAL)
        with suppress(UnidentifiedImageError):
            file.seek(0)
            return Image.open(file, formats=list_formats())
        _teach_format(file, name)
        file.seek(0)
        return Image.open(file, formats=list_formats())


def _teach_format(file: IO[bytes], name: str) -> None:
    """Let Pillow read HEIC, if the package for it is there.

    Raises:
        ImageError: it is not, or this Pillow is too old for AVIF.
        UnidentifiedImageError: the file is something else.
    """
    from PIL import UnidentifiedImageError, features

    file.seek(0)
    head = file.read(64)
    # The first brand is the file's own, the others are what it is compatible with.
    brands = [head[start : start + 4] for start in (8, *range(16, len(head), 4))]
    if head[4:8] != b"ftyp":
        raise UnidentifiedImageError
    if any(brand in AVIF for brand in brands) and not features.check("avif"):
        raise ImageError(f"{name}: this Pillow reads no AVIF; pip install --upgrade pillow")
    if brands[0] not in HEIC:
        raise UnidentifiedImageError
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        what = "HEIC, which Pillow does not read by itself"
        raise ImageError(f"{name}: {what}; pip install pillow-heif, or save the picture as PNG") from None
    register_heif_opener()


@contextmanager
def _recorded(remarks: list[str]) -> Iterator[None]:
    """Keep what Pillow warns of, so that the warning can name the file.

    Pillow warns of large pictures, too: there ``max_pixels`` decides.
    """
    from PIL import Image

    with _recording, warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter("always")
        yield
    for message in messages:
        if not issubclass(message.category, Image.DecompressionBombWarning):
            remarks.append(str(message.message).strip())


def save_image(image: Tensor, path: str | os.PathLike[str], *, lossy: bool = False) -> None:
    """Save one image as an 8-bit picture file.

    ``rain.read_image`` gives back ``rain.quantize(image)``, bit for bit. A perturbation survives, but its
    budget may not: ``rain.quantize`` says when rounding adds up to half a level.

    Args:
        image: (3, H, W), floating point, in [0, 1]; on any device, with or without a gradient.
        path: its end is the format: .png, .tif, .tiff, .webp, .bmp, .ppm or .tga, all without loss. ``~`` is
            the home folder. Folders that are missing are made, and a file that is there is replaced.
        lossy: take .jpg, .jpeg, .jpe and .jfif, too, with quality 95. JPEG changes each pixel by several
            levels, and so undoes a part of an attack.

    Raises:
        ImageError: the image breaks the convention, or the file cannot be written; an old one stays then.
        OptionError: the format is lossy, or none of these.
    """
    from PIL import Image

    suffix = Path(path).suffix.lower()
    if suffix in LOSSY and not lossy:
        what = f"{suffix} is lossy, and changes a perturbation by several levels"
        raise OptionError(f"{os.fspath(path)}: {what}; save it as .png, or say lossy=True")
    formats = LOSSLESS | LOSSY
    if suffix not in formats:
        endings = ", ".join(LOSSLESS)
        raise OptionError(f"{os.fspath(path)}: the name must end in one of {endings}, not in {suffix!r}")
    if isinstance(image, Tensor) and image.ndim == 4:
        raise ImageError(f"save_image takes one image (3, H, W), got {tuple(image.shape)}; give images[0]")
    check_images(image[None] if isinstance(image, Tensor) else image, "image")
    # Half precision cannot tell the levels apart, and float64 may lie between two numbers of float32.
    wide = image.float() if image.dtype in (torch.float16, torch.bfloat16) else image
    levels = (quantize(wide) * 255).round().byte()
    picture = Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())
    options: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {}
    if suffix in LOSSY:
        options = {"quality": 95, "subsampling": 0}
    content = io.BytesIO()
    picture.save(content, formats[suffix], **options)
    try:
        write_named(to_path(path), content.getvalue())
    except OSError as error:
        raise ImageError(f"{os.fspath(path)}: cannot be written ({error.strerror or error})") from None


def compress(images: Images, quality: int) -> Images:
    """Round images to 256 levels, write each as a JPEG file in memory, and read it again. It has no gradient.

    Args:
        images: (N, 3, H, W), of any type, on any device; they keep both.
        quality: of the encoder, 1 to 100.

    Convention: Pillow's libjpeg, chroma at half resolution.
    """
    levels = (images.detach().float().clamp(0, 1) * 255).round().byte()
    pictures = levels.permute(0, 2, 3, 1).cpu().numpy()
    read_again = [_through_a_file(picture, quality) for picture in pictures]
    decoded = torch.stack(read_again) if read_again else levels
    return decoded.to(images.device, images.dtype) / 255


def _through_a_file(picture: "NDArray[np.uint8]", quality: int) -> Tensor:
    """A picture (H, W, 3) as JPEG and back; (3, H, W), uint8."""
    import numpy as np
    from PIL import Image

    file = io.BytesIO()
    # torchvision has a codec of its own, and will lose it.
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
