"""Attacked images that are kept beside the results (``rain run --keep-images``), and read again.

Where they lie, and what is said of them, ``rain.bench.kept_lists`` knows.
"""

import hashlib
import io
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from rain.bench.assets import Assets
from rain.bench.cells import Cell, check_inside, dump, path_of, write_file
from rain.bench.kept_lists import ADVICE, FORM, FORMS, Kept, home_of, image_name, list_path, most_bytes
from rain.errors import ImageError, OptionError, ResultError, WeightsError
from rain.files import read_foreign
from rain.images import Images, check_images, distance, quantize
from rain.pictures import read_image

TENSOR = "image"
HALF_LEVEL = 1 / 510
"""How far rounding to 8 bits moves a value, at most."""


class Made(Protocol):
    """Images of a chunk that have one size, with their places in the dataset."""

    @property
    def indices(self) -> Sequence[int]:
        """Of the N images in the dataset."""
        ...

    @property
    def labels(self) -> Tensor:
        """(N,)."""
        ...

    @property
    def images(self) -> Images:
        """(N, 3, H, W), as they were before the attack."""
        ...


class Space(NamedTuple):
    """What kept images will take.

    Args:
        images: how many there are.
        most: bytes, at most.
        free: bytes that are free on the disk.
    """

    images: int
    most: int
    free: int


def check_form(form: str) -> str:
    """Raise ``OptionError`` for a form that images are not kept in."""
    if form not in ("", *FORMS):
        raise OptionError(f"images are kept as {' or '.join(FORMS)}, got {form!r}")
    return form


class Keeper:
    """Keeps attacked images; handed to a ``rain.bench.measure.Bench``.

    Args:
        folder: of the results.
        form: one of ``FORMS``.
        assets: what the cells name.
    """

    def __init__(self, folder: Path, form: str, assets: Assets):
        self.folder, self.form, self.assets = folder, form, assets

    def keep(self, source: Cell, chunk: int, made: Iterable[tuple[Made, Images]]) -> None:
        """Write the images of a chunk, unless they are there.

        Args:
            source: whose attacker made them; those of access "known" are made for each draw, and not kept.
            made: for each size that occurs, the clean batch, and its images attacked.

        Raises:
            ResultError: a file cannot be written.
        """
        path = list_path(self.folder, source, chunk)
        if source.access == "known" or path.is_file():
            return
        rows: list[dict[str, Any]] = []
        for batch, adversarial in made:
            rows += self._written(source, batch, adversarial)
        content = {
            "format": FORM,
            "source": asdict(source),
            "chunk": chunk,
            "form": self.form,
            "images": sorted(rows, key=lambda row: int(row["index"])),
            "made_by": self.assets.made_by(source),
        }
        write_file(path, (dump(content) + "\n").encode())

    def _written(self, source: Cell, batch: Made, adversarial: Images) -> list[dict[str, Any]]:
        stored = quantize(adversarial) if self.form == "png" else adversarial.float()
        rounding = distance(stored.double(), adversarial.double(), "linf").tolist()
        moved = distance(stored.double(), batch.images.double(), source.norm).tolist()
        rows = []
        for row, index in enumerate(batch.indices):
            path = home_of(self.folder, source) / image_name(index, self.form)
            write_file(path, _encoded(stored[row], self.form))
            rows.append(
                {
                    "index": index,
                    "label": int(batch.labels[row]),
                    "rounding": float(f"{rounding[row]:.6g}"),
                    "distance": float(f"{moved[row]:.6g}"),
                }
            )
        return rows


def _encoded(image: Tensor, form: str) -> bytes:
    """The bytes of a file that holds one image (3, H, W)."""
    if form == "float":
        from safetensors.torch import save

        return save({TENSOR: image.cpu().contiguous()})
    from PIL import Image

    levels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, format="PNG")
    return file.getvalue()


