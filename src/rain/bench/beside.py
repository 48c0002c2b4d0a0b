"""Files that stand beside those of results: certificates, and proofs of attacks. Never imports torch.

As a cell's, each finished chunk is one file that nothing rewrites: ``DIR/<folder>/<key>/<chunk>.json``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from rain.bench.cells import Chunked, alike, chunk_files, dump, indices_in, read_content, write_file
from rain.errors import ResultError, shown


@dataclass(frozen=True)
class Indexed:
    """What is said of one image.

    Args:
        index: of the image in the dataset.
    """

    index: int


CellT = TypeVar("CellT", bound=Chunked)
ImageT = TypeVar("ImageT", bound=Indexed)


@dataclass(frozen=True)
class Chunk(Generic[CellT, ImageT]):
    """What one file holds."""

    cell: CellT
    number: int
    images: tuple[ImageT, ...]
    made_by: dict[str, str]


@dataclass(frozen=True)
class Shelf(Generic[CellT, ImageT]):
    """The files of one kind.

    Args:
        folder: within the folder of the results.
        format: of the files: raised when an older version of the package could not read what a newer one
            writes.
        cell, image: what a file is about, and what it says of each image.
        word: the name of the cell within a file.
        noun: what messages call a file.
        advice: what to do with a file that is none of ours.
        fault_of_content: names what is wrong with the content of a file; "" for nothing.
        fault_of_image: names what is wrong with one image of a cell; "" for nothing.
    """

    folder: str
    format: int
    cell: type[CellT]
    image: type[ImageT]
    word: str
    noun: str
    advice: str
    fault_of_content: Callable[[Mapping[str, Any]], str]
    fault_of_image: Callable[[ImageT, CellT], str]

    def path_of(self, folder: Path, cell: CellT, chunk: int) -> Path:
        """Where a finished chunk lies."""
        return folder / self.folder / cell.key / f"{chunk:05d}.json"

    def pending(self, folder: Path, cells: Iterable[CellT]) -> list[tuple[CellT, int]]:
        """The chunks that have no file yet, in the order of the cells."""
        every = ((cell, chunk) for cell in cells for chunk in range(cell.chunks))
        return [(cell, chunk) for cell, chunk in every if not self.path_of(folder, cell, chunk).is_file()]

    def save(
        self,
        folder: Path,
        cell: CellT,
        chunk: int,
        images: Iterable[ImageT],
        made_by: Mapping[str, str],
    ) -> None:
        """Write a finished chunk, atomically.

        Raises:
            ResultError: the disk is full or the folder cannot be written.
        """
        content = {
            "format": self.format,
            self.word: cell.fields,
            "chunk": chunk,
            "images": [asdict(image) for image in images],
            "made_by": dict(made_by),
        }
        write_file(self.path_of(folder, cell, chunk), (dump(content) + "\n").encode())

    def load(self, folder: Path) -> dict[CellT, list[Chunk[CellT, ImageT]]]:
        """Read all files below a folder of results: the chunks of each cell in their order, the cells sorted.

        Raises:
            ResultError: a file is not a chunk of the cell that its folder names.
        """
        chunks: dict[CellT, list[Chunk[CellT, ImageT]]] = {}
        for path in chunk_files(folder, self.folder):
            chunk = self._read(folder, path)
            chunks.setdefault(chunk.cell, []).append(chunk)
        ordered = sorted(chunks, key=lambda cell: tuple(map(str, cell.fields.values())))
        return {cell: sorted(chunks[cell], key=lambda chunk: chunk.number) for cell in ordered}

    def take_over(
        self, folder: Path, cells: Iterable[CellT], made_by: Callable[[CellT], Mapping[str, str]]
    ) -> None:
        """Write the chunks of cells that others have, which differ in their number of images only.

        Args:
            made_by: what would make a cell's files now: who left other images out has other chunks.

        Raises:
            ResultError: a file cannot be read or written.
        """
        work = self.pending(folder, cells)
        if not work:
            return
        every = [chunk for chunks in self.load(folder).values() for chunk in chunks]
        others = {_place(chunk.cell, chunk.number): chunk for chunk in every}
        for cell, number in work:
            chunk = others.get(_place(cell, number))
            if chunk and chunk.made_by.get("left_out") == made_by(cell).get("left_out"):
                self.save(folder, cell, number, chunk.images, chunk.made_by)

    def _read(self, folder: Path, path: Path) -> Chunk[CellT, ImageT]:
        """Read a finished chunk. Whoever sends one may have written anything into it: all is checked."""
        content = read_content(path, self.noun, self.advice)
        check_format(path, content, self.format)
        fault = self.fault_of_content(content)
        if not fault:
            images = tuple(self.image(**row) for row in content["images"])
            chunk = Chunk(self.cell(**content[self.word]), content["chunk"], images, content["made_by"])
            fault = self._fault(chunk)
        if fault:
            raise ResultError(f"{path}: not a {self.noun} ({fault}); {self.advice}")
        if path != self.path_of(folder, chunk.cell, chunk.number):
            raise ResultError(f"{path}: does not hold what its name says; {self.advice}")
        return chunk

    def _fault(self, chunk: Chunk[CellT, ImageT]) -> str:
        """Name the first thing in a chunk that is not as it should be; empty when all is."""
        indices = [image.index for image in chunk.images]
        fault = fault_of_indices(chunk.cell, chunk.number, indices, chunk.made_by)
        if fault:
            return fault
        return next(filter(None, (self.fault_of_image(image, chunk.cell) for image in chunk.images)), "")


def _place(cell: CellT, number: int) -> tuple[CellT, int, range]:
    """What a chunk is of, however many images its cell has."""
    return alike(cell), number, cell.indices(number)


def check_format(path: Path, content: Mapping[str, Any], number: int) -> None:
    """Raise ``ResultError`` where a file has another format than this version reads."""
    form = content.get("format")
    if form != number or type(form) is not int:
        other = f"its format is {shown(form)}, and this version of rain reads {number}"
        raise ResultError(f"{path}: {other}: install the version that wrote it")


def fault_of_indices(cell: Chunked, number: int, indices: Sequence[int], made_by: Mapping[str, str]) -> str:
    """Say where a chunk does not hold the images that it should; empty where it does.

    Args:
        number: of the chunk.
        indices: of the images that it holds.
        made_by: names the images that were left out.
    """
    if number >= cell.chunks:
        return "a chunk that the cell does not have"
    try:
        left_out = indices_in(made_by.get("left_out", ""))
    except ValueError as error:
        return f"left_out: {error}"
    expected = cell.indices(number)
    # Counted first: a few letters can name any number of images.
    is_whole = len(expected) <= len(indices) + len(left_out)
    if not is_whole or list(indices) != [index for index in expected if index not in left_out]:
        return "images that are not those of the chunk"
    return ""
