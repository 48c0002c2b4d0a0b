"""Picture files of every kind: read right, refused clearly, written without loss."""

import io
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from painting import RAMP, colours, save
from PIL import Image, ImageFile

from rain import pictures
from rain.errors import ImageError, OptionError
from rain.images import quantize
from rain.pictures import read_image, save_image
from rain.pixels import decode


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
        ("a\0b.png", "no name of a file holds a zero byte"),
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


def test_a_warning_is_of_its_own_picture_while_another_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Pillow warns of is recorded for all threads of the process."""
    path = save(tmp_path / "dark.png", np.full((4, 4), 200, np.uint16))
    is_decoded, is_recorded = Event(), Event()

    def decode_slowly(*parts: Any) -> torch.Tensor:
        image = decode(*parts)
        is_decoded.set()
        is_recorded.wait(5)
        return image

    monkeypatch.setattr(pictures, "decode", decode_slowly)
    remarks: list[str] = []
    with ThreadPoolExecutor(1) as threads, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reading = threads.submit(read_image, path)
        assert is_decoded.wait(5)
        with pictures._recorded(remarks):
            is_recorded.set()
            wait([reading], timeout=0.2)
        assert reading.result(5).shape == (3, 4, 4)
    assert remarks == []


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


def test_saves_of_float64_what_quantize_makes_of_it(tmp_path: Path) -> None:
    """Just below half a level in float64 is half a level in float32."""
    image = (torch.arange(3 * 4 * 4).reshape(3, 4, 4).double() + 0.5) / 255 * (1 - 1e-12)
    save_image(image, tmp_path / "a.png")
    assert torch.equal(read_image(tmp_path / "a.png"), quantize(image).float())


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
