import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from rain.bench.cells import load
from rain.cli.catalogue import Kind
from rain.cli.main import app
from rain.registry import REGISTRIES
from rain.runtime.memory import Batches
from rain.version import __version__

GRID = """
dataset = "csv:{root}"
classifier = "models:tiny"
size = 32
defenses = ["none", "rain(enhancer=bicubic)"]
examples = 4
draws = 2
[[attacks]]
attack = "none"
[[attacks]]
attack = "pgd(steps=2)"
access = ["transfer", "adaptive"]
eps = "4/255"
eot = 2
"""
KEYS = {
    *("dataset", "classifier", "defense", "attack", "norm", "eps", "access", "images", "draws"),
    *("clean", "robust", "low", "high"),
}
RAIN = Path(sys.executable).with_name("rain")
TINY = ("--classifier", "models:tiny", "--defense", "rain(enhancer=bicubic)")


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for index in range(4):
        folder = tmp_path / "pictures" / f"class{index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    names = [f"class{index % 2}/{index}.png,{index % 2}" for index in range(4)]
    (tmp_path / "pictures" / "labels.csv").write_text("\n".join(["file,label", *names]))
    path = tmp_path / "grid.toml"
    path.write_text(GRID.format(root=tmp_path / "pictures"))
    return path


def rain(*arguments: object, status: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout, result.stderr


@pytest.mark.parametrize("kind", REGISTRIES)
def test_list_prints_one_name_a_line(kind: str) -> None:
    output, _ = rain("list", kind)
    assert output.splitlines() == [*REGISTRIES[kind].usages(), *REGISTRIES[kind].presets]


@pytest.mark.parametrize("kind", Kind)
def test_list_explains_every_name_that_it_prints(kind: str) -> None:
    names, _ = rain("list", kind)
    assert names
    for name in names.splitlines():
        text, _ = rain("list", kind, name)
        assert len(text) > len(name) + 20, name


def test_list_takes_a_name_with_what_is_meant_in_its_place() -> None:
    assert rain("list", "classifiers", "torchvision/resnet50") == rain("list", "classifiers", "torchvision")


def test_list_says_where_the_grids_of_the_studies_are() -> None:
    names, note = rain("list", "grids")
    assert names.splitlines() == ["demo", "full", "paper-imagenet", "paper-stl10", "quick"]
    assert "in the folder grids of its repository" in note
    assert (Path(__file__).parents[2] / "grids" / "nips2017.toml").is_file()


def test_help_is_not_cut() -> None:
    output, _ = rain("--help")
    assert not any(line.endswith("...") for line in output.splitlines()[1:])


def test_list_without_a_kind_prints_all_of_them() -> None:
    output, _ = rain("list")
    assert "attacks\tpgd" in output.splitlines()
    assert "datasets\tcsv:PATH" in output.splitlines()


def test_list_verbose_shows_the_weight_cards() -> None:
    output, _ = rain("list", "enhancers", "--verbose")
    assert "parameters\t328,764" in output
    assert "multiply_adds_112x112\t1,517,924,352" in output
    needs_no_weights = output.partition("bicubic")[2].partition("compact")[0]
    assert "parameters\t0" in needs_no_weights
    output, _ = rain("list", "classifiers", "--verbose")
    assert "small_resnet(weights=imagenette)" in output


def test_run_and_report(grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    output, _ = rain("run", grid, "--out", out)
    assert "robust" in output
    assert "rain(enhancer=bicubic)" in output
    rain("run", grid, "--out", out)  # again: nothing to do, the same table

    page, table = tmp_path / "page.html", tmp_path / "rows.json"
    rain("report", out, "--html", page, "--json", table)
    assert "<html" in page.read_text()
    rows = json.loads(table.read_text())
    assert all(row.keys() >= KEYS for row in rows)
    assert {row["access"] for row in rows} == {"none", "transfer", "adaptive"}
    assert all(0 <= row["low"] <= row["robust"] <= row["high"] <= 1 for row in rows)
    output, _ = rain("report", out, "--json", "-")
    assert json.loads(output) == rows


def test_run_with_other_images_and_fewer(grid: Path, tmp_path: Path) -> None:
    rain("run", grid, "--out", tmp_path / "out", "--examples", 2)
    rows = json.loads(rain("report", tmp_path / "out", "--json", "-")[0])
    assert {row["images"] for row in rows} == {2}


def test_errors_are_one_line_that_says_what_to_do(grid: Path, tmp_path: Path) -> None:
    for arguments, message in [
        (("run", "nowhere.toml", "--out", tmp_path), "nowhere.toml"),
        (("run", grid, "--out", tmp_path / "out", "--examples", 9), "set examples = 4"),
        (("run", grid, "--out", tmp_path / "out", "--dataset", "cvs:x"), "no dataset 'cvs:x'"),
        (("report", tmp_path / "nowhere"), "rain run GRID.toml"),
        (("predict", "a.png", "--classifier", "models:tiny", "--defense", "rian"), "did you mean 'rain'"),
    ]:
        _, errors = rain(*arguments, status=1)
        assert message in errors
        assert len(errors.strip().splitlines()) == 1, errors


def test_warnings_are_one_line_without_our_source(grid: Path) -> None:
    picture = next((grid.parent / "pictures").rglob("*.png"))
    options = ["--classifier", "small_resnet(weights=imagenette)", "--defense", "rain(keep=2)"]
    command = [RAIN, "predict", picture, *options]
    errors = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    lines = [line for line in errors.splitlines() if "DG was not trained for that" in line]
    assert len(lines) == 1
    assert lines[0].startswith("warning: rain keeps 2 pixels")
    assert "warnings.warn" not in errors


def test_predict_goes_on_after_a_bad_image_and_fails_in_the_end(tmp_path: Path, grid: Path) -> None:
    good = next((tmp_path / "pictures").rglob("*.png"))
    (tmp_path / "torn.png").write_bytes(good.read_bytes()[:60])
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    bad = (tmp_path / "torn.png", tmp_path / "dot.png")
    output, errors = rain("predict", *bad, good, *TINY, status=1)
    assert "torn.png" in errors
    assert "dot.png: images must be at least 2 pixels" in errors
    assert f"{good}: " in output
    assert "of 8 draws agree" in output


def test_predict_with_a_seed_says_the_same_again(tmp_path: Path, grid: Path) -> None:
    picture = next((tmp_path / "pictures").rglob("*.png"))
    command = ("predict", picture, *TINY, "--seed", 1, "--top", 2)
    output, _ = rain(*command)
    assert output == rain(*command)[0]
    assert len(output.splitlines()) == 3


@pytest.mark.parametrize("command", [[str(RAIN)], [sys.executable, "-m", "rain"]], ids=["rain", "module"])
def test_the_command_is_installed(command: list[str]) -> None:
    output = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
    assert output.strip() == __version__


def test_help_lists_the_commands_in_this_order() -> None:
    output, _ = rain("--help")
    commands = output.partition("Commands:")[2]
    assert re.findall(r"^  (\w+)", commands, re.MULTILINE) == [
        *("list", "predict", "serve", "explain", "calibrate", "cost", "export"),
        *("plan", "run", "merge", "replay", "certify", "prove", "report", "check", "compare"),
        *("demo", "train"),
    ]


def test_list_explains_one_entry() -> None:
    output, _ = rain("list", "attacks", "pgd")
    assert output.startswith("pgd(steps=40, step=None,")
    assert "confidence=0.0" in output
    assert "Madry" in output
    assert rain("list", "recipes", "psnr")[0].startswith("# ")
    assert "did you mean 'pgd'" in rain("list", "attacks", "pdg", status=1)[1]
    assert rain("list", "attacks", "aa-rand")[0].startswith("aa-rand stands for autoattack(version=rand)")
    assert "\naa-rand\tStands for" in rain("list", "attacks", "--verbose")[0]
    assert "did you mean 'psnr'" in rain("list", "recipes", "psn", status=1)[1]


def test_run_with_another_classifier(grid: Path, tmp_path: Path) -> None:
    options = ("--classifier", "models:other", "--examples", 2)
    output, _ = rain("run", grid, "--out", tmp_path / "other", *options)
    assert output.startswith("models:other on 2 images")


@pytest.mark.parametrize(
    ("options", "batches"),
    [
        (("--attack-batch", 6, "--eot-batch", 1), Batches(6, 1)),
        (("--attack-batch", 6), Batches(6, 4)),
        ((), Batches.fitting(torch.device("cpu"))),
    ],
    ids=["both", "attack", "neither"],
)
def test_run_with_other_batches(
    grid: Path, tmp_path: Path, options: tuple[object, ...], batches: Batches
) -> None:
    rain("run", grid, "--out", tmp_path / "out", "--examples", 2, "--device", "cpu", *options)
    attacked = [result for result in load(tmp_path / "out") if result.cell.attack != "none"]
    remembered = {value for result in attacked for value in result.made_by["batches"]}
    assert remembered == {f"attack {batches.attack}, eot {batches.eot}"}


def test_a_batch_holds_at_least_one_image(grid: Path, tmp_path: Path) -> None:
    for option in ("--attack-batch", "--eot-batch"):
        _, errors = rain("run", grid, "--out", tmp_path / "out", option, 0, status=2)
        assert option in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:images enter at 32 pixels")
@pytest.mark.parametrize("command", ["predict", "run"])
def test_random_weights_are_said(command: str, grid: Path, tmp_path: Path) -> None:
    picture = next(tmp_path.rglob("*.png"))
    arguments = {
        "predict": (picture, "--defense", "jpeg"),
        "run": (grid, "--out", tmp_path / "o", "--examples", 2),
    }[command]
    message = r"small_resnet\(width=8\) has random weights, and its answers mean nothing"
    with pytest.warns(UserWarning, match=message):
        rain(command, *arguments, "--classifier", "small_resnet(width=8)")


@pytest.mark.parametrize(
    ("name", "kind"), [("pgd", "attacks"), ("torchvision/resnet50", "classifiers"), ("psnr", "recipes")]
)
def test_list_finds_a_name_without_its_kind(name: str, kind: str) -> None:
    output, note = rain("list", name)
    assert output == rain("list", kind, name)[0]
    assert note == f"rain list {kind} {name}:\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pdg",), "nothing is called 'pdg'; did you mean 'pgd'?"),
        (("attack",), "did you mean 'attacks'?"),
        (("attack", "pgd"), "no kind 'attack'; did you mean 'attacks'?"),
        (("zzzzzz",), "there are the kinds attacks, defenses"),
    ],
)
def test_list_says_what_a_name_may_mean(arguments: tuple[str, ...], message: str) -> None:
    _, errors = rain("list", *arguments, status=1)
    assert message in errors
    assert len(errors.splitlines()) == 1


def test_list_names_several_things_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rain.bench.grid.shipped", lambda: {"pgd": Path("pgd.toml")})
    _, errors = rain("list", "pgd", status=1)
    assert "'pgd' is several things: rain list attacks pgd, or rain list grids pgd" in errors


def test_cards_are_printed_in_one_order() -> None:
    for kind in ("enhancers", "classifiers"):
        cards: list[list[str]] = []
        for line in rain("list", kind, "--verbose")[0].splitlines():
            if not line.startswith("\t"):
                cards.append([])
            else:
                cards[-1].append(line.split("\t")[1])
        assert any(cards)
        assert all(card == sorted(card) for card in cards)


def test_a_name_with_more_than_it_takes_is_none() -> None:
    for kind, name in (("attacks", "pgd/x"), ("enhancers", "compact/x")):
        _, told = rain("list", kind, name, status=1)
        assert f"no {kind.removesuffix('s')} {name!r}" in told
