"""What the bench holds defences and attacks of other packages to."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from measuring import grid
from torch import Tensor

from rain.bench import runners
from rain.bench.checks import check
from rain.defense import Defense
from rain.errors import OptionError, ResultError
from rain.registry import ATTACKS, DEFENSES, foreign_code

# --- a defence's word


class Rounding(Defense):
    """Few levels, and no gradient."""

    random = False

    def draw(self, images: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        return {}

    def transform(self, images: Tensor, draw: Any) -> Tensor:
        return (images * 15).round() / 15


class Detached(Rounding):
    def transform(self, images: Tensor, draw: Any) -> Tensor:
        return images.detach()


class Sneaky(Rounding):
    """Noise that no draw knows of."""

    def transform(self, images: Tensor, draw: Any) -> Tensor:
        return (images + 0.1 * torch.randn_like(images)).clamp(0, 1)


class Liar(Rounding):
    def draw(self, images: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        return {"factor": torch.rand(1, generator=generator)}

    def transform(self, images: Tensor, draw: Any) -> Tensor:
        return images * draw["factor"]


class Loud(Rounding):
    def transform(self, images: Tensor, draw: Any) -> Tensor:
        return images * 3


class Numb(Rounding):
    def transform(self, images: Tensor, draw: Any) -> Tensor:
        return images.mean((2, 3))


class Honest(Rounding):
    differentiable = False


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (
            {"draw": lambda self, images: {}},
            r"draw: too many .*; write def draw\(self, images, generator=None",
        ),
        ({"transform": lambda self: None}, r"write def transform\(self, images, draw\)"),
        (
            {"answer": lambda self, classify, images, draw: None},
            r"'copies'; write def answer\(self, classify",
        ),
    ],
)
def test_a_method_that_takes_other_arguments_is_told_at_once(methods: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        type("Odd", (Rounding,), methods)


@pytest.mark.parametrize(
    ("defense", "said"),
    [
        (Rounding, "says differentiable = True, and no gradient comes through it"),
        (Detached, "says differentiable = True, and no gradient comes through it"),
        (Sneaky, "the same draw gives other outputs"),
        (Liar, "says random = False, and other draws give other outputs"),
        (Loud, r"gives values from .*: keep to \[0, 1\]"),
        (Numb, r"gives \(1, 3\) for images"),
    ],
)
def test_a_defence_that_would_blind_its_attacker_is_refused(
    defense: type[Defense], said: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DEFENSES._entries, "odd", defense)
    with pytest.raises(OptionError, match=said):
        runners.run(grid(pictures, defenses=["odd"]), tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_defence_that_says_it_has_no_gradient_is_measured(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DEFENSES._entries, "odd", Honest)
    assert all(result.complete for result in runners.run(grid(pictures, defenses=["odd"]), tmp_path))


# --- code from elsewhere


def plugged(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put an attack of another package, ``theirs``, where entry points would bring it."""
    (tmp_path / "theirs.py").write_text("import torch\n\n" + source)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("theirs", None)
    importlib.invalidate_caches()
    monkeypatch.setitem(ATTACKS._entries, "theirs", importlib.import_module("theirs").theirs)


