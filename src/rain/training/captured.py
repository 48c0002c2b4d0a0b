"""Steps that a GPU replays from a CUDA graph, on pictures that are there already.

Nothing waits for Python.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Generator, Tensor

from rain.errors import RainError, TrainError
from rain.images import Images
from rain.seeding import generator_for
from rain.training.checks import check_labels
from rain.training.cutting import can_cut, cut, draw_cuts
from rain.training.feed import Feed, batches, order
from rain.training.fixed import FixedStep
from rain.training.optimizer import rate
from rain.training.pieces import Pieces
from rain.training.plain import Losses, PlainStep, Step, broken_step, dropout_seed
from rain.training.snapshot import undone
from rain.training.store import Store, open_store

WARM_STEPS = 3
"""Steps before a capture: libraries choose their kernels and take their memory."""

SHARE_FOR_PICTURES = 0.4
"""The share of a GPU's free memory that pictures may fill."""


class Batches(Protocol):
    """Where batches come from."""

    def __call__(self, step: int) -> tuple[Images, Tensor]:
        """Give the batch of a step: images and labels."""
        ...


class StoredBatches:
    """Batches cut on the device that keeps the pictures.

    The pictures of a step are those of ``Feed``; where they are cut is drawn by a generator of the device,
    seeded by the step.

    Args:
        store: the pictures.
        pieces: of the run.
    """

    def __init__(self, store: Store, pieces: Pieces):
        self.store, self.config = store, pieces.config
        self.generator = Generator(pieces.fabric.device)

    def __call__(self, step: int) -> tuple[Images, Tensor]:
        """Cut the batch of a step."""
        config, store = self.config, self.store
        count = len(store.places)
        first, numbers = step * config.batch, []
        for number in range(first, first + config.batch):
            epoch, place = divmod(number, count)
            numbers.append(int(order(count, config.seed, epoch)[place]))
        places = store.places[_moved(torch.tensor(numbers), store.places.device)]
        self.generator.manual_seed(seed_of(config.seed, "cuts", step))
        cuts = draw_cuts(store.sizes[places], config, self.generator)
        return cut(store.pixels[places], cuts, config), store.labels[places]


class ReadBatches:
    """Batches that are read and cut on the CPU, as those of a plain step.

    Args:
        pieces: of the run.
    """

    def __init__(self, pieces: Pieces):
        self.pieces = pieces
        self.samples: Iterator[tuple[Images, Tensor]] | None = None
        self.next_step = 0

    def __call__(self, step: int) -> tuple[Images, Tensor]:
        """Read the batch of a step; they come in order.

        Raises:
            DatasetError: a label is none of the classifier's classes.
        """
        pieces, device = self.pieces, self.pieces.fabric.device
        if self.samples is None or step != self.next_step:
            last = max(pieces.steps, step + 10**6)
            self.samples = batches(Feed(pieces.sources, pieces.config), step, last, 0, 1)
        self.next_step = step + 1
        images, labels = next(self.samples)
        check_labels(labels, pieces.classes, pieces.config.images, pieces.config.classifier)
        return _moved(images, device), _moved(labels, device)


