"""Text in and out: UTF-8 whatever the locale, with or without a BOM, and names of files that are no text."""

import ast
import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fitting import SMALL
from measuring import grid
from PIL import Image

import rain
from rain import checkpoints
from rain.bench import runners
from rain.bench.grid import read as read_grid
from rain.cli.main import main
from rain.errors import GridError, RecipeError
from rain.files import comparable, encode, identify, is_text, printable, spellings, to_path
from rain.report.exports import write_html
from rain.report.markdown import markdown
from rain.training.recipe import read as read_recipe

ROOT = Path(__file__).parents[1]
NO_TEXT = os.fsdecode(b"gr\xfcn")
"""A name in Latin-1, on a system of UTF-8."""

GRID = """
dataset = "folder:{root}/bücher"
classifier = "models:tiny"
size = 32
defenses = ["none", "rain(enhancer=bicubic)"]
examples = 2
draws = 2
[[attacks]]
attack = "none"
"""
RECIPE = """
trains = "enhancer"
images = "bücher"
validation = "bücher"
steps = 2
distillation = 1.0
"""
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""A locale of ASCII, where Python is kept from helping itself."""


def paint(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(values).save(path, "PNG")
    return path


def needs_any_name(folder: Path) -> None:
    """Skip where a file system takes text only."""
    try:
        (folder / NO_TEXT).touch()
        (folder / NO_TEXT).unlink()
    except OSError:
        pytest.skip("this file system takes text only")


# --- the command


def test_a_name_that_the_output_has_no_letters_for_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_any_name(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = ("图.png", f"{NO_TEXT}.png", "last.png")
    for name in names:
        paint(tmp_path / name)
    (tmp_path / "坏.png").write_bytes(b"no picture")
    output, errors = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, "cp1252", write_through=True))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(errors, "cp1252", write_through=True))
    options = ("--classifier", "models:tiny", "--defense", "none")
    monkeypatch.setattr(sys, "argv", ["rain", "predict", "坏.png", *names, *options])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    lines = output.getvalue().decode("cp1252").splitlines()
    heads = [line.partition(":")[0] for line in lines if "agree" in line]
    assert heads == [r"\u56fe.png", r"gr\udcfcn.png", "last.png"]
    assert errors.getvalue().splitlines() == [
        rb"error: \u574f.png: not an image of a format that is read here"
    ]


def test_a_grid_in_utf8_is_measured_in_a_locale_of_ascii(tmp_path: Path) -> None:
    for index in range(5):
        paint(tmp_path / "bücher" / f"käse{index}" / "größe.png", index)
    path = tmp_path / "gitter-ä.toml"
    path.write_text(GRID.format(root=tmp_path), encoding="utf-8-sig")
    own = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests"))), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "rain", "run", path.name, "--out", "töpfe"]
    subprocess.run(command, cwd=tmp_path, env=os.environ | own | ASCII, capture_output=True, check=True)
    cells = sorted(path.parent.name for path in (tmp_path / "töpfe").glob("*/00000.json"))
    here = runners.run(read_grid(path), tmp_path / "here")
    assert cells == sorted(result.cell.key for result in here)
    for result in here:
        name = Path(result.cell.key, "00000.json")
        assert (tmp_path / "töpfe" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


# --- names of files that are no text


def test_a_dataset_whose_name_is_no_text_is_measured_and_reported(tmp_path: Path) -> None:
    needs_any_name(tmp_path)
    root = tmp_path / NO_TEXT
    for index in range(5):
        paint(root / f"{NO_TEXT}{index}" / f"{NO_TEXT}.png", index)
    attack = {"attack": "pgd(steps=2)", "access": "transfer", "eps": "8/255"}
    asked = grid(root, dataset=f"folder:{root}", examples=2, attacks=[attack], defenses=["none", "jpeg"])
    results = runners.run(asked, tmp_path / "out")
    assert runners.run(asked, tmp_path / "out") == results
    assert b"udcfc" in encode(markdown(results))
    write_html(tmp_path / "out", tmp_path / "report.html")
    assert r"gr\udcfcn" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_training_goes_on_in_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    needs_any_name(tmp_path)
    root = tmp_path / NO_TEXT
    for index in range(2):
        paint(root / "own" / f"{index}.png", index)
        paint(root / "other" / f"{index}.png", index + 2)
    config = rain.train.Config(
        images=str(root / "own"),
        validation=str(root / "other"),
        classifier="models:tiny",
        defense=SMALL,
        distillation=1.0,
        side=32,
        batch=2,
        steps=1,
        warmup=0,
        accelerator="cpu",
        precision="32-true",
    )
    rain.train.fit(config, root / "out")
    rain.train.fit(replace(config, workers=0), root / "out", resume=True)
    _, card = checkpoints.read(root / "out" / "weights.safetensors")
    assert card["data"] == r"gr\udcfcn/own (2 pictures, no labels)"
    assert rain.load_defense(f"rain(enhancer=compact(weights={root / 'out' / 'weights.safetensors'}))")


def test_names_are_encoded_for_pages_and_for_digests() -> None:
    assert encode(f"ü{NO_TEXT}") == "ü".encode() + rb"gr\udcfcn"
    assert printable(f"ü{NO_TEXT}") == r"ügr\udcfcn"
    assert identify(f"ü{NO_TEXT}") == "ü".encode() + b"gr\xfcn"
    assert is_text(Path("ü"))
    assert not is_text(Path(NO_TEXT))
    assert spellings("ü") == ["ü", "u\u0308"]
    assert comparable("u\u0308") == comparable("ü") == "ü"


def test_a_path_of_a_user_who_is_not_there_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert to_path("~/a") == tmp_path / "a"
    assert to_path("~nobody-of-this-name/a") == Path("~nobody-of-this-name/a")


# --- files that people write


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_grids_and_recipes_may_begin_with_a_byte_order_mark(tmp_path: Path, encoding: str, ends: str) -> None:
    path = tmp_path / "übung.toml"
    path.write_text(GRID.format(root=tmp_path), encoding=encoding, newline=ends)
    assert read_grid(path).cells[0].dataset == f"folder:{tmp_path}/bücher"
    path.write_text(RECIPE, encoding=encoding, newline=ends)
    assert read_recipe(path).images == ("bücher",)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_text_of_another_encoding_is_told_apart_from_a_typing_mistake(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "alt.toml"
    path.write_text(GRID.format(root=tmp_path), encoding=encoding)
    with pytest.raises(GridError, match=r"alt\.toml: not text in UTF-8 .*save the file as UTF-8"):
        read_grid(path)
    path.write_text(RECIPE, encoding=encoding)
    with pytest.raises(RecipeError, match=r"alt\.toml: not text in UTF-8 \(byte \d+ is 0x"):
        read_recipe(path)


def test_a_file_in_the_home_folder_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    assert read_recipe("~/recipe.toml").steps == 2


def test_weights_whose_name_is_no_text_are_read(tmp_path: Path) -> None:
    needs_any_name(tmp_path)
    path = tmp_path / f"{NO_TEXT}.safetensors"
    checkpoints.save({"a": torch.arange(3.0)}, path, {"data": "ü"})
    tensors, card = checkpoints.read(path)
    assert (tensors["a"].tolist(), card) == ([0, 1, 2], {"data": "ü"})
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(rain.RainError, match="truncated or damaged"):
        checkpoints.read(path)


def test_no_module_leaves_an_encoding_to_the_locale() -> None:
    """Text that is opened without one is read as the machine likes."""
    careless = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _is_careless(node):
                careless.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert careless == []


def _is_careless(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if any(keyword.arg == "encoding" for keyword in call.keywords):
        return False
    if name in ("read_text", "write_text"):
        return isinstance(call.func, ast.Attribute)
    modes = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    of_path = isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") not in (
        "Image",
        "os",
    )
    return name == "open" and of_path and not any("b" in str(mode) for mode in modes)
