"""What the steps of training cost on a GPU: images a second, share of its ceiling, time of each part."""

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from rain.runtime.precision import autocast
from rain.train import Config, read
from rain.training.captured import GraphStep
from rain.training.machine import build_fabric, peak_memory_mb
from rain.training.pieces import Pieces, build, with_side
from rain.training.plain import PlainStep

KERNELS = 40
"""Operations and kernels in the table of what takes most time."""

SIDE = 8192
"""Of the square matrices whose product is the ceiling."""

COMMON = {"average": 0.999, "feature": 3.0, "zoom": 0.7, "validation_images": 20}
RECIPES: dict[str, dict[str, Any]] = {
    "accuracy": {
        "attack": "pgd(steps=2, step=3/255, confidence=inf)",
        "access": "transfer",
        "attacked": 0.5,
    },
    "adversarial": {"attack": "pgd(steps=4, step=2/255, confidence=inf)", "eot": 4},
}
HEADS = (
    "recipe",
    "launch",
    "batch",
    "images/s",
    "TFLOP/s",
    "of ceiling",
    "memory, MB",
    "parts of a step, ms",
)
COLUMNS = "{:12} {:8} {:>5} {:>9} {:>8} {:>10} {:>11}  {}"


def report(images: str, batch: int, seconds: float, plain: bool, profile: bool) -> None:
    """Measure and print the table."""
    began = time.monotonic()
    ceiling = matrix_tflops()
    name = torch.cuda.get_device_name()
    print(f"{name}, torch {torch.__version__}: a bfloat16 product of {SIDE} makes {ceiling:.0f} TFLOP/s")
    print(COLUMNS.format(*HEADS), flush=True)
    for recipe, changes in RECIPES.items():
        fields = COMMON | changes | {"batch": batch, "accelerator": "cuda"}
        config = with_side(read(recipe, images=images, validation=images, **fields, launch="graph"))
        # As while the steps were captured: the parts shall use the same kernels.
        torch.backends.cudnn.benchmark = True
        print(captured_row(recipe, config, seconds, ceiling, profile), flush=True)
        torch.backends.cudnn.benchmark = False
        torch.cuda.empty_cache()
        if plain:
            print(plain_row(recipe, config, seconds), flush=True)
            torch.cuda.empty_cache()
    print(f"{time.monotonic() - began:.0f} s in all")


def matrix_tflops() -> float:
    """What a large product of random bfloat16 matrices makes, in TFLOP/s."""
    left, right = (torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = seconds_of(lambda: left @ right, 0.3)
    return 2 * SIDE**3 / seconds / 1e12


def seconds_of(work: Callable[[], object], least: float) -> float:
    """How long a piece of work takes, by the GPU's clock, from as many as fill ``least`` seconds."""
    for _ in range(2):
        work()
    torch.cuda.synchronize()
    begin = time.monotonic()
    count = 0
    while time.monotonic() - begin < least:
        work()
        count += 1
        if count % 4 == 0:
            torch.cuda.synchronize()
    torch.cuda.synchronize()
    return (time.monotonic() - begin) / count


def built(config: Config) -> Pieces:
    pieces = build(config, build_fabric(config))
    pieces.learner.train()
    return pieces


def numbered(step: GraphStep | PlainStep, *, is_due: bool) -> Callable[[], object]:
    """Make the next step at each call."""
    numbers = itertools.count()
    return lambda: step.make(next(numbers), is_due)


def captured_row(recipe: str, config: Config, seconds: float, ceiling: float, profile: bool) -> str:
    """Measure steps that are replayed, and their parts."""
    torch.cuda.reset_peak_memory_stats()
    pieces = built(config)
    begin = time.monotonic()
    step = GraphStep(pieces)
    torch.cuda.synchronize()
    ready = time.monotonic() - begin
    graph = step.graph
    assert graph is not None
    whole = seconds_of(numbered(step, is_due=False), seconds)
    parts = {"replay": seconds_of(graph.replay, seconds / 2)}
    parts["pictures"] = seconds_of(lambda: step.batches(3), 0.3)
    parts["draws"] = seconds_of(lambda: step.fixed._fill_draws(step.generator), 0.3)
    parts["attack"] = seconds_of(attack_of(step).replay, seconds / 2)
    flops = flops_of(step)
    if profile:
        print_kernels(step)
    text = ", ".join(f"{name} {1000 * value:.1f}" for name, value in parts.items())
    text = f"{text}; ready after {ready:.0f} s"
    rate = flops / whole / 1e12
    memory = peak_memory_mb(step.device)
    speed = config.batch / whole
    numbers = (f"{speed:.0f}", f"{rate:.1f}", f"{rate / ceiling:.1%}", f"{memory:.0f}")
    return COLUMNS.format(recipe, "graph", config.batch, *numbers, text)


def attack_of(step: GraphStep) -> "torch.cuda.CUDAGraph":
    """Capture the attack alone."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), autocast(step.device, step.pieces.mixed):
        step.fixed._entering(step.fixed._clean_logits())
    return graph


def flops_of(step: GraphStep) -> float:
    """Count the operations of a step, convolutions and products only."""
    counter = OperationCounter()
    with counter:
        step.fixed.compute()
    return counter.total


class OperationCounter(TorchDispatchMode):
    """Adds up the floating-point operations of convolutions and products, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = function(*args, **kwargs or {})
        count = flop_registry.get(function.overloadpacket)
        if count is not None:
            self.total += count(*args, **kwargs or {}, out_val=answer)
        return answer


def print_kernels(step: GraphStep) -> None:
    """Print what takes most of a step's time, launched one by one."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    try:
        with profiled(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as record:
            step.fixed.compute()
            torch.cuda.synchronize()
        rows = sorted(record.key_averages(), key=lambda row: row.self_device_time_total, reverse=True)
        for row in rows[:KERNELS]:
            print(f"  {row.self_device_time_total / 1000:9.2f} ms {row.count:6}  {row.key[:110]}")
    except Exception as error:  # no profiler here
        print(f"no table of kernels: {error}")


def plain_row(recipe: str, config: Config, seconds: float) -> str:
    """Measure steps that Python makes one by one, as before."""
    torch.cuda.reset_peak_memory_stats()
    pieces = built(replace(config, launch="eager"))
    step = PlainStep(pieces)
    whole = seconds_of(numbered(step, is_due=True), seconds)
    numbers = (f"{config.batch / whole:.0f}", "", "", f"{peak_memory_mb(pieces.fabric.device):.0f}")
    return COLUMNS.format(recipe, "eager", config.batch, *numbers, f"whole {1000 * whole:.0f}")
