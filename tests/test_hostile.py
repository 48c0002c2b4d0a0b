"""Files and options that somebody else sends: each ends with one error of ours, soon, or works.

``make fuzz`` sends thousands more.
"""

import io
import json
import os
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic import gallery, three_columns, write, write_gallery
from typer.testing import CliRunner

import rain
from rain import registry, specs
from rain.bench import cells, certificates, grid
from rain.bench.access import try_options
from rain.cli.main import app
from rain.errors import (
    DatasetError,
    GridError,
    ImageError,
    OptionError,
    RecipeError,
    ResultError,
    TrainError,
    WeightsError,
)
from rain.files import leaves, read_foreign
from rain.pictures import read_image
from rain.report.exports import read_galleries
from rain.tables import parse_json, parse_toml
from rain.training import log, recipe
from rain.training.state import parse_checkpoint

LOOP = "pgd"
for _ in range(40):
    LOOP = f"targeted(attack={LOOP})"

GRID = 'dataset = "samples"\nclassifier = "c"\ndefenses = ["none"]\nexamples = 2\n'
CLEAN = '[[attacks]]\nattack = "none"\n'
RECIPE = 'images = ["a"]\nvalidation = ["b"]\ndistillation = 1.0\n'

needs_links = pytest.mark.skipif(os.name == "nt", reason="links and pipes")


def spec_cell(attack: str) -> cells.Cell:
    return cells.Cell("samples", 32, "c", "none", attack, "linf", 0.1, "static", 1, 1, 0, 2, 2)


# --- results


def result(folder: Path, change: Callable[[dict[str, Any]], None] | None = None) -> Path:
    """A result file of two images, and what a change makes of it."""
    cell = spec_cell("pgd")
    outcomes = [cells.Outcome(number, 1, (1,), 1, (0,), 0, 0.05, flat=False) for number in range(2)]
    path = cells.save(folder, cell, 0, outcomes, {"rain": "1"})
    if change:
        content = json.loads(path.read_text())
        change(content)
        path.unlink()
        path = cells.path_of(folder, cells.Cell(**content["cell"]), 0)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return path


def with_field(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        table = next(each for each in (content["cell"], content["outcomes"][0], content) if name in each)
        table[name] = value

    return change


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("attack", LOOP, "a spec of a usual length and depth"),
        ("classifier", "x" * 100_000, "a spec of a usual length"),
        ("label", 10**399, "an integer from 0"),
        ("seed", 10**399, "an integer from"),
        ("eps", 10**400, "a number up to"),
        ("distance", 1e300, "a number up to"),
        ("queries", [], "or null"),
        ("queries", 0.0, "or null"),
        ("queries", False, "or null"),
        ("clean", "0", "a list of"),
        ("flat", 0, "true or false"),
        ("draws", 2**63, "an integer from 1"),
        ("size", 10**12, "an integer from 1"),
        ("made_by", [["a", "b"]], "a table of"),
        ("made_by", {str(number): "x" for number in range(1000)}, "a table of"),
        ("made_by", {"left_out": "9" * 5000}, "left_out"),
        ("outcomes", {"0": 1}, "a list"),
    ],
)
def test_a_result_holds_what_the_table_says_and_nothing_else(
    tmp_path: Path, name: str, value: Any, says: str
) -> None:
    path = result(tmp_path, with_field(name, value))
    with pytest.raises(ResultError, match=says) as caught:
        cells.read_chunk(path)
    assert len(str(caught.value)) < 1000


def test_a_result_has_no_field_that_nobody_knows(tmp_path: Path) -> None:
    path = result(tmp_path)
    content = json.loads(path.read_text())
    content["outcomes"][1]["x" * 10_000] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(ResultError, match=r"outcome 1: it has 'xxx.*which is no field"):
        cells.read_chunk(path)


@pytest.mark.parametrize("text", ["[" * 10**6, '{"a":' * 10**5, "NaN", '{"cell": 1e999}', "3"])
def test_json_that_is_no_table_is_no_result(tmp_path: Path, text: str) -> None:
    path = result(tmp_path)
    path.write_text(text)
    with pytest.raises(ResultError, match="not a result file"):
        cells.load(tmp_path)


