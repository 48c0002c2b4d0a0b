"""The site shows every page of docs/ and every example. What needs no build is tested here."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def conf() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "conf.py"))


def entries(text: str) -> list[str]:
    """The pages that the tables of contents of a page lead to."""
    blocks = re.findall(r"```\{toctree\}\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line and not line.startswith(":")]
    return [re.sub(r".*<(.*)>", r"\1", line) for line in lines]


def test_every_page_has_a_place_in_the_contents(conf: dict[str, Any]) -> None:
    shown = entries((DOCS / "index.md").read_text())
    for folder in ("guide", "notebook"):
        contents = conf["contents"]((DOCS / folder / "index.md").read_text())
        shown += [f"{folder}/{page}" for page in entries(contents)]
    pages = [path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.glob("**/*.md")]
    assert sorted([*shown, "index"]) == sorted([*pages, "reference/rain/index"])


def test_every_example_is_shown() -> None:
    shown = re.findall(r"literalinclude\} \.\./examples/(\S+)", (DOCS / "examples.md").read_text())
    assert sorted(shown) == sorted(path.name for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize(
    ("link", "folder", "page"),
    [
        ("../../examples/plugin_attack.py", DOCS / "guide", "/examples.md#plugin_attackpy"),
        ("../../CONTRIBUTING.md", DOCS / "guide", "/contributing.md"),
        ("docs/architecture.md#the-house", ROOT, "/architecture.md#the-house"),
        ("harden.md", DOCS / "guide", "/guide/harden.md"),
        ("https://arxiv.org/abs/2004.14798", DOCS, "https://arxiv.org/abs/2004.14798"),
    ],
)
def test_links_lead_to_pages_of_the_site(conf: dict[str, Any], link: str, folder: Path, page: str) -> None:
    assert conf["lead"](f"[text]({link})", folder) == f"[text]({page})"


def test_remarks_of_a_docstring_become_fields(conf: dict[str, Any]) -> None:
    lines = ["Do it.", "", "Source: the paper,", "section 3.", "", "More."]
    conf["mark"](None, "function", "name", None, None, lines)
    assert lines == ["Do it.", "", "", ":Source: the paper,", "    section 3.", "", "More."]


def test_what_stands_behind_a_figure_is_not_broken(conf: dict[str, Any]) -> None:
    assert conf["whole"]("92.2 (89.2 to 94.5; 400)") == "92.2 (89.2\N{NBSP}to\N{NBSP}94.5;\N{NBSP}400)"
