"""Time a classifier, bare and behind a defence, in PyTorch and exported, side by side on clean pictures.

    python benchmarks/deploy.py [--classifier efficientnet_lite0] [--defense rain] [--rounds 15] [--threads 2]

Every way of running is exported first, into a temporary folder. Then all of them run in turn, round after
round, so that a disturbance of the machine meets all of them. The median of each is printed, with its ratio
to the bare classifier run in the same way, and to the bare classifier at its fastest. A pass has one fresh
draw; the time of drawing is within it. Ways whose package or instructions are missing are left out.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from forward import SIDE, pictures

import rain
from rain.deploy import Runtime, export
from rain.deploy.engines import import_runtime
from rain.errors import ExportError, GateError, OptionError

COUNTS = (1, 8)
DRAWS = 8
SAMPLES = 20
"""Pictures by which a model is brought to 8 bits; for its time, any will do."""

EAGER = "PyTorch, eager"
WAYS = {
    "ONNX Runtime": ("onnx", "float32"),
    "OpenVINO, float32": ("openvino", "float32"),
    "OpenVINO, bfloat16": ("openvino", "bfloat16"),
    "OpenVINO, int8": ("openvino", "int8"),
}

PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}

Ways = dict[tuple[str, str], Callable[[np.ndarray], object]]
"""What is timed, by (what, way)."""


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--classifier", default="efficientnet_lite0")
    parser.add_argument("--defense", default="rain")
    parser.add_argument("--gate", type=float, default=0.02, help="share of its gate; 0 for none")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    classifier = rain.load_classifier(arguments.classifier)
    models = {
        "bare": rain.harden(classifier, "none"),
        arguments.defense: rain.harden(classifier, arguments.defense),
    }
    with tempfile.TemporaryDirectory() as folder:
        work = ways_of(models, Path(folder), arguments.threads)
        work |= gated(classifier, arguments.defense, arguments.gate, Path(folder), arguments.threads)
        for count in COUNTS:
            images = pictures(count)
            seconds = measure(work, images.numpy(), arguments.rounds)
            print(f"\n{count} images, {arguments.rounds} rounds, {arguments.threads} threads, {versions()}")
            print_table(seconds, count)


def ways_of(models: dict[str, rain.Hardened], folder: Path, threads: int) -> Ways:
    """Every way to run each model that there is here."""
    work: Ways = {}
    for what, hardened in models.items():
        work[what, EAGER] = partial(eager, hardened)
        for way, (format, precision) in WAYS.items():
            try:
                work[what, way] = partial(once, opened(hardened, folder, format, precision, threads))
            except (ExportError, OptionError) as error:
                print(f"left out: {what}, {way}: {error}")
    return work


def opened(hardened: rain.Hardened, folder: Path, format: str, precision: str, threads: int) -> Runtime:
    """Export a model, unless that was done before, and open it."""
    is_int8 = precision == "int8"
    out = folder / f"{type(hardened.defense).__name__}-{format}{'-int8' if is_int8 else ''}"
    if not out.exists():
        import_runtime("nncf" if is_int8 else PACKAGES[format])
        export(hardened, out, format=format, size=SIDE, int8=pictures(SAMPLES) if is_int8 else None)
    return Runtime(out, precision="float32" if is_int8 else precision, threads=threads)


def gated(classifier: torch.nn.Module, defense: str, share: float, folder: Path, threads: int) -> Ways:
    """``predict`` with several draws behind a gate: eager and exported."""
    work: Ways = {}
    if not share:
        return work
    name = f"predict, gate {share:g}, {DRAWS} draws"
    try:
        hardened = rain.harden(classifier, defense, gate=share)
        work[name, EAGER] = partial(predict_eager, hardened)
        for way in ("ONNX Runtime", "OpenVINO, bfloat16"):
            format, precision = WAYS[way]
            runtime = opened(hardened, folder, format, precision, threads)
            work[name, way] = partial(runtime.predict, draws=DRAWS)
    except (ExportError, GateError, OptionError) as error:
        print(f"left out: {name}: {error}")
    return work


@torch.no_grad()
def eager(hardened: rain.Hardened, images: np.ndarray) -> object:
    return hardened(torch.from_numpy(images))


def predict_eager(hardened: rain.Hardened, images: np.ndarray) -> object:
    return hardened.predict(torch.from_numpy(images), draws=DRAWS)


def once(runtime: Runtime, images: np.ndarray) -> object:
    """One pass with a fresh draw."""
    return runtime.defended(images, runtime.draw(images))


def measure(work: Ways, images: np.ndarray, rounds: int) -> dict[tuple[str, str], list[float]]:
    seconds: dict[tuple[str, str], list[float]] = {name: [] for name in work}
    for number in range(rounds + 2):
        for name, function in work.items():
            begin = time.perf_counter()
            function(images)
            if number > 1:  # the first rounds warm up
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def print_table(seconds: Mapping[tuple[str, str], list[float]], count: int) -> None:
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    fastest = min(median for (what, _), median in medians.items() if what == "bare")
    print(f"{'':28} {'':20} {'ms an image':>12} {'times bare':>11} {'times fastest bare':>19}")
    for (what, way), median in medians.items():
        ratio = median / medians["bare", way]
        print(f"{what:28} {way:20} {1000 * median / count:12.2f} {ratio:11.2f} {median / fastest:19.2f}")


def versions() -> str:
    names = {"torch": str(torch.__version__)}
    for name in ("onnxruntime", "openvino"):
        try:
            names[name] = import_runtime(name).__version__.partition("-")[0]
        except ExportError:
            names[name] = "missing"
    return ", ".join(f"{name} {version}" for name, version in names.items())


if __name__ == "__main__":
    main()
