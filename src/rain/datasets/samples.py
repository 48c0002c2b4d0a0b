"""The twenty ImageNet pictures that come inside the PyPI package foolbox: real data on a machine that can reach nothing else."""

import re
from importlib.util import find_spec
from pathlib import Path

from rain import imagenet
from rain.datasets import Pictures
from rain.errors import DatasetError
from rain.registry import DATASETS


@DATASETS.register
def samples() -> Pictures:
    """Twenty ImageNet pictures from the PyPI package foolbox, 512x512: enough for a demo, too few for a claim.

    Raises:
        DatasetError: foolbox is not installed, or has no such pictures.

    Convention: ordered by the number in the file name; the label is the last number in it. Foolbox is
        located, not imported.
    """
    package = find_spec("foolbox")
    if package is None or package.origin is None:
        raise DatasetError('the sample pictures come with foolbox: pip install "rain-defense[demo]"')
    root = Path(package.origin).parent / "data"
    matches = (re.fullmatch(r"imagenet_(\d+)_(\d+)\.jpg", path.name) for path in root.glob("imagenet_*.jpg"))
    found = sorted((int(match[1]), int(match[2]), match[0]) for match in matches if match)
    if not found:
        raise DatasetError(f"{root}: no pictures; reinstall foolbox==3.3.4")
    return Pictures(
        "samples",
        root,
        tuple(file for _, _, file in found),
        tuple(label for _, label, _ in found),
        imagenet.categories(),
        "ImageNet terms (non-commercial research and education), as shipped by foolbox",
    )
