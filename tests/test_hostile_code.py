"""Own code that raises, ends Python or works in place: what it is part of is left out, the rest goes on."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from measuring import grid
from models import tiny
from torch import Generator, Tensor
from typer.testing import CliRunner

import rain
from rain.bench import runners
from rain.bench.cells import load
from rain.cli.main import app
from rain.errors import AttackError, OptionError, PluginError
from rain.own_code import LONGEST, describe, place_of
from rain.registry import CLASSIFIERS, load_attack, load_classifier

SOURCE = '''
import sys
from models import Tiny, tiny
from rain import Defense


class Asked(Tiny):
    """It can be asked, but for no gradient."""

    def forward(self, images):
        if images.requires_grad:
            raise KeyError("no gradient\\nhere")
        return super().forward(images)


class Ends(Tiny):
    def forward(self, images):
        sys.exit(3)


class InPlace(Tiny):
    def forward(self, images):
        images -= 0.5
        return super().forward(images + 0.5)


class Labels(Tiny):
    def forward(self, images):
        return super().forward(images).argmax(1)


def ends_when_made():
    sys.exit()


class Nothing(Defense):
    random = False

    def draw(self, images, generator=None):
        return {}

    def transform(self, images, draw):
        return images


class Raises(Nothing):
    def transform(self, images, draw):
        return images / (1 // 0)


class Halves(Nothing):
    def transform(self, images, draw):
        return images.mul_(0.5)

    def stages(self, images, draw):
        return {"halved": images.mul_(0.5)}


class Crops(Nothing):
    """It answers itself, and in place."""

    def answer(self, classify, images, draw, *, copies=1):
        return classify(images.mul_(0.5))


def raises(model, images, labels, *, eps, norm="linf"):
    return [][len(images)]


def ends(model, images, labels, *, eps, norm="linf"):
    sys.exit("enough")


def brighter(model, images, labels, *, eps, norm="linf"):
    return images.add_(eps).clamp_(0, 1)
'''


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file ``hostile.py`` in the working directory, and one that ends Python when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "hostile.py").write_text(SOURCE)
    (tmp_path / "ending.py").write_text("raise SystemExit('bye')\n")
    importlib.invalidate_caches()
    yield
    for name in ("hostile", "ending"):
        sys.modules.pop(name, None)


def measured(pictures: Path, out: Path, **changes: Any) -> tuple[set[str], str]:
    """What of a grid was measured though the run failed, by defence, attack and access; and the error."""
    left_out = pytest.warns(UserWarning, match="is left out, the rest goes on")
    with left_out as told, pytest.raises(AttackError) as error:
        runners.run(grid(pictures, examples=2, **changes), out)
    assert len(told) == 1, "one reason is told once"
    cells = [result.cell for result in load(out)]
    return {f"{cell.defense} {cell.attack} {cell.access}" for cell in cells}, str(error.value)


def test_a_classifier_that_raises_leaves_out_the_cells_that_it_spoils(pictures: Path, tmp_path: Path) -> None:
    finished, error = measured(
        pictures, tmp_path / "out", defenses=["none", "jpeg"], classifier="hostile:Asked"
    )
    assert finished == {"none none none", "jpeg none none"}
    assert error.startswith("8 of 10 cells are not finished (8 cells, on none, jpeg,")
    assert r"KeyError: 'no gradient\nhere' (hostile.py, line 12)" in error
    assert "\n" not in error


@pytest.mark.parametrize(
    ("attack", "access", "reason"),
    [
        ("hostile:raises", "query", "IndexError: list index out of range (hostile.py, line 67)"),
        (
            "hostile:ends",
            "transfer",
            "SystemExit: it ends Python, by sys.exit('enough') (hostile.py, line 71)",
        ),
    ],
)
def test_an_attack_that_raises_or_ends_python(
    pictures: Path, tmp_path: Path, attack: str, access: str, reason: str
) -> None:
    attacks = [
        {"attack": attack, "access": access, "eps": 0.1},
        {"attack": "fgsm", "access": "transfer", "eps": 0.1},
    ]
    finished, error = measured(pictures, tmp_path / "out", defenses=["none"], attacks=attacks)
    assert finished == {"none fgsm transfer"}
    assert error == f"1 of 2 cells are not finished (on none, {access}: {reason})"


def test_a_defence_that_raises_leaves_the_others(pictures: Path, tmp_path: Path) -> None:
    attacks = [{"attack": "fgsm", "access": "static", "eps": 0.1}]
    finished, error = measured(
        pictures, tmp_path / "out", defenses=["hostile:Raises", "jpeg"], attacks=attacks
    )
    assert finished == {"jpeg fgsm static"}
    assert "1 of 2 cells are not finished (on hostile:Raises, static: ZeroDivisionError" in error


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize("name", ["Ends", "Labels"])
def test_the_command_says_it_and_its_status_does(pictures: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(
        f'dataset = "csv:{pictures}"\nclassifier = "hostile:{name}"\nsize = "native"\ndefenses = ["none"]\n'
        'examples = 2\ndraws = 1\n[[attacks]]\nattack = "none"\n'
    )
    done = CliRunner().invoke(app, ["run", str(path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "error: 1 of 1 cells are not finished (on none, none:" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_works_in_place_gives_what_it_would_give_otherwise(pictures: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "examples": 2,
        "defenses": ["none", "hostile:Halves", "rain(enhancer=bicubic)"],
    }
    spoiling = runners.run(grid(pictures, classifier="hostile:InPlace", **changes), tmp_path / "one")
    assert len(spoiling) == 15
    assert all(result.complete for result in spoiling)
    model, images = load_classifier("hostile:InPlace"), torch.rand(3, 3, 8, 8)
    before = images.clone()
    for spec in ("none", "hostile:Halves", "hostile:Crops", "chain(parts=noise+hostile:Halves)"):
        rain.harden(model, spec).predict(images)
    rain.load_defense("hostile:Halves").stages(images, {})
    labels = torch.zeros(3, dtype=torch.long)
    for attack in ("fgsm", "square(queries=3)", "deepfool(steps=1)", "hostile:brighter"):
        load_attack(attack)(model, images, labels, eps=0.1, norm="linf")
    assert torch.equal(images, before)


def test_a_gradient_goes_through_what_works_in_place() -> None:
    images = torch.rand(2, 3, 8, 8, generator=Generator().manual_seed(0))
    model = load_classifier("hostile:InPlace")

    def slope(classify: Any, points: Tensor) -> Tensor:
        leaf = points.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(classify(leaf).square().sum(), leaf)
        return gradient

    plain = tiny().eval()
    plain.load_state_dict(model.state_dict())
    assert torch.allclose(slope(rain.harden(model, "none"), images), slope(plain, images), atol=1e-5)
    halved = slope(rain.harden(model, "hostile:Halves"), images)
    assert torch.allclose(halved, 0.5 * slope(plain, 0.5 * images), atol=1e-5)


@pytest.mark.parametrize("classifier", ["hostile:ends_when_made", "ending:anything"])
def test_python_that_ends_when_a_classifier_is_made(classifier: str) -> None:
    with pytest.raises(OptionError, match=r"raised SystemExit: it ends Python, by sys.exit\(.*\) \("):
        load_classifier(classifier)


def test_a_package_that_ends_python_when_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        value = "theirs:made"

        def load(self) -> None:
            raise SystemExit

    monkeypatch.setattr(CLASSIFIERS, "_others", lambda: {"theirs": Entry()})
    with pytest.raises(PluginError, match=r"theirs:made\) cannot be loaded: SystemExit"):
        CLASSIFIERS.get("theirs")


@pytest.mark.parametrize("command", ["predict", "cost", "calibrate", "explain"])
@pytest.mark.parametrize("classifier", ["hostile:Ends", "hostile:Asked"])
def test_other_commands_end_with_one_line(
    pictures: Path, tmp_path: Path, command: str, classifier: str
) -> None:
    picture, page = str(pictures / "0.png"), str(tmp_path / "page.html")
    arguments = {
        "predict": ["predict", picture],
        "cost": ["cost", "--images", f"csv:{pictures}", "--size", "32", "--examples", "2"],
        "calibrate": ["calibrate", "--images", str(pictures), "--out", str(tmp_path / "gate.json")],
        "explain": ["explain", picture, "--html", page, "--size", "32"],
    }[command]
    if classifier == "hostile:Asked" and command != "explain":
        pytest.skip("only an attack asks for a gradient")
    options = ["--classifier", classifier, "--defense", "rain(enhancer=bicubic)"]
    done = CliRunner().invoke(app, arguments + options)
    assert done.exit_code == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("warning")]
    assert line.startswith("error: ")
    assert "(hostile.py, line " in line


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rain.report.plots.library", None)
    done = CliRunner().invoke(app, ["explain", "a.png", "--html", "page.html"])
    assert isinstance(done.exception, TypeError)


def test_an_error_is_told_in_a_line_that_has_an_end() -> None:
    try:
        raise ValueError("one\ntwo " + 10_000 * "x")
    except ValueError as error:
        text = describe(error)
    assert text.startswith("ValueError: one two xxx")
    assert text.endswith(f"xxx ... ({Path(__file__).name}, line {place_of_raise()})")
    assert len(text) < LONGEST + 100
    with pytest.raises(RuntimeError) as failed:
        torch.zeros(2) @ torch.zeros(3)
    assert place_of(failed.value).startswith(Path(__file__).name)
    assert place_of(ValueError()) == ""


def place_of_raise() -> int:
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if 'ValueError("one' in line)
