"""From an opened picture to its pixels in [0, 1]; what its file says of white, clear and colour holds."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rain.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from PIL.ImageCms import ImageCmsTransform

ORIENTATION = 0x0112
"""The EXIF tag."""

PHOTOMETRIC, BITS = 262, 258
"""TIFF tags."""

WHITE = 65535
"""White, where grey has more than 8 bits."""

GREY_STEPS = {"L;2": 85, "L;4": 17}
"""Pillow spreads grey of 2 and 4 bits over 0 to 255, but not the value that is transparent."""

SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's mode for what a colour profile is of."""

GREY = ("1", "L", "LA", "La", "I;16")
"""Modes of grey pictures."""


ON_THEIR_SIDE = (5, 6, 7, 8)
"""EXIF orientations whose rows are the upright picture's columns."""

BAND = 1_000_000
"""Pixels that are converted at a time."""


@dataclass(frozen=True)
class Header:
    """What a file says of its pixels.

    Args:
        inverted: whether grey of more than 8 bits has its white at 0, which Pillow leaves so.
        white: the other end of such grey.
        clear: the value or colour that is transparent, as the pixels have it; None where no single one is.
        profile: the colour profile; empty where there is none.
        cut: whether colour had 16 bits, of which Pillow keeps the upper 8.
        orientation: as EXIF counts it: 1 is upright.
    """

    inverted: bool
    white: int
    clear: int | tuple[int, ...] | None
    profile: bytes
    cut: bool
    orientation: int = 1


def read_header(picture: "Image") -> Header:
    """Read what a file says of its pixels, before they are loaded: Pillow forgets how they were stored."""
    tags = getattr(picture, "tag_v2", {})
    inverted = tags.get(PHOTOMETRIC) == 0 and picture.mode[0] in "IF"
    bits = tags.get(BITS, 16)
    bits = bits[0] if isinstance(bits, tuple) else bits
    white = 2**bits - 1 if picture.mode.startswith("I;") and 8 < bits < 16 else WHITE
    profile = picture.info.get("icc_profile")
    stored = _stored(picture)
    cut = ";16" in stored and picture.mode[0] not in "IF"
    return Header(
        inverted, white, _clear(picture, stored), profile if isinstance(profile, bytes) else b"", cut
    )


def _stored(picture: "Image") -> str:
    """How Pillow calls the way in which pixels are stored; empty for a picture that is loaded already."""
    tiles = getattr(picture, "tile", [])
    arguments = tiles[0][3] if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _clear(picture: "Image", stored: str) -> int | tuple[int, ...] | None:
    """The transparent value of a picture, in the steps of its pixels."""
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        return clear * GREY_STEPS.get(stored, 1)
    if isinstance(clear, tuple):
        # What Pillow cuts off may have told two colours apart; then both are clear.
        bits = 8 if ";16" in stored or max(clear) > 255 else 0
        return tuple(value >> bits for value in clear)
    return None


def read_orientation(picture: "Image", remarks: list[str]) -> int:
    """Read how a picture is to be turned.

    Pillow warns of an EXIF block that is damaged, or raises; then ``remarks`` get a line.
    """
    try:
        return int(picture.getexif().get(ORIENTATION, 1))
    except Exception as error:  # whatever the parser stumbles over: the pixels are there
        remarks.append(f"its EXIF data is damaged ({error}), and the picture is taken as upright")
        return 1


def decode(picture: "Image", header: Header, name: str, remarks: list[str]) -> Tensor:
    """Turn pixels into numbers.

    Args:
        picture: loaded.
        header: what its file says.
        name: what errors call it.
        remarks: gets a line for each thing that may be wrong.

    Shape: returns (3, H, W), float32, in [0, 1].

    Raises:
        ImageError: grey values have no known range. Pillow's own errors pass.
    """
    import numpy as np

    width, height = picture.size
    size = (width, height) if header.orientation in ON_THEIR_SIDE else (height, width)
    values = np.empty((3, *size), np.float32)
    if picture.mode[0] in "IF":  # I;16, I;16B and I are integers of more than 8 bits, F is floating point
        _fill_with_wide_grey(values, picture, header, name, remarks)
        return torch.from_numpy(values)
    _fill_with_colours(values, picture, header, remarks)
    return torch.from_numpy(values).div_(255)