@pytest.mark.parametrize("access", ["static", "query"])
def test_an_attack_that_takes_no_generator_is_repeated_all_the_same(
    access: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "def theirs(model, images, labels, *, eps, norm):\n"
        "    model(images)\n"
        "    return (images + eps * torch.randn_like(images).sign()).clamp(0, 1)\n"
    )
    plugged(source, tmp_path, monkeypatch)
    wanted = grid(
        pictures,
        classifier="models:nervous",
        attacks=[{"attack": "theirs", "access": access, "eps": "8/255"}],
    )
    before = torch.random.get_rng_state()
    found = [runners.run(wanted, tmp_path / name) for name in "ab"]
    assert found[0] == found[1]
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_attack_from_elsewhere_that_declares_the_same_is_treated_the_same(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PGD of somebody else's that stops at the first success is warned of like ours, if it says so."""
    source = """
from rain.attacks.pgd import pgd
from rain.registry import ATTACKS, Traits

{declaration}
def theirs(model, images, labels, *, eps, norm, steps=20, confidence=0.0, generator=None):
    options = {{"steps": steps, "confidence": confidence, "generator": generator}}
    return pgd(model, images, labels, eps=eps, norm=norm, **options)
"""
    attack = {"attack": ["theirs", "pgd(steps=20)"], "access": "transfer", "eps": "8/255"}
    asking = grid(pictures, attacks=[{"attack": "none"}, attack], size=32)
    monkeypatch.setattr(ATTACKS, "_about", dict(ATTACKS._about))

    def warned_of(declaration: str) -> set[str]:
        plugged(source.format(declaration=declaration), tmp_path, monkeypatch)
        results = runners.run(asking, tmp_path / f"out{len(declaration)}")
        one = [result for result in results if result.cell.attack in ("none", "theirs")]
        return {finding.text for finding in check(one) if "confidence 0" in finding.text}

    ours = runners.run(
        grid(pictures, attacks=[{"attack": "none"}, attack | {"attack": "pgd(steps=20)"}]), tmp_path / "ours"
    )
    like_ours = {finding.text for finding in check(ours) if "confidence 0" in finding.text}
    assert like_ours
    assert warned_of('@ATTACKS.register(traits=Traits(stops="fooled"))') == like_ours
    assert not warned_of("")


def test_an_attack_from_elsewhere_need_not_know_empty_batches(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugged(
        "def theirs(model, images, labels, *, eps, norm):\n    return torch.stack(list(images))\n",
        tmp_path,
        monkeypatch,
    )
    assert runners.run(
        grid(pictures, attacks=[{"attack": "theirs", "access": "static", "eps": "8/255"}]), tmp_path / "out"
    )


def test_results_of_other_code_of_a_plug_in_are_not_mixed_in(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = grid(
        pictures, attacks=[{"attack": "theirs", "access": "static", "eps": "8/255"}], defenses=["none"]
    )
    for step in ("eps", "eps / 2"):
        source = (
            f"def theirs(model, images, labels, *, eps, norm):\n    return (images + {step}).clamp(0, 1)\n"
        )
        plugged(source, tmp_path, monkeypatch)
        if step == "eps":
            assert runners.run(wanted, tmp_path / "out") == runners.run(wanted, tmp_path / "out")
    with pytest.raises(ResultError, match="made with another plugin code than now: choose a fresh folder"):
        runners.run(wanted, tmp_path / "out")


def test_the_code_of_a_plug_in_within_another_attack_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugged("def theirs(model, images, labels, *, eps, norm):\n    return images\n", tmp_path, monkeypatch)
    alone = foreign_code("models:tiny", "none", "theirs")
    within = foreign_code("models:tiny", "none", "targeted(attack=theirs)")
    assert alone == within != foreign_code("models:tiny", "none", "targeted(attack=pgd)")


def test_an_option_that_no_spec_can_hold_is_remembered_as_text(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "def theirs(model, images, labels, values=(1,), shape=[2], *, eps, norm):\n    return images\n"
    plugged(source, tmp_path, monkeypatch)
    attacks = [{"attack": "theirs", "access": "static", "eps": "8/255"}]
    (result, *_) = runners.run(grid(pictures, attacks=attacks), tmp_path / "out")
    assert result.made_by["attack"] == ("theirs(shape=[2], values=(1,))",)


def test_the_example_of_the_docs_works(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[1] / "docs" / "guide" / "plugin.md").read_text()
    source = text.partition("```python\n")[2].partition("```")[0]
    plugged(source + "\n\ntheirs = signs\n", tmp_path, monkeypatch)
    names = re.findall(r'^(\w+) = "mine:Noise"$', text, re.MULTILINE)
    assert names
    assert names[0] not in DEFENSES.names(), "no name of a built-in"
    monkeypatch.setitem(DEFENSES._entries, names[0], sys.modules["theirs"].Noise)
    wanted = grid(
        pictures,
        defenses=["none", f"{names[0]}(sigma=0.05)"],
        attacks=[{"attack": "theirs", "access": "adaptive", "eps": "8/255"}],
    )
    assert all(result.complete for result in runners.run(wanted, tmp_path / "out"))
