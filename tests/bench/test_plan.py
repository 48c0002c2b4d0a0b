"""What is settled before a run: sizes, damaged images, classes."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from measuring import grid
from models import seeing

from rain.bench.cells import FORMAT_OF_SOME, Result, load
from rain.bench.checks import check
from rain.bench.grid import Grid, expand, read
from rain.bench.metrics import rows
from rain.bench.plan import prepare, without_uncalibrated
from rain.bench.runners import run
from rain.errors import AttackError, DatasetError, GridError, ImageError, ResultError
from rain.networks import own_size

CLEAN: dict[str, Any] = {"attacks": [{"attack": "none"}], "defenses": ["none"], "gallery": 0}
SEEING = "models:seeing(side=24)"


def sizes(grid: Grid, folder: Path) -> dict[str, int | None]:
    return {cell.classifier: cell.size for cell in prepare(grid, folder).cells}


def without_size(pictures: Path, **changes: Any) -> Grid:
    table: dict[str, Any] = {"dataset": f"csv:{pictures}", "classifier": SEEING, "examples": 3}
    return expand(table | CLEAN | changes)


def test_images_enter_as_the_classifier_sees_them(pictures: Path, tmp_path: Path) -> None:
    assert sizes(without_size(pictures), tmp_path) == {SEEING: 24}
    named = without_size(pictures, size="classifier")
    assert sizes(named, tmp_path) == {SEEING: 24}


def test_classifiers_of_several_sizes_each_get_their_own(pictures: Path, tmp_path: Path) -> None:
    both = ["models:seeing(side=20)", SEEING, "models:tiny"]
    several = without_size(pictures, classifier=both)
    assert sizes(several, tmp_path) == {"models:seeing(side=20)": 20, SEEING: 24, "models:tiny": None}
    default = without_size(pictures, classifier=both, default_size=28)
    assert sizes(default, tmp_path) == {"models:seeing(side=20)": 20, SEEING: 24, "models:tiny": 28}


def test_the_cells_are_those_of_a_grid_that_names_the_size(pictures: Path, tmp_path: Path) -> None:
    own = prepare(without_size(pictures), tmp_path).cells
    written = prepare(without_size(pictures, size=24), tmp_path).cells
    assert [cell.key for cell in own] == [cell.key for cell in written]


def test_the_demo_follows_the_classifier(pictures: Path, tmp_path: Path) -> None:
    dataset = f"csv:{pictures}"
    for classifier, size in ((SEEING, 24), ("models:tiny", 224)):
        demo = read("demo", dataset=dataset, examples=3, classifier=classifier)
        with pytest.warns(UserWarning, match="is left out: this gate is not calibrated"):
            demo = without_uncalibrated(demo)
        assert {"rain", "jpeg"} < {cell.defense for cell in demo.cells}
        assert sizes(demo, tmp_path) == {classifier: size}


def test_another_size_is_said_once(pictures: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="enter at 32 pixels, and models:seeing.* sees 24") as record:
        prepare(without_size(pictures, size=32, defenses=["none", "jpeg"]), tmp_path)
    assert len(record) == 1


@pytest.mark.parametrize("size", ["native", 24, "classifier"])
def test_sizes_that_are_meant_are_not_warned_of(pictures: Path, tmp_path: Path, size: str | int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare(without_size(pictures, size=size), tmp_path)


def test_a_size_is_what_a_classifier_says_plainly() -> None:
    model = seeing(24)
    assert own_size(model) == 24
    for other in (None, 0, "24", (24, 24), 24.0, model.forward):
        model.crop = other
        assert own_size(model) is None


@pytest.mark.parametrize("size", [1, "big", 1.5])
def test_no_default_size(pictures: Path, size: Any) -> None:
    with pytest.raises(GridError, match="default_size must be"):
        without_size(pictures, default_size=size)


@pytest.fixture
def torn(pictures: Path, tmp_path: Path) -> Path:
    """Seven pictures; those of index 0 and 3 are damaged."""
    root = Path(shutil.copytree(pictures, tmp_path / "torn"))
    for index in (0, 3):
        path = root / f"{index}.png"
        path.write_bytes(path.read_bytes()[:90])
    return root


def measured(torn: Path, folder: Path, **changes: Any) -> list[Result]:
    with pytest.warns(UserWarning, match=r"2 of 7 images of .* are damaged and left out: .*0\.png"):
        return run(grid(torn, **changes), folder, skip_damaged=True)


def test_a_damaged_image_ends_a_run_and_the_error_says_both(torn: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"0\.png.*Mended, it is other data.*fresh folder.*--skip-damaged"):
        run(grid(torn), tmp_path / "out")


def test_damaged_images_are_left_out_and_said(torn: Path, pictures: Path, tmp_path: Path) -> None:
    results = measured(torn, tmp_path / "out")
    assert len(results) == 15
    for result in results:
        assert [outcome.index for outcome in result.outcomes] == [1, 2, 4, 5, 6]
        assert result.complete
        assert result.left_out == {0, 3}
        assert result.made_by["left_out"] == ("0, 3",)
    assert {row["images"] for row in rows(results)} == {5}
    texts = [finding.text for finding in check(results)]
    assert sum("2 of 7 images" in text and "(index 0, 3)" in text for text in texts) == 1
    whole = run(grid(pictures, **CLEAN), tmp_path / "whole")
    assert not whole[0].left_out
    assert not any("left out" in finding.text for finding in check(whole))


def test_the_same_damage_goes_on_and_other_damage_is_refused(torn: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = measured(torn, out, **CLEAN)
    (path,) = out.rglob("00001.json")
    content = path.read_bytes()
    path.unlink()
    assert measured(torn, out, **CLEAN) == first
    assert path.read_bytes() == content
    assert json.loads(content)["format"] == FORMAT_OF_SOME
    (torn / "1.png").write_bytes(b"no picture")
    with (
        pytest.warns(UserWarning, match="3 of 7 images"),
        pytest.raises(ResultError, match="other images than there are now"),
    ):
        run(grid(torn, **CLEAN), out, skip_damaged=True)


def test_a_run_that_damage_ended_goes_on_without_it(pictures: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(pictures, tmp_path / "torn"))
    (root / "6.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    with pytest.raises(ImageError, match=r"6\.png"):
        run(grid(root, **CLEAN), out)
    (begun,) = load(out)
    assert not begun.complete
    with pytest.warns(UserWarning, match="1 of 7 images"):
        (result,) = run(grid(root, **CLEAN), out, skip_damaged=True)
    assert [outcome.index for outcome in result.outcomes] == list(range(6))
    assert result.complete


def test_a_folder_of_damage_only_is_refused(pictures: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(pictures, tmp_path / "torn"))
    for path in root.glob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"7 of 7 images .* none is left"):
        run(grid(root, **CLEAN), tmp_path / "out", skip_damaged=True)


@pytest.mark.parametrize("left_out", ["x", "0,3", "0, 1, 3", "3", ""])
def test_a_file_that_leaves_out_others_is_no_result(torn: Path, tmp_path: Path, left_out: str) -> None:
    out = tmp_path / "out"
    measured(torn, out, **CLEAN)
    (path,) = out.rglob("00000.json")
    content = json.loads(path.read_text())
    content["made_by"]["left_out"] = left_out
    path.write_text(json.dumps(content))
    with pytest.raises(ResultError, match=r"not a result file|does not hold what its name says"):
        load(out)


def folder_of(root: Path, pictures: Path, names: list[str]) -> str:
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        shutil.copy(pictures / f"{number}.png", root / name)
    return f"folder:{root}"


def test_labels_of_imagenet_before_few_classes_say_sorted(pictures: Path, tmp_path: Path) -> None:
    dataset = folder_of(tmp_path / "wordnet", pictures, ["n01440764", "n03888257"])
    with pytest.raises(DatasetError, match=r"label 701, models:tiny 5 classes.*labels=sorted"):
        run(grid(pictures, dataset=dataset, examples=2, **CLEAN), tmp_path / "out")


def test_sorted_labels_before_many_classes_are_warned_of_once(pictures: Path, tmp_path: Path) -> None:
    dataset = folder_of(tmp_path / "animals", pictures, ["cat", "dog", "newt"])
    changes = CLEAN | {"defenses": ["none", "jpeg"], "chunk": 1}
    with pytest.warns(UserWarning, match=r"3 classes, labelled 0 \(cat\) to 2 \(newt\).*WordNet") as record:
        run(grid(pictures, dataset=dataset, examples=3, **changes), tmp_path / "out")
    assert len(record) == 1


def test_labels_that_somebody_wrote_are_taken(pictures: Path, tmp_path: Path) -> None:
    dataset = folder_of(tmp_path / "animals", pictures, ["cat", "dog"])
    table = tmp_path / "table.csv"
    table.write_text("folder,label\ncat,1\ndog,3\n")
    written = f"{dataset}(labels={table})"
    fitting = folder_of(tmp_path / "five", pictures, ["a", "b", "c", "d", "e"])
    for spec in (written, fitting):
        run(grid(pictures, dataset=spec, examples=2, **CLEAN), tmp_path / "out")


def test_one_reason_of_many_cells_is_said_once(pictures: Path, tmp_path: Path) -> None:
    attack = {"attack": "pgd(steps=2)", "access": "query", "eps": ["1/255", "2/255"]}
    attacks = [{"attack": "none"}, attack]
    with (
        pytest.warns(
            UserWarning, match="is left out, the rest goes on: this attack needs gradients"
        ) as record,
        pytest.raises(AttackError) as caught,
    ):
        run(grid(pictures, attacks=attacks), tmp_path / "out")
    assert len(record) == 1
    message = str(caught.value)
    assert message.startswith("6 of 9 cells are not finished (6 cells, on none, jpeg, rain(enhancer=bicubic)")
    assert message.count("needs gradients") == 1


def test_two_reasons_are_both_said(pictures: Path, tmp_path: Path) -> None:
    gradients = {"attack": "pgd(steps=2)", "access": "query", "eps": "1/255", "defenses": ["none", "jpeg"]}
    target = {"attack": "targeted(target=99)", "access": "static", "eps": "1/255", "defenses": ["none"]}
    with (
        pytest.warns(UserWarning, match="is left out") as record,
        pytest.raises(
            AttackError, match=r"3 of 3 cells .*2 cells, on none, jpeg, query: .*; on none, static: "
        ),
    ):
        run(grid(pictures, attacks=[gradients, target]), tmp_path / "out")
    assert len(record) == 2
