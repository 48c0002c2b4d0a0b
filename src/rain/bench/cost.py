"""What a defence costs a classifier, in about a minute: clean accuracy, and time."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch

from rain.bench.assets import Assets, device_name
from rain.bench.cells import OWN_SIZE, Cell
from rain.bench.grid import canonical, clean_cell
from rain.bench.measure import Bench
from rain.bench.metrics import interval
from rain.bench.plan import settle, warn_of_damage, warn_of_other_sizes
from rain.bench.significance import paired
from rain.errors import OptionError
from rain.files import is_file, is_folder, to_path
from rain.images import enter
from rain.prediction import GatedPrediction, Prediction
from rain.registry import DATASETS
from rain.runtime.forecast import Piece
from rain.runtime.memory import pick_device
from rain.runtime.progress import bar
from rain.runtime.rehearsal import seconds_for

TIMED = 4
"""Images in one pass that is timed."""

PASSES = (3, 9)
"""How many of these there are at least and at most; ``TIMING_SECONDS`` decides."""

TIMING_SECONDS = 15.0
ANSWERS_SECONDS = 40.0

LEAST_IMAGES = 20
"""So many images are classified, however long that takes, if there are as many."""

BARE = 0
"""What stands for the draws of the bare classifier."""


@dataclass(frozen=True)
class Line:
    """What one way to ask the classifier comes to.

    Args:
        draws: ``BARE`` for the classifier without the defence; 1 for single draws; n for the answer by the
            probabilities averaged over n.
        rate: the fraction of images that are right; without labels, those on which it says what the bare
            classifier says.
        low, high: bounds of ``rate``, at 95 %.
        lost: the bare classifier's fraction minus this one, image by image.
        p: two-sided p-value of no difference.
        milliseconds: for an image, the median of the passes.
        ratio: of this time to that of the bare classifier.
    """

    draws: int
    rate: float
    low: float
    high: float
    lost: float
    p: float
    milliseconds: float
    ratio: float


@dataclass(frozen=True)
class Cost:
    """What a defence costs a classifier.

    Args:
        classifier, defense, dataset: canonical specs.
        size: side of the images in pixels; None for their own size.
        labelled: whether the images have labels; otherwise rates are of agreement.
        images: that were classified.
        passes: that were timed.
        device: where it was computed.
        threads: that a CPU used.
        lines: the bare classifier first.
    """

    classifier: str
    defense: str
    dataset: str
    size: int | None
    labelled: bool
    images: int
    passes: int
    device: str
    threads: int
    lines: tuple[Line, ...]

    @property
    def defense_milliseconds(self) -> float:
        """What the defence itself takes for an image and a draw."""
        bare, single, *_ = self.lines
        return max(0.0, single.milliseconds - bare.milliseconds)


def measure_cost(
    classifier: str,
    images: str,
    defense: str = "rain",
    *,
    draws: int = 8,
    examples: int | None = None,
    size: int | None = OWN_SIZE,
    device: str | None = None,
    progress: bool = False,
    tell: Callable[[float, float], object] = lambda seconds, passes: None,
) -> Cost:
    """Measure what a defence costs a classifier on clean images: accuracy, and time.

    Args:
        classifier, defense: specs.
        images: a folder of pictures, or the spec of a dataset. A folder with a ``labels.csv`` is a ``csv``.
        draws: to average over.
        examples: images to classify; by default as many as take some forty seconds.
        size: at which images enter, in pixels; ``OWN_SIZE`` for what the classifier sees, None for their own.
        device: where to compute; by default a GPU if there is one.
        progress: show a progress bar.
        tell: told, before it begins, how many seconds the defence takes for an image and a draw, and about
            how many of these there will be.

    Raises:
        UnknownNameError, OptionError, DatasetError, WeightsError, GridError: something is not there, or
            cannot be used.
    """
    if canonical(defense) == "none":
        raise OptionError("defense none costs nothing: give one of rain list defenses")
    assets = Assets(pick_device(device), skip_damaged=True)
    dataset = dataset_of(images)
    count = len(assets.dataset(dataset))
    if examples is not None:
        if examples > count:
            raise OptionError(f"{dataset} has {count} images, and {examples} were asked for")
        count = examples
    clean = clean_cell(
        dataset, classifier, defense, size=size, draws=draws, examples=min(count, TIMED), chunk=TIMED
    )
    cell = settle(assets, clean)
    warn_of_other_sizes(assets, [cell])
    if len(assets.damaged(dataset, cell.examples)) == cell.examples:
        warn_of_damage(assets, [cell])
    _foretell(assets, cell, count, tell)
    seconds = _time(assets, cell, progress)
    medians = {number: statistics.median(each) for number, each in seconds.items()}
    if examples is None:
        affordable = int(ANSWERS_SECONDS / (medians[BARE] + cell.draws * medians[1]))
        count = min(count, max(affordable, LEAST_IMAGES))
    cell = settle(assets, replace(cell, examples=count))
    warn_of_damage(assets, [cell])
    labelled, scores = _classify(assets, cell, progress)
    total = len(scores[BARE])
    lines = [_line(number, scores, medians) for number in scores]
    return Cost(
        classifier=cell.classifier,
        defense=cell.defense,
        dataset=cell.dataset,
        size=cell.size,
        labelled=labelled,
        images=total,
        passes=len(seconds[BARE]),
        device=device_name(assets.device),
        threads=torch.get_num_threads(),
        lines=tuple(lines),
    )


def _foretell(assets: Assets, cell: Cell, examples: int, tell: Callable[[float, float], object]) -> None:
    """Tell what the defence itself will take, for the timing and for so many images at least."""
    image, _ = assets.picture(cell.dataset, assets.first(cell.dataset, cell.examples))
    _, height, width = enter(image, cell.size).shape
    defense = assets.hardened(cell.classifier, cell.defense).defense
    timed = (1 + PASSES[0]) * cell.examples * (1 + cell.draws)
    classified = min(examples, LEAST_IMAGES) * cell.draws
    tell(seconds_for(defense, (height, width), assets.device), float(timed + classified))


def _line(draws: int, scores: Mapping[int, Mapping[int, float]], medians: Mapping[int, float]) -> Line:
    """Put together what is known of one way to ask."""
    rate = statistics.fmean(scores[draws].values())
    low, high = interval(rate, len(scores[draws]))
    lost = paired(scores[BARE], scores[draws])
    ratio = medians[draws] / medians[BARE]
    return Line(draws, rate, low, high, lost.difference, lost.p, 1000 * medians[draws], ratio)


def dataset_of(images: str) -> str:
    """The spec of a dataset, or of a folder of pictures: with a ``labels.csv`` in it, or without labels."""
    folder = to_path(images)
    if is_folder(folder):
        return f"csv:{images}" if is_file(folder / "labels.csv") else f"pictures:{images}"
    is_name = DATASETS.look_up(images)[0] in DATASETS.names()
    return canonical(images) if is_name else f"pictures:{images}"


def _bare(cell: Cell) -> Cell:
    return replace(cell, defense="none", draws=1)


def _time(assets: Assets, cell: Cell, progress: bool) -> dict[int, list[float]]:
    """Time passes of a few images: seconds an image, by the draws.

    All ways take turns, so that a disturbance of the machine meets all of them; the first round warms up.
    """
    images = Bench(assets).batches(cell, 0)[0].images
    bare = assets.hardened(cell.classifier, "none")
    defended = assets.hardened(cell.classifier, cell.defense)
    calls: dict[int, Callable[[], Prediction | GatedPrediction]] = {
        BARE: partial(bare.predict, images, draws=1),
        1: partial(defended.predict, images, draws=1),
        cell.draws: partial(defended.predict, images, draws=cell.draws),
    }
    seconds: dict[int, list[float]] = {draws: [] for draws in calls}
    least, most = PASSES
    begin = time.perf_counter()
    with bar([Piece("timing", 1.0)], progress) as ticks:
        tick = next(ticks)
        for number in range(most + 1):
            for draws, call in calls.items():
                start = time.perf_counter()
                call().labels.tolist()  # waits for a GPU
                if number:
                    seconds[draws].append((time.perf_counter() - start) / len(images))
            spent = time.perf_counter() - begin
            tick(1 / (most + 1))
            if number >= least and spent > TIMING_SECONDS:
                break
        next(ticks, None)
    return seconds


def _classify(assets: Assets, cell: Cell, progress: bool) -> tuple[bool, dict[int, dict[int, float]]]:
    """Classify clean images.

    Returns: whether they have labels; and by the draws and the index of the image, how often it is right, or
        without labels said to be what the bare classifier says, between 0 and 1.
    """
    bench, bare = Bench(assets), _bare(cell)
    scores: dict[int, dict[int, float]] = {}
    labelled = False
    work = [Piece("images", float(len(cell.indices(chunk))), ("images",)) for chunk in range(cell.chunks)]
    with bar(work, progress) as ticks:
        for chunk, tick in zip(range(cell.chunks), ticks, strict=True):
            for batch in bench.batches(cell, chunk):
                own, others = (bench.clean_answers(one, chunk, batch) for one in (bare, cell))
                labelled = int(batch.labels.min()) >= 0
                if labelled:
                    bench.check_classes(cell, batch.labels, own.classes)
                truth = batch.labels.cpu() if labelled else own.mean
                answers = {BARE: own.mean, 1: others.single, cell.draws: others.mean}
                for draws, labels in answers.items():
                    right = (labels == truth).float().reshape(-1, len(truth)).mean(0).tolist()
                    scores.setdefault(draws, {}).update(zip(batch.indices, right, strict=True))
                tick(len(truth))
    return labelled, scores
