"""Refresh what is generated in the documents: ``python docs/refresh.py`` (or ``make docs``).

Every Markdown file with marks (``rain.report.refresh`` says which there are) is written anew from the result
files in ``studies/``, the plots are drawn, and the schemas of result files are written.
"""

import csv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rain.bench.cells import Result, load
from rain.bench.certificates import load_certified
from rain.bench.published import schema_files
from rain.report.baseline_plot import baseline_plot
from rain.report.defense_plot import defense_plot
from rain.report.proven_plot import proven_plot
from rain.report.refresh import refresh_file
from rain.report.stream_plot import stream_plot
from rain.report.verdict_plot import verdict_plot

ROOT = Path(__file__).parent.parent
ROBUST = "small_resnet(weights=runs/robust/{}/weights.safetensors)"
NAMES = {
    ROBUST.format("trades4"): "TRADES 4/255",
    ROBUST.format("madry4"): "4/255",
    ROBUST.format("madry2"): "2/255",
    ROBUST.format("madry1"): "1/255",
    "small_resnet(weights=imagenette)": "as shipped",
}
"""What the plot of robust classifiers calls them: by the budget of their training."""

TRAINED = "rain(enhancer={0}(weights=runs/enhancers/{0}/weights.safetensors{1}))"
NETWORKS = {
    TRAINED.format("compact", ""): "compact",
    TRAINED.format("srcnn", ""): "srcnn",
    TRAINED.format("srresnet", ", features=32, blocks=2"): "srresnet",
    TRAINED.format("hdrnet", ""): "hdrnet",
    "rain(enhancer=bicubic)": "bicubic",
    "rain(enhancer=compact(weights=imagenette))": "compact, as shipped",
}
"""What the plot of networks calls them."""


def all_defenses(
    results: Sequence[Result], eps: float, study: str, names: dict[str, str] | None = None
) -> str:
    """Draw a study of many defences, with what ``benchmarks/forward.py --grid --csv`` measured of each."""
    with (ROOT / "docs" / "costs" / f"{study}.csv").open(newline="") as file:
        costs = {row["name"]: float(row["ratio"]) for row in csv.DictReader(file)}
    return defense_plot(results, eps, costs, names)


def robust_classifiers(results: Sequence[Result], eps: float) -> str:
    """Draw the study of robust classifiers, with the shipped one behind RAIN out of two others."""
    with_networks = [
        f"rain(enhancer=compact(weights={name}))" for name in ("known", "adversarial", "imagenette")
    ]
    others = [one for study in ("imagenette96", "known96") for one in load(ROOT / "studies" / study)]
    shipped = [one for one in others if one.cell.defense in with_networks]
    return baseline_plot([*results, *shipped], eps, NAMES)


def proven(results: Sequence[Result], _: float, study: str) -> str:
    """Draw the certificates of a study, beside its attacks."""
    return proven_plot(load_certified(ROOT / "studies" / study), results)


PLOTS: dict[str, tuple[Callable[[Sequence[Result], float], str], str]] = {
    "verdict.svg": (verdict_plot, "gate224"),
    "streams.svg": (stream_plot, "gate224"),
    "streams96.svg": (stream_plot, "imagenette96"),
    "defenses96.svg": (partial(all_defenses, study="defenses96"), "defenses96"),
    "defenses224.svg": (partial(all_defenses, study="defenses224"), "defenses224"),
    "defenses224-lite2.svg": (partial(all_defenses, study="defenses224-lite2"), "defenses224-lite2"),
    "enhancers96.svg": (partial(all_defenses, study="enhancers96", names=NETWORKS), "enhancers96"),
    "certified96.svg": (partial(proven, study="certified96"), "certified96"),
    "baseline.svg": (robust_classifiers, "robust96"),
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
