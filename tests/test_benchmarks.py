"""The forward benchmark has a row for everything that can be put before a classifier."""

import sys
from pathlib import Path

import pytest

from rain.registry import DEFENSES, ENHANCERS, load_enhancer
from rain.specs import canonical, parse
from rain.train import read

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


def test_the_slim_network_is_the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its weights are not here, what is timed and what a GPU trains is what the recipe trains."""
    scripts = FOLDER.parent / "scripts"
    if not (FOLDER.is_dir() and scripts.is_dir()):
        pytest.skip("the benchmarks are not here")
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.syspath_prepend(str(scripts))
    import deploy
    import gpu_jobs

    for name in ("deploy", "forward", "gpu_jobs"):
        sys.modules.pop(name)
    defense = canonical(read("fast", images="a", validation="b").defense)
    job = next(job for job in gpu_jobs.JOBS if job.name == "fast")
    assert canonical(deploy.UNTRAINED) == defense
    assert canonical(f"rain(enhancer=compact({job.start}))") == defense
    for job in gpu_jobs.JOBS:
        assert read(job.recipe, images="a", validation="b", **job.changes)
        _, options = parse(job.defense.format(job.start))
        load_enhancer(options["enhancer"])
    assert sum(job.worth for job in gpu_jobs.JOBS) == pytest.approx(1)
