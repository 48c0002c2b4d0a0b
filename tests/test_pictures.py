"""Picture files of every kind: read right, refused clearly, written without loss."""

import io
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import profiles
import pytest
import torch
from PIL import Image, ImageCms, ImageFile, ImageOps

from rain.errors import ImageError, OptionError
from rain.images import quantize
from rain.pictures import read_image, save_image

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


# --- what a file says of its pixels


def colours(count: int = 24) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, count, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
def test_converts_adobe_rgb_to_srgb(tmp_path: Path, kind: str) -> None:
    values = colours()
    options = {"lossless": True} if kind == "webp" else {}
    path = save(tmp_path / f"adobe.{kind}", values, icc_profile=profiles.of_rgb("adobe"), **options)
    image = (read_image(path) * 255).permute(1, 2, 0).numpy()
    # LittleCMS computes with 8 bits and a table; near black, a step of its table is a level and more.
    assert np.abs(image - profiles.in_srgb(values)).max() < 2
    assert np.abs(image - values).max() > 20


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_the_srgb_profile_leaves_every_bit(tmp_path: Path, mode: str) -> None:
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = read_image(save(tmp_path / "plain.png", colours(), mode))
    assert torch.equal(read_image(save(tmp_path / "own.png", colours(), mode, icc_profile=own)), plain)


def test_a_profile_goes_before_transparency(tmp_path: Path) -> None:
    values = np.dstack([colours(), np.full((24, 24), 128, np.uint8)])
    image = read_image(save(tmp_path / "half.png", values, icc_profile=profiles.of_rgb("adobe")))
    share = 128 / 255
    expected = share * profiles.in_srgb(values[..., :3]) + (1 - share) * 255
    assert np.abs((image * 255).permute(1, 2, 0).numpy() - expected).max() < 2


