"""What the pages tell a reader to open, to type or to run is there, and works."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from models import tiny
from typer.testing import CliRunner

import rain
from rain.cli.main import app
from rain.deploy.service import KNOWN_PATHS
from rain.registry import DEFENSES
from rain.training.recipe import shipped

ROOT = Path(__file__).parents[1]
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

BASE = {"dataset": "samples", "classifier": "efficientnet_lite0", "defenses": ["none"], "examples": 1}
"""What a grid needs besides its attacks."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith(("https://", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_part_that_a_link_names_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+\.md#[^)\s]+)\)", page.read_text()):
        file, _, part = target.partition("#")
        headings = re.findall(r"^#+ (.*)$", (page.parent / file).read_text(), re.MULTILINE)
        anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert part in anchors, target


@pytest.mark.parametrize("page", GUIDE, ids=name)
def test_a_page_of_the_guide_is_short(page: Path) -> None:
    assert len(page.read_text().splitlines()) < 120


@pytest.mark.parametrize("page", [ROOT / "README.md", *GUIDE], ids=name)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rain import train

    monkeypatch.chdir(tmp_path)  # what a page writes
    calls: list[str] = []
    monkeypatch.setattr(rain, "load_classifier", lambda spec: tiny().eval(), raising=False)
    monkeypatch.setattr(rain, "run", lambda *_: calls.append("run"), raising=False)
    monkeypatch.setattr(rain.results, "rows", lambda *_: iter([]))
    monkeypatch.setattr(
        rain.results, "frame", lambda *_, **__: calls.append("frame")
    )  # pandas may be missing
    monkeypatch.setattr(train, "fit", lambda *_, **__: calls.append("fit"))
    classifier = tiny().eval()
    names: dict[str, Any] = {
        "rain": rain,
        "torch": torch,
        "images": torch.rand(2, 3, 32, 32),
        "labels": torch.tensor([0, 1]),
        "clean": torch.rand(250, 3, 32, 32),
        "network": tiny(),
        "classifier": classifier,
        "hardened": rain.harden(classifier, "rain"),
        "__name__": "page",
    }
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)
    assert names["hardened"](names["images"]).shape == (2, 5)


@pytest.mark.parametrize("page", [ROOT / "README.md", *GUIDE], ids=name)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:1] == ["rain"]:
            answer = CliRunner().invoke(app, [words[1], "--help"])
            assert answer.exit_code == 0, line
            for option in (word for word in words if word.startswith("--")):
                assert option in answer.output, line
        elif words[:1] == ["make"]:
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
        elif words[:1] == ["python"]:
            assert (ROOT / words[1]).is_file(), line
        elif words[:1] == ["curl"]:
            assert words[-1].endswith(KNOWN_PATHS), line
        elif words[:1] == ["docker"]:
            assert (ROOT / "Dockerfile").is_file(), line
        else:
            assert words[:2] in ([], ["pip", "install"]), line


@pytest.mark.parametrize(
    "page", [page for page in GUIDE if page.stem in ("grids", "attack", "detect")], ids=name
)
def test_the_grids_of_a_page_can_be_read(page: Path) -> None:
    assert blocks(page, "toml")
    for block in blocks(page, "toml"):
        assert rain.grid.expand(BASE | tomllib.loads(block)).cells


def test_the_page_of_the_defences_names_every_one() -> None:
    page = (ROOT / "docs" / "guide" / "defenses.md").read_text()
    for defense in DEFENSES.names():
        assert f"| `{defense}` |" in page, f"docs/guide/defenses.md and docs/defenses.png lack {defense}"


def test_the_page_of_training_names_every_recipe() -> None:
    text = (ROOT / "docs" / "guide" / "train.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    recipes = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    assert shipped().keys() <= recipes
