"""A run as tasks of a Ray cluster: thin, since the files in the folder are the queue.

Each task is a worker who takes what no other holds (``rain.bench.leases``). The classifiers are built once,
and sent to every machine once. Ray begins a task again whose process was lost, and the others take over what
it was at.
"""

import copy
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from rain.bench.cells import Cell, path_of, pending
from rain.bench.leases import Leases
from rain.bench.plan import Plan
from rain.bench.workers import Order, order_of, portable, rebuild
from rain.bench.working import Failures, work_on
from rain.errors import OptionError, RainError, WorkerError
from rain.own_code import ENDINGS, describe
from rain.runtime.memory import keep_freed_memory
from rain.runtime.progress import Board

LOCAL = "local"
"""The address that stands for a cluster of this machine alone, made for this run."""

RETRIES = 3
"""How often Ray begins a task again whose process was lost."""

LOOK = 1.0
"""Seconds between two looks at what is finished."""


@dataclass
class Report:
    """What a task says when it has ended.

    Args:
        failures: the cells that failed, and how.
        warnings: their texts.
        error: that ended it; None where it did its work.
    """

    failures: dict[Cell, RainError]
    warnings: list[str]
    error: RainError | None = None


def work_on_ray(
    plan: Plan,
    bundles: Sequence[str],
    address: str,
    jobs: int | None,
    shown: Board,
    failures: Failures,
) -> None:
    """Do the work of a plan with tasks of a Ray cluster, all of which see the folder of the results.

    Args:
        plan: of the run.
        bundles: for each chunk of its work the name of its bundle.
        address: of the cluster; ``LOCAL`` for one of this machine alone.
        jobs: tasks at a time; by default one for each GPU, or for as many CPUs as this process has threads.
        shown: told what is done.
        failures: the cells that failed are put there.

    Raises:
        OptionError: Ray is not installed, or there is no such cluster.
        RainError: what a task raised.
        WorkerError: tasks were lost again and again, and the work is not done.
    """
    try:
        import ray
    except ImportError:
        raise OptionError('--ray needs Ray: pip install "rain-defense[ray]"') from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Ray says of its own future
        try:
            place = None if address == LOCAL else address
            ray.init(place, include_dashboard=False, log_to_driver=False, logging_level="error")
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise OptionError(f"no Ray cluster at {address}: {error}") from None
    try:
        by_gpu = plan.assets.device.type == "cuda"
        resources = ray.cluster_resources()
        threads = torch.get_num_threads()
        places = resources.get("GPU", 0) if by_gpu else resources.get("CPU", 1) / threads
        jobs = min(jobs or max(1, int(places)), len(set(bundles)))
        # Of a task's CPUs Ray only counts; that many threads it has.
        order = replace(order_of(plan, bundles, 1, 0), device=plan.assets.device.type, threads=threads)
        task = ray.remote(
            num_cpus=min(threads, resources.get("CPU", 1)), num_gpus=1 if by_gpu else 0, max_retries=RETRIES
        )(_work)
        sent = ray.put(order), ray.put(pack(plan.assets.classifier(spec) for spec in _classifiers(plan)))
        running = [task.remote(*sent, _classifiers(plan)) for _ in range(jobs)]
        reports = _follow(ray, running, plan, shown)
    finally:
        ray.shutdown()
    _conclude(plan, reports, failures)


def _classifiers(plan: Plan) -> list[str]:
    return list(dict.fromkeys(cell.classifier for cell, _ in plan.work))


def pack(classifiers: Iterable[nn.Module]) -> list[nn.Module | None]:
    """Make copies of classifiers that travel; None for one that cannot, and is built where it is needed."""
    packed: list[nn.Module | None] = []
    for classifier in classifiers:
        try:
            packed.append(copy.deepcopy(classifier).cpu())
        except ENDINGS:
            packed.append(None)
    return packed


def _follow(ray: Any, running: list[Any], plan: Plan, shown: Board) -> list[Report | str]:
    """Show what is finished until all tasks have ended; the report of each, or how it was lost."""
    left = dict(enumerate(plan.work))
    reports: list[Report | str] = []
    while running:
        ready, running = ray.wait(running, timeout=LOOK)
        for number, (cell, chunk) in list(left.items()):
            if path_of(plan.folder, cell, chunk).is_file():
                del left[number]
                shown.begin(number)
                shown.end(number)
        for one in ready:
            try:
                reports.append(ray.get(one))
            except ray.exceptions.RayError as error:
                reports.append(str(error).strip().splitlines()[0])
    return reports


def _conclude(plan: Plan, reports: Iterable[Report | str], failures: Failures) -> None:
    """Put together what tasks say."""
    lost = [report for report in reports if isinstance(report, str)]
    told = [report for report in reports if isinstance(report, Report)]
    for text in dict.fromkeys(text for report in told for text in report.warnings):
        warnings.warn(text, stacklevel=6)
    for report in told:
        failures.errors |= report.failures
        if report.error:
            raise report.error
    left = set(pending(plan.folder, {cell for cell, _ in plan.work})).intersection(plan.work)
    count = sum(not failures.has(cell) for cell, _ in left)
    if count:
        reason = lost[0] if lost else "each task had ended in peace"
        raise WorkerError(f"{count} chunks are not done ({reason}): run the same command again")


def _work(order: Order, classifiers: Sequence[nn.Module | None], specs: Sequence[str]) -> Report:
    """Be a worker."""
    report = Report({}, [])
    torch.set_num_threads(order.threads)
    keep_freed_memory()
    failures = Failures()
    try:
        built = {spec: one for spec, one in zip(specs, classifiers, strict=True) if one is not None}
        plan = rebuild(order, built)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = lambda message, *rest: report.warnings.append(str(message))
            with Leases(order.folder) as leases:
                work_on(plan, order.bundles, leases, Board(), failures)
    except RainError as error:
        report.error = portable(error)
    except ENDINGS as error:
        report.error = WorkerError(f"a task could not go on: {describe(error)}")
    report.failures = {cell: portable(error) for cell, error in failures.errors.items()}
    return report
