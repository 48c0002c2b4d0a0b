"""What the documents say of the studies is what ``make docs`` would write now."""

import runpy
from pathlib import Path

import pytest

from rain.bench.cells import load
from rain.report.refresh import MARKED, refresh

ROOT = Path(__file__).parent.parent
PLOTS = runpy.run_path(str(ROOT / "docs" / "refresh.py"))["PLOTS"]
MARKED_DOCUMENTS = [
    path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if MARKED.search(path.read_text())
]


@pytest.mark.parametrize("path", MARKED_DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_figures_are_those_of_the_studies(path: Path) -> None:
    text = path.read_text()
    assert refresh(text, ROOT) == text, "run: make docs"


@pytest.mark.parametrize("path", MARKED_DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_figure_begins_a_line(path: Path) -> None:
    """A comment at the beginning of a line ends the paragraph (CommonMark, HTML blocks)."""
    assert not [line for line in path.read_text().splitlines() if line.lstrip().startswith("<!-- figure")]


def test_every_study_is_among_the_results() -> None:
    text = (ROOT / "docs" / "results.md").read_text()
    for study in (ROOT / "studies").iterdir():
        if study.name != "frequencies":  # whose figures are those of docs/study.md
            assert f"<!-- rain report studies/{study.name} -->" in text


@pytest.mark.parametrize("name", PLOTS)
def test_the_plots_are_those_of_the_studies(name: str) -> None:
    draw, study = PLOTS[name]
    svg = draw(load(ROOT / "studies" / study), 4 / 255)
    assert (ROOT / "docs" / name).read_text() == svg, "run: make docs"
