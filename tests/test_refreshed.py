"""What the documents say of the studies is what ``make docs`` would write now."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rain.bench.cells import load
from rain.report.refresh import MARKED, refresh
from rain.report.stream_plot import stream_plot
from rain.report.verdict_plot import verdict_plot

ROOT = Path(__file__).parent.parent
MARKED_DOCUMENTS = [
    path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if MARKED.search(path.read_text())
]


@pytest.mark.parametrize("path", MARKED_DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_figures_are_those_of_the_studies(path: Path) -> None:
    text = path.read_text()
    assert refresh(text, ROOT) == text, "run: make docs"


def test_every_study_is_among_the_results() -> None:
    text = (ROOT / "docs" / "results.md").read_text()
    for study in (ROOT / "studies").iterdir():
        if study.name != "frequencies":  # whose figures are those of docs/study.md
            assert f"<!-- rain report studies/{study.name} -->" in text


@pytest.mark.parametrize(
    ("name", "draw", "study"),
    [
        ("verdict.svg", verdict_plot, "gate224"),
        ("streams.svg", stream_plot, "gate224"),
        ("streams96.svg", stream_plot, "imagenette96"),
    ],
)
def test_the_plots_are_those_of_the_studies(name: str, draw: Callable[..., str], study: str) -> None:
    svg = draw(load(ROOT / "studies" / study), 4 / 255)
    assert (ROOT / "docs" / name).read_text() == svg, "run: make docs"