def test_a_palette_is_converted_and_keeps_its_holes(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([200, 100, 50, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    path = tmp_path / "palette.png"
    picture.save(path, transparency=bytes([255, 0]), icc_profile=profiles.of_rgb("adobe"))
    image = read_image(path)[:, 0].T
    assert np.abs(image[0].numpy() * 255 - profiles.in_srgb(np.array([200, 100, 50]))).max() < 1.5
    assert image[1].tolist() == [1, 1, 1]


@pytest.mark.parametrize("bits", [8, 16])
def test_converts_grey_by_its_profile(tmp_path: Path, bits: int) -> None:
    ramp = np.arange(0, 256, dtype=np.uint8)[None]
    values = ramp if bits == 8 else ramp.astype(np.uint16) * 257
    path = save(tmp_path / "grey.png", values, icc_profile=profiles.of_grey(1.8))
    image = read_image(path)
    assert torch.equal(image[0], image[1])
    assert np.abs(image[0].numpy() * 255 - profiles.encoded((ramp / 255) ** 1.8)).max() < 1.5


def test_grey_may_have_a_profile_of_colour(tmp_path: Path) -> None:
    path = save(tmp_path / "grey.png", RAMP, icc_profile=profiles.of_rgb("srgb", 1.0))
    assert np.abs(read_image(path)[0].numpy() * 255 - profiles.encoded(RAMP / 255)).max() < 2


def test_converts_inks_by_their_profile(tmp_path: Path) -> None:
    picture = Image.new("CMYK", (8, 8))
    picture.paste((255, 0, 0, 0), (0, 0, 4, 8))
    picture.save(tmp_path / "print.tiff", icc_profile=profiles.of_ink())
    image = read_image(tmp_path / "print.tiff")
    assert image[:, 0, 7].tolist() == [1, 1, 1]
    light = ((100 / 3 + 16) / 116) ** 3  # of a lightness of a third, by the definition of Lab
    assert np.abs(image[:, 0, 0].numpy() * 255 - profiles.encoded(np.array(light))).max() < 2


@pytest.mark.parametrize(
    ("profile", "mode"),
    [
        (b"no profile", "RGB"),
        (profiles.of_rgb()[:300], "RGB"),
        (profiles.of_grey(1.8), "RGB"),
        (profiles.of_ink(), "RGB"),
        (profiles.of_rgb(), "CMYK"),
    ],
)
def test_a_profile_of_no_use_is_said_and_left(tmp_path: Path, profile: bytes, mode: str) -> None:
    plain = read_image(save(tmp_path / "plain.tiff", colours(), mode))
    path = save(tmp_path / "odd.tiff", colours(), mode, icc_profile=profile)
    with pytest.warns(UserWarning, match=r"odd\.tiff: its colour profile is ignored"):
        image = read_image(path)
    assert torch.equal(image, plain)


def tiff(path: Path, values: np.ndarray, order: str, photometric: int, bits: int) -> Path:
    """Write an uncompressed TIFF of one strip, as the format says."""
    content = values.tobytes()
    numbers = {256: values.shape[1], 257: values.shape[0], 258: bits, 259: 1, 262: photometric}
    numbers |= {273: 8, 277: 1, 278: values.shape[0], 279: len(content)}
    if values.dtype.kind == "f":
        numbers[339] = 3
    entries = b""
    for tag, number in sorted(numbers.items()):
        entries += struct.pack(f"{order}HHII", tag, 4, 1, number)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(f"{order}I", 8 + len(content))
    path.write_bytes(head + content + struct.pack(f"{order}H", len(numbers)) + entries + bytes(4))
    return path


@pytest.mark.parametrize(("kind", "bits"), [("<u1", 8), ("<u2", 16), ("<f4", 32), (">f4", 32)])
def test_white_may_be_0(tmp_path: Path, kind: str, bits: int) -> None:
    white = {8: 255, 16: 65535, 32: 1}[bits]
    values = (np.linspace(0, 1, 12).reshape(3, 4) * white).astype(kind)
    black = read_image(tiff(tmp_path / "black.tiff", values, kind[0], 1, bits))
    assert torch.allclose(black[0], torch.linspace(0, 1, 12).view(3, 4), atol=0.005)
    inverted = read_image(tiff(tmp_path / "white.tiff", values, kind[0], 0, bits))
    assert torch.allclose(inverted, 1 - black, atol=1e-6)
    assert inverted[0, 0, 0] == 1


def test_compressed_white_may_be_0(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 48, dtype=np.uint16).reshape(6, 8)
    path = save(tmp_path / "white.tiff", values, compression="tiff_lzw", tiffinfo={262: 0})
    with Image.open(path) as picture:
        if picture.tag_v2[262] != 0:
            pytest.skip("this Pillow writes no such file")
    assert torch.allclose(read_image(path)[0], 1 - torch.from_numpy(values / 65535).float())


def test_reads_12_bit_tiff_by_its_own_white(tmp_path: Path) -> None:
    # Two values of 12 bits in three bytes: 0xFFF, 0x000, 0x800, 0x400.
    packed = np.frombuffer(bytes([0xFF, 0xF0, 0x00, 0x80, 0x04, 0x00]), np.uint8)[None]
    path = tiff(tmp_path / "twelve.tiff", packed, "<", 1, 12)
    path.write_bytes(
        path.read_bytes().replace(struct.pack("<HHII", 256, 4, 1, 6), struct.pack("<HHII", 256, 4, 1, 4))
    )
    assert torch.allclose(read_image(path)[0, 0], torch.tensor([0xFFF, 0, 0x800, 0x400]) / 0xFFF)


def clear_png(path: Path, depth: int, kind: int, row: bytes, clear: bytes, width: int = 4) -> Path:
    """Write a PNG of one row with a transparent value."""
    header = struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", clear), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n"
    for name, part in chunks:
        content += struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("depth", "row", "clear", "greys"),
    [
        (1, b"\x50", 0, [1.0, 1.0, 1.0, 1.0]),
        (2, b"\x1b", 2, [0, 1 / 3, 1, 1]),
        (4, b"\x01\x23", 2, [0, 17 / 255, 1, 51 / 255]),
        (8, b"\x00\x01\x02\x03", 2, [0, 1 / 255, 1, 3 / 255]),
        (16, struct.pack(">4H", 0, 1, 30000, 65535), 30000, [0, 1 / 65535, 1, 1]),
        (16, struct.pack(">4H", 0, 30001, 30000, 29999), 0, [1, 30001 / 65535, 30000 / 65535, 29999 / 65535]),
    ],
)
def test_lays_a_transparent_grey_over_white(
    tmp_path: Path, depth: int, row: bytes, clear: int, greys: list[float]
) -> None:
    image = read_image(clear_png(tmp_path / "clear.png", depth, 0, row, struct.pack(">H", clear)))
    assert torch.allclose(image[:, 0], torch.tensor(greys).expand(3, 4))


def test_lays_a_transparent_16_bit_colour_over_white(tmp_path: Path) -> None:
    row = struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0xFFFF, 0, 0)
    image = read_image(clear_png(tmp_path / "clear.png", 16, 2, row, row[:6], width=2))
    assert image[:, 0].T.tolist() == [[1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize(("bits", "kind"), [(12, "png"), (8, "png"), (12, "tiff"), (10, "tiff")])
def test_warns_of_16_bit_grey_that_holds_fewer(tmp_path: Path, bits: int, kind: str) -> None:
    values = np.linspace(0, 2**bits - 1, 48, dtype=np.uint16).reshape(6, 8)
    path = save(tmp_path / f"dark.{kind}", values)
    says = rf"dark\.{kind}: its grey values reach {2**bits - 1} of 65535.*{bits} bits.*multiplied by"
    with pytest.warns(UserWarning, match=says):
        image = read_image(path)
    assert torch.equal(image[0], torch.from_numpy(values / np.float32(65535)).float())


@pytest.mark.parametrize("high", [0, 4096, 65535])
def test_does_not_warn_of_black_or_of_enough(tmp_path: Path, high: int) -> None:
    values = np.array([[0, high], [0, high // 2]], dtype=np.uint16)
    assert read_image(save(tmp_path / "fine.png", values)).max() == pytest.approx(high / 65535)


def test_32_bit_grey_that_holds_12_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "dark.tiff", np.array([[0, 4095], [7, 9]], dtype=np.int32))
    with pytest.warns(UserWarning, match="reach 4095 of 65535"):
        read_image(path)


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_16_bit_colour_that_holds_12_is_said(tmp_path: Path, kind: str) -> None:
    row = struct.pack(">6H" if kind == "png" else "<6H", 4095, 0, 300, 1, 2, 3)
    if kind == "png":
        path = clear_png(tmp_path / "dark.png", 16, 2, row, struct.pack(">3H", 65535, 9, 9), width=2)
    else:
        path = tiff(tmp_path / "dark.tiff", np.frombuffer(row, np.uint8)[None], "<", 2, 16)
        content = path.read_bytes()
        for old, new in (((256, 12), (256, 2)), ((277, 1), (277, 3))):
            entry = struct.pack("<HHII", old[0], 4, 1, old[1])
            content = content.replace(entry, struct.pack("<HHII", new[0], 4, 1, new[1]))
        # The number of bits is one for each channel, written behind all else.
        place = len(content)
        entry = struct.pack("<HHII", 258, 3, 3, place)
        content = content.replace(struct.pack("<HHII", 258, 4, 1, 16), entry) + struct.pack("<3H", 16, 16, 16)
        path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"dark\..*: its colours reach 15 of 255, after 16 bits were cut"):
        assert (read_image(path)[:, 0, 0] * 255).round().tolist() == [15, 0, 1]


def test_the_warning_of_damaged_exif_names_the_file(tmp_path: Path) -> None:
    exif = b"Exif\0\0" + b"II*\0\x08\0\0\0" + struct.pack("<H", 5) + struct.pack("<HHII", 0x0112, 3, 1, 1)
    path = save(tmp_path / "camera.jpg", colours())
    plain = read_image(path)
    content = path.read_bytes()
    path.write_bytes(content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:])
    with pytest.warns(UserWarning, match=r"camera\.jpg: Corrupt EXIF data") as messages:
        image = read_image(path)
    assert len(messages) == 1
    assert torch.equal(image, plain)


def test_every_exif_rotation_is_pillows(tmp_path: Path) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = save(tmp_path / "turned.png", colours()[:5, :7], exif=exif)
        with Image.open(path) as picture:
            upright = np.array(ImageOps.exif_transpose(picture))
        assert torch.equal(
            (read_image(path) * 255).round().byte(), torch.from_numpy(upright).permute(2, 0, 1)
        )


# --- from what it is read


class Pipe(io.BytesIO):
    """A file that goes forward only."""

    def seekable(self) -> bool:
        return False

    def seek(self, place: int, whence: int = 0) -> int:
        raise io.UnsupportedOperation("seek")


def test_reads_bytes_files_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "colour.png", colours())
    image = read_image(path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    content = path.read_bytes()
    assert torch.equal(read_image("~/colour.png"), image)
    for source in (content, bytearray(content), memoryview(content), io.BytesIO(content)):
        assert torch.equal(read_image(source), image)
    with path.open("rb") as file:
        file.read(9)
        assert torch.equal(read_image(file), image)
        assert not file.closed
    assert torch.equal(read_image(Pipe(content)), image)
    with Image.open(path) as picture:
        assert torch.equal(read_image(picture), image)
        picture.load()  # still open
    assert torch.equal(read_image(Image.fromarray(colours())), image)


def test_a_picture_that_was_given_is_not_changed() -> None:
    picture = Image.new("L", (3, 2), 7)
    picture.info["transparency"] = 7
    assert read_image(picture).unique().tolist() == [1]
    assert (picture.mode, picture.info, picture.getpixel((0, 0))) == ("L", {"transparency": 7}, 7)


def test_a_name_may_begin_with_the_sign_of_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_image(save(Path("~nobody-of-this-name.png"), RAMP)).shape == (3, 6, 8)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (b"", "0 bytes: not an image"),
        (b"text", "4 bytes: not an image"),
        (io.StringIO("text"), r"opened as text; open it by open\(path, \"rb\"\)"),
        (RAMP, "read_image takes a path, .* got ndarray; .*torch.from_numpy"),
        (torch.zeros(3, 4, 4), "got Tensor; a tensor needs no reading"),
        (7, "got int"),
        (None, "got NoneType"),
        (Image.new("RGB", (0, 5)), "a picture of 0 x 5 pixels shows nothing"),
        ("a\0b.png", "embedded null"),
        ("x" * 300 + ".png", "cannot be opened as a file"),
    ],
)
def test_refuses_other_sources(source: Any, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        read_image(source)


def heic(brand: bytes) -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + brand + b"mif1" + bytes(200)


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_heic_names_the_package_that_reads_it(
    tmp_path: Path, brand: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "phone.jpg"  # phones call them so, too
    path.write_bytes(heic(brand))
    with pytest.raises(ImageError, match=r"phone\.jpg: HEIC.* pip install pillow-heif"):
        read_image(path)


def test_heic_is_read_by_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    class Opener(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self) -> None:
            self._mode, self._size, self.tile = "RGB", (2, 2), []

        def load(self) -> Any:
            return Image.new("RGB", self.size).load()

    def register() -> None:
        Image.register_open("HEIF", Opener, lambda start: start[4:12] == b"ftypheic")

    monkeypatch.setattr(Image, "ID", list(Image.ID))
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
    with pytest.raises(ImageError, match="truncated or damaged"):  # it was handed over, and holds nothing
        read_image(heic(b"heic"))


def test_warnings_stay_whole_when_many_threads_read(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{number}.png", np.array([[number, 9]], np.uint16)) for number in range(16)]
    show = warnings.showwarning
    with warnings.catch_warnings(record=True) as messages, ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("always")
        list(pool.map(read_image, paths))
    assert len(messages) == 16
    assert warnings.showwarning is show


# --- writing


def image_of(*shape: int) -> torch.Tensor:
    return torch.rand(3, *shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("ending", ["png", "PNG", "bmp", "tif", "tiff", "ppm", "tga", "webp"])
def test_what_was_saved_is_what_was_rounded(tmp_path: Path, ending: str) -> None:
    image = image_of(9, 7)
    path = tmp_path / "new" / f"a.{ending}"
    save_image(image, path)
    again = read_image(path)
    assert torch.equal(again, quantize(image))
    save_image(again, path)
    assert torch.equal(read_image(path), again)
    assert [child.name for child in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_saves_every_type_and_any_strides(tmp_path: Path, dtype: torch.dtype) -> None:
    image = image_of(9, 7).to(dtype).transpose(1, 2).requires_grad_()
    save_image(image, tmp_path / "a.png")
    assert torch.equal(read_image(tmp_path / "a.png"), quantize(image.float()))


def test_a_jpeg_is_written_only_if_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"\.jpg is lossy.*save it as \.png, or say lossy=True"):
        save_image(image_of(8, 8), tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())
    save_image(image_of(8, 8), tmp_path / "a.jpg", lossy=True)
    assert read_image(tmp_path / "a.jpg").shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("image", "name", "error", "says"),
    [
        (
            image_of(4, 4)[None],
            "a.png",
            ImageError,
            r"one image \(3, H, W\), got \(1, 3, 4, 4\); .*images\[0\]",
        ),
        (image_of(4, 4) + 1, "a.png", ImageError, r"must lie in \[0, 1\]"),
        (image_of(4, 4) * float("nan"), "a.png", ImageError, "NaN"),
        (np.zeros((3, 4, 4)), "a.png", ImageError, "must be a torch.Tensor"),
        (image_of(4, 4), "a.gif", OptionError, r"must end in one of \.png"),
        (image_of(4, 4), "a", OptionError, "not in ''"),
        (image_of(4, 4), "folder.png", ImageError, "cannot be written"),
    ],
)
def test_says_why_it_saves_nothing(
    tmp_path: Path, image: Any, name: str, error: type[Exception], says: str
) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(error, match=says):
        save_image(image, tmp_path / name)
    assert [child.name for child in tmp_path.iterdir()] == ["folder.png"]
