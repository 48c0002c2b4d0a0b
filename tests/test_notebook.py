"""The notebook runs from its first cell to its last, and is one that Jupyter opens."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib import pyplot

NOTEBOOK = Path(__file__).parents[1] / "examples" / "rain.ipynb"
FEW = {"PICTURES": 1, "STEPS": 2, "DRAWS": 2}
"""Numbers of its second cell, for a run of seconds."""


@pytest.fixture
def notebook() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return content


def code(notebook: dict[str, Any]) -> list[str]:
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def with_fewer(source: str) -> str:
    """The same code with small numbers."""
    for name, number in FEW.items():
        source = re.sub(rf"^{name} = \d+$", f"{name} = {number}", source, flags=re.MULTILINE)
    return source


def test_every_cell_runs(notebook: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    backend = matplotlib.get_backend()
    pyplot.switch_backend("Agg")
    names: dict[str, Any] = {"__name__": "notebook"}
    try:
        for number, source in enumerate(code(notebook)):
            exec(compile(with_fewer(source), f"cell {number}", "exec"), names)
        figures = len(pyplot.get_fignums())
    finally:
        pyplot.close("all")
        pyplot.switch_backend(backend)
    assert {name: names[name] for name in FEW} == FEW
    assert figures == 6
    lines = capsys.readouterr().out.splitlines()
    for version in ("clean", "transfer", "static", "adaptive"):
        # Right bare and behind RAIN; how far the two answers differ; what the gate does.
        assert sum(line.startswith(version) for line in lines) == 3
    assert "is bull mastiff, RAIN says bull mastiff" in "\n".join(lines)


def test_each_cell_has_what_the_format_asks_for(notebook: dict[str, Any]) -> None:
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    names = [cell["id"] for cell in notebook["cells"]]
    assert len(names) == len(set(names))
    for cell in notebook["cells"]:
        assert re.fullmatch(r"[\w-]{1,64}", cell["id"])
        assert isinstance(cell["metadata"], dict)
        assert all(line.endswith("\n") for line in cell["source"][:-1])
        if cell["cell_type"] == "code":
            assert (cell["execution_count"], cell["outputs"]) == (None, [])  # no output is kept
        else:
            assert cell["cell_type"] == "markdown"


def test_every_name_of_the_notebook_is_used(notebook: dict[str, Any]) -> None:
    source = "\n".join(code(notebook))
    tree = ast.parse(source)
    imports = [
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    ]
    for name in imports:
        assert len(re.findall(rf"\b{name}\b", source)) > 1, name
