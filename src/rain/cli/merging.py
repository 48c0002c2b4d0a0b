"""``rain merge``: put the shards of a run together."""

from pathlib import Path
from typing import Annotated

import typer

from rain.cli.errors import clean_errors

SOURCES_HELP = "Folders of results of one grid, as rain run --shard makes them."
OUT_HELP = "Folder that is to hold them all. What is in it stays."


def merge(
    folders: Annotated[list[Path], typer.Argument(help=SOURCES_HELP, metavar="DIR...")],
    out: Annotated[Path, typer.Option(help=OUT_HELP)],
) -> None:
    """Put result folders together: the shards of a run.

    Kept images, proofs and certificates in them are put together, too.
    Refused are results that do not belong together: of different revisions of rain, images or weights.
    """
    with clean_errors(out, kept="the results that were copied"):
        from rain.bench.merging import merge as merge_folders
        from rain.errors import visible
        from rain.files import to_path

        out = to_path(out)
        merged = merge_folders([to_path(folder) for folder in folders], out)
        images = f"; {merged.images} attacked images" if merged.images else ""
        rest = f"; {merged.missing} chunks of their cells are in none of them" if merged.missing else ""
        print(f"{visible(str(out))}: {merged.chunks} chunks, {merged.fresh} of them new{images}{rest}")
