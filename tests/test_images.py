"""The tensor convention, norms, geometry, and image files of every kind."""

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rain.errors import ImageError, OptionError
from rain.images import (
    centre_crop,
    check_images,
    check_norm,
    distance,
    enter,
    project,
    resize_shorter,
)
from rain.pictures import read_image

RAMP = np.linspace(0, 255, 48, dtype=np.uint8).reshape(6, 8)


def save(path: Path, values: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    picture = Image.fromarray(values)
    (picture if mode is None else picture.convert(mode)).save(path, **options)
    return path


def png_header(path: Path, width: int, height: int) -> Path:
    """Write a PNG that promises width x height pixels and holds none."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


# --- reading: right answers


def test_reads_colour_exactly(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = read_image(save(tmp_path / "colour.png", values))
    assert image.shape == (3, 5, 7)
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert torch.equal((image * 255).round().byte(), torch.from_numpy(values).permute(2, 0, 1))


def test_reads_a_path_given_as_text(tmp_path: Path) -> None:
    assert read_image(str(save(tmp_path / "grey.png", RAMP))).shape == (3, 6, 8)


def test_repeats_grey_on_three_channels(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "grey.png", RAMP))
    assert torch.equal(image, (torch.from_numpy(RAMP).float() / 255).expand(3, 6, 8))


def test_reads_black_and_white(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "bits.png", RAMP, "1"))
    assert image.shape == (3, 6, 8)
    assert set(image.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_lays_transparency_over_white(tmp_path: Path, mode: str) -> None:
    picture = Image.new(mode, (4, 3), 0)  # black, and fully transparent
    picture.putpixel((1, 2), (0, 255) if mode == "LA" else (0, 0, 0, 255))
    picture.putpixel((0, 0), (0, 51) if mode == "LA" else (0, 0, 0, 51))
    picture.save(tmp_path / "clear.png")
    image = read_image(tmp_path / "clear.png")
    assert image.shape == (3, 3, 4)
    assert image[:, 2, 1].tolist() == [0, 0, 0]
    assert image[:, 1, 1].tolist() == [1, 1, 1]
    assert torch.allclose(image[:, 0, 0], torch.tensor(0.8))


@pytest.mark.parametrize("kind", ["png", "gif"])
@pytest.mark.parametrize("transparency", [None, 1])
def test_reads_palettes(tmp_path: Path, kind: str, transparency: int | None) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    picture.save(
        tmp_path / f"palette.{kind}", **({} if transparency is None else {"transparency": transparency})
    )
    image = read_image(tmp_path / f"palette.{kind}")
    assert image[:, 0, 0].tolist() == [1, 0, 0]
    assert image[:, 0, 1].tolist() == ([0, 0, 1] if transparency is None else [1, 1, 1])


def test_reads_a_palette_with_a_table_of_transparencies(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "palette.png", transparency=bytes([255, 0]))
    assert read_image(tmp_path / "palette.png")[:, 0].T.tolist() == [[1, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("kind", ["png", "tiff", "pgm"])
def test_keeps_the_precision_of_16_bit_grey(tmp_path: Path, kind: str) -> None:
    values = np.array([[0, 1, 256], [32768, 65534, 65535]], dtype=np.uint16)
    image = read_image(save(tmp_path / f"deep.{kind}", values))
    assert torch.allclose(image, torch.from_numpy(values / 65535).float().expand(3, 2, 3), rtol=0, atol=1e-7)


def test_reads_32_bit_integers_that_hold_16_bit_grey(tmp_path: Path) -> None:
    values = np.array([[0, 100], [40000, 65535]], dtype=np.int32)
    assert torch.allclose(
        read_image(save(tmp_path / "wide.tiff", values))[0], torch.from_numpy(values / 65535).float()
    )


def test_reads_float_grey_as_it_is(tmp_path: Path) -> None:
    values = np.array([[0, 0.25], [0.5, 1]], dtype=np.float32)
    assert torch.equal(
        read_image(save(tmp_path / "float.tiff", values)), torch.from_numpy(values).expand(3, 2, 2)
    )


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0, 70000]], np.int32),
        np.array([[-1, 5]], np.int32),
        np.array([[0, 2]], np.float32),
        np.array([[0, np.nan]], np.float32),
    ],
)
def test_refuses_grey_of_unknown_range(tmp_path: Path, values: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"odd\.tiff: grey values span"):
        read_image(save(tmp_path / "odd.tiff", values))


def test_reads_cmyk(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "print.tiff")
    assert read_image(tmp_path / "print.tiff")[:, 0, 0].tolist() == [1, 0, 0]


def test_takes_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:], duration=10)
    assert read_image(tmp_path / "moving.gif")[:, 0, 0].tolist() == [1, 0, 0]


def test_applies_exif_rotation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show the stored picture rotated by 90 degrees clockwise
    values = np.zeros((2, 3, 3), np.uint8)
    values[0, 0] = 255
    image = read_image(save(tmp_path / "turned.png", values, exif=exif))
    assert image.shape == (3, 3, 2)
    assert image[0].nonzero().tolist() == [[0, 1]]


# --- reading: clear errors


def test_refuses_50000_by_50000_from_the_header(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"2,?500,?000,?000|50000 x 50000"):
        read_image(png_header(tmp_path / "bomb.png", 50_000, 50_000))


def test_refuses_more_than_max_pixels_without_decoding(tmp_path: Path) -> None:
    # In the range where Pillow only warns; there are no pixels to decode.
    path = png_header(tmp_path / "large.png", 10_000, 10_000)
    with pytest.raises(ImageError, match="10000 x 10000 pixels is more than the limit of 64,000,000"):
        read_image(path)
    with pytest.raises(ImageError, match="limit of 10;"):
        read_image(save(tmp_path / "small.png", RAMP), max_pixels=10)


def test_leaves_pillow_and_warnings_as_they_were(tmp_path: Path) -> None:
    limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    with pytest.raises(ImageError):
        read_image(png_header(tmp_path / "large.png", 10_000, 10_000))
    assert limit == Image.MAX_IMAGE_PIXELS
    assert list(warnings.filters) == filters


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "tiff", "webp"])
def test_refuses_truncated_files(tmp_path: Path, kind: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"cut.{kind}", values)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(
        ImageError, match=rf"cut\.{kind}: (cannot be read, the file is truncated|not an image)"
    ):
        read_image(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"this is text, not a picture\n" * 9, b"<svg xmlns='http://www.w3.org/2000/svg'/>", bytes(300)],
)
def test_refuses_what_is_no_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "letter.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"letter\.png: not an image"):
        read_image(path)


def test_refuses_postscript(tmp_path: Path) -> None:
    save(tmp_path / "program.eps", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ImageError, match="PostScript"):
        read_image(tmp_path / "program.eps")


def test_refuses_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="cannot be opened as a file"):
        read_image(tmp_path)


# --- the convention


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.zeros((1, 3, 4, 4)), "must be a torch.Tensor"),
        (torch.zeros(3, 4, 4), r"image\[None\]"),
        (torch.zeros(1, 4, 4, 3), "permute"),
        (torch.zeros(1, 1, 4, 4), "must have shape"),
        (torch.zeros(1, 3, 1, 4), "at least 2 pixels"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "float"),
        (torch.full((1, 3, 4, 4), 200.0), "divide by 255"),
        (torch.full((1, 3, 4, 4), -1.0), "before any normalisation"),
        (torch.full((1, 3, 4, 4), float("nan")), "NaN"),
        (torch.full((1, 3, 4, 4), float("inf")), r"\[0, 1\]"),
    ],
)
def test_check_images_says_what_is_wrong(bad: Any, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        check_images(bad)


def test_check_images_accepts_good_and_empty_batches() -> None:
    check_images(torch.rand(2, 3, 5, 7))
    check_images(torch.zeros(0, 3, 4, 4))


def test_norms() -> None:
    ones = torch.ones(2, 3, 4, 4)
    assert torch.allclose(distance(ones, ones * 0.5, "linf"), torch.tensor([0.5, 0.5]))
    assert torch.allclose(distance(ones, ones * 0.5, "l2"), torch.tensor([12.0**0.5] * 2))
    assert distance(ones[:0], ones[:0], "linf").shape == distance(ones[:0], ones[:0], "l2").shape == (0,)
    with pytest.raises(OptionError, match="linf"):
        check_norm("l7")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_project_stays_in_ball_and_box_and_leaves_what_is_inside(norm: str) -> None:
    generator = torch.Generator().manual_seed(0)
    centre = torch.rand(4, 3, 6, 6, generator=generator)
    far = project(torch.randn(4, 3, 6, 6, generator=generator), centre, norm, 0.1)
    assert far.min() >= 0
    assert far.max() <= 1
    assert distance(far, centre, norm).max() <= 0.1 + 1e-6
    assert torch.allclose(project(far, centre, norm, 0.1), far, atol=1e-7)
    assert torch.equal(project(centre, centre, norm, 0.0), centre)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_resize_shorter_and_crop(interpolation: str) -> None:
    images = torch.rand(2, 3, 20, 31, generator=torch.Generator().manual_seed(0))
    resized = resize_shorter(images, 10, interpolation)
    assert resized.shape == (2, 3, 10, 15)
    assert resized.min() >= 0
    assert resized.max() <= 1
    assert resize_shorter(images, 20, interpolation) is images
    assert resize_shorter(images[:0], 10, interpolation).shape == (0, 3, 10, 15)
    assert torch.equal(centre_crop(images, 10), images[:, :, 5:15, 10:20])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_resizes_in_every_type(dtype: torch.dtype) -> None:
    image = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    small = resize_shorter(image.to(dtype), 11)
    assert small.dtype == dtype
    assert torch.allclose(small.float(), resize_shorter(image, 11), atol=0.01)


def test_an_image_enters_as_a_square_or_as_it_is() -> None:
    image = torch.rand(3, 20, 31, generator=torch.Generator().manual_seed(0))
    square = enter(image, 10)
    assert square.shape == (3, 10, 10)
    assert torch.equal(square, centre_crop(resize_shorter(image[None], 10), 10)[0])
    assert enter(image, None) is image


def test_an_l2_budget_of_nothing_in_half_precision() -> None:
    images = torch.rand(2, 3, 4, 4).half()
    assert torch.equal(project(images.clone(), images, "l2", 0.0), images)


def test_a_sliver_is_not_enlarged_until_memory_ends() -> None:
    with pytest.raises(ImageError, match="an image of 2 x 400000 pixels would have to become 224 x 44800000"):
        resize_shorter(torch.zeros(1, 3, 2, 400_000), 224)
