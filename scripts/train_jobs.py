"""The jobs of ``scripts/train_on_gpu.sh``: train the shipped DGs on, in order of worth, in given minutes."""

import argparse
import gc
import json
import math
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from gpu_jobs import JOBS, Job

from rain.train import fit, read
from rain.training.fixed import FixedStep
from rain.training.machine import build_fabric
from rain.training.pieces import build, with_side
from rain.training.recipe import setting
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
    left = [job for job in JOBS if job.name in arguments.only and not is_done(places, job.name)]
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
        until = time.time() + seconds
        if not run(places, job, more, seconds, arguments.earlier) and arguments.launch != "eager":
            say(places, f"{job.name}: once more, with plain steps")
            run(places, job, more | {"launch": "eager"}, max(30.0, until - time.time()), arguments.earlier)
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


def unpack_earlier(places: Places, earlier: Path | None, job: Job) -> None:
    """Bring the unfinished run of an earlier call back."""
    if earlier is None or not (earlier / f"{job.name}-state.safetensors").is_file():
        return
    folder = places.run(job.name)
    if folder.exists():
        return
    with tarfile.open(earlier / "logs.tar.gz") as archive:
        names = [f"{job.name}/recipe.json", f"{job.name}/log.jsonl"]
        for name in names:
            member = archive.extractfile(name)
            assert member is not None
            folder.mkdir(parents=True, exist_ok=True)
            (folder / Path(name).name).write_bytes(member.read())
    steps = json.loads((folder / "recipe.json").read_text())["steps"]
    if last_step(folder) >= steps:
        shutil.rmtree(folder)  # it is over: a new one begins with its weights
        return
    shutil.copy(earlier / f"{job.name}-state.safetensors", folder / "state.safetensors")
    if (earlier / f"{job.name}.safetensors").is_file():
        shutil.copy(earlier / f"{job.name}.safetensors", folder / "weights.safetensors")


def last_step(folder: Path) -> int:
    """How far the log of a run goes."""
    rows = (folder / "log.jsonl").read_text().splitlines()
    return max((int(json.loads(row)["step"]) for row in rows), default=0)


def run(places: Places, job: Job, more: dict[str, Any], seconds: float, earlier: Path | None) -> bool:
    """Do one job; whether it came to its end.

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
    over = threading.Event()
    copier = threading.Thread(target=copy_now_and_then, args=(places, job, over), daemon=True)
    copier.start()
    try:
        config = read(job.recipe, **job.changes | fields | more)
        trained = fit(config, folder, resume=True, minutes=seconds / 60)
        (folder / "done").touch()
        outcome = (
            f"best at step {trained.step}: {rounded(trained.measured)}; before: {rounded(trained.began)}"
        )
    except Exception as error:
        traceback.print_exc()
        outcome = f"failed: {error}"
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
    return is_done(places, job.name)


def fields_of(places: Places, job: Job, start: str) -> dict[str, Any]:
    """What a job's recipe learns from, and begins with."""
    return {
        "images": tuple(str(places.pictures / name) for name in job.pictures),
        "validation": str(places.pictures / job.validation),
        "defense": f"rain(enhancer=compact({start}))",
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
    if not (folder / "log.jsonl").is_file():
        return "no log"
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    speeds = [row["validation/images_per_second"] for row in rows if "validation/images_per_second" in row]
    memory = [row["validation/memory_mb"] for row in rows if "validation/memory_mb" in row]
    steps = max((row["step"] for row in rows), default=0)
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
    names = {"weights.safetensors": f"{job.name}.safetensors"}
    if job.keeps_state:
        names["state.safetensors"] = f"{job.name}-state.safetensors"
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
            for path in [folder / "recipe.json", folder / "log.jsonl", *sheets[-1:]]:
                if path.is_file():
                    archive.add(path, f"{folder.name}/{path.relative_to(folder)}")
        if (places.work / "compiling.log").is_file():
            archive.add(places.work / "compiling.log", "compiling.log")
    part.replace(target)


if __name__ == "__main__":
    main()