@needs_links
def test_only_regular_files_below_a_size_are_read(tmp_path: Path) -> None:
    path = result(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ResultError, match="a device, a pipe or a folder"):
        cells.load(tmp_path)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(10**9)
    with pytest.raises(ResultError, match="at most"):
        cells.load(tmp_path)
    for other in (Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match="and no file"):
            read_foreign(other, 100)


@needs_links
@pytest.mark.parametrize("of_folder", [False, True])
def test_links_out_of_a_folder_of_results_are_refused(tmp_path: Path, of_folder: bool) -> None:
    path, inside = result(tmp_path / "elsewhere"), tmp_path / "results"
    linked = inside / path.parent.name
    if of_folder:
        inside.mkdir()
        linked.symlink_to(path.parent)
    else:
        linked.mkdir(parents=True)
        (linked / path.name).symlink_to(path)
    with pytest.raises(ResultError, match="a link that leads out of"):
        cells.load(inside)
    (tmp_path / "door").symlink_to(tmp_path / "elsewhere")
    assert cells.load(tmp_path / "door")  # who names a link means what it leads to
    assert not leaves(tmp_path / "elsewhere" / "x", tmp_path)


def test_certificates_ask_for_no_memory_either(tmp_path: Path) -> None:
    cell = certificates.CertifiedCell("samples", 32, "c", "smooth", 0.25, 10, 100, 0.001, 0, 10**12, 10**12)
    image = certificates.CertifiedImage(0, 1, 1, 0.1, 1, 90)
    certificates.save(tmp_path, cell, 0, [image], {"rain": "1"})
    with pytest.raises(ResultError, match="images that are not those of the chunk"):
        certificates.load_certified(tmp_path)
    path = certificates.path_of(tmp_path, cell, 0)
    path.write_text(path.read_text().replace('"votes":90', f'"votes":{"9" * 400}'))
    with pytest.raises(ResultError, match=r"votes is 999.* not an integer"):
        certificates.load_certified(tmp_path)


# --- galleries


def test_a_gallery_is_not_inflated_beyond_a_bound(tmp_path: Path) -> None:
    results = three_columns()
    write(tmp_path, results)
    path = write_gallery(tmp_path, results[2].cell, gallery())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("clean.npy", "w") as file:
        for _ in range(130):
            file.write(bytes(2**20))
    assert path.stat().st_size < 10**6
    with pytest.raises(ResultError, match="when it is unpacked"):
        read_galleries(tmp_path, results)


@pytest.mark.parametrize("shape", [(10**6, 10**6, 3), (2**62, 4), (-1, 3)])
def test_an_array_asks_for_no_more_than_its_file_has(tmp_path: Path, shape: tuple[int, ...]) -> None:
    results = three_columns()
    write(tmp_path, results)
    path = write_gallery(tmp_path, results[2].cell, gallery())
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("clean.npy", header.getvalue() + b"\0" * 100)
    with pytest.raises(ResultError, match="not a gallery"):
        read_galleries(tmp_path, results)


# --- grids and recipes


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("seed = " + "9" * 5000, "not TOML"),
        ("seed = 0x" + "f" * 5000, "more than 64 bits"),
        ("seed = " + "[" * 2000, "not TOML: too many brackets"),
        ("a" + ".a" * 50_000 + " = 1", "a key of more than 16 parts"),
        ("size = []", "size is an empty list"),
        ("size = 100000", "size must be"),
        (f"draws = {2**63 - 1}", "draws must be an integer of at most"),
        (f"gallery = {10**15}", "gallery must be an integer of at most"),
        ("default_size = 9000", "default_size must be"),
        ("x = '" + "x" * 30_000 + "'", "a text of 30000 characters"),
        ("#" + "x" * 2**20, "at most 1,048,576 are read"),
    ],
)
def test_a_grid_that_asks_for_too_much_is_refused(tmp_path: Path, lines: str, says: str) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(f"{lines}\n{GRID}{CLEAN}")
    with pytest.raises(GridError, match=says) as caught:
        grid.read(path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("value", ['"x"', "[1]", "{}", "1.5"])
def test_examples_that_are_no_number_are_told_where_fewer_are_asked_for(tmp_path: Path, value: str) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(f"{GRID}{CLEAN}examples = {value}\n")
    with pytest.raises(GridError, match="examples must be an integer"):
        grid.read(path, examples=1)


def test_a_grid_of_millions_of_cells_is_refused_before_they_are_made() -> None:
    many = [f"jpeg(quality={number})" for number in range(400)]
    attack = {"attack": "pgd", "access": ["static"], "eps": [number / 400 for number in range(1, 400)]}
    table = {"dataset": "samples", "classifier": "c", "defenses": many, "examples": 1, "attacks": [attack]}
    with pytest.raises(GridError, match="more than 100000 cells"):
        grid.expand(table)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("batch = 99999999999", "batch must be at most"),
        ("workers = 1000000", "workers must be at most"),
        ("side = 100000", "side must be at most"),
        ("batch = 60000\nside = 2000", "which no step can hold"),
        (f"steps = {2**62}", "steps must be at most"),
        ("rate = 0x" + "f" * 5000, "more than 64 bits"),
        ("milestones = " + "[" * 3000, "too many brackets"),
        ("zoom = 1e-300", "zoom must be at least"),
        ("momentum = 2.0", "momentum must be at most"),
        ("classifier = 2020-01-01", "classifier must be text"),
    ],
)
def test_a_recipe_that_never_ends_is_refused(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f"{RECIPE}{line}\n" + ("" if "steps" in line else "steps = 1\n"))
    with pytest.raises(RecipeError, match=says) as caught:
        recipe.read(path)
    assert len(str(caught.value)) < 1000


