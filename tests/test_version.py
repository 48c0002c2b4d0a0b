import os
import subprocess
from pathlib import Path

import pytest

from rain.version import revision_of

CARD = "weights/README.md"
FILES = ("version.py", "randomize.py", "cli/main.py", "report/templates/report.html", "bench/checks.py", CARD)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in a git repository of its own, committed."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)  # a hook sets GIT_DIR, and git would work on that repository
    folder = tmp_path / "src" / "rain"
    for file in FILES:
        write(folder / file, "before\n")
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return folder


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "change")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("file", ["cli/main.py", "report/templates/report.html", "bench/checks.py", CARD])
def test_texts_templates_and_checks_leave_the_revision_alone(package: Path, file: str) -> None:
    before = revision_of(package)
    write(package / file, "after\n")
    assert revision_of(package) == before
    commit(package)
    assert revision_of(package) == before


def test_what_computes_changes_the_revision(package: Path) -> None:
    before = revision_of(package)
    write(package / "randomize.py", "after\n")
    in_work = revision_of(package)
    assert in_work.startswith(f"{before}+")
    write(package / "randomize.py", "later\n")
    assert revision_of(package) != in_work
    commit(package)
    committed = revision_of(package)
    assert committed != before
    assert "+" not in committed


@pytest.mark.parametrize("file", ["attacks/new.py", "attacks/__init__.py", "bench/measure.py"])
def test_a_new_file_computes_unless_it_is_named(package: Path, file: str) -> None:
    before = revision_of(package)
    write(package / file, "new\n")
    assert revision_of(package).startswith(f"{before}+")


def test_outside_a_checkout_it_is_released(package: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "version.py", "")
    assert revision_of(tmp_path / "elsewhere") == "released"
    write(package / "copy" / "version.py", "")
    assert revision_of(package / "copy") == "released"  # in a checkout, and none of its files
