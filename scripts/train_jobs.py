"""The jobs of ``scripts/train_on_gpu.sh``: train the shipped DGs on, in order of worth, in given minutes."""

import argparse
import gc
import importlib.util
import json
import math
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import traceback
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from gpu_jobs import JOBS, Job

from rain.errors import RainError
from rain.files import write_atomically
from rain.registry import load_defense
from rain.train import Config, fit, read
from rain.training.fixed import FixedStep
from rain.training.log import LOG, RECIPE, STATE, read_recipe
from rain.training.machine import build_fabric
from rain.training.pieces import build, with_side
from rain.training.recipe import setting
from rain.training.saving import WEIGHTS
from rain.training.snapshot import undone

LEAST_SECONDS = 75.0
"""A job with less time is left out: getting ready alone takes half of it."""

COPY_SECONDS = 20.0

LEAST_GAIN = 1.1
"""How much faster compiled steps must be to be taken."""


def main() -> None:
    """Do the jobs that fit the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--began", type=float, default=time.time(), help="when they began to count")
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--earlier", type=Path)
    parser.add_argument("--launch", default="auto")
    parser.add_argument("--accelerator", default="cuda")
    parser.add_argument("--only", nargs="*", default=[job.name for job in JOBS])
    parser.add_argument("--set", nargs="*", default=[], help="fields of all recipes, for trials")
    parser.add_argument("--compile", metavar="JOB", help="only compile its steps, and say what that gains")
    parser.add_argument("--least", type=float, default=LEAST_SECONDS, help="seconds that a job is worth")
    arguments = parser.parse_args()
    places = Places(arguments.pictures, arguments.out, arguments.work)
    if arguments.compile:
        compile_ahead(places, next(job for job in JOBS if job.name == arguments.compile))
        return
    if arguments.accelerator == "cuda":
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
    end = arguments.began + 60 * arguments.minutes
    left = [job for job in JOBS if job.name in arguments.only and can_be_done(places, job)]
    more = {"launch": arguments.launch, "accelerator": arguments.accelerator}
    more |= dict(setting(text) for text in arguments.set)
    for job in left:
        unpack_earlier(places, arguments.earlier, job)
    if arguments.accelerator == "cuda" and arguments.launch == "auto":
        for job in left:
            start_compiling(places, job)
    while left:
        seconds = share_of(left, end - time.time(), arguments.least)
        job = left.pop(0)
        if seconds < arguments.least:
            say(places, f"{job.name}: left out, {seconds:.0f} s are too little")
            continue
        do(places, job, more, seconds, arguments.earlier)
    pack_logs(places)


@dataclass(frozen=True)
class Places:
    """Where a call reads and writes.

    Args:
        pictures: the folder of pictures.
        out: what is handed back.
        work: the runs.
    """

    pictures: Path
    out: Path
    work: Path

    def run(self, name: str) -> Path:
        """The folder of a job's run."""
        return self.work / "runs" / name


def share_of(left: list[Job], seconds: float, least: float) -> float:
    """How many seconds the first of the jobs that are left gets: more if the last ones would get too few."""
    kept = list(left)
    while len(kept) > 1 and seconds * kept[-1].worth / sum(job.worth for job in kept) < least:
        kept.pop()
    return seconds * kept[0].worth / sum(job.worth for job in kept)


def is_done(places: Places, name: str) -> bool:
    """Whether a job has come to its end."""
    return (places.run(name) / "done").is_file()


def can_be_done(places: Places, job: Job) -> bool:
    """Whether a job is left to do, and its classifier's code is there."""
    if is_done(places, job.name):
        return False
    if job.package and importlib.util.find_spec(job.package) is None:
        say(places, f"{job.name}: left out, there is no {job.package}")
        return False
    return True


def unpack_earlier(places: Places, earlier: Path | None, job: Job) -> None:
    """Bring the unfinished run of an earlier call back. Of one that is over only the weights serve."""
    if earlier is None or not (earlier / f"{job.name}-state.safetensors").is_file():
        return
    folder = places.run(job.name)
    if folder.exists():
        return
    folder.mkdir(parents=True)
    try:
        unpack_logs(earlier / "logs.tar.gz", job.name, folder)
        is_over = last_step(folder) >= read_recipe(folder)["steps"]
    except (OSError, EOFError, KeyError, TypeError, ValueError, tarfile.TarError, zlib.error) as error:
        say(places, f"{job.name}: the earlier run cannot go on ({error}), a new one begins with its weights")
        is_over = True
    if is_over:
        shutil.rmtree(folder)
        return
    shutil.copy(earlier / f"{job.name}-state.safetensors", folder / STATE)
    if (earlier / f"{job.name}.safetensors").is_file():
        shutil.copy(earlier / f"{job.name}.safetensors", folder / WEIGHTS)


