"""The files of weights in a run's folder: the best ones, and the checkpoint that it goes on from."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from rain import checkpoints
from rain.errors import TrainError, WeightsError
from rain.training.card import weight_card
from rain.training.log import STATE
from rain.training.pieces import Pieces
from rain.training.recipe import Config
from rain.training.state import ADVICE, Checkpoint, Progress, load_slots, parse_checkpoint, slots_of

WEIGHTS, CLASSIFIER = "weights.safetensors", "classifier.safetensors"

OTHERS = {
    "classifier": "other weights of the classifier",
    "defense": "other weights of the defence",
    "teacher": "other weights of the teacher",
    "validation": "other validation pictures",
    "images": "other pictures to learn from",
}
"""What differs, by the name of its digest."""


def file_names(config: Config) -> dict[str, str]:
    """The files of the best weights in a run's folder, by whose weights they are.

    A classifier that is trained together with an enhancer has a file of its own.
    """
    if config.trains == "both":
        return {"classifier": CLASSIFIER, "enhancer": WEIGHTS}
    return {config.trains: WEIGHTS}


def save_best(pieces: Pieces, progress: Progress, out: Path) -> None:
    """Write the learner's weights as the best ones, with their cards.

    Raises:
        TrainError: there is no room.
    """
    config, parts = pieces.config, pieces.parts
    for part, name in file_names(config).items():
        beside, start = _beside(pieces, part), pieces.starts[part]
        through = _through(pieces, part)
        card = weight_card(config, pieces.sources, progress, start, pieces.computed, part, beside, through)
        _save(parts[part], out / name, card)


def load_best(pieces: Pieces, out: Path) -> None:
    """Load the best weights of a run into its pieces."""
    parts = pieces.parts
    for part, name in file_names(pieces.config).items():
        checkpoints.load(parts[part], out / name)


def _beside(pieces: Pieces, part: str) -> str:
    """Say what is trained together with a part, and by which digest its weights are known; empty for nothing.

    The digest is that of the weights: two files cannot each hold the digest of the other.
    """
    config = pieces.config
    if config.trains != "both":
        return ""
    own = f"the classifier that was given, {config.classifier}, was changed"
    if part == "enhancer":
        digest = checkpoints.digest(pieces.parts["classifier"])
        return f"{CLASSIFIER}, weights {digest}: trained at once with this DG; {own}"
    digest = checkpoints.digest(pieces.parts["enhancer"])
    return f"{WEIGHTS}, weights {digest}: the DG that was trained at once with this classifier; {own}"


def _through(pieces: Pieces, part: str) -> str:
    """Say through which classifier an enhancer is trained that stands still; empty for none."""
    digest = pieces.digests.get("classifier", "")
    if part != "enhancer" or not digest:
        return ""
    return f"{pieces.config.classifier}, weights {digest}: this DG was trained through it; it stayed as it is"


def save_checkpoint(pieces: Pieces, progress: Progress, out: Path) -> None:
    """Write all that a resumed run needs.

    Raises:
        TrainError: there is no room.
    """
    checkpoint = Checkpoint(
        progress=progress,
        weights=pieces.learner.state_dict(),
        average=pieces.average.weights if pieces.average else {},
        slots=slots_of(pieces.optimizer),
        pictures=pieces.picture_counts,
        digests=pieces.digests,
    )
    _save(checkpoint.tensors(), out / STATE, checkpoint.card())


def restore(pieces: Pieces, out: Path) -> Progress:
    """Load the checkpoint of a run into its pieces, if it has one.

    Returns: how far the run had come.

    Raises:
        TrainError: the run was given other pictures, or another classifier, defence or teacher; or not all
            processes have the same checkpoint.
        WeightsError: the checkpoint is damaged.
    """
    progress = Progress()
    if (out / STATE).is_file():
        tensors, card = checkpoints.read(out / STATE)
        checkpoint = parse_checkpoint(tensors, card, str(out / STATE))
        _check_pictures(checkpoint.pictures, pieces.picture_counts, out)
        _check_digests(checkpoint.digests, pieces.digests, out)
        checkpoints.load_state(pieces.learner, dict(checkpoint.weights), str(out / STATE))
        if pieces.average:
            _check_average(pieces.average.weights, checkpoint.average, out)
            pieces.average.load(checkpoint.average)
        load_slots(pieces.optimizer, checkpoint.slots, str(out / STATE))
        progress = checkpoint.progress
    steps = pieces.fabric.all_gather(torch.tensor(progress.step)).flatten().tolist()
    if len(set(steps)) > 1:
        what = f"{out}: the processes found checkpoints of steps {', '.join(map(str, steps))}"
        raise TrainError(f"{what}: give all machines one folder that they share")
    return progress


def _check_average(weights: Mapping[str, Tensor], average: Mapping[str, Tensor], out: Path) -> None:
    for name, value in average.items():
        if name not in weights or value.shape != weights[name].shape:
            what = f"{out / STATE}: its average has a {name} of shape {tuple(value.shape)}"
            raise WeightsError(f"{what}, which the weights have not; choose another folder by --out")


def _check_pictures(begun: Mapping[str, str], counts: Mapping[str, str], out: Path) -> None:
    for name, count in counts.items():
        if begun.get(name, count) != count:
            what = f"{out} was begun with {begun[name]} {name}, and there are {count} now"
            raise TrainError(f"{what}: choose another folder by --out")


def _check_digests(begun: Mapping[str, str], digests: Mapping[str, str], out: Path) -> None:
    for name, digest in digests.items():
        # A checkpoint that is older than the digests has none.
        if begun.get(name, digest) != digest:
            what = f"{OTHERS[name]} (digest {begun[name]}), and it is {digest} now"
            raise TrainError(f"{out} was begun with {what}: bring back what it was, or {ADVICE}")


def _save(weights: nn.Module | dict[str, Tensor], path: Path, card: dict[str, str]) -> None:
    try:
        checkpoints.save(weights, path, card)
    except OSError as error:
        advice = "Make room, and begin again"
        if path.with_name(STATE).is_file():
            advice = "The last checkpoint is kept; make room, and add --resume"
        raise TrainError(f"{path}: cannot be written: {error.strerror or error}. {advice}") from None
