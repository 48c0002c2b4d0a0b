"""Time every defence, every enhancer behind SRd, and a gate, side by side with the bare classifier.

    python benchmarks/forward.py [--images 8] [--rounds 9] [--threads 2] [--only tv --only rain] [--no-memory]
        [--grid FILE] [--csv FILE]

All candidates run in turn, round after round, on clean pictures, so that a disturbance of the machine meets
all of them; the median of each is printed, and its ratio to the bare classifier's. The memory is the most
that a process of its own had in use, with the libraries and the weights in it; on a GPU, what lay in the
GPU's memory. Multiply-adds are those of convolutions and matrix products, in billions for an image, without
the classifier's. Enhancers have the weights that they ship, or none: that does not change what they cost.
With --grid the defences are those of a grid, before its first classifier.
"""

import argparse
import csv
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import rain
from rain.bench.cells import OWN_SIZE, Cell
from rain.bench.grid import read
from rain.images import enter
from rain.networks import own_size
from rain.randomize import draw_choice, draw_offsets, pick, shift
from rain.registry import DEFENSES, ENHANCERS
from rain.training.machine import peak_memory_mb

SIDE = 224
DRAWS = 8
BARE = "none"

NEEDS = {"gated": "gated(threshold=0.5)", "squeezing": "squeezing(threshold=1)"}
"""What a defence needs besides its name, before any classifier."""

COLUMNS = ("name", "milliseconds", "ratio", "MiB", "multiply_adds")


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--classifier", default="efficientnet_lite0")
    parser.add_argument("--side", type=int, default=SIDE, help="of the images, in pixels")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", action="append", help="a defence or enhancer; again for more of them")
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--grid", type=Path, help="a grid file, whose defences are timed")
    parser.add_argument("--csv", type=Path, help="a file for the table")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    specs = [spec for spec in rows() if is_asked_for(spec, arguments.only)]
    if arguments.grid:
        cells = read(arguments.grid).cells
        specs = list(dict.fromkeys(cell.defense for cell in cells if cell.defense != BARE))
        arguments.classifier = cells[0].classifier
        arguments.side = side_of(cells[0])
    memory: dict[str, float] = {}
    if arguments.memory:
        # Before this process is large itself: on Linux its size counts as its children's first.
        memory = {spec: memory_of(arguments, spec) for spec in (BARE, *specs)}
    images = pictures(arguments.images, arguments.side).to(arguments.device)
    classifier = rain.load_classifier(arguments.classifier).to(arguments.device)
    work: dict[str, Callable[[Tensor], object]] = {
        spec: rain.harden(classifier, spec).to(arguments.device) for spec in (BARE, *specs)
    }
    if not arguments.only and not arguments.grid:
        work |= others(classifier, arguments.device)
    seconds = measure(work, images, arguments.rounds)
    where = f"{arguments.device}, {arguments.threads} threads, torch {torch.__version__}"
    side = arguments.side
    print(f"{arguments.images} images of {side}x{side}, {arguments.rounds} rounds, {where}")
    heads = f"{'ms an image':>12} {'ratio to bare':>14} {'MiB':>8} {'G mult-adds':>12}"
    print(f"{arguments.classifier} behind {'':28} {heads}")
    bare = statistics.median(seconds[BARE])
    own = multiply_adds(work[BARE], images[:1])
    table = []
    for name, times in seconds.items():
        median = statistics.median(times)
        milliseconds, ratio = 1000 * median / arguments.images, median / bare
        mebibytes = f"{memory[name]:.0f}" if name in memory else ""
        products = f"{multiply_adds(work[name], images[:1]) - own:.3f}" if name in (BARE, *specs) else ""
        table.append([name, f"{milliseconds:.2f}", f"{ratio:.2f}", mebibytes, products])
        print(f"{name:48} {milliseconds:12.2f} {ratio:14.2f} {mebibytes:>8} {products:>12}")
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *table])


def rows() -> list[str]:
    """Every registered defence, then ``rain`` with every registered enhancer that needs no file."""
    defenses = [NEEDS.get(name, name) for name in DEFENSES.names() if name != BARE]
    enhancers = [name for name in ENHANCERS.names() if ENHANCERS.usage(name) == name]
    return [*defenses, *map(behind_srd, enhancers)]


def side_of(cell: Cell) -> int:
    """The side at which a grid's images enter its classifier."""
    if cell.size and cell.size != OWN_SIZE:
        return cell.size
    return own_size(rain.load_classifier(cell.classifier)) or SIDE


def behind_srd(enhancer: str) -> str:
    """RAIN's spec with an enhancer, untrained if it ships no weights of its own accord."""
    network = ENHANCERS.build(enhancer)
    has_weights = any(True for _ in network.parameters())
    untrained = has_weights and getattr(network, "card", {}) is None
    return f"rain(enhancer={enhancer}{'(weights=None)' if untrained else ''})"


def is_asked_for(spec: str, names: Iterable[str] | None) -> bool:
    return names is None or any(name in spec for name in names)


def others(classifier: torch.nn.Module, device: str) -> dict[str, Callable[[Tensor], object]]:
    """SRd alone, and the answer of many draws with and without a gate."""
    work: dict[str, Callable[[Tensor], object]] = {"SRd alone: pick and shift": randomize}
    for gate, name in ((None, "rain"), (0.02, "rain, gate 0.02")):
        hardened = rain.harden(classifier, "rain", gate=gate).to(device)
        work[f"predict with {DRAWS} draws, {name}"] = partial(hardened.predict, draws=DRAWS)
    alarmed = rain.harden(classifier, NEEDS["squeezing"]).to(device)
    work["predict with its alarm, squeezing"] = alarmed.predict  # the pass alone would be the bare one
    return work


def pictures(count: int, side: int = SIDE) -> Tensor:
    """So many of the sample pictures, again and again: on noise a gate would overrule more than it does."""
    samples = rain.load_dataset("samples")
    return torch.stack([enter(samples[index % len(samples)][0], side) for index in range(count)])


def randomize(images: Tensor) -> Tensor:
    low = pick(images, draw_choice(images))
    return shift(low, draw_offsets(low))


@torch.no_grad()
def measure(
    work: dict[str, Callable[[Tensor], object]], images: Tensor, rounds: int
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, function in work.items():
            begin = time.perf_counter()
            function(images)
            if images.is_cuda:
                torch.cuda.synchronize()
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - begin)
    return seconds


@torch.no_grad()
def multiply_adds(function: Callable[[Tensor], object], image: Tensor) -> float:
    """Count the multiply-adds for one image (1, 3, H, W), in billions."""
    with FlopCounterMode(display=False) as counter:
        function(image)
    return counter.get_total_flops() / 2e9


def memory_of(arguments: argparse.Namespace, spec: str) -> float:
    """The most memory in MiB that a process of its own needs for one forward pass behind a defence."""
    sizes = (arguments.images, arguments.side, arguments.threads)
    options = (arguments.classifier, spec, *sizes, arguments.device)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(pass_once, options)


@torch.no_grad()
def pass_once(classifier: str, spec: str, count: int, side: int, threads: int, device: str) -> float:
    """Do one forward pass, and say how much memory this process has had in use."""
    torch.set_num_threads(threads)
    hardened = rain.harden(rain.load_classifier(classifier), spec).to(device)
    hardened(pictures(count, side).to(device))
    return peak_memory_mb(torch.device(device))


if __name__ == "__main__":
    main()
