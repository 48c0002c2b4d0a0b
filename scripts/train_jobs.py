"""The jobs of ``scripts/train_on_gpu.sh``: train the shipped DGs on, in order of worth, in given minutes."""

import argparse
import gc
import json
import shutil
import tarfile
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rain.train import fit, read
from rain.training.recipe import setting

LEAST_SECONDS = 75.0
"""A job with less time is left out: getting ready alone takes half of it."""

COPY_SECONDS = 20.0


@dataclass(frozen=True)
class Job:
    """A network to train on.

    Args:
        name: of its files.
        recipe: shipped.
        weights: shipped, that it begins with.
        worth: its share of the time.
        changes: fields of the recipe.
        keeps_state: whether the state goes into OUT, so that a later call goes on.
        pictures, validation: folders below PICTURES; one that is listed twice counts twice.
    """

    name: str
    recipe: str
    weights: str
    worth: float
    changes: dict[str, Any] = field(default_factory=dict)
    keeps_state: bool = False
    pictures: tuple[str, ...] = ("classes", *(4 * ("textures",)))
    validation: str = "validation"


TRANSFERRED = {
    "distillation": 0.5,
    "feature": 6.0,
    "pixel": 3.0,
    "attack": "pgd(steps=2, step=3/255, confidence=inf)",
    "access": "transfer",
    "attacked": 0.5,
    "rate": 5e-4,
    "average": 0.999,
    "zoom": 0.7,
    "batch": 128,
    "validation_images": 200,
}
ADAPTIVE = {
    "distillation": 1.0,
    "feature": 1.0,
    "pixel": 0.1,
    "attack": "pgd(steps=4, step=2/255, confidence=inf)",
    "access": "adaptive",
    "eot": 4,
    "attacked": 0.5,
    "rate": 7e-4,
    "average": 0.999,
    "zoom": 0.7,
    "batch": 128,
    "choose": "robust",
    "validation_images": 200,
}
SMALL = {
    "classifier": "small_resnet(weights=imagenette)",
    "side": 96,
    "attacked": 0.75,
    "zoom": 0.5,
    "batch": 256,
    "validation_images": 100,
}
JOBS = (
    Job("adversarial224", "adversarial", "adversarial224", 0.5, ADAPTIVE, keeps_state=True),
    Job("default", "accuracy", "default", 0.2, TRANSFERRED),
    Job("large", "accuracy", "large", 0.17, TRANSFERRED),
    Job(
        "adversarial",
        "adversarial",
        "adversarial",
        0.13,
        ADAPTIVE | SMALL,
        pictures=("classes",),
        validation="held_out",
    ),
)


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
    parser.add_argument("--least", type=float, default=LEAST_SECONDS, help="seconds that a job is worth")
    arguments = parser.parse_args()
    places = Places(arguments.pictures, arguments.out, arguments.work)
    if arguments.accelerator == "cuda":
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
    end = arguments.began + 60 * arguments.minutes
    left = [job for job in JOBS if job.name in arguments.only and not is_done(places, job.name)]
    more = {"launch": arguments.launch, "accelerator": arguments.accelerator}
    more |= dict(setting(text) for text in arguments.set)
    for job in left:
        unpack_earlier(places, arguments.earlier, job)
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
    weights = own.resolve() if own is not None and own.is_file() else job.weights
    fields: dict[str, Any] = {
        "images": tuple(str(places.pictures / name) for name in job.pictures),
        "validation": str(places.pictures / job.validation),
        "defense": f"rain(enhancer=compact(weights={weights}))",
        "checkpoint_minutes": 1.0,
    }
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
    part.replace(target)


if __name__ == "__main__":
    main()
