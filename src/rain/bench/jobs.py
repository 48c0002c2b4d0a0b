"""A run as jobs of a Slurm cluster, by submitit: thin, since the files in the folder are the queue.

Each job is the same command, ``rain run GRID --out DIR``, and takes what no other holds
(``rain.bench.leases``), so that a job which is lost, or begins late, costs no more than what it was at.
"""

import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rain.bench.cells import pending, write_file
from rain.bench.plan import Plan
from rain.errors import OptionError, ResultError, WorkerError, shown

if TYPE_CHECKING:
    from submitit import Job

FOLDER = ".jobs"
"""Within the folder of the results: the grid as it was, and what each job printed."""

LOCAL = "local"
"""The partition that stands for processes on this machine, as a trial of the rest."""


@dataclass(frozen=True)
class Request:
    """What each job may use.

    Args:
        partition: of the cluster; ``LOCAL`` for processes on this machine.
        jobs: how many.
        hours: after which the cluster ends a job.
        cpus: of each.
        gpus: of each.
    """

    partition: str
    jobs: int
    hours: float = 24.0
    cpus: int = 4
    gpus: int = 0


def submit(grid: bytes, out: Path, options: Sequence[str], request: Request) -> "list[Job[Any]]":
    """Submit jobs that measure a grid into one folder, which all of them must see.

    Args:
        grid: the text of the grid's file; jobs read a copy, whatever becomes of the file.
        out: folder of the results.
        options: of ``rain run``, besides the grid and ``--out``.
        request: what each job may use.

    Returns: the jobs.

    Raises:
        OptionError: submitit is not installed, or the cluster takes no such jobs.
        ResultError: the folder cannot be written.
    """
    try:
        import submitit
    except ImportError:
        raise OptionError('--slurm needs submitit: pip install "rain-defense[slurm]"') from None
    place = out / FOLDER / secrets.token_hex(4)
    try:
        # submitit reads from here what it is to run: nobody else may write into it.
        place.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise ResultError(f"{place}: cannot be made: {error.strerror or error}") from None
    copy = place / "grid.toml"
    write_file(copy, grid)
    command = [
        sys.executable,
        "-m",
        "rain",
        "run",
        str(copy.resolve()),
        "--out",
        str(out.resolve()),
        *options,
    ]
    try:
        executor = submitit.AutoExecutor(place, cluster=LOCAL if request.partition == LOCAL else "slurm")
        executor.update_parameters(**_parameters(request))
        function = submitit.helpers.CommandFunction(command, cwd=os.getcwd())
        with executor.batch():
            return [executor.submit(function) for _ in range(request.jobs)]
    except (RuntimeError, ValueError, OSError, submitit.core.utils.FailedJobError) as error:
        raise OptionError(f"no jobs can be submitted to {shown(request.partition)}: {error}") from None


def _parameters(request: Request) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "name": "rain",
        "timeout_min": max(1, round(60 * request.hours)),
        "cpus_per_task": request.cpus,
        "gpus_per_node": request.gpus,
    }
    if request.partition != LOCAL:
        parameters["slurm_partition"] = request.partition
    return parameters


def wait(jobs: "Sequence[Job[Any]]", plan: Plan) -> None:
    """Wait until jobs on this machine have ended; where this is interrupted, they are ended.

    Args:
        jobs: that were submitted.
        plan: what they were to do.

    Raises:
        WorkerError: not all of it is done; says how the first of them failed.
    """
    errors = []
    try:
        for job in jobs:
            error = job.exception()
            if error:
                errors.append(f"job {job.job_id}: {_last_line(str(error))}")
    except BaseException:
        for job in jobs:
            job.cancel()
        raise
    left = set(pending(plan.folder, {cell for cell, _ in plan.work})).intersection(plan.work)
    if left:
        reason = errors[0] if errors else "each job had ended in peace"
        logs = f"what they printed is in {jobs[0].paths.folder}"
        raise WorkerError(f"{len(left)} chunks are not done; {reason}; {logs}")


def _last_line(text: str) -> str:
    """What a command printed last: its error."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line]
    return (errors or lines or ["no reason was printed"])[-1].strip()