def test_a_field_on_the_command_line_is_one_field() -> None:
    assert recipe.setting("a=" + "[" * 3000)[1] == "[" * 3000
    assert recipe.setting("a=" + "9" * 5000)[1] == "9" * 5000
    assert recipe.setting("a=1\nb=2") == ("a", "1\nb=2")
    assert recipe.setting("a=1e-3") == ("a", 1e-3)


def test_tables_take_what_people_write() -> None:
    table = parse_toml('a.b.c = "x.y.z.1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18"\nd = [1.5, 2.5]\n')
    assert table["d"] == [1.5, 2.5]
    assert np.isnan(parse_json("[NaN]", finite=False)[0])
    with pytest.raises(ValueError, match="NaN is no number"):
        parse_json("[NaN]")


# --- resumed runs


@pytest.mark.parametrize("text", ["[]", "1", "null", "[" * 10**5, '{"steps": ' + "9" * 5000 + "}", "\x00"])
def test_a_recipe_of_a_run_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    config = recipe.Config(images=("a",), validation=("b",), distillation=1.0, steps=1)
    (tmp_path / log.STATE).write_bytes(b"x")
    (tmp_path / log.RECIPE).write_text(text)
    with pytest.raises(TrainError, match=r"recipe\.json is damaged"):
        log.prepare(tmp_path, config, resume=True)


def test_lines_of_a_log_that_are_none_are_dropped(tmp_path: Path) -> None:
    config = recipe.Config(images=("a",), validation=("b",), distillation=1.0, steps=1)
    odd = ["[]", "1", '{"step": []}', '{"step": null}', "[" * 10**5, '{"step": ' + "9" * 400 + "}", "{"]
    good = '{"step": 1, "kl": NaN}'
    (tmp_path / log.LOG).write_bytes("\n".join([*odd, good]).encode() + b"\n\xff\n")
    log.Journal(tmp_path, config, 5).close()
    assert (tmp_path / log.LOG).read_text() == good + "\n"


@pytest.mark.parametrize(
    ("tensors", "card"),
    [
        ({"number.step": torch.tensor(float("inf"))}, {}),
        ({"number.step": torch.zeros(3)}, {}),
        ({"number.step": torch.tensor(-7)}, {}),
        ({"optimizer.x": torch.zeros(3)}, {}),
        ({"optimizer.x.y": torch.zeros(3)}, {}),
        ({}, {"measured": "[]"}),
        ({}, {"began": '{"kl": "x"}'}),
        ({}, {"measured": "[" * 10**5}),
    ],
)
def test_a_checkpoint_that_is_none_is_told(tensors: dict[str, torch.Tensor], card: dict[str, str]) -> None:
    numbers = {f"number.{name}": torch.tensor(1) for name in ("step", "best_step", "since_best", "best")}
    with pytest.raises(WeightsError, match="no checkpoint of a training run"):
        parse_checkpoint(numbers | tensors, card)


# --- pictures


