"""Measure what the bench itself costs: against a plain loop, in memory, with more work, with two workers.

    python benchmarks/grid.py [overhead] [memory] [linear] [workers] [--rounds 5] [--classifier small_resnet]

- overhead: a grid against a loop that does the same sums and writes nothing; with large chunks, and with
  chunks of one cheap image. Both take turns, round after round; printed are medians and their ratio, of
  seconds and of the seconds of this process on a CPU, which others on the machine disturb less.
- memory: what the process has in use after 100 and after 1000 chunks.
- linear: seconds for twice and four times the images, draws and steps.
- workers: two workers with one thread each against one process with one thread. They begin by building what
  they need, which is in the time.

A busy machine shows in the spread beside each median: the smallest and the largest of the rounds.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from rain.bench.access import attack_in_pieces, attacker_view
from rain.bench.assets import Assets
from rain.bench.cells import Cell
from rain.bench.grid import Grid, expand
from rain.bench.measure import Bench, seeded
from rain.bench.plan import Plan, prepare
from rain.bench.runners import measure_pending, run
from rain.images import enter

PARTS = ("overhead", "memory", "linear", "workers")
CLASSES = 10


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; by default all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--classifier", default="small_resnet(weights=imagenette)")
    parser.add_argument("--size", type=int, default=96)
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    print(f"{arguments.classifier}, {arguments.size} pixels, one thread, {arguments.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        bench = Subject(Path(folder), arguments.classifier, arguments.size, arguments.rounds)
        for part in arguments.parts or PARTS:
            getattr(bench, part)()


class Subject:
    """A classifier, and pictures for it."""

    def __init__(self, folder: Path, classifier: str, size: int, rounds: int):
        self.folder, self.classifier, self.size, self.rounds = folder, classifier, size, rounds
        random = np.random.default_rng(0)
        lines = ["file,label"]
        for index in range(1000):
            levels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(levels).resize((size, size)).save(folder / f"{index}.png")
            lines.append(f"{index}.png,{index % CLASSES}")
        (folder / "labels.csv").write_text("\n".join(lines))

    def grid(self, examples: int, chunk: int, attack: dict[str, Any], **changes: Any) -> Grid:
        """Ask for one attack on the classifier."""
        table = {
            "dataset": f"csv:{self.folder}",
            "size": self.size,
            "classifier": self.classifier,
            "defenses": ["none"],
            "examples": examples,
            "chunk": chunk,
            "attacks": [attack],
        }
        return expand(table | changes)

    @contextmanager
    def plan(self, grid: Grid) -> Iterator[Plan]:
        """Prepare a run into a fresh folder: what is built, and checked, is outside of what is timed."""
        with tempfile.TemporaryDirectory(dir=self.folder) as out:
            yield prepare(grid, out, device="cpu")

    def overhead(self) -> None:
        """Time grids against loops."""
        cases = {
            "50 chunks of one image, no attack": self.grid(50, 1, {"attack": "none"}),
            "one chunk of 20 images, PGD of 5 steps": self.grid(20, 20, pgd(5)),
        }
        for name, grid in cases.items():
            seconds: dict[str, list[tuple[float, float]]] = {"the bench": [], "a plain loop": []}
            for number in range(self.rounds + 1):
                with self.plan(grid) as plan:
                    build(plan)
                    once = {
                        "the bench": times_of(partial(measure_pending, plan, False)),
                        "a plain loop": times_of(partial(loop, plan.assets, plan.cells[0])),
                    }
                if number:  # the first round warms up
                    for kind, times in once.items():
                        seconds[kind].append(times)
            for place, unit in enumerate(("seconds", "seconds of a CPU")):
                columns = {kind: [times[place] for times in rounds] for kind, rounds in seconds.items()}
                bench, plain = (statistics.median(values) for values in columns.values())
                print(f"overhead in {unit}, {name}: {100 * (bench / plain - 1):+.1f} %")
                for kind, values in columns.items():
                    print(f"  {kind}: {spread(values)}")

    def memory(self) -> None:
        """Count what is in use while chunks are measured."""
        grid = self.grid(1000, 1, {"attack": "none"})
        with self.plan(grid) as plan:
            build(plan)
            marks = {100: 0.0, 1000: 0.0}
            real, done = Bench.measure, 0

            def counted(bench: Bench, *arguments: Any, **rest: Any) -> Any:
                nonlocal done
                done += 1
                if done in marks:
                    marks[done] = resident_mebibytes()
                return real(bench, *arguments, **rest)

            setattr(Bench, "measure", counted)  # noqa: B010
            try:
                seconds = time_of(partial(measure_pending, plan, False))
            finally:
                setattr(Bench, "measure", real)  # noqa: B010
        first, last = marks.values()
        print(f"memory: {first:.0f} MiB after 100 chunks, {last:.0f} MiB after 1000 ({seconds:.1f} s)")

    def linear(self) -> None:
        """Time one, two and four times the work."""
        cases: dict[str, Callable[[int], Grid]] = {
            "images": lambda times: self.grid(40 * times, 20, pgd(5)),
            "draws": lambda times: self.grid(
                20, 20, {"attack": "none"}, defenses=["rain(enhancer=bicubic)"], draws=10 * times
            ),
            "steps": lambda times: self.grid(20, 20, pgd(10 * times)),
        }
        for name, grid_of in cases.items():
            seconds: dict[int, list[float]] = {1: [], 2: [], 4: []}
            for number in range(self.rounds + 1):
                for times, values in seconds.items():
                    with self.plan(grid_of(times)) as plan:
                        build(plan)
                        once = time_of(partial(measure_pending, plan, False))
                    if number:
                        values.append(once)
            one, two, four = (statistics.median(values) for values in seconds.values())
            print(f"linear in {name}: {two / one:.2f} times for 2, {four / one:.2f} for 4")
            for times, values in seconds.items():
                print(f"  {times}: {spread(values)}")

    def workers(self) -> None:
        """Time two workers against one process."""
        grid = self.grid(480, 20, pgd(20))
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(max(1, self.rounds // 2)):
            for workers, values in seconds.items():
                torch.set_num_threads(workers)
                with tempfile.TemporaryDirectory(dir=self.folder) as out:
                    values.append(time_of(partial(run, grid, out, device="cpu", workers=workers)))
        torch.set_num_threads(1)
        one, two = (statistics.median(values) for values in seconds.values())
        print(f"two workers of one thread: {one / two:.2f} times as fast as one")
        for workers, values in seconds.items():
            print(f"  {workers}: {spread(values)}")


def pgd(steps: int) -> dict[str, Any]:
    """An attack from which no image leaves, so that its work is known."""
    return {"attack": f"pgd(steps={steps}, confidence=inf)", "access": "static", "eps": "4/255"}


def build(plan: Plan) -> None:
    """Build what is built at the first use."""
    for cell in plan.cells:
        plan.assets.hardened(cell.classifier, cell.defense)
        plan.assets.twin(cell.classifier, cell.defense, (cell.size or 0, cell.size or 0))
        plan.assets.made_by(cell)


def loop(assets: Assets, cell: Cell) -> list[tuple[list[int], list[int]]]:
    """Do the sums of a cell as a script would: read, classify, attack, classify."""
    model = assets.hardened(cell.classifier, cell.defense)
    answers = []
    for chunk in range(cell.chunks):
        pairs = [assets.picture(cell.dataset, index) for index in cell.indices(chunk)]
        images = torch.stack([enter(image, cell.size) for image, _ in pairs])
        labels = torch.tensor([label for _, label in pairs])
        with torch.no_grad():
            clean = model(images).argmax(1).tolist()
        robust = clean
        if cell.attack != "none":
            size = (images.shape[2], images.shape[3])
            twin = assets.twin(cell.classifier, cell.defense, size)
            view = attacker_view(twin, cell, seeded(cell, chunk, 0, "attack draws"))
            start = seeded(cell, chunk, 0, "attack")
            attacked = attack_in_pieces(view, images, labels, cell, start, batch=assets.batches.attack)
            with torch.no_grad():
                robust = model(attacked.images).argmax(1).tolist()
        answers.append((clean, robust))
    return answers


def time_of(work: Callable[[], object]) -> float:
    return times_of(work)[0]


def times_of(work: Callable[[], object]) -> tuple[float, float]:
    begin, begin_on_cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begin, time.process_time() - begin_on_cpu


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})"


def resident_mebibytes() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
