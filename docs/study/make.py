"""Make the figures and the numbers of docs/study.md: ``python docs/study/make.py`` (or ``make docs``).

Everything comes out of result files in ``studies/``. A number in the page stands between two comments, which
Markdown does not show::

    <!-- study filters.lite0.clean -->92.0 %<!-- end -->

A figure whose results are not there yet has no place in the page.
"""

import re
from collections.abc import Callable
from pathlib import Path

import curves
import frequencies
import robustness

from rain.errors import did_you_mean

HERE = Path(__file__).parent
PAGE = HERE.with_name("study.md")
MARKED = re.compile(r"(<!-- study ([^\n]*?) -->)(.*?)(<!-- end -->)", re.DOTALL)

FIGURES: dict[str, Callable[[], tuple[str, dict[str, str]]]] = {
    "filters": frequencies.filters,
    "perturbations": frequencies.perturbations,
    "stages": frequencies.stages,
    "argument": frequencies.argument,
    "ablation": robustness.ablation,
    "sweeps": robustness.sweeps,
    "budgets": curves.budgets,
    "sizes": curves.sizes,
    "efforts": curves.efforts,
    "balance": curves.balance,
}


def shown(text: str) -> list[str]:
    """The figures that a page shows."""
    return [name for name in FIGURES if f"(study/{name}.svg)" in text]


def refresh(text: str, facts: dict[str, str]) -> str:
    """Write anew what stands between the marks of the page.

    Raises:
        LookupError: a mark names no number.
    """

    def write(mark: re.Match[str]) -> str:
        start, name, _, end = mark.groups()
        if name not in facts:
            raise LookupError(f"docs/study.md: there is no number {name!r}; {did_you_mean(name, facts)}")
        return f"{start}{facts[name]}{end}"

    return MARKED.sub(write, text)


def make() -> tuple[str, dict[str, str]]:
    """The page as it should be, and the figures by the name of their file."""
    text = PAGE.read_text(encoding="utf-8")
    figures: dict[str, str] = {}
    facts: dict[str, str] = {}
    for name in shown(text):
        figures[f"{name}.svg"], own = FIGURES[name]()
        facts |= own
    return refresh(text, facts), figures


def main() -> None:
    """Refresh the page and its figures; name those that changed."""
    text, figures = make()
    changed = [path for path, content in _files(text, figures) if not _is(path, content)]
    for path, content in _files(text, figures):
        path.write_text(content, encoding="utf-8")
    print(
        "\n".join(f"changed: docs/{path.relative_to(HERE.parent)}" for path in changed) or "nothing changed"
    )


def _files(text: str, figures: dict[str, str]) -> list[tuple[Path, str]]:
    return [(PAGE, text), *((HERE / name, svg) for name, svg in figures.items())]


def _is(path: Path, content: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == content


if __name__ == "__main__":
    main()
