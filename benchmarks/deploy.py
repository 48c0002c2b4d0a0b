"""Time a classifier, bare and behind defences, in PyTorch and exported, side by side on clean pictures.

    python benchmarks/deploy.py [--classifier efficientnet_lite0] [--defense rain] [--rounds 15] [--threads 2]
    python benchmarks/deploy.py --classifier 'torchvision/resnet50(weights=None)'

Every way of running is exported first, into a temporary folder. Then all of them run in turn, round after
round, so that a disturbance of the machine meets all of them. The median of each is printed, with its ratio
to the bare classifier run in the same way, and to the bare classifier at its fastest. A pass has one fresh
draw; the time of drawing is within it. Ways whose package or instructions are missing are left out.

The second table is of a stream: pictures of which some were attacked on the bare classifier, behind a gate
that flags two in a hundred of these pictures, clean. Only what is flagged is asked for all draws.
``--clock cpu`` counts the processor's time instead of the clock's, for a machine that does something else
meanwhile; take ``--threads 1`` with it.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from forward import pictures
from torch import Generator, nn

import rain
from rain import checkpoints
from rain.deploy import GatedPrediction, Runtime, export
from rain.deploy.engines import import_runtime
from rain.errors import ExportError, OptionError

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

FAST = "rain(enhancer=compact(weights=fast))"
UNTRAINED = "rain(enhancer=compact(weights=None, slim=true, blocks=3))"
"""The DG for production, and what costs the same where its weights are not here."""

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
SHARES = (0.0, 0.01, 0.1)
"""Of a stream, attacked."""

FLAGGED = 0.02
"""Of clean pictures, by the gate of a stream."""

STREAM, BATCH = 96, 8
"""Pictures of a stream, and of them in a batch."""

ATTACK = "pgd(steps=10)"
EPS = 4 / 255

Ways = dict[tuple[str, str], Callable[[np.ndarray], object]]
"""What is timed, by (what, way)."""


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--classifier", default="efficientnet_lite0")
    parser.add_argument("--defense", action="append", help="again for more of them")
    parser.add_argument("--gate", type=float, default=0.02, help="share of its gate; 0 for none")
    parser.add_argument("--only", action="append", choices=[EAGER, *WAYS], help="a way; again for more")
    parser.add_argument("--no-stream", dest="stream", action="store_false")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock, ways = CLOCKS[arguments.clock], arguments.only or [EAGER, *WAYS]

    classifier = rain.load_classifier(arguments.classifier)
    defenses = arguments.defense or ["rain", fast()]
    models = {what: rain.harden(classifier, what) for what in ("none", *defenses)}
    about = f"{arguments.rounds} rounds, {arguments.threads} threads, {arguments.clock} time, {versions()}"
    with tempfile.TemporaryDirectory() as folder:
        work = ways_of(models, Path(folder), arguments.threads, ways)
        if arguments.gate:
            for defense in defenses:
                gate = (defense, arguments.gate)
                work |= gated(classifier, gate, Path(folder), arguments.threads, ways)
        for count in COUNTS:
            images = pictures(count)
            seconds = measure(work, images.numpy(), arguments.rounds, clock)
            print(f"\n{arguments.classifier}, {count} images, {about}")
            print_table(seconds, count)
        if arguments.stream:
            streams = streams_of(classifier, defenses, Path(folder), arguments.threads, ways)
            seconds = measure(streams, None, max(1, arguments.rounds // 5), clock)
            print(f"\n{arguments.classifier}, a stream of {STREAM} images in batches of {BATCH}, {about}")
            print_streams(seconds)


def fast() -> str:
    """The DG for production, with its weights if they are here: its time does not depend on them."""
    return FAST if "fast" in checkpoints.shipped("compact") else UNTRAINED


def ways_of(models: dict[str, rain.Hardened], folder: Path, threads: int, ways: list[str]) -> Ways:
    """Every way to run each model that there is here."""
    work: Ways = {}
    for what, hardened in models.items():
        for way in ways:
            if way == EAGER:
                work[what, way] = partial(eager, hardened)
                continue
            try:
                runtime = opened(hardened, folder / label_of(what), way, threads)
            except (ExportError, OptionError) as error:
                print(f"left out: {what}, {way}: {error}")
                continue
            work[what, way] = partial(once, runtime)
    return work


def label_of(spec: str) -> str:
    """A name of a folder that a spec is known by."""
    return "".join(letter if letter.isalnum() else "-" for letter in spec)


def opened(
    hardened: rain.Hardened, folder: Path, way: str, threads: int, ranges: torch.Tensor | None = None
) -> Runtime:
    """Export a model, unless that was done before, and open it; 8 bits by the ranges of these pictures."""
    format, precision = WAYS[way]
    is_int8 = precision == "int8"
    out = folder / f"{format}{'-int8' if is_int8 else ''}"
    if not out.exists():
        import_runtime("nncf" if is_int8 else PACKAGES[format])
        samples = pictures(SAMPLES) if ranges is None else ranges
        export(hardened, out, format=format, size=samples.shape[-1], int8=samples if is_int8 else None)
    return Runtime(out, precision="float32" if is_int8 else precision, threads=threads)


def gated(
    classifier: nn.Module, gate: tuple[str, float], folder: Path, threads: int, ways: list[str]
) -> Ways:
    """``predict`` with several draws behind a gate of (defence, share): eager and exported."""
    work: Ways = {}
    defense, share = gate
    name = f"predict, gate {share:g}, {DRAWS} draws, {defense}"
    for way in ways:
        try:
            hardened = behind_gate(classifier, defense, share)
            if way == EAGER:
                work[name, way] = partial(predict_eager, hardened)
            elif "int8" not in way:
                runtime = opened(hardened, folder / label_of(name), way, threads)
                work[name, way] = partial(runtime.predict, draws=DRAWS)
        except (ExportError, OptionError) as error:
            print(f"left out: {name}, {way}: {error}")
    return work


def behind_gate(classifier: nn.Module, defense: str, share: float) -> rain.Hardened:
    """A gate that flags so large a share of these clean pictures: a DG without weights has no other."""
    every = rain.harden(classifier, rain.load_defense("gated", defense=defense, threshold=1))
    prediction = every.predict(pictures(STREAM), seed=0)
    assert isinstance(prediction, rain.GatedPrediction)
    threshold = float(prediction.suspicion.quantile(1 - share)) + 1e-6
    return rain.harden(classifier, rain.load_defense("gated", defense=defense, threshold=threshold))


# --- a stream


def streams_of(
    classifier: nn.Module, defenses: list[str], folder: Path, threads: int, ways: list[str]
) -> Ways:
    """Bare classifier and gates, on streams of which some pictures were attacked."""
    work: Ways = {}
    exported = [way for way in ways if way != EAGER and "int8" not in way]
    streams = {share: stream_of(classifier, share) for share in SHARES}
    for way in exported:
        try:
            bare = opened(rain.harden(classifier, "none"), folder / "none", way, threads)
            work["none", way] = partial(answer_all, bare.predict, streams[0.0])
            for defense in defenses:
                hardened = behind_gate(classifier, defense, FLAGGED)
                runtime = opened(hardened, folder / f"stream-{label_of(defense)}", way, threads)
                for share, stream in streams.items():
                    predict = partial(runtime.predict, draws=DRAWS)
                    what = f"{defense}, {share:.0%} attacked, {flagged(runtime, stream):.0%} flagged"
                    work[what, way] = partial(answer_all, predict, stream)
        except (ExportError, OptionError) as error:
            print(f"left out: stream, {way}: {error}")
    return work


def stream_of(classifier: nn.Module, share: float) -> list[np.ndarray]:
    """Batches of pictures, of which a share was attacked on the bare classifier, at random places."""
    images = pictures(STREAM)
    count = round(share * STREAM)
    if count:
        chosen = torch.randperm(STREAM, generator=Generator().manual_seed(0))[:count]
        attack = rain.load_attack(ATTACK)
        generator = Generator().manual_seed(1)
        clean = images[chosen]
        with torch.no_grad():
            labels = classifier(clean).argmax(1)
        images[chosen] = attack(classifier, clean, labels, eps=EPS, norm="linf", generator=generator)
    return [batch.numpy() for batch in images.split(BATCH)]


def flagged(runtime: Runtime, stream: list[np.ndarray]) -> float:
    """The share of a stream that the gate flags."""
    shares = []
    for batch in stream:
        prediction = runtime.predict(batch, seed=0)
        assert isinstance(prediction, GatedPrediction)
        shares.append(prediction.flagged)
    return float(np.concatenate(shares).mean())


def answer_all(predict: Callable[[np.ndarray], object], stream: list[np.ndarray], _: object) -> None:
    for batch in stream:
        predict(batch)


@torch.no_grad()
def eager(hardened: rain.Hardened, images: np.ndarray) -> object:
    return hardened(torch.from_numpy(images))


def predict_eager(hardened: rain.Hardened, images: np.ndarray) -> object:
    return hardened.predict(torch.from_numpy(images), draws=DRAWS)


def once(runtime: Runtime, images: np.ndarray) -> object:
    """One pass with a fresh draw."""
    return runtime.defended(images, runtime.draw(images))


def measure(
    work: Ways, images: Any, rounds: int, clock: Callable[[], float]
) -> dict[tuple[str, str], list[float]]:
    seconds: dict[tuple[str, str], list[float]] = {name: [] for name in work}
    for number in range(rounds + 2):
        for name, function in work.items():
            begin = clock()
            function(images)
            if number > 1:  # the first rounds warm up
                seconds[name].append(clock() - begin)
    return seconds


def print_table(seconds: Mapping[tuple[str, str], list[float]], count: int) -> None:
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    fastest = min(median for (what, _), median in medians.items() if what == "none")
    print(f"{'':72} {'':20} {'ms an image':>12} {'times bare':>11} {'times fastest bare':>19}")
    for (what, way), median in medians.items():
        ratio = median / medians["none", way]
        print(f"{what:72} {way:20} {1000 * median / count:12.2f} {ratio:11.2f} {median / fastest:19.2f}")


def print_streams(seconds: Mapping[tuple[str, str], list[float]]) -> None:
    print(f"{'':88} {'':20} {'images a second':>16} {'of bare':>8}")
    for (what, way), times in seconds.items():
        speed = STREAM / statistics.median(times)
        share = statistics.median(seconds["none", way]) / statistics.median(times)
        print(f"{what:88} {way:20} {speed:16.1f} {share:8.2f}")


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
