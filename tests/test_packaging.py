"""What the metadata and the package's patterns say. ``make dist`` builds and installs the wheel itself."""

import re
import tomllib
from pathlib import Path

import pytest

import rain
from rain import checkpoints
from rain.version import NOT_COMPUTING

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "rain"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NOT_DATA = {".py", ".pyc"}


def test_the_wheel_holds_every_file_of_the_package() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["rain"]
    packed = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    data = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in NOT_DATA}
    assert {".toml", ".html", ".safetensors", ".md"} <= {path.suffix for path in data}
    assert data - packed == set()
    assert all(any(PACKAGE.glob(pattern)) for pattern in patterns)


def test_every_folder_of_the_package_is_found() -> None:
    """A folder without ``__init__.py`` would be left out of the wheel, and work here all the same."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_the_citation_is_of_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [rain.__version__]
    assert re.findall(r"^license: (.+)$", citation, re.MULTILINE) == [PROJECT["project"]["license"]]
    assert PROJECT["project"]["urls"]["Paper"] in citation


def test_every_dependency_is_justified() -> None:
    """Each requirement stands on a line of its own, with a comment; another extra of ours needs none."""
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    project = PROJECT["project"]
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    for requirement in [*project["dependencies"], *extras]:
        if requirement.startswith(project["name"]):
            continue
        line = next(line for line in lines if f'"{requirement}"' in line)
        assert re.search(r"\S\s+# \w", line), requirement


@pytest.mark.parametrize("architecture", ["compact", "small_resnet"])
def test_every_shipped_weight_file_says_why_it_is_shipped(architecture: str) -> None:
    page = (PACKAGE / "weights" / "README.md").read_text()
    for path in checkpoints.shipped(architecture).values():
        assert f"| `{path.stem}` |" in page


def test_what_the_revision_leaves_out_is_there() -> None:
    """A file that moves and is not named anew would count as what computes."""
    names = [name for name in NOT_COMPUTING if "*" not in name and name != "deploy"]
    assert [name for name in names if not (PACKAGE / name).exists()] == []
