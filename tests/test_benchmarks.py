"""The forward benchmark has a row for everything that can be put before a classifier."""

import sys
from pathlib import Path

import pytest

from rain.registry import DEFENSES, ENHANCERS
from rain.specs import parse

FOLDER = Path(__file__).parents[1] / "benchmarks"


def test_every_defence_and_enhancer_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    if not FOLDER.is_dir():
        pytest.skip("the benchmarks are not here")
    monkeypatch.syspath_prepend(str(FOLDER))
    import forward

    rows = forward.rows()
    sys.modules.pop("forward")
    assert {parse(row)[0] for row in rows} == set(DEFENSES.names()) - {"none"}
    options = [parse(row)[1] for row in rows]
    enhancers = {parse(each["enhancer"])[0] for each in options if "enhancer" in each}
    assert enhancers == {name for name in ENHANCERS.names() if ENHANCERS.usage(name) == name}
    assert "rain(enhancer=edsr(weights=None))" in rows
    assert "rain(enhancer=compact)" in rows