def test_a_picture_of_a_few_kilobytes_does_not_take_all_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("1", (8000, 8000)).save(path)
    with pytest.raises(ImageError, match=r"8000 x 8000 pixels of PNG take 1\.02 GB"):
        read_image(path)
    with pytest.raises(ImageError, match="more than the limit of 1,000"):
        read_image(path, max_pixels=1000)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "I;16"])
def test_a_picture_in_bands_is_the_picture(
    monkeypatch: pytest.MonkeyPatch, orientation: int, mode: str
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (9, 12, 4), dtype=np.uint8)
    picture = Image.fromarray(values[..., 0].astype(np.uint16) * 257) if mode == "I;16" else None
    picture = picture or Image.fromarray(values).convert(mode)
    exif, file = picture.getexif(), io.BytesIO()
    exif[0x0112] = orientation
    picture.save(file, "PNG", exif=exif)
    whole = read_image(file.getvalue())
    monkeypatch.setattr("rain.pixels.BAND", 25)
    assert torch.equal(read_image(file.getvalue()), whole)


def test_readers_of_pillow_that_inflate_without_end_are_not_asked() -> None:
    cards = [
        "SIMPLE  =                    T",
        "BITPIX  =                    8",
        "NAXIS   =  2",
        "NAXIS1  = 2",
    ]
    content = (
        "".join(card.ljust(80) for card in [*cards, "NAXIS2  = 2", "END"]).encode().ljust(2880) + b"\0" * 4
    )
    with pytest.raises(ImageError, match="not an image of a format that is read here"):
        read_image(content)


# --- weights


def weights(folder: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """A safetensors file of zeros."""
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * int(np.prod(shape, dtype=object))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path = folder / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))
    return path


COMPACT = {"head.weight": (4, 27, 3, 3), "down.weight": (4, 16, 3, 3)}
MANY = {f"body.{number}.first.weight": (0,) for number in range(3000)}


@pytest.mark.parametrize(
    ("enhancer", "shapes", "says"),
    [
        ("compact", COMPACT | MANY, "blocks must be an integer from 0 to 64, got 3000"),
        ("compact", {"head.weight": (2**40, 27, 0, 3), "down.weight": (4, 0, 3, 3)}, "head must be"),
        ("compact", {f"a.{number}": (0,) for number in range(20_001)}, "20001 tensors"),
        ("compact", {"a." * 5000: (1,)}, "the name of a tensor has 10000 characters"),
        (
            "srresnet",
            {"block1.0.weight": (4, 3, 9, 9), f"block{10**9}.0.conv.weight": (1,)},
            "not weights of",
        ),
        ("srcnn", {"conv1.weight": (6, 3, 1, 100_001), "conv2.weight": (3, 6, 1, 1)}, "not weights of"),
        ("edsr", {f"a{number}.b{number}.c.d": (0,) for number in range(6000)}, "not weights of Edsr"),
    ],
)
def test_a_file_promises_no_network_larger_than_its_numbers(
    tmp_path: Path, enhancer: str, shapes: dict[str, tuple[int, ...]], says: str
) -> None:
    path = weights(tmp_path, shapes)
    with pytest.raises(WeightsError, match=says):
        registry.load_enhancer(enhancer, weights=str(path))


# --- options


@pytest.mark.parametrize(
    "spec",
    [
        "compact(weights=None, features=1000000000)",
        "compact(weights=None, blocks=10000000)",
        "compact(weights=None, head=0)",
        "compact(weights=None, informed=7)",
        "edsr(blocks=10000000)",
        "edsr(residual_scale=x)",
        "hdrnet(side=1000000)",
        "hdrnet(width=-1)",
        "srcnn(features=10000000000)",
        "srresnet(blocks=-3)",
    ],
)
def test_an_enhancer_has_a_range_for_each_size(spec: str) -> None:
    with pytest.raises(OptionError, match=r"must be (an|a|true)"):
        registry.load_enhancer(spec)


