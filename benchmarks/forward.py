"""Time SRd, the hardened forward pass and a gate, side by side with the bare classifier, on clean pictures.

    python benchmarks/forward.py [--images 8] [--rounds 9] [--threads 2]

All candidates run in turn, round after round, so that a disturbance of the machine meets all of them; the
median of each is printed, and its ratio to the bare classifier's.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import rain
from rain.images import enter
from rain.randomize import draw_choice, draw_offsets, pick, shift

SIDE = 224
DRAWS = 8
DEFENSES = (
    "jpeg",
    "resize_pad",
    "noise",
    "bit_depth",
    "median",
    "jpeg_soft",
    "nlm",
    "tv",
    "pixel_deflection",
    "wavelet_sr",
    "quilting",
    "bart",
    "crop_ensemble",
    "rain(enhancer=bicubic)",
    "rain",
    "rain(enhancer=edsr(weights=None))",
)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--classifier", default="efficientnet_lite0")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    images = pictures(arguments.images).to(arguments.device)
    classifier = rain.load_classifier(arguments.classifier).to(arguments.device)
    work: dict[str, Callable[[Tensor], object]] = {
        f"{arguments.classifier}, bare": classifier,
        "SRd: pick and shift": randomize,
    }
    for defense in DEFENSES:
        work[f"hardened with {defense}"] = rain.harden(classifier, defense).to(arguments.device)
    for gate, name in ((None, "rain"), (0.02, "rain, gate 0.02")):
        hardened = rain.harden(classifier, "rain", gate=gate).to(arguments.device)
        work[f"predict with {DRAWS} draws, {name}"] = partial(hardened.predict, draws=DRAWS)
    alarmed = rain.harden(classifier, "squeezing(threshold=1)").to(arguments.device)
    work["predict with its alarm, squeezing"] = alarmed.predict  # the pass alone would be the bare one
    seconds = measure(work, images, arguments.rounds)
    bare = statistics.median(next(iter(seconds.values())))
    where = f"{arguments.device}, {arguments.threads} threads, torch {torch.__version__}"
    print(f"{arguments.images} images of {SIDE}x{SIDE}, {arguments.rounds} rounds, {where}")
    print(f"{'':40} {'ms an image':>12} {'ratio to bare':>14}")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:40} {1000 * median / arguments.images:12.2f} {median / bare:14.2f}")


def pictures(count: int) -> Tensor:
    """So many of the sample pictures, again and again: on noise a gate would overrule more than it does."""
    samples = rain.load_dataset("samples")
    return torch.stack([enter(samples[index % len(samples)][0], SIDE) for index in range(count)])


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


if __name__ == "__main__":
    main()