class GraphStep:
    """Steps that are captured once and replayed.

    Args:
        pieces: of the run, on one GPU, with an optimiser that can be captured.
        is_compiled: as for ``FixedStep``; it takes about a minute.

    Attributes:
        kind: what a log calls it.
    """

    def __init__(self, pieces: Pieces, *, is_compiled: bool = False):
        self.pieces = pieces
        self.kind = "compile" if is_compiled else "graph"
        self.device = pieces.fabric.device
        self.batches = open_batches(pieces)
        self.generator = Generator(self.device)
        self.fixed = FixedStep(pieces, is_compiled=is_compiled)
        self.graph: torch.cuda.CUDAGraph | None = None
        if self.device.type == "cuda":
            with _kernels_by_trial():
                self.graph = self._capture()

    def _capture(self) -> "torch.cuda.CUDAGraph":
        self.pieces.learner.train()
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        # Trials of kernels are undone on the stream that they were made on.
        with torch.cuda.stream(stream), undone(self.pieces):
            for step in range(WARM_STEPS):
                self._fill(step)
                self.fixed.compute()
            self.fixed.broken.zero_()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.fixed.compute()
        torch.cuda.synchronize(self.device)
        return graph

    def make(self, step: int, is_due: bool) -> Losses | None:
        """Make one optimiser step.

        Args:
            step: its number.
            is_due: whether its losses are asked for, which waits for the GPU.

        Returns: the losses by name, if they are asked for.

        Raises:
            TrainError: a loss or a gradient since the last look was not finite.
        """
        self._fill(step)
        if self.graph is None:
            self.fixed.compute()
        else:
            self.graph.replay()
        if not is_due:
            return None
        self.check()
        return dict(zip(self.fixed.names, self.fixed.values.tolist()[:-1], strict=True))

    def check(self) -> None:
        """Raise ``TrainError`` if a loss or a gradient was not finite, before such weights are written."""
        is_broken, step, loss, norm = self.fixed.broken.tolist()
        if is_broken:
            raise broken_step(self.pieces, int(step), loss, norm)

    def _fill(self, step: int) -> None:
        config = self.pieces.config
        torch.manual_seed(dropout_seed(config.seed, step))
        images, labels = self.batches(step)
        self.generator.manual_seed(seed_of(config.seed, "step", step, 0))
        current_rate = rate(config, step, self.pieces.steps)
        self.fixed.fill(step, images, labels, self.generator, current_rate)


@contextmanager
def _kernels_by_trial() -> Iterator[None]:
    """Let cuDNN try its kernels on shapes that it has not seen."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def build_step(pieces: Pieces) -> Step:
    """Build what makes the steps of a run.

    Raises:
        TrainError: the recipe insists on a graph, and it cannot be captured here.
    """
    if not pieces.is_captured:
        return PlainStep(pieces)
    launch = pieces.config.launch
    for is_compiled in (True, False) if launch == "compile" else (False,):
        try:
            return GraphStep(pieces, is_compiled=is_compiled)
        except RainError:
            raise
        except Exception as error:  # whatever CUDA finds wrong, memory that does not suffice among it
            what = "compiled, and captured" if is_compiled else "captured"
            problem = f"the steps cannot be {what} as a CUDA graph ({type(error).__name__}: {error})"
        if launch == "graph":
            raise TrainError(f"{problem}: take launch=eager, or a smaller batch")
        warnings.warn(f"{problem}: a slower way is taken", stacklevel=2)
        torch.cuda.empty_cache()
    return PlainStep(pieces)


def open_batches(pieces: Pieces) -> Batches:
    """Take the pictures of a run onto its device if they fit, else read them as they are needed."""
    config, device = pieces.config, pieces.fabric.device
    names = _distinct(pieces)
    store = open_store(Feed(pieces.sources, config).read, names, device, _room(device))
    if store is not None and can_cut(config, int(store.sizes.amin())):
        check_labels(store.labels, pieces.classes, config.images, config.classifier)
        return StoredBatches(store, pieces)
    advice = "smaller pictures (shorter side 256 to 512) would be kept there"
    warnings.warn(f"the pictures do not fit on {device}, and are read one by one: {advice}", stacklevel=2)
    return ReadBatches(pieces)


def _distinct(pieces: Pieces) -> list[int]:
    """For each number of the sources the first that is the same picture."""
    starts: dict[str, int] = {}
    names: list[int] = []
    for spec, part in zip(pieces.config.images, pieces.sources.parts, strict=True):
        start = starts.setdefault(spec, len(names))
        names += range(start, start + len(part))
    return names


def _room(device: torch.device) -> int:
    """Bytes that pictures may fill on a device."""
    if device.type != "cuda":
        return 2**32
    free, _ = torch.cuda.mem_get_info(device)
    return int(SHARE_FOR_PICTURES * free)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Bring a tensor to a device without waiting for it."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def seed_of(seed: int, *what: object) -> int:
    """The seed of one purpose, for a generator of any device."""
    return generator_for(seed, *what).initial_seed()
