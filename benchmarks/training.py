"""What training costs: images per second and memory of each shipped recipe, each in a process of its own.

    python benchmarks/training.py --images folder:PATH [--steps 20]
    python benchmarks/training.py --images PATH --accelerator cuda [--batch 128] [--plain] [--profile]

The second measures the steps on a GPU: half a batch attacked, in two steps on the bare classifier, or in four
through the defence with EOT 4. With ``--plain`` the steps that Python makes one by one, too. About a minute.

The pictures must lie in one folder for each of at most ten classes (``labels=sorted`` is added); the weights
that come out are thrown away.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import gpu_steps
import torch

from rain import checkpoints
from rain.training.recipe import read, shipped

COLUMNS = "{:16} {:28} {:>5} {:>6} {:>9} {:>11}  {}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", required=True, help="folder:PATH")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--recipes", nargs="*", default=list(shipped()))
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=128, help="on a GPU")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement on a GPU")
    parser.add_argument("--plain", action="store_true", help="on a GPU: plain steps, too")
    parser.add_argument("--profile", action="store_true", help="on a GPU: the kernels that take most time")
    arguments = parser.parse_args()
    if arguments.accelerator == "cuda":
        options = (arguments.batch, arguments.seconds, arguments.plain, arguments.profile)
        gpu_steps.report(arguments.images, *options)
        return
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}; memory is the whole process's")
    heads = ("recipe", "classifier", "side", "batch", "images/s", "memory, MB", "computed")
    print(COLUMNS.format(*heads))
    for name in arguments.recipes:
        print(row(name, arguments.images, arguments.steps), flush=True)


def row(name: str, images: str, steps: int) -> str:
    """Train a recipe for a few steps, and write its line of the table."""
    labelled = f"{images}(labels=sorted)"
    recipe = read(name, images=labelled, validation=labelled)
    if recipe.classifier != "efficientnet_lite0":
        images = labelled
    # The classifier of the paper's ImageNet setting is a download.
    classifier = "efficientnet_lite0" if "torchvision" in recipe.classifier else recipe.classifier
    changes = {
        "steps": steps,
        "epochs": 0,
        "validation_images": 20,
        "validate_every": steps,
        "sr_sets": "[]",
        "classifier": classifier,
    }
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        train(name, images, out, changes)
        card = checkpoints.read(out / "weights.safetensors")[1]
        log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    cost = next(line for line in log if "validation/images_per_second" in line)
    speed, memory = cost["validation/images_per_second"], cost["validation/memory_mb"]
    shape = (recipe.side, recipe.batch)
    return COLUMNS.format(name, classifier, *shape, f"{speed:.1f}", f"{memory:.0f}", card["computed"])


def train(name: str, images: str, out: Path, changes: dict[str, object]) -> None:
    command = [sys.executable, "-m", "rain", "train", name, "--out", str(out)]
    command += ["--images", images, "--validation", images]
    for field, value in changes.items():
        command += ["--set", f"{field}={value}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr}")


if __name__ == "__main__":
    main()
