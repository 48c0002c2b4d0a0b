"""What exported models get right, side by side: clean pictures, and the same after an attack.

    rain run grids/exported224.toml --out DIR --keep-images float
    python benchmarks/exported.py DIR --calibration my/pictures [--defense rain] [--draws 4]

DIR keeps images that were attacked on the bare classifier. Every way of running is asked for the same
pictures, with the same draws: differences are those of its arithmetic. ``--calibration`` are pictures for the
ranges of int8, 128 of them, and none of those that are judged. Ways whose package or instructions are missing
are left out.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from deploy import WAYS, label_of, opened, versions
from rich.progress import track

import rain
from rain.bench.cost import dataset_of
from rain.bench.kept import read_kept
from rain.bench.kept_lists import Kept, find_kept
from rain.deploy import Runtime
from rain.errors import ExportError, OptionError
from rain.images import enter

CALIBRATION = 128
"""Pictures by which a model is brought to 8 bits."""

REFERENCE = "ONNX Runtime"


class Batch(NamedTuple):
    """Pictures of one chunk: (N, 3, side, side) in [0, 1], and (N,)."""

    clean: np.ndarray
    attacked: np.ndarray
    labels: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of results, with images that were kept")
    parser.add_argument("--defense", action="append", help="again for more of them")
    parser.add_argument("--calibration", help="pictures; without them int8 is left out")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    chunks = [kept for kept in find_kept(arguments.folder) if kept.source.access == "transfer"]
    if not chunks:
        parser.error(f"{arguments.folder} keeps no images of an attack on the bare classifier")
    first = chunks[0].source
    chunks = [kept for kept in chunks if kept.source == first]
    side = first.size or 224
    calibration = ranges(arguments.calibration, side) if arguments.calibration else None
    classifier = rain.load_classifier(first.classifier)
    batches = list(track(read(chunks, side), "reading", len(chunks), transient=True))
    count = sum(len(batch.labels) for batch in batches)
    print(f"{first.classifier}, {first.dataset}, {count} images, {versions()}")
    print(f"attacked by {first.attack}, eps {first.eps:.4g}; mean of {arguments.draws} draws")
    print(f"{'':44} {'':20} {'clean':>7} {'attacked':>9} {'same label':>11}")
    with tempfile.TemporaryDirectory() as folder:
        for defense in arguments.defense or ["none", "rain"]:
            hardened = rain.harden(classifier, defense)
            labels: dict[str, tuple[np.ndarray, np.ndarray]] = {}
            for way in WAYS:
                try:
                    if way.endswith("int8") and calibration is None:
                        raise OptionError("no --calibration")
                    out = Path(folder) / label_of(defense)
                    runtime = opened(hardened, out, way, arguments.threads, calibration)
                except (ExportError, OptionError) as error:
                    print(f"left out: {defense}, {way}: {error}")
                    continue
                labels[way] = answers(runtime, batches, arguments.draws)
                print(row(defense, way, labels, np.concatenate([batch.labels for batch in batches])))


def read(chunks: list[Kept], side: int) -> Iterator[Batch]:
    """Read the kept images and the clean ones that they were made of."""
    dataset = rain.load_dataset(chunks[0].source.dataset)
    for kept in chunks:
        clean = {index: enter(dataset[index][0], side) for index in kept.labels}
        attacked = [read_kept(kept, index, image) for index, image in clean.items()]
        labels = np.array(list(kept.labels.values()))
        yield Batch(torch.stack(list(clean.values())).numpy(), torch.stack(attacked).numpy(), labels)


def ranges(dataset: str, side: int) -> torch.Tensor:
    """Pictures for the ranges of 8 bits."""
    pictures = rain.load_dataset(dataset_of(dataset))
    step = max(1, len(pictures) // CALIBRATION)
    return torch.stack([enter(pictures[place][0], side) for place in range(0, len(pictures), step)])[
        :CALIBRATION
    ]


def answers(runtime: Runtime, batches: list[Batch], draws: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels of the clean and the attacked pictures, (draws, N) each; equal seeds are equal draws."""
    clean: list[np.ndarray] = []
    attacked: list[np.ndarray] = []
    for number, batch in enumerate(track(batches, "asking", transient=True)):
        for images, labels in ((batch.clean, clean), (batch.attacked, attacked)):
            answer = [
                runtime.defended(images, runtime.draw(images, seed=number * draws + draw))
                for draw in range(draws)
            ]
            labels.append(np.stack(answer).argmax(2))
    return np.concatenate(clean, 1), np.concatenate(attacked, 1)


def row(defense: str, way: str, labels: dict[str, tuple[np.ndarray, np.ndarray]], truth: np.ndarray) -> str:
    """A line of the table: accuracy in the mean over draws, and how often the label is float32's."""
    shares = [f"{100 * (answer == truth).mean():.2f}" for answer in labels[way]]
    same = "-"
    if REFERENCE in labels and way != REFERENCE:
        pairs = zip(labels[way], labels[REFERENCE], strict=True)
        same = f"{100 * np.mean([(one == other).mean() for one, other in pairs]):.2f}"
    return f"{defense:44} {way:20} {shares[0]:>7} {shares[1]:>9} {same:>11}"


if __name__ == "__main__":
    main()
