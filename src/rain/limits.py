"""Which picture files are opened, and how large a picture may be. Never imports torch."""

from typing import TYPE_CHECKING

from rain.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

USUAL = ("BMP", "GIF", "JPEG", "PNG", "PPM")
"""Formats, as Pillow calls them, that it knows from the start."""

OTHERS = ("AVIF", "DIB", "EPS", "HEIF", "JPEG2000", "MPO", "PCX", "QOI", "SGI", "TGA", "TIFF", "WEBP")

FORMATS = (*USUAL, *OTHERS)
"""What is read, and PostScript, to say why it is not. Of Pillow's other readers some inflate without end."""

MOST_BYTES = 980_000_000
"""What reading a picture may take, in memory."""

PIXEL_BYTES = 12 + 4
"""What a pixel takes: three floats, and what Pillow holds."""

TWICE = ("AVIF", "HEIF", "JPEG2000", "WEBP")
"""Formats whose decoders hold all pixels once more."""

MOST_TIMES = 64
"""How often what is cut out may fit into a picture that was scaled up: so long and thin nothing is sent."""


def list_formats() -> list[str]:
    """Those of ``FORMATS`` that this Pillow has."""
    from PIL import Image

    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def check_header(picture: "Image", name: str, max_pixels: int) -> None:
    """Raise ``ImageError`` if a picture is too large, empty, or a program.

    Args:
        picture: opened, and not loaded.
        name: what errors call it.
        max_pixels: that it may have.
    """
    if picture.width * picture.height > max_pixels:
        what = f"{picture.width} x {picture.height} pixels is more than the limit of {max_pixels:,}"
        raise ImageError(f"{name}: {what}; scale the picture down first")
    needed = picture.width * picture.height * (PIXEL_BYTES + (16 if picture.format in TWICE else 0))
    if needed > MOST_BYTES:
        what = f"{picture.width} x {picture.height} pixels of {picture.format} take {needed / 1e9:.2f} GB"
        raise ImageError(f"{name}: {what}, and more than {MOST_BYTES / 1e9:.2f} are not spent on a picture")
    if not picture.width * picture.height:
        raise ImageError(f"{name}: a picture of {picture.width} x {picture.height} pixels shows nothing")
    if picture.format == "EPS":
        what = "PostScript is a program, which is not run here"
        raise ImageError(f"{name}: {what}; save the picture as PNG")


def check_growth(picture: tuple[int, int], resized: tuple[int, int], part: tuple[int, int]) -> None:
    """Raise ``ImageError`` for a picture so narrow that a resize of it takes memory without bounds.

    A picture of 1 x 40,000 pixels is a file of some hundred bytes. With its shorter side at 224, it has two
    billion pixels.

    Args:
        picture: height and width.
        resized: height and width that it shall get.
        part: height and width of what is cut out of it then.
    """
    pixels = resized[0] * resized[1]
    most = max(picture[0] * picture[1], MOST_TIMES * part[0] * part[1])
    if pixels > most:
        what = f"a picture {picture[0]} pixels high and {picture[1]} wide is too long and narrow"
        why = f"scaled up it would be {resized[0]} x {resized[1]}"
        raise ImageError(f"{what}: {why}; cut a part out of it first")
