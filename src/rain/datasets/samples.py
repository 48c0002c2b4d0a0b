"""The twenty ImageNet pictures that come inside the PyPI package foolbox.

They are real data on a machine that can reach nothing else.
"""

import re
from importlib.util import find_spec
from pathlib import Path

from rain import imagenet
from rain.datasets import Pictures
from rain.errors import DatasetError
from rain.registry import DATASETS

NAME = re.compile(r"imagenet_(?P<number>\d+)_(?P<label>\d+)\.jpg")
LICENCE = "ImageNet terms (non-commercial research and education), as shipped by foolbox"


@DATASETS.register
def samples() -> Pictures:
    """Twenty ImageNet pictures from the PyPI package foolbox, 512x512: enough for a demo, not for a claim.

    Raises:
        DatasetError: foolbox is not installed, or has no such pictures.

    Convention: ordered by the number in the file name; the label is the last number in it. Foolbox is
        located, not imported.
    """
    package = find_spec("foolbox")
    if package is None or package.origin is None:
        raise DatasetError('the sample pictures come with foolbox: pip install "rain-defense[demo]"')
    root = Path(package.origin).parent / "data"
    names = (path.name for path in root.glob("imagenet_*.jpg"))
    matches = [match for match in map(NAME.fullmatch, names) if match]
    if not matches:
        raise DatasetError(f"{root}: no pictures; reinstall foolbox==3.3.4")
    matches.sort(key=lambda match: (int(match["number"]), int(match["label"])))
    files = tuple(match[0] for match in matches)
    labels = tuple(int(match["label"]) for match in matches)
    return Pictures("samples", root, files, labels, imagenet.categories(), LICENCE)
