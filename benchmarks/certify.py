"""Time certificates against the plain forward passes that they are made of, side by side.

    python benchmarks/certify.py [--defense 'smooth(sigma=0.25)'] [--size 96] [--draws 320] [--rounds 9]
    python benchmarks/certify.py --classifier efficientnet_lite0 --size 224

A certificate takes a fresh draw of noise for each pass, and counts what the passes say. Plain is the
classifier alone, behind the defence's denoiser if it has one, on as many pictures, as many at once. Batches
of several sizes run in turn, round after round; the medians are printed. ``--clock cpu`` counts the
processor's time instead of the clock's, for a machine that does something else meanwhile.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import rain
from rain.registry import load_classifier

BATCHES = (8, 16, 32, 64)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classifier", default="small_resnet(weights=imagenette)")
    parser.add_argument("--defense", default="smooth(sigma=0.25)")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--draws", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    hardened = rain.harden(load_classifier(arguments.classifier), arguments.defense)
    enhancer = getattr(hardened.defense, "enhancer", None)
    plain = nn.Sequential(*([enhancer] if enhancer else []), hardened.classifier)
    image = torch.rand(1, 3, arguments.size, arguments.size, generator=torch.Generator().manual_seed(0))
    seconds = measure(hardened, plain, image, arguments.draws, arguments.rounds, CLOCKS[arguments.clock])
    settings = f"{arguments.threads} threads, {arguments.rounds} rounds, {arguments.clock} time"
    print(f"{arguments.classifier}, {arguments.defense}, {arguments.size} pixels ({settings})")
    print(f"{'batch':>6} {'plain/s':>9} {'certified/s':>12} {'ratio':>6}")
    for batch, (alone, certified) in seconds.items():
        passes = [arguments.draws / statistics.median(times) for times in (alone, certified)]
        print(f"{batch:6} {passes[0]:9.0f} {passes[1]:12.0f} {passes[1] / passes[0]:6.2f}")


@torch.no_grad()
def measure(
    hardened: "rain.Hardened",
    plain: nn.Module,
    image: Tensor,
    draws: int,
    rounds: int,
    clock: Callable[[], float],
) -> dict[int, tuple[list[float], list[float]]]:
    """Time both for each size of a batch: {batch: (seconds of the plain passes, of the certificate)}."""
    seconds: dict[int, tuple[list[float], list[float]]] = {batch: ([], []) for batch in BATCHES}
    for number in range(rounds + 1):  # the first is a rehearsal
        for batch, (alone, certified) in seconds.items():
            copies = image.expand(batch, *image.shape[1:]).contiguous()
            begin = clock()
            for _ in range(draws // batch):
                plain(copies)
            middle = clock()
            hardened.certify(image, n0=batch, n=draws - batch, batch=batch)
            end = clock()
            if number:
                alone.append(middle - begin)
                certified.append(end - middle)
    return seconds


if __name__ == "__main__":
    main()