@pytest.mark.parametrize("option", ["width=-1", "width=1000000", "classes=0", "classes=10**9", "size=100000"])
def test_a_classifier_has_a_range_for_each_size(option: str) -> None:
    with pytest.raises(OptionError, match="must be an integer from 1"):
        registry.load_classifier(f"small_resnet({option})")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("quilting(patches=1000000, size=32)", "more than 80000000 numbers"),
        (f"chain(parts={'+'.join(['jpeg'] * 40)})", "at most 32"),
        ("rain(enhancer=compact(weights=None, blocks=10000000))", "blocks must be"),
        (f"bit_depth(bits=0x{'f' * 5000})", "no integer of 64 bits"),
    ],
)
def test_a_defense_has_a_range_for_each_option(spec: str, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        registry.load_defense(spec)


@pytest.mark.parametrize(
    "attack",
    [
        "pgd(steps=10000000000000)",
        "pgd(steps=True)",
        "pgd(confidence=x)",
        "simba(confidence=1000000000000000000000)",
        "meta(weights=3)",
        "nes(samples=100000000000)",
        "apgd(restarts=100000000000)",
        "aggmo(memories=1000000000)",
        "distort(eot=1000000000)",
        "autozoom(side=100000)",
        "substitute(rounds=100000)",
        "bandits(rate=x)",
        "targeted(target=100000000000000000)",
        "mifgsm(decay=1e400)",
        LOOP,
    ],
)
def test_an_attack_has_a_range_for_each_option(attack: str) -> None:
    with pytest.raises(OptionError) as caught:
        try_options(spec_cell(attack))
    assert len(str(caught.value)) < 1000


def test_what_a_constructor_raises_is_told_as_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.load_defense("jpeg")

    def out_of_memory(**options: Any) -> None:
        raise MemoryError("all of it\nat some place")

    monkeypatch.setitem(registry.DEFENSES._entries, "jpeg", out_of_memory)
    with pytest.raises(OptionError, match=r"defense 'jpeg' raised MemoryError: all of it"):
        registry.load_defense("jpeg")


@pytest.mark.parametrize(
    "spec", ["a(" * 5000 + ")" * 5000, "a(b=" + "(" * 9000 + ")" * 9000 + ")", "x" * 10**6]
)
def test_specs_have_a_length_and_a_depth(spec: str) -> None:
    with pytest.raises(OptionError) as caught:
        specs.canonical(spec)
    assert len(str(caught.value)) < 1000


def test_values_are_quoted_shortly_whatever_they_are() -> None:
    assert rain.errors.shown("x\n") == "'x\\n'"
    assert len(rain.errors.shown("x" * 10**6)) < 300
    assert "too long" in rain.errors.shown(10**5000)


# --- datasets


@needs_links
@pytest.mark.parametrize("spec", ["folder:{}", "pictures:{}", "csv:{}"])
def test_links_out_of_a_dataset_are_refused(tmp_path: Path, spec: str) -> None:
    root = tmp_path / "pictures"
    (root / "cat").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (root / "cat" / "a.png").symlink_to(tmp_path / "secret.png")
    table = "file,label\ncat/a.png,0\n" if spec.startswith("csv") else ""
    if table:
        (root / "labels.csv").write_text(table)
    with pytest.raises(DatasetError, match="a link that leads out of"):
        registry.load_dataset(spec.format(root))
    (root / "cat" / "a.png").unlink()
    Image.new("RGB", (4, 4)).save(root / "cat" / "b.png")
    (root / "cat" / "a.png").symlink_to(root / "cat" / "b.png")
    assert len(registry.load_dataset(spec.format(root)))


def test_an_error_is_never_longer_than_a_page() -> None:
    for spec in (f"squeezing(calibration={'a' * 100_000})", f"rain(enhancer=compact(scale={'a' * 100_000}))"):
        with pytest.raises(rain.RainError) as raised:
            registry.load_defense(spec)
        assert len(str(raised.value)) < 5000
    assert str(rain.RainError("short")) == "short"
    long = str(rain.RainError("a" * 3000 + "b" * 3000))
    assert (long[0], long[-1], "6000 characters" in long) == ("a", "b", True)


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "x.png", "--draws", str(10**12)),
        ("predict", "x.png", "--size", str(10**9)),
        ("run", "demo", "--attack-batch", str(10**11)),
        ("certify", "demo", "--out", "o", "--n", str(10**15)),
        ("cost", "--draws", str(10**9)),
        ("explain", "x.png", "--html", "o.html", "--eot", str(10**9)),
        ("serve", "--queue", str(10**12)),
    ],
    ids=lambda command: " ".join(command),
)
def test_a_number_of_a_command_has_a_largest_value(command: tuple[str, ...]) -> None:
    answer = CliRunner().invoke(app, list(command))
    assert answer.exit_code in (1, 2)
    assert re.search(r"less than or equal to|must be from", answer.output)