def unpack_logs(archive: Path, name: str, folder: Path) -> None:
    """Take the recipe and the log of one run out of what ``pack_logs`` made."""
    with tarfile.open(archive) as files:
        for file in (RECIPE, LOG):
            member = files.extractfile(f"{name}/{file}")
            if member is None:
                raise KeyError(f"{archive} holds no {name}/{file}")
            (folder / file).write_bytes(member.read())


def log_rows(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log; those that were cut off are left out."""
    if not (folder / LOG).is_file():
        return []
    rows = []
    for line in (folder / LOG).read_text(errors="replace").splitlines():
        with suppress(ValueError):
            rows.append(json.loads(line))
    return rows


def last_step(folder: Path) -> int:
    """How far the log of a run goes."""
    return max((int(row["step"]) for row in log_rows(folder)), default=0)


def do(places: Places, job: Job, more: dict[str, Any], seconds: float, earlier: Path | None) -> None:
    """Do one job; where it fails, with plain steps; where its run cannot go on, with a new one."""
    until = time.time() + seconds
    folder = places.run(job.name)
    is_resumed, begin = (folder / STATE).is_file(), last_step(folder)
    error = run(places, job, more, seconds, earlier)
    if isinstance(error, RainError | KeyError | ValueError) and is_resumed and last_step(folder) == begin:
        say(places, f"{job.name}: the earlier run cannot go on, a new one begins with its weights")
        shutil.rmtree(folder)
        error = run(places, job, more, max(30.0, until - time.time()), earlier)
    if error is not None and more["launch"] != "eager":
        say(places, f"{job.name}: once more, with plain steps")
        run(places, job, more | {"launch": "eager"}, max(30.0, until - time.time()), earlier)


def run(
    places: Places, job: Job, more: dict[str, Any], seconds: float, earlier: Path | None
) -> Exception | None:
    """Try to do one job; what stood in the way, or None where it came to its end.

    What goes wrong with it is said, and ends only it, unless the GPU itself is lost.
    """
    begin = time.time()
    own = None if earlier is None else earlier / f"{job.name}.safetensors"
    start = f"weights={own.resolve()}" if own is not None and own.is_file() else job.start
    fields = fields_of(places, job, start)
    if more["launch"] == "auto" and gains_by_compiling(places, job):
        fields["launch"] = "compile"
        more = {name: value for name, value in more.items() if name != "launch"}
    folder = places.run(job.name)
    failure: Exception | None = None
    over = threading.Event()
    copier = threading.Thread(target=copy_now_and_then, args=(places, job, over), daemon=True)
    copier.start()
    try:
        config = as_begun(read(job.recipe, **job.changes | fields | more), folder)
        trained = fit(config, folder, resume=True, minutes=seconds / 60)
        (folder / "done").touch()
        outcome = (
            f"best at step {trained.step}: {rounded(trained.measured)}; before: {rounded(trained.began)}"
        )
    except Exception as error:
        traceback.print_exc()
        failure, outcome = error, f"failed: {error}"
        if is_gpu_lost(error):
            raise
    finally:
        over.set()
        copier.join()
        copy_files(places, job)
    say(places, f"{job.name} ({time.time() - begin:.0f} s): {outcome}; {speed(folder)}")
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return failure


def as_begun(config: Config, folder: Path) -> Config:
    """The recipe that the run in a folder goes on with: with its own start, and the pictures of this call.

    They are the same pictures, unpacked elsewhere; ``fit`` counts them.
    """
    if not (folder / STATE).is_file():
        return config
    begun = read_recipe(folder)
    try:
        load_defense(begun["defense"])
    except RainError:  # it began with weights that are gone; its state holds what became of them
        begun["defense"] = config.defense
    begun |= {"images": config.images, "validation": config.validation}
    write_atomically(folder / RECIPE, (json.dumps(begun, indent=1) + "\n").encode())
    return replace(config, defense=begun["defense"])


def fields_of(places: Places, job: Job, start: str) -> dict[str, Any]:
    """What a job's recipe learns from, and begins with."""
    return {
        "images": tuple(str(places.pictures / name) for name in job.pictures),
        "validation": str(places.pictures / job.validation),
        "defense": job.defense.format(start),
        "checkpoint_minutes": 1.0,
    }


def start_compiling(places: Places, job: Job) -> None:
    """Compile a job's steps in another process, which leaves them in the compiler's cache."""
    if not job.is_compiled or (places.work / f"{job.name}-compiled.json").is_file():
        return
    command = [sys.executable, __file__, "--compile", job.name, "--minutes", "0"]
    for name in ("pictures", "out", "work"):
        command += [f"--{name}", str(getattr(places, name))]
    with (places.work / "compiling.log").open("w") as log:
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def compile_ahead(places: Places, job: Job) -> None:
    """Compile a job's steps, compare them with those that are not, and write down what they gain."""
    begin = time.time()
    fields = job.changes | fields_of(places, job, job.start)
    config = with_side(read(job.recipe, **fields | {"images": str(places.pictures / job.validation)}))
    pieces = build(replace(config, accelerator="cuda", launch="compile"), build_fabric(config))
    pieces.learner.train()
    torch.backends.cudnn.benchmark = True
    images, labels = pieces.validation
    images = images.repeat(2, 1, 1, 1)[: config.batch].cuda()
    labels = labels.repeat(2)[: config.batch].cuda()
    steps = {name: FixedStep(pieces, is_compiled=name == "compiled") for name in ("plain", "compiled")}
    seconds, losses = dict.fromkeys(steps, math.inf), {}
    for _ in range(4):
        for name, step in steps.items():
            with undone(pieces):
                generator = torch.Generator("cuda").manual_seed(0)
                step.fill(0, images, labels, generator, 1e-4)
                torch.cuda.synchronize()
                start = time.time()
                step.compute()
                losses[name] = step.values.tolist()[-2]
                seconds[name] = min(seconds[name], time.time() - start)
    gain = seconds["plain"] / seconds["compiled"]
    is_right = abs(losses["plain"] / losses["compiled"] - 1) < 0.03
    outcome = {"gain": gain, "is_right": is_right, "losses": losses, "seconds": seconds}
    say(places, f"{job.name}: compiled in {time.time() - begin:.0f} s: {outcome}")
    (places.work / f"{job.name}-compiled.json").write_text(json.dumps(outcome))


def gains_by_compiling(places: Places, job: Job) -> bool:
    """Whether a job's steps are compiled already, are right, and are faster so."""
    path = places.work / f"{job.name}-compiled.json"
    if not path.is_file():
        return False
    outcome = json.loads(path.read_text())
    return bool(outcome["is_right"]) and outcome["gain"] > LEAST_GAIN


def is_gpu_lost(error: Exception) -> bool:
    """Whether nothing more can be computed on the GPU by this process."""
    if not torch.cuda.is_available():
        return False
    try:
        torch.cuda.synchronize()
    except Exception:
        return True
    return "CUDA error" in str(error)


def rounded(measures: dict[str, float]) -> dict[str, float]:
    """The same numbers with four digits."""
    return {name: float(f"{value:.4g}") for name, value in measures.items()}


def speed(folder: Path) -> str:
    """How fast a run was, by its log."""
    if not (folder / LOG).is_file():
        return "no log"
    rows = log_rows(folder)
    speeds = [row["validation/images_per_second"] for row in rows if "validation/images_per_second" in row]
    memory = [row["validation/memory_mb"] for row in rows if "validation/memory_mb" in row]
    steps = last_step(folder)
    if not speeds:
        return f"{steps} steps"
    return f"{steps} steps, {speeds[-1]:.0f} images a second, {memory[-1]:.0f} MiB"


def say(places: Places, text: str) -> None:
    """Print a line, and keep it in the summary."""
    print(text, flush=True)
    with (places.out / "summary.txt").open("a") as file:
        file.write(text + "\n")


def copy_now_and_then(places: Places, job: Job, over: threading.Event) -> None:
    """Hand back what there is, as long as the job runs: it may be killed."""
    while not over.wait(COPY_SECONDS):
        copy_files(places, job)


def copy_files(places: Places, job: Job) -> None:
    """Hand back the weights, the state and the log of a job as they are now."""
    folder = places.run(job.name)
    names = {WEIGHTS: f"{job.name}.safetensors"}
    if job.keeps_state:
        names[STATE] = f"{job.name}-state.safetensors"
    for name, target in names.items():
        if (folder / name).is_file():
            shutil.copy(folder / name, places.out / f".{target}")
            (places.out / f".{target}").replace(places.out / target)
    pack_logs(places)


def pack_logs(places: Places) -> None:
    """Put the logs, recipes and last pictures of all runs into one file."""
    target = places.out / "logs.tar.gz"
    part = places.out / ".logs.tar.gz"
    with tarfile.open(part, "w:gz") as archive:
        for folder in sorted((places.work / "runs").glob("*")):
            sheets = sorted((folder / "sheets").glob("*.png"))
            for path in [folder / RECIPE, folder / LOG, *sheets[-1:]]:
                if path.is_file():
                    archive.add(path, f"{folder.name}/{path.relative_to(folder)}")
        if (places.work / "compiling.log").is_file():
            archive.add(places.work / "compiling.log", "compiling.log")
    part.replace(target)


if __name__ == "__main__":
    main()
