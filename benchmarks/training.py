"""What training costs: images per second and memory of each shipped recipe, each in a process of its own.

    python benchmarks/training.py --images folder:PATH [--steps 20]

The pictures must lie in one folder for each of at most ten classes (``labels=sorted`` is added); the weights
that come out are thrown away.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from rain import checkpoints
from rain.training.recipe import read, shipped


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", required=True, help="folder:PATH")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--recipes", nargs="*", default=list(shipped()))
    arguments = parser.parse_args()
    labelled = f"{arguments.images}(labels=sorted)"
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}; memory is the whole process's")
    print(
        f"{'recipe':16} {'classifier':28} {'side':>5} {'batch':>6} {'images/s':>9} {'memory, MB':>11}  computed"
    )
    for name in arguments.recipes:
        recipe = read(name, images=labelled, validation=labelled)
        # The classifier of the paper's ImageNet setting is a download.
        images = arguments.images if recipe.classifier == "efficientnet_lite0" else labelled
        classifier = "efficientnet_lite0" if "torchvision" in recipe.classifier else recipe.classifier
        changes = {
            "steps": arguments.steps,
            "epochs": 0,
            "validation_images": 20,
            "validate_every": arguments.steps,
            "sr_sets": "[]",
        }
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            command = [
                sys.executable,
                "-m",
                "rain",
                "train",
                name,
                "--images",
                images,
                "--validation",
                images,
                "--out",
                str(out),
            ]
            for key, value in (changes | {"classifier": classifier}).items():
                command += ["--set", f"{key}={value}"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{name}: {done.stderr}")
            card = checkpoints.read(out / "weights.safetensors")[1]
            rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        told = next(row for row in rows if "validation/images_per_second" in row)
        speed, memory = told["validation/images_per_second"], told["validation/memory_mb"]
        print(
            f"{name:16} {classifier:28} {recipe.side:5} {recipe.batch:6} {speed:9.1f} {memory:11.0f}  {card['computed']}",
            flush=True,
        )


if __name__ == "__main__":
    main()
