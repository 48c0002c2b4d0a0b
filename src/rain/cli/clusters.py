"""``rain run --slurm``: submit jobs, each of which is the same command."""

from typing import TYPE_CHECKING, Annotated

import typer

from rain.cli.options import refuse_typed

if TYPE_CHECKING:
    from rain.bench.jobs import Request
    from rain.bench.plan import Plan

SLURM_HELP = (
    "Submit jobs to this partition of a Slurm cluster in the place of working here; local starts them on "
    "this machine, and waits. All must see the folder."
)
RAY_HELP = (
    "Work on a Ray cluster: its address, auto, or local for one of this machine alone. All must see the "
    "folder."
)
JOBS_HELP = "Of --slurm and --ray: jobs at a time; by default 8, or as many as Ray has room for."
HOURS_HELP = "Of --slurm: hours after which the cluster ends a job."
CPUS_HELP = "Of --slurm: cores of a job."
GPUS_HELP = "Of --slurm: GPUs of a job."

JOBS = 8
"""Of a Slurm cluster, unless another number is given."""

MOST_JOBS = 10_000
MOST_HOURS = 10_000.0

Slurm = Annotated[str | None, typer.Option(metavar="PARTITION", help=SLURM_HELP)]
Ray = Annotated[str | None, typer.Option(metavar="ADDRESS", help=RAY_HELP)]
Jobs = Annotated[int | None, typer.Option(min=1, max=MOST_JOBS, metavar="N", help=JOBS_HELP)]
Hours = Annotated[float, typer.Option(min=0.1, max=MOST_HOURS, help=HOURS_HELP)]
Cpus = Annotated[int, typer.Option(min=1, max=MOST_JOBS, help=CPUS_HELP)]
Gpus = Annotated[int, typer.Option(min=0, max=1, help=GPUS_HELP)]


def check_one_way(**ways: object) -> None:
    """Raise ``OptionError`` where a run is to be done in two ways at a time."""
    from rain.errors import OptionError

    chosen = [name for name, value in ways.items() if value]
    if len(chosen) > 1:
        raise OptionError(f"choose one of --{' and --'.join(chosen)}")


def check_used(context: typer.Context, *, slurm: str | None, ray: str | None) -> None:
    """Raise ``OptionError`` for options of a cluster where none works."""
    if not slurm:
        refuse_typed(context, ("hours", "cpus", "gpus"), "a run without --slurm")
    if not slurm and not ray:
        refuse_typed(context, ("jobs",), "a run without --slurm or --ray")


def options_of(**options: object) -> list[str]:
    """Write options as a command has them; None, False and "" are left out."""
    words = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value not in (None, False, ""):
            words += [flag, str(value)]
    return words


def submit_jobs(grid: str, plan: "Plan", options: list[str], request: "Request") -> bool:
    """Submit jobs, and say so.

    Args:
        grid: the file, or the name of a shipped grid.
        plan: what they are to do.
        options: of ``rain run`` besides.
        request: what each of them may use.

    Returns: whether they ran here, and have ended.
    """
    from rain.bench import jobs
    from rain.bench.grid import shipped
    from rain.files import to_path

    source = shipped().get(grid, to_path(grid))
    submitted = jobs.submit(source.read_bytes(), plan.folder, options, request)
    numbers = ", ".join(job.job_id for job in submitted)
    print(f"{len(submitted)} jobs are submitted: {numbers}", flush=True)
    print(f"what they print is in {submitted[0].paths.folder}", flush=True)
    if request.partition == jobs.LOCAL:
        jobs.wait(submitted, plan)
        return True
    print(f"what is finished: rain report {plan.folder}; the same command submits jobs for the rest")
    return False
