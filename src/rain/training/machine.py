"""Where a run computes: Lightning Fabric's processes, their memory and speed, and Ctrl-C."""

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import torch

from rain.errors import TrainError
from rain.training.recipe import Config

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def build_fabric(config: Config) -> "Fabric":
    """Build what moves tensors to the recipe's devices, and starts its processes.

    Raises:
        TrainError: Lightning Fabric is not installed, or there are no such devices here.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError:
        advice = 'pip install "rain-defense[train]"'
        raise TrainError(f"training needs Lightning Fabric: {advice}") from None
    strategy = "ddp" if config.devices * config.nodes > 1 else "auto"
    places = {"accelerator": config.accelerator, "devices": config.devices, "num_nodes": config.nodes}
    try:
        return Fabric(strategy=strategy, **places)
    except Exception as error:  # whatever Lightning finds wrong with the machine
        where = f"accelerator = {config.accelerator!r}, devices = {config.devices}, nodes = {config.nodes}"
        raise TrainError(f"{where} cannot be used here: {error}") from error


def is_first_process() -> bool:
    """Whether this process is the one that writes, also before Fabric has started the others."""
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    return int(getattr(rank_zero_only, "rank", 0) or 0) == 0


def peak_memory_mb(device: torch.device) -> float:
    """The most memory that was in use so far, in MiB: the GPU's, or else the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    units_in_a_mib = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / units_in_a_mib


class Stopwatch:
    """Counts steps and the seconds that they take, without what is done between them."""

    def __init__(self) -> None:
        self.steps, self.seconds = 0, 0.0

    @contextmanager
    def step(self) -> Iterator[None]:
        """Count the work inside as a step."""
        start = time.monotonic()
        yield
        self.steps, self.seconds = self.steps + 1, self.seconds + time.monotonic() - start

    def per_second(self) -> float:
        """Steps in a second."""
        return self.steps / self.seconds


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C into a question that is asked between two steps, where a checkpoint is whole.

    The second Ctrl-C ends at once.

    Yields: whether Ctrl-C was pressed.
    """
    interrupted = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread, which alone is interrupted
        yield lambda: False
        return
    try:
        yield lambda: interrupted
    finally:
        signal.signal(signal.SIGINT, before)
