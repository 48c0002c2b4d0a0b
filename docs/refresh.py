"""Refresh what is generated in the documents: ``python docs/refresh.py`` (or ``make docs``).

Every Markdown file with marks (``rain.report.refresh`` says which there are) is written anew from the result
files in ``studies/``, the plots are drawn, and the schemas of result files are written.
"""

from pathlib import Path

from rain.bench.cells import load
from rain.bench.published import schema_files
from rain.report.refresh import refresh_file
from rain.report.stream_plot import stream_plot
from rain.report.verdict_plot import verdict_plot

ROOT = Path(__file__).parent.parent
PLOTS = {
    "verdict.svg": (verdict_plot, "gate224"),
    "streams.svg": (stream_plot, "gate224"),
    "streams96.svg": (stream_plot, "imagenette96"),
}
"""The plots in ``docs``: by what each is drawn, and of which study."""

EPS = 4 / 255


def main() -> None:
    """Refresh the documents, the plots and the schemas; name those that changed."""
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    changed = [path for path in documents if refresh_file(path, ROOT)]
    for name, (draw, study) in PLOTS.items():
        path = ROOT / "docs" / name
        plot = draw(load(ROOT / "studies" / study), EPS)
        if not path.is_file() or path.read_text() != plot:
            path.write_text(plot)
            changed.append(path)
    for name, text in schema_files().items():
        path = ROOT / "docs" / name
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
            changed.append(path)
    print("\n".join(f"changed: {path.relative_to(ROOT)}" for path in changed) or "nothing changed")


if __name__ == "__main__":
    main()
