"""The script that trains in the minutes of a GPU: a later call goes on with what an earlier one left."""

import json
import shutil
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fitting import rows

from rain import checkpoints
from rain.training.plain import Losses, PlainStep

SCRIPTS = Path(__file__).parents[1] / "scripts"
START = "weights=None, head=4, near=1, features=4, blocks=1"
LAST = 8
"""The step before which the first call is killed."""

CHANGES = {
    "classifier": "models:tiny",
    "side": 32,
    "batch": 4,
    "steps": 12,
    "attack": "",
    "validation_images": 4,
    "precision": "32-true",
    "seed": 3,
}


class Killed(BaseException):
    """What ends a call as a kill does."""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script's module, with one small job."""
    if not SCRIPTS.is_dir():
        pytest.skip("the scripts are not here")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import gpu_jobs
    import train_jobs

    for name in ("gpu_jobs", "train_jobs"):
        sys.modules.pop(name)
    job = gpu_jobs.Job(
        "small", "accuracy", START, 1.0, CHANGES, keeps_state=True, pictures=("all", "all"), validation="held"
    )
    monkeypatch.setattr(train_jobs, "JOBS", (job,))
    # A plan of the steps that fit the time would depend on the machine.
    fit = train_jobs.fit
    monkeypatch.setattr(
        train_jobs, "fit", lambda config, out, resume, minutes: fit(config, out, resume=resume)
    )
    return train_jobs


@pytest.fixture
def places(folder: Path, held_out: Path, tmp_path: Path) -> Callable[[str], list[str]]:
    """The arguments of a call that has all its folders for itself, the pictures among them."""

    def make(name: str) -> list[str]:
        pictures = tmp_path / name / "pictures"
        shutil.copytree(folder, pictures / "all")
        shutil.copytree(held_out, pictures / "held")
        (tmp_path / name / "out").mkdir()
        arguments = ["--minutes", "1", "--accelerator", "cpu", "--least", "0"]
        for key in ("pictures", "out", "work"):
            arguments += [f"--{key}", str(tmp_path / name / key)]
        return arguments

    return make


