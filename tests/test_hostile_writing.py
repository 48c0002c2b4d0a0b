"""Names, links, devices, pipes and streams that nobody meant to be written, or read."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from measuring import grid
from typer.testing import CliRunner

import rain
from rain.bench import runners
from rain.cli.main import app
from rain.datasets import read_table
from rain.errors import DatasetError, GridError, ImageError, ResultError, TrainError
from rain.files import open_regular, try_to_write, write_atomically, write_named
from rain.report.exports import write_output
from rain.training.log import LOCK, Journal, lock
from rain.training.log import prepare as prepare_training
from rain.training.recipe import Config

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other links and devices")

OPTIONS = ("--classifier", "models:tiny", "--defense", "rain(enhancer=bicubic)")
SECRET = "root:x:0:0:a secret:/root\nmore\n"


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A pipe that nobody writes to: who opens it waits."""
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    return path


@pytest.fixture
def link(tmp_path: Path) -> Path:
    """A link to a file in another folder."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "target").write_text("target")
    path = tmp_path / "link"
    path.symlink_to(tmp_path / "elsewhere" / "target")
    return path


def report(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


# --- writing


@pytest.mark.parametrize("write", [write_named, write_output])
def test_of_a_link_that_was_named_the_target_is_written(
    link: Path, write: Callable[[Path, bytes], None]
) -> None:
    write(link, b"new")
    assert link.is_symlink()
    assert link.resolve().read_bytes() == b"new"
    assert [path.name for path in link.resolve().parent.iterdir()] == ["target"]


def test_a_link_that_leads_nowhere_yet_leads_to_the_file_then(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("later")
    write_named(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "later").read_bytes() == b"new"


def test_in_a_folder_of_results_a_link_gives_way_and_its_target_stays(link: Path) -> None:
    write_atomically(link, b"new")
    assert not link.is_symlink()
    assert (link.parent / "elsewhere" / "target").read_text() == "target"


@pytest.mark.parametrize("write", [write_named, write_atomically, try_to_write])
def test_what_is_no_file_is_neither_replaced_nor_waited_for(
    tmp_path: Path, pipe: Path, write: Callable[..., None]
) -> None:
    device = tmp_path / "device"
    device.symlink_to(os.devnull)
    content = () if write is try_to_write else (b"new",)
    for path in (pipe, device, Path(os.devnull)):
        with pytest.raises(OSError, match="a device or a pipe"):
            write(path, *content)
    for path in (tmp_path, Path(), Path("/")):
        with pytest.raises(IsADirectoryError):
            write(path, *content)
    with pytest.raises(OSError, match="no home of ~nobody-of-that-name"):
        write(Path("~nobody-of-that-name/page.html"), *content)
    with pytest.raises(OSError, match="zero byte"):
        write(tmp_path / "a\0b", *content)
    assert pipe.is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["device", "pipe.png"]
    assert not Path("~nobody-of-that-name").exists()


def test_every_name_that_a_file_can_have_can_be_written(tmp_path: Path) -> None:
    longest = tmp_path / ("ä" * 127)
    try_to_write(longest)
    write_named(longest, b"new")
    assert longest.read_bytes() == b"new"
    for write in (try_to_write, lambda path: write_named(path, b"new")):
        with pytest.raises(OSError, match="too long"):
            write(tmp_path / ("a" * 300))
    assert list(tmp_path.iterdir()) == [longest]


def test_a_lock_follows_no_link_and_empties_nothing(tmp_path: Path, link: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / LOCK).symlink_to(link.resolve())
    with pytest.raises(TrainError, match=r"\.lock is a link.*choose another folder"):
        lock(out)
    assert link.read_text() == "target"
    (out / LOCK).unlink()
    os.mkfifo(out / LOCK)
    with pytest.raises(TrainError, match="a device or a pipe"):
        lock(out)
    (out / LOCK).unlink()
    (out / LOCK).write_text("of somebody")
    file = lock(out)
    assert file is not None
    with pytest.raises(TrainError, match="another process"):
        lock(out)
    file.close()
    assert (out / LOCK).read_text() == "of somebody"


def test_pictures_and_logs_of_a_training_follow_no_link(
    tmp_path: Path, link: Path, config: Callable[..., Config]
) -> None:
    out = tmp_path / "out"
    prepare_training(out, config(), resume=False)
    (out / "sheets").mkdir()
    for name in ("recipe.json", "log.jsonl", "sheets/0000003.png"):
        (out / name).symlink_to(link.resolve())
    journal = Journal(out, config(), 0)
    journal.write(3, {"loss": 1.0})
    journal.draw(3, torch.zeros(3, 4, 4))
    journal.close()
    assert link.read_text() == "target"
    assert json.loads((out / "log.jsonl").read_text())["step"] == 3


def test_long_work_is_not_done_for_a_file_that_cannot_be_written(
    pictures: Path, tmp_path: Path, pipe: Path
) -> None:
    for out in (pipe, tmp_path, tmp_path / ("a" * 300)):
        for command in (["explain", "nowhere.png", "--html"], ["calibrate", "--images", "nowhere", "--out"]):
            done = CliRunner().invoke(app, [*command, str(out), *OPTIONS])
            assert done.exit_code == 1
            (line,) = done.stderr.splitlines()
            assert line.startswith(f"error: {out}: ")
            assert "nowhere" not in line


# --- options and streams


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "results", "--html", ""],
        ["report", "results", "--json="],
        ["report", ""],
        ["run", "demo", "--out", ""],
        ["predict", "", *OPTIONS],
        ["calibrate", "--images", "pictures", "--out", ""],
    ],
)
def test_an_empty_argument_is_not_the_folder_here(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "an argument is empty, after " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def results(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    attacks = [{"attack": "none"}]
    runners.run(grid(pictures, examples=2, defenses=["none"], attacks=attacks), folder)
    return folder


def shell(command: str) -> "subprocess.CompletedProcess[str]":
    """Run a line of a shell in which $RAIN is the command."""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "RAIN": f"{sys.executable} -m rain",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    return subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
@pytest.mark.parametrize(
    ("command", "status", "errors"),
    [
        ("$RAIN list > /dev/full", 1, ["error: standard output cannot be written: No space left on device"]),
        (
            "$RAIN --version > /dev/full",
            1,
            ["error: standard output cannot be written: No space left on device"],
        ),
        (
            "$RAIN report {results} > /dev/full",
            1,
            ["error: standard output cannot be written: No space left on device"],
        ),
        (
            "$RAIN report {results} >&-",
            1,
            ["error: standard output is closed; send it to a file, or to /dev/null"],
        ),
        ("$RAIN report {results} --json - 2>&- | grep -c dataset", 0, []),
        ("$RAIN report {results} | head -1; exit ${{PIPESTATUS[0]}}", None, []),
        ("$RAIN report nowhere 2> /dev/full", 1, []),
        ("$RAIN report {results} --json {results}/rows 2> /dev/full > /dev/null", 0, []),
    ],
)
def test_output_that_cannot_be_written(
    results: Path, command: str, status: int | None, errors: list[str]
) -> None:
    done = shell(command.format(results=results))
    assert done.stderr.splitlines() == errors
    # Who reads one line may come before the last one is written, or after.
    assert done.returncode in ((0, 1) if status is None else (status,))


# --- reading


@pytest.mark.parametrize("name", ["pipe", "device", "folder", "long", "zero byte", "nobody"])
def test_a_picture_that_is_no_file(tmp_path: Path, pipe: Path, name: str) -> None:
    path = {
        "pipe": str(pipe),
        "device": "/dev/zero",
        "folder": str(tmp_path),
        "long": str(tmp_path / ("a" * 300)),
        "zero byte": "a\0b.png",
        "nobody": "~nobody-of-that-name/a.png",
    }[name]
    with pytest.raises(ImageError, match=r"cannot be opened as a file|no such file") as error:
        rain.read_image(path)
    assert "\n" not in str(error.value)


def test_a_table_that_is_no_file(tmp_path: Path, pipe: Path) -> None:
    for path in (pipe, Path("/dev/zero"), tmp_path / ("a" * 300), tmp_path):
        with pytest.raises(DatasetError, match="cannot be read"):
            read_table(path, ("file", "label"))
    (tmp_path / "labels.csv").symlink_to(pipe)
    with pytest.raises(DatasetError, match="a device, a pipe or a folder"):
        read_table(tmp_path / "labels.csv", ("file",))


def test_a_grid_that_is_no_file(pipe: Path) -> None:
    from rain.bench.grid import read

    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(GridError):
            read(path)


@pytest.mark.parametrize("content", [SECRET, "hunter2\n", "secret one,secret two\n1,2\n", "a;b\n"])
def test_an_error_tells_nothing_of_a_file_that_is_no_table(tmp_path: Path, content: str) -> None:
    path = tmp_path / "passwd"
    path.write_text(content)
    with pytest.raises(DatasetError, match="no column 'file' in its first line, which has") as error:
        read_table(path, ("file", "label"))
    words = content.replace(",", "\n").splitlines()
    assert not any(word in str(error.value) for word in words if len(word) > 1)


def test_a_column_that_is_meant_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("File ,labels\na.png,1\n")
    with pytest.raises(DatasetError, match="has 2 columns; 'File ' must be 'file'"):
        read_table(path, ("file", "label"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("file,label\n" + 100_000 * ",\n", "entry 1 .* has no file"),
        (",".join(map(str, range(5000))) + "\n", "5000 columns are too many"),
    ],
)
def test_a_table_without_an_end_is_left_at_its_first_fault(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(DatasetError, match=says):
        read_table(path, ("file", "label"))


def test_a_file_is_read_as_it_ever_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\r\ntwo")
    with open_regular(path) as file:
        assert file.read() == b"one\r\ntwo"
    with pytest.raises(ResultError, match=r"Not a directory|File exists"):
        write_output(path / "below", b"")
    assert report(tmp_path / ("a" * 300)).exit_code == 1
