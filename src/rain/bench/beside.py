"""What files of certificates and of proofs have in common. Never imports torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rain.bench.cells import Chunked, indices_in
from rain.errors import ResultError, shown


def check_format(path: Path, content: Mapping[str, Any], number: int) -> None:
    """Raise ``ResultError`` where a file has another format than this version reads."""
    form = content.get("format")
    if form != number or type(form) is not int:
        other = f"its format is {shown(form)}, and this version of rain reads {number}"
        raise ResultError(f"{path}: {other}: install the version that wrote it")


def fault_of_indices(
    cell: Chunked, number: int, indices: Sequence[int], made_by: Mapping[str, str], noun: str
) -> str:
    """Say where a chunk does not hold the images that it should; empty where it does.

    Args:
        number: of the chunk.
        indices: of the images that it holds.
        made_by: names the images that were left out.
        noun: what has the chunk.
    """
    if number >= cell.chunks:
        return f"a chunk that the {noun} does not have"
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
