"""Small pictures, for the tests of what is read from files."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

RAMP = np.linspace(0, 255, 48, dtype=np.uint8).reshape(6, 8)


def colours(count: int = 24) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, count, 3), dtype=np.uint8)


def save(path: Path, values: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    picture = Image.fromarray(values)
    (picture if mode is None else picture.convert(mode)).save(path, **options)
    return path


def paint(path: Path, grey: int, size: tuple[int, int] = (4, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).save(path)
    return path
