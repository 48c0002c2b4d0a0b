"""What an exported model's service reads of pictures, and what it refuses of them, without torch."""

import io
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image, features

import rain
from rain.deploy.exported import cut, decode
from rain.deploy.model import Model
from rain.deploy.settings import Settings
from rain.errors import ImageError


def content_of(picture: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def wide_grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65536, (12, 20)).astype(np.uint16)


# --- size


@pytest.mark.parametrize("size", [(1, 40_000), (40_000, 1), (2, 200)])
def test_a_sliver_is_not_scaled_up_without_bounds(size: tuple[int, int]) -> None:
    picture = decode(content_of(Image.new("L", size)), 10**6)
    with pytest.raises(ImageError, match=r"too long and narrow.*; cut a part out of it first"):
        cut(picture, (224, 224))


def test_what_is_long_but_not_scaled_up_beyond_bounds_enters() -> None:
    assert cut(Image.new("RGB", (4000, 32)), (16, 16)).size == (16, 16)
    assert cut(Image.new("RGB", (640, 10)), (16, 16)).size == (16, 16)
    assert cut(Image.new("RGB", (90, 2)), (8, 300)).size == (300, 8)


def test_where_memory_ends_the_picture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(Settings(classifier="models:tiny", defense="none", device="cpu"))

    def fail(*_: object) -> None:
        raise MemoryError

    content = content_of(Image.new("RGB", (8, 8)))
    monkeypatch.setattr(model, "decode", fail)
    with pytest.raises(ImageError, match="not enough memory for it: send a smaller picture"):
        model.read(content, 1, 1)
    monkeypatch.setattr(Image.Image, "load", fail)
    with pytest.raises(ImageError, match="not enough memory"):
        rain.read_image(content)
    with pytest.raises(MemoryError):
        decode(content, 100)


def test_far_too_many_pixels_are_said_to_be_too_many() -> None:
    head = b"P6 50000 50000 255\n"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ImageError, match="far more pixels than the 1,000 that are allowed"):
            decode(head + b"\0" * 99, 1000)


# --- formats


@pytest.mark.parametrize("format", ["ICO", "ICNS", "PDF", "SPIDER"])
def test_formats_that_rain_does_not_read_are_not_opened(format: str) -> None:
    mode = "F" if format == "SPIDER" else "RGB"
    content = content_of(Image.new(mode, (64, 64)), format)
    with pytest.raises(ImageError, match="not an image of a format that is read here"):
        decode(content, 10**6)
    with pytest.raises(ImageError, match="not an image of a format that is read here"):
        rain.read_image(content)


def test_postscript_is_not_run() -> None:
    content = content_of(Image.new("RGB", (8, 8)), "EPS")
    with pytest.raises(ImageError, match="PostScript is a program, which is not run here"):
        decode(content, 10**6)


@pytest.mark.parametrize("format", ["BMP", "GIF", "JPEG2000", "PCX", "SGI", "TGA", "TIFF", "WEBP"])
def test_formats_that_rain_reads_are_opened(format: str) -> None:
    codec = {"JPEG2000": "jpg_2000", "WEBP": "webp"}.get(format)
    if codec and not features.check(codec):
        pytest.skip(f"this Pillow has no {format}")
    assert decode(content_of(Image.new("RGB", (8, 9), "red"), format), 100).size == (8, 9)


def test_the_list_of_formats_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; from rain.limits import list_formats; list_formats()"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- grey of more than 8 bits


@pytest.mark.parametrize("format", ["PNG", "PPM", "TIFF"])
def test_grey_of_16_bits_is_what_rain_reads(format: str) -> None:
    content = content_of(Image.fromarray(wide_grey()), format)
    ours = np.asarray(decode(content, 1000)).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(ours, rain.read_image(content).numpy(), atol=0.5 / 255 + 1e-6)


def test_grey_of_16_bits_is_turned_and_its_clear_value_is_white() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    values = wide_grey()
    clear = int(values[3, 4])
    content = content_of(Image.fromarray(values), exif=exif, transparency=clear)
    ours = np.asarray(decode(content, 1000)).transpose(2, 0, 1) / 255
    theirs = rain.read_image(content).numpy()
    assert theirs.shape == (3, 20, 12)
    np.testing.assert_allclose(ours, theirs, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("format", ["TIFF", "JPEG2000"])
def test_grey_without_a_known_white_is_refused(format: str) -> None:
    if format == "JPEG2000" and not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG2000")
    picture = Image.fromarray(wide_grey())
    content = content_of(picture, format, **({"tiffinfo": {262: 0}} if format == "TIFF" else {}))
    with pytest.raises(ImageError, match="grey of more than 8 bits, without a known white"):
        decode(content, 1000)


def test_grey_of_floats_is_refused() -> None:
    content = content_of(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF")
    with pytest.raises(ImageError, match="save the picture as PNG"):
        decode(content, 1000)
