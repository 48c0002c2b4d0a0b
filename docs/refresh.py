"""Refresh what is generated in the documents: ``python docs/refresh.py`` (or ``make docs``).

Every Markdown file with marks (``rain.report.refresh`` says which there are) is written anew from the result
files in ``studies/``, and the plots are drawn.
"""

from pathlib import Path

from rain.bench.cells import load
from rain.report.refresh import refresh_file
from rain.report.verdict_plot import verdict_plot

ROOT = Path(__file__).parent.parent
PLOT = ROOT / "docs" / "verdict.svg"


def main() -> None:
    """Refresh the documents and the plots; name those that changed."""
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    changed = [path for path in documents if refresh_file(path, ROOT)]
    plot = verdict_plot(load(ROOT / "studies" / "nips2017"), 4 / 255)
    if not PLOT.is_file() or PLOT.read_text() != plot:
        PLOT.write_text(plot)
        changed.append(PLOT)
    print("\n".join(f"changed: {path.relative_to(ROOT)}" for path in changed) or "nothing changed")


if __name__ == "__main__":
    main()