def read_kept(kept: Kept, index: int, clean: Tensor) -> Tensor:
    """Read one attacked image.

    Args:
        kept: of its chunk.
        index: of the image in the dataset.
        clean: (3, H, W), the image before the attack.

    Shape: returns (3, H, W), float32.

    Raises:
        ResultError: it is missing or damaged, of another size than the clean one, or farther from it than the
            budget allows.
    """
    path = kept.image_path(index)
    if path.is_symlink():
        check_inside(path, kept.path.parents[2])
    try:
        content = read_foreign(path, most_bytes(clean.numel(), kept.form))
        image = _decoded(content, kept.form, clean)
        check_images(image[None])
    except OSError as error:
        raise ResultError(f"{path}: cannot be read: {error.strerror or error}; {ADVICE}") from None
    except (ImageError, WeightsError) as error:
        raise ResultError(f"{path}: not the attacked image {index} ({error}); {ADVICE}") from None
    _check_budget(path, image, clean.float().cpu(), kept)
    return image


def _decoded(content: bytes, form: str, clean: Tensor) -> Tensor:
    """The image (3, H, W) in a file's bytes.

    Raises:
        ImageError: it is none, or of another size than the clean one.
    """
    image = _tensor_in(content) if form == "float" else read_image(content, clean[0].numel())
    if image.shape != clean.shape:
        raise ImageError(f"it is {tuple(image.shape)}, the clean image {tuple(clean.shape)}")
    return image


def _tensor_in(content: bytes) -> Tensor:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(content)
    except (SafetensorError, ValueError, RuntimeError, TypeError, KeyError, MemoryError) as error:
        raise ImageError(f"no safetensors: {str(error)[:200]}") from None
    image = tensors.get(TENSOR)
    if image is None or image.dtype != torch.float32:
        raise ImageError(f"no tensor {TENSOR!r} of float32 in it")
    return image


def _check_budget(path: Path, image: Tensor, clean: Tensor, kept: Kept) -> None:
    """Raise ``ResultError`` for an image that is farther from the clean one than its cell says."""
    source = kept.source
    room = 0.0
    if kept.form == "png":
        room = HALF_LEVEL * (1 if source.norm == "linf" else image.numel() ** 0.5)
    moved = float(distance(image.double()[None], clean.double()[None], source.norm))
    if moved > source.eps * (1 + 1e-5) + room + 1e-5:
        what = f"it is {moved:.6g} from the clean image in {source.norm}, and the budget is {source.eps:.6g}"
        why = "it was made with another one, or of another image"
        raise ResultError(f"{path}: {what}: {why}; {ADVICE}")


def digest_of(kept: Iterable[Kept]) -> str:
    """Digest of what is said of kept images, 16 hex digits."""
    contents = [each.path.read_bytes() for each in sorted(kept, key=lambda each: each.path)]
    return hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in contents)).hexdigest()[:16]


def space_for(folder: Path, form: str, pieces: Iterable[tuple[Cell, int, int]]) -> Space:
    """Estimate what kept images will take.

    Args:
        pieces: for each chunk that will be made the cell of its attacker, its number, and the pixels of one
            of its images.
    """
    images = most = 0
    for source, chunk, pixels in dict.fromkeys(pieces):
        if source.access == "known" or list_path(folder, source, chunk).is_file():
            continue
        count = len(source.indices(chunk))
        images += count
        # A PNG of noise takes a byte for each value, a file at least a block of the disk.
        most += count * (3 * pixels * (4 if form == "float" else 1) + 4096)
    return Space(images, most, shutil.disk_usage(folder).free)


def finished_without(folder: Path, pairs: Iterable[tuple[Cell, Cell]]) -> int:
    """Count the finished chunks whose attacked images were not kept.

    Args:
        pairs: of each attacked cell itself and the cell whose attacker makes its images.
    """
    count = 0
    for cell, source in pairs:
        for chunk in range(cell.chunks):
            is_finished = path_of(folder, cell, chunk).is_file()
            count += is_finished and not list_path(folder, source, chunk).is_file()
    return count