def _turned(picture: "Image", orientation: int) -> "Image":
    from PIL.Image import Transpose

    methods = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return picture.transpose(methods[orientation]) if orientation in methods else picture


def _bands(picture: "Image", orientation: int = 1) -> "Iterator[tuple[tuple[slice, slice], Image]]":
    """Cut a picture into bands of whole rows: a large one is never there in several forms at once.

    Returns: the rows and columns of each band in the upright picture, and the band, upright.
    """
    width, height = picture.size
    rows = max(1, BAND // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        is_whole = bottom - top == height
        band = picture if is_whole else picture.crop((0, top, width, bottom))
        is_from_the_end = orientation in (3, 4, 6, 7)
        place = slice(height - bottom, height - top) if is_from_the_end else slice(top, bottom)
        across = orientation in ON_THEIR_SIDE
        yield (slice(None), place) if across else (place, slice(None)), _turned(band, orientation)


def _fill_with_colours(
    upright: "NDArray[np.float32]", picture: "Image", header: Header, remarks: list[str]
) -> None:
    """Fill in colours of 8 bits, 0 to 255."""
    import numpy as np

    highest = 0
    for (rows, columns), band in _bands(picture, header.orientation):
        colours = np.asarray(_colour(band, header, remarks))
        upright[:, rows, columns] = colours.transpose(2, 0, 1)
        if header.cut:
            highest = max(highest, int(colours.max()))
    if 0 < highest < 16:
        what = f"its colours reach {highest} of 255, after 16 bits were cut to 8"
        remarks.append(
            f"{what}, and it comes out nearly black; if they are of 12 bits, save them shifted by 4"
        )


def _fill_with_wide_grey(
    upright: "NDArray[np.float32]", picture: "Image", header: Header, name: str, remarks: list[str]
) -> None:
    """Fill in grey of more than 8 bits, or of floats, in [0, 1]."""
    import numpy as np

    white = header.white if picture.mode[0] == "I" else 1
    low, high = _range_of(picture)
    if not (low >= 0 and high <= white):
        what = f"grey values span [{low:.4g}, {high:.4g}], not [0, {white}]"
        raise ImageError(f"{name}: {what}; save the picture as 8- or 16-bit PNG")
    if white == WHITE and 0 < high < (WHITE + 1) / 16:
        remarks.append(_dark(high))
    for (rows, columns), band in _bands(picture, header.orientation):
        place = upright[:, rows, columns]
        values = np.array(band, dtype=np.float32)
        grey = (white - values if header.inverted else values) / white
        place[:] = grey
        if header.profile and picture.mode[0] == "I":
            levels = np.round(grey * np.float32(WHITE)).astype(np.uint16)
            converted = _wide_grey_in_srgb(levels, header.profile, remarks)
            if converted is not None:
                place[:] = converted
        if isinstance(header.clear, int):
            place[:, values == header.clear] = 1


def _range_of(picture: "Image") -> tuple[float, float]:
    """The lowest and the highest value of a grey picture; NaN where there is one."""
    import numpy as np

    bounds = []
    for _, band in _bands(picture):
        values = np.array(band, dtype=np.float32)
        bounds += [values.min(), values.max()]
    return float(np.min(bounds)), float(np.max(bounds))


def _dark(high: float) -> str:
    what = f"its grey values reach {high:.0f} of {WHITE}, and it comes out nearly black"
    bits = max(8, int(high).bit_length())
    advice = f"if they are of {bits} bits, save them multiplied by {WHITE // (2**bits - 1)}"
    return f"{what}; {advice}"


def _wide_grey_in_srgb(
    levels: "NDArray[np.uint16]", profile: bytes, remarks: list[str]
) -> "NDArray[np.float32] | None":
    """Grey of 16 bits (h, w) by its colour profile, (3, h, w) in [0, 1]; None where that is of no use."""
    import numpy as np
    from PIL import Image, ImageCms

    transform = _transform_or_remark(profile, "I;16", remarks)
    if transform is None:
        return None
    converted = np.array(ImageCms.applyTransform(Image.fromarray(levels), transform))
    return converted.transpose(2, 0, 1).astype(np.float32) / np.float32(255)


def _colour(upright: "Image", header: Header, remarks: list[str]) -> "Image":
    """RGB of 8 bits, with what is transparent laid over white."""
    from PIL import Image

    if header.clear is not None and header.clear != upright.info.get("transparency"):
        upright = upright.copy()
        upright.info["transparency"] = header.clear
    converted = _in_srgb(upright, header.profile, remarks)
    if not upright.has_transparency_data:
        return converted or upright.convert("RGB")
    layer = upright.convert("RGBA")
    if converted is not None:
        converted.putalpha(layer.getchannel("A"))
        layer = converted
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _in_srgb(upright: "Image", profile: bytes, remarks: list[str]) -> "Image | None":
    """Convert by the colour profile; None where there is none, or none that changes a colour."""
    from PIL import ImageCms

    if upright.mode == "LAB":  # which Pillow converts by no other way
        lab = ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB")
        return ImageCms.applyTransform(upright, lab)
    transform = _transform_or_remark(profile, upright.mode, remarks) if profile else None
    if transform is None:
        return None
    # A palette may be transparent in part, which only RGBA can say.
    whole = upright.convert("RGBA") if upright.has_transparency_data else upright
    base = whole.convert(transform.input_mode)
    base.info.pop("transparency", None)
    return ImageCms.applyTransform(base, transform)


def _transform_or_remark(profile: bytes, mode: str, remarks: list[str]) -> "ImageCmsTransform | None":
    """Make the conversion to sRGB; None, and a remark, where the profile cannot be used."""
    try:
        return _transform(profile, mode)
    except Exception as error:  # a damaged profile makes LittleCMS and Pillow raise what they like
        remarks.append(f"its colour profile is ignored, and sRGB taken: {error}")
        return None


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> "ImageCmsTransform | None":
    """Make the conversion from a profile to sRGB.

    Args:
        profile: as the file has it.
        mode: of the pixels.

    Returns: None for a profile that moves no colour by more than a level: sRGB itself. Two programs' sRGB
        differ by that.

    Raises:
        ValueError: the profile is of another kind than the pixels.
    """
    from PIL import ImageCms

    origin = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = origin.profile.xcolor_space.strip()
    expected = "CMYK" if mode == "CMYK" else "RGB"
    if space != expected and not (space == "GRAY" and mode in GREY):
        raise ValueError(f"it is of {space or 'nothing'}, and the pixels are {mode}")
    entry = "I;16" if mode == "I;16" else SPACES[space]
    transform = ImageCms.buildTransform(origin, _srgb(), entry, "RGB")
    return transform if entry == "CMYK" or _moves(transform) else None


def _srgb() -> Any:
    from PIL import ImageCms

    return ImageCms.createProfile("sRGB")


def _moves(transform: "ImageCmsTransform") -> bool:
    """Whether a conversion moves any colour of a sample by more than a level."""
    import numpy as np
    from PIL import Image, ImageCms

    if transform.input_mode == "RGB":
        steps = np.linspace(0, 255, 17).round().astype(np.uint8)
        colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(17 * 17, 17, 3)
        before = colours
    else:
        ramp = np.arange(256)[None]
        before = np.repeat(ramp[..., None], 3, axis=2)
        colours = (ramp * 257).astype(np.uint16) if transform.input_mode == "I;16" else ramp.astype(np.uint8)
    after = np.array(ImageCms.applyTransform(Image.fromarray(colours), transform))
    return bool(np.abs(after.astype(int) - before).max() > 1)
