"""What the tests of training share: a small defence, and what a run has left."""

import json
from pathlib import Path

from torch import Tensor

from rain import checkpoints

SMALL = "rain(enhancer=compact(weights=None, head=4, near=1, features=4, blocks=1))"


def rows(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def weights(out: Path) -> dict[str, Tensor]:
    return checkpoints.read(out / "weights.safetensors")[0]
