"""A run as jobs of Slurm and as tasks of Ray: the same files, though a worker is killed."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rain.bench import jobs
from rain.bench.jobs import Request
from rain.bench.plan import prepare
from rain.bench.runners import measure, run
from rain.cli.clusters import options_of
from rain.cli.main import app
from rain.errors import WorkerError

TESTS = str(Path(__file__).parent.parent)

GRID = """
dataset = "csv:{pictures}"
size = 32
classifier = "{classifier}"
defenses = ["none", "jpeg"]
examples = 6
chunk = 2
[[attacks]]
attack = "none"
[[attacks]]
attack = "pgd(steps=2)"
access = ["transfer", "static"]
eps = ["8/255"]
"""


@pytest.fixture
def grid(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A grid whose classifier kills one of the processes that ask it, if $DYING_IN says where."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [TESTS, os.environ.get("PYTHONPATH")])))
    path = tmp_path / "grid.toml"
    path.write_text(GRID.format(pictures=pictures, classifier="dying:mortal"))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    paths = folder.glob("*/*.[jn]*")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.parent.name[0] != "."}


def rain(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["run", *map(str, arguments)])


def test_jobs_leave_the_files_of_a_single_run_though_one_is_killed(
    grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    single, shared = tmp_path / "single", tmp_path / "shared"
    run(grid, single)
    monkeypatch.setenv("DYING_IN", str(shared))
    done = rain(grid, "--out", shared, "--slurm", "local", "--jobs", 2)
    assert done.exit_code == 0, done.output
    assert "2 jobs are submitted" in done.output
    assert (shared / "died").exists()
    assert contents(shared) == contents(single)
    assert not (shared / ".leases").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_tasks_leave_the_files_of_a_single_run_though_one_is_killed(
    grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    single, shared = tmp_path / "single", tmp_path / "shared"
    expected = run(grid, single)
    monkeypatch.setenv("DYING_IN", str(shared))
    assert measure(prepare(grid, shared), ray="local", jobs=2) == expected
    assert (shared / "died").exists()
    assert contents(shared) == contents(single)
    assert not (shared / ".leases").exists()


def test_a_cluster_that_is_not_there_is_one_line(grid: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    done = rain(grid, "--out", tmp_path / "out", "--slurm", "gpu")
    assert done.exit_code == 1
    assert "error: no jobs can be submitted to 'gpu'" in done.output


@pytest.mark.parametrize(("module", "option"), [("submitit", "--slurm"), ("ray", "--ray")])
def test_without_the_library_it_says_what_to_install(
    grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, option: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    done = rain(grid, "--out", tmp_path / "out", option, "local")
    assert done.exit_code == 1
    assert f'pip install "rain-defense[{option.strip("-")}]"' in done.output


def test_two_ways_at_a_time_are_refused(grid: Path, tmp_path: Path) -> None:
    done = rain(grid, "--out", tmp_path / "out", "--slurm", "gpu", "--workers", 2)
    assert done.exit_code == 1
    assert "choose one of --slurm and --workers" in done.output


class Failed:
    """A job that failed."""

    job_id = "7"

    class paths:  # noqa: N801
        folder = Path("logs")

    def exception(self) -> Exception:
        return RuntimeError("Job failed\n-------\nwarning: x\nerror: the disk is full\n")


def test_jobs_that_fail_are_told_with_what_they_printed(grid: Path, tmp_path: Path) -> None:
    plan = prepare(grid, tmp_path / "out")
    message = "18 chunks are not done; job 7: error: the disk is full; what they printed is in logs"
    with pytest.raises(WorkerError, match=message):
        jobs.wait([Failed(), Failed()], plan)


def test_options_are_written_as_a_command_has_them() -> None:
    words = options_of(dataset="csv:a b", examples=None, skip_damaged=True, attack_batch=4, device=None)
    assert words == ["--dataset", "csv:a b", "--skip-damaged", "--attack-batch", "4"]
    assert options_of(skip_damaged=False) == []


def test_what_jobs_may_use_reaches_the_cluster() -> None:
    parameters = jobs._parameters(Request("gpu", 3, hours=0.5, cpus=8, gpus=1))
    assert parameters["slurm_partition"] == "gpu"
    assert (parameters["timeout_min"], parameters["cpus_per_task"], parameters["gpus_per_node"]) == (30, 8, 1)
    assert "slurm_partition" not in jobs._parameters(Request("local", 3))
