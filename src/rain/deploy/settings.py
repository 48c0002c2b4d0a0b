"""What a service serves, and its limits. Never imports torch."""

import json
import os
from dataclasses import asdict, dataclass, fields
from typing import Any

from rain.errors import OptionError

VARIABLE = "RAIN_SERVICE"
"""The environment variable by which processes of one service are told the settings."""

TOKEN = "RAIN_TOKEN"
"""The one that holds the secret of those who may ask: not an option, which every user of the machine sees."""

RANGES: dict[str, tuple[float, float]] = {
    "draws": (1, 256),
    "batch": (1, 1024),
    "wait_seconds": (0, 10),
    "queue": (1, 100_000),
    "max_megabytes": (0.001, 1024),
    "max_megapixels": (0.0001, 1000),
    "max_files": (1, 1000),
    "timeout_seconds": (0.1, 3600),
    "page_seconds": (1, 3600),
    "workers": (1, 256),
}


@dataclass(frozen=True)
class Settings:
    """What a service serves, and its limits.

    Args:
        model: folder of an exported model (``rain export``), in the place of classifier, defence, gate and
            size; "" for none.
        classifier, defense: specs.
        gate: share of the clean images that the defence may overrule; 0 for no gate, None for the usual one
            where a threshold is known.
        calibration: path of the gate's; "" for the shipped one.
        size: side of the images in pixels; None for what the classifier sees, 0 for their own.
        device: where to compute; "" for a GPU if there is one.
        draws: that are averaged for an image.
        batch: images that are computed together at most.
        wait_seconds: how long an image waits for others.
        queue: images that may wait, to be decoded or to be computed; who comes then is told to come later. At
            least ``max_files``: a larger request would find no room at any time.
        max_megabytes: of one request.
        max_megapixels: of one picture.
        max_files: of one request.
        timeout_seconds: for a request to arrive, and then for the answer to all of its pictures.
        page: whether there is a page for people at /.
        page_seconds: for one attack that it makes.
        seeds: whether a request may say the seed of its draws: who may can try until one is wrong.
        workers: processes.
        token: secret of those who may ask; "" for everybody.

    Raises:
        OptionError: a number out of range, or a queue that is too short for a request.
    """

    model: str = ""
    classifier: str = "efficientnet_lite0"
    defense: str = "rain"
    gate: float | None = None
    calibration: str = ""
    size: int | None = None
    device: str = ""
    draws: int = 8
    batch: int = 8
    wait_seconds: float = 0.005
    queue: int = 128
    max_megabytes: float = 16.0
    max_megapixels: float = 32.0
    max_files: int = 32
    timeout_seconds: float = 30.0
    page: bool = True
    page_seconds: float = 120.0
    seeds: bool = False
    workers: int = 1
    token: str = ""

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise OptionError(f"{name} must be from {low:g} to {high:g}, got {value}")
        if self.queue < self.max_files:
            got = f"got {self.queue} and {self.max_files}"
            why = f"a request of {self.max_files} files would never find room"
            raise OptionError(f"queue must be at least max_files, {got}: {why}")

    @property
    def max_bytes(self) -> int:
        """Of the body of one request."""
        return int(self.max_megabytes * 2**20)

    @property
    def max_pixels(self) -> int:
        """Of one picture."""
        return int(self.max_megapixels * 1e6)


def hand_over(settings: Settings) -> dict[str, str]:
    """The environment variables that tell other processes these settings."""
    values = asdict(settings)
    token = values.pop("token")
    return {VARIABLE: json.dumps(values), TOKEN: token}


def take_over() -> Settings:
    """The settings that ``hand_over`` put into the environment."""
    values: dict[str, Any] = json.loads(os.environ.get(VARIABLE, "{}"))
    names = {field.name for field in fields(Settings)}
    own = {name: value for name, value in values.items() if name in names}
    return Settings(**own, token=os.environ.get(TOKEN, ""))
