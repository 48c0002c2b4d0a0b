"""``rain calibrate``: learn from clean pictures when a gate or another detector flags one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rain.bench.metrics import size_text
from rain.cli.announcing import announce
from rain.cli.errors import clean_errors
from rain.cli.options import MOST_AT_ONCE, MOST_SIDE, Device
from rain.errors import GateError
from rain.files import to_path, try_to_write

if TYPE_CHECKING:
    from rain.calibration import Calibration
    from rain.datasets import Dataset
    from rain.detector import Detector
    from rain.hardened import Hardened

IMAGES_HELP = "Clean pictures, without labels: a folder, or a dataset (rain list datasets)."
OUT_HELP = "The file to write, for --calibration, harden(calibration=...) and gated(calibration=...)."
SIZE_HELP = "Side of the images in pixels; by default what the classifier sees, 0 for their own size."
SHARES = (0.01, 0.02, 0.05)
"""Shares for which the command says what threshold they have."""

BATCH = 16


def calibrate(
    images: Annotated[str, typer.Option(help=IMAGES_HELP)],
    out: Annotated[Path, typer.Option(help=OUT_HELP)] = Path("gate.json"),
    classifier: Annotated[str, typer.Option(help="See: rain list classifiers.")] = "efficientnet_lite0",
    defense: Annotated[str, typer.Option(help="See: rain list defenses.")] = "rain",
    count: Annotated[
        int | None, typer.Option(min=1, max=MOST_AT_ONCE, help="So many, at random; by default all.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=0, max=MOST_SIDE, help=SIZE_HELP)] = None,
    seed: Annotated[int, typer.Option(help="Of the pictures that are chosen, and of the draws.")] = 0,
    device: Device = None,
) -> None:
    """Learn from clean pictures when a gate or an alarm is due.

    The file serves every share and every score, for this classifier and this defence. A share of 0.02 needs
    at least 250 pictures. Take pictures of the kind that will be classified, and none that an attacker could
    have made.
    """
    with clean_errors():
        from rain.bench.cost import dataset_of
        from rain.checkpoints import warn_if_untrained
        from rain.hardening import harden
        from rain.networks import own_size
        from rain.registry import load_classifier, load_dataset
        from rain.runtime.memory import pick_device
        from rain.seeds import check_seed

        check_seed(seed)
        _check_writable(out)
        network = load_classifier(classifier)
        warn_if_untrained(classifier, network)
        gate = _detector(defense)
        hardened = harden(network, gate).to(pick_device(device))
        own = own_size(network)
        side = own if size is None else size or None
        dataset = load_dataset(dataset_of(images))
        indices = _choice(len(dataset), count, seed)
        _announce(hardened, dataset, indices, side, defense)
        calibration = _compare(hardened, dataset, indices, side, seed)
        calibration.save(out)
        rate = f"{100 * calibration.disagree:.1f} %"
        print(f"{out}: {calibration.pictures} pictures; classifier and defence disagree on {rate} of them")
        for share in SHARES:
            print(f"  {gate.share_option}={share:g}: {_threshold_text(calibration, gate.score, share)}")


def _detector(defense: str) -> "Detector":
    """Build the detector that a spec names; before any other defence, a gate."""
    from rain.detector import Detector
    from rain.registry import load_defense

    built = load_defense(defense)
    if not isinstance(built, Detector):
        built = load_defense("gated", defense=built)
    assert isinstance(built, Detector)
    built.refuse_fixed()
    return built


def _check_writable(out: Path) -> None:
    """Raise ``GateError`` before the work if the file cannot be written."""
    path = to_path(out)
    if str(path) == "-":
        raise GateError("the calibration goes into a file, not to standard output: give its name by --out")
    try:
        try_to_write(path)
    except OSError as error:
        raise GateError(f"{out}: cannot be written: {error.strerror or error}; give another file") from None


def _choice(length: int, count: int | None, seed: int) -> list[int]:
    """The indices of the pictures that are compared: all, or so many drawn at random."""
    import torch

    if count is None or count >= length:
        return list(range(length))
    return torch.randperm(length, generator=torch.Generator().manual_seed(seed))[:count].tolist()


def _announce(
    hardened: "Hardened", dataset: "Dataset", indices: list[int], side: int | None, defense: str
) -> None:
    """Say how long a slow defence will take for all pictures."""
    from rain.runtime.rehearsal import seconds_for

    if not indices:
        return
    size = (side, side) if side else tuple(dataset[indices[0]][0].shape[1:])
    device = next(hardened.parameters()).device
    announce(defense, seconds_for(hardened.defense, (size[0], size[1]), device), len(indices))


def _compare(
    hardened: "Hardened", dataset: "Dataset", indices: list[int], side: int | None, seed: int
) -> "Calibration":
    """Compare the two answers to some pictures of a dataset, with a progress bar."""
    import torch

    from rain.calibration import summarize
    from rain.detector import Detector
    from rain.images import enter
    from rain.prediction import group_by_size
    from rain.runtime.forecast import Piece
    from rain.runtime.progress import bar

    gate = hardened.defense
    assert isinstance(gate, Detector)
    device = next(hardened.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    batches = [indices[start : start + BATCH] for start in range(0, len(indices), BATCH)]
    comparisons = []
    with bar([Piece("pictures", float(len(batch)), ("pictures",)) for batch in batches], True) as ticks:
        for batch, tick in zip(batches, ticks, strict=True):
            pictures = [enter(dataset[index][0], side) for index in batch]
            for group in group_by_size(pictures):
                comparisons.append(gate.compare(hardened, group.images.to(device), generator))
                tick(len(group.places))
    origin = f"{len(indices)} pictures of {dataset.name}, at {size_text(side)}, seed {seed}"
    return summarize(comparisons, *gate.place, origin)


def _threshold_text(calibration: "Calibration", score: str, share: float) -> str:
    """What the threshold of a score is for a share, or why there is none."""
    try:
        return f"flagged above {calibration.threshold(score, share):.4g} ({score})"
    except GateError as error:
        return str(error)
