"""What a file says of its pixels: its colour profile, where white is, what is clear, how many bits."""

import struct
import zlib
from pathlib import Path

import numpy as np
import profiles
import pytest
import torch
from painting import RAMP, colours, save
from PIL import Image, ImageCms, ImageOps

from rain.pictures import read_image

# --- colour profiles


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


# --- white, clear, bits


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