@pytest.fixture
def call(
    script: Any, places: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Make a call of that name, after another one or not; its OUT."""

    def run(name: str, *more: str, earlier: Path | None = None) -> Path:
        arguments = [*places(name), *more]
        if earlier:
            arguments += ["--earlier", str(earlier)]
        monkeypatch.setattr(sys, "argv", ["train_jobs.py", *arguments])
        script.main()
        return tmp_path / name / "out"

    return run


@pytest.fixture
def killed(call: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make a call that is killed after its checkpoint; its OUT, moved to where it was fetched."""
    make = PlainStep.make

    def die(step: PlainStep, number: int, is_due: bool) -> Losses | None:
        if number == LAST:
            raise Killed
        return make(step, number, is_due)

    def run(name: str, *more: str, earlier: Path | None = None) -> Path:
        often = ["--set", "checkpoint_minutes=0.0", "validate_every=4"]
        with monkeypatch.context() as patch:
            patch.setattr(PlainStep, "make", die)
            with pytest.raises(Killed):
                call(name, *often, *more, earlier=earlier)
        shutil.move(tmp_path / name / "out", tmp_path / f"{name}-out")
        shutil.rmtree(tmp_path / name)
        return tmp_path / f"{name}-out"

    return run


def summary(out: Path) -> str:
    return (out / "summary.txt").read_text()


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = (checkpoints.read(path)[0] for path in (one, other))
    return all(bool((ours[name] == theirs[name]).all()) for name in ours)


def test_a_call_goes_on_with_a_killed_one_to_the_same_bits(
    call: Callable[..., Path], killed: Callable[..., Path], tmp_path: Path
) -> None:
    often = ("--set", "validate_every=4")
    single = call("single", *often)
    first = killed("first")
    assert {path.name for path in first.iterdir()} == {
        "logs.tar.gz",
        "small-state.safetensors",
        "small.safetensors",
    }
    second = call("second", *often, earlier=first)
    assert "best at step" in summary(second)
    assert "failed" not in summary(second)
    log = rows(tmp_path / "second" / "work" / "runs" / "small")
    assert [row["step"] for row in log] == [
        row["step"] for row in rows(tmp_path / "single" / "work" / "runs" / "small")
    ]
    assert same_weights(second / "small-state.safetensors", single / "small-state.safetensors")


def test_a_job_whose_classifier_is_not_there_is_left_out(
    script: Any, call: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = script.JOBS
    lacking = replace(job, name="lacking", package="no_such_package")
    monkeypatch.setattr(script, "JOBS", (lacking, job))
    out = call("some")
    assert "lacking: left out, there is no no_such_package" in summary(out)
    assert not list(out.glob("lacking*"))
    assert (out / "small.safetensors").is_file()


def test_a_denoiser_goes_on_from_its_own_weights(
    script: Any, call: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = script.JOBS
    denoiser = replace(
        job, recipe="denoise", defense="smooth(sigma=0.25, enhancer=compact(scale=1, {}))", name="denoiser"
    )
    monkeypatch.setattr(script, "JOBS", (denoiser,))
    first = call("first")
    call("second", earlier=first)
    assert "failed" not in summary(first)
    assert checkpoints.read(first / "denoiser.safetensors")[1]["behind"] == "smooth(sigma=0.25)"


def test_a_run_that_began_with_weights_that_are_gone_goes_on(
    call: Callable[..., Path], killed: Callable[..., Path], tmp_path: Path
) -> None:
    often = ("--set", "validate_every=4")
    zeroth = call("zeroth", *often)
    # Its run is over: the next begins with its weights, and is killed.
    first = killed("first", earlier=zeroth)
    shutil.rmtree(tmp_path / "zeroth")
    second = call("second", *often, earlier=first)
    assert "best at step" in summary(second)
    assert "failed" not in summary(second)
    log = rows(tmp_path / "second" / "work" / "runs" / "small")
    assert [row["step"] for row in log if row["step"] <= LAST] == [0, 4, 8]


def test_a_run_that_is_over_gives_its_weights_to_a_new_one(call: Callable[..., Path], tmp_path: Path) -> None:
    first = call("first")
    second = call("second", earlier=first)
    card = checkpoints.read(second / "small.safetensors")[1]
    assert str(first / "small.safetensors") in json.loads(card["recipe"])["defense"]
    assert "start" in card


@pytest.mark.parametrize("harm", ["recipe", "state", "logs"])
def test_a_run_that_cannot_go_on_gives_its_weights_to_a_new_one(
    harm: str, call: Callable[..., Path], killed: Callable[..., Path], tmp_path: Path
) -> None:
    first = killed("first")
    more = ["--set", "validate_every=4"]
    if harm == "recipe":
        more.append("rate=0.01")
    elif harm == "state":
        state = first / "small-state.safetensors"
        state.write_bytes(state.read_bytes()[:100])
    else:
        (first / "logs.tar.gz").write_bytes(b"nothing")
    second = call("second", *more, earlier=first)
    assert "cannot go on" in summary(second)
    assert "best at step" in summary(second)
    card = checkpoints.read(second / "small.safetensors")[1]
    assert str(first / "small.safetensors") in json.loads(card["recipe"])["defense"]
    with tarfile.open(second / "logs.tar.gz") as archive:
        assert "small/log.jsonl" in archive.getnames()


def test_a_second_try_in_the_same_folder_goes_on(
    script: Any, call: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where captured steps fail in the midst of a run."""
    make, failures = PlainStep.make, []

    def fail_once(step: PlainStep, number: int, is_due: bool) -> Losses | None:
        if number == LAST and not failures:
            failures.append(number)
            raise RuntimeError("no such stream")
        return make(step, number, is_due)

    monkeypatch.setattr(PlainStep, "make", fail_once)
    out = call("only", "--set", "checkpoint_minutes=0.0", "validate_every=4")
    assert "once more, with plain steps" in summary(out)
    assert "best at step" in summary(out)
    assert "cannot go on" not in summary(out)
