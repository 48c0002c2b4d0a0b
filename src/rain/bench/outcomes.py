"""What was answered to the images of a batch, as outcomes: what a result file holds of each image."""

from dataclasses import dataclass

from torch import Tensor

from rain.bench.access import Attacked
from rain.bench.cells import Cell, Outcome
from rain.images import Images, distance

HIGHEST = 1e6
"""Beyond it a gate's score is infinite, as where a classifier rules a class out."""


@dataclass(frozen=True)
class Batch:
    """The images of a chunk that have one size.

    Args:
        number: among the batches of the chunk.
        indices: of the N images in the dataset.
        images: (N, 3, H, W), as they enter.
        labels: (N,).
    """

    number: int
    indices: tuple[int, ...]
    images: Images
    labels: Tensor


@dataclass(frozen=True)
class Answers:
    """What a model said to a batch of N images.

    Args:
        single: (draws, N), the label of each draw.
        mean: (N,), the label of the probabilities averaged over the draws.
        classes: how many the model knows.
        suspicion: (draws, N), the gate's score; None without a gate.
    """

    single: Tensor
    mean: Tensor
    classes: int
    suspicion: Tensor | None = None


def outcomes_of(
    cell: Cell, batch: Batch, clean: Answers, attacked: Attacked, answers: Answers
) -> list[Outcome]:
    """Put together what is known of each image of a batch.

    Args:
        clean, answers: to the clean and to the attacked images.
    """
    moved = [0.0] * len(batch.indices)
    if attacked.images is not batch.images:
        moved = distance(attacked.images.double(), batch.images.double(), cell.norm).tolist()
    return [
        Outcome(
            index=index,
            label=int(batch.labels[row]),
            clean=tuple(clean.single[:, row].tolist()),
            clean_mean=int(clean.mean[row]),
            robust=tuple(answers.single[:, row].tolist()),
            robust_mean=int(answers.mean[row]),
            distance=float(f"{moved[row]:.6g}"),
            queries=attacked.queries[row] if attacked.queries is not None else None,
            flat=attacked.flat[row],
            clean_suspicion=_scores(clean.suspicion, row),
            robust_suspicion=_scores(answers.suspicion, row),
        )
        for row, index in enumerate(batch.indices)
    ]


def _scores(suspicion: Tensor | None, row: int) -> tuple[float, ...]:
    """What a gate thought of one image, for each draw, as a file holds it; infinite scores are cut."""
    if suspicion is None:
        return ()
    cut = suspicion[:, row].clamp(-HIGHEST, HIGHEST).tolist()
    return tuple(float(f"{score:.6g}") for score in cut)
