"""Attacked images that are kept, and judged again."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from measuring import cell_of, grid
from PIL import Image
from safetensors.torch import load_file, save_file

import rain
from rain.bench import replaying
from rain.bench.cells import Cell, Result, load, path_of
from rain.bench.grid import Grid
from rain.bench.kept_lists import SUFFIXES
from rain.bench.plan import largest_budgets, prepare, space_of
from rain.bench.runners import run
from rain.errors import OptionError, ResultError
from rain.images import quantize

EPS = 8 / 255


def small(pictures: Path, **changes: Any) -> Grid:
    attacks = [
        {"attack": "none"},
        {"attack": "pgd(steps=2)", "access": ["transfer", "static", "adaptive"], "eps": "8/255", "eot": 2},
    ]
    usual = {"attacks": attacks, "examples": 3, "chunk": 2, "draws": 2, "gallery": 0}
    return grid(pictures, **usual | changes)


@pytest.fixture(scope="module")
def runs(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Results with kept images, one folder for each form, and one without."""
    folders = {}
    for form in ("png", "float", ""):
        folders[form] = tmp_path_factory.mktemp(form or "without")
        run(small(pictures), folders[form], keep_images=form)
    return folders


def lists_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((folder / "images").glob("*/*.json"))]


def test_what_is_kept_changes_no_result(runs: dict[str, Path]) -> None:
    files = {form: sorted(folder.glob("*/[0-9]*.json")) for form, folder in runs.items()}
    for form in ("png", "float"):
        assert [path.read_bytes() for path in files[form]] == [path.read_bytes() for path in files[""]]
    assert not (runs[""] / "images").exists()


def test_shared_images_are_kept_once(runs: dict[str, Path]) -> None:
    """Transferred ones serve three defences, static ones of a defence that is not random two accesses."""
    for form in ("png", "float"):
        sources = [Cell(**content["source"]) for content in lists_of(runs[form])]
        made = sorted({(source.defense, source.access) for source in sources})
        rain_ = "rain(enhancer=bicubic)"
        assert made == [("jpeg", "static"), ("none", "transfer"), (rain_, "adaptive"), (rain_, "static")]
        images = list((runs[form] / "images").glob(f"*/*{SUFFIXES[form]}"))
        assert len(images) == 4 * 3


def test_what_rounding_changed_is_said(runs: dict[str, Path]) -> None:
    for form, least, most in (("png", 1e-6, 1 / 510 + 1e-6), ("float", 0, 0)):
        for content in lists_of(runs[form]):
            assert content["form"] == form
            for row in content["images"]:
                assert least <= row["rounding"] <= most
                assert 0 < row["distance"] <= EPS + 1 / 510 + 1e-6
            assert content["made_by"]["attack"].startswith("pgd(")


def test_a_png_is_the_rounded_image(runs: dict[str, Path]) -> None:
    for path in (runs["float"] / "images").glob("*/*.safetensors"):
        exact = load_file(path)["image"]
        rounded = rain.read_image(runs["png"] / path.relative_to(runs["float"]).with_suffix(".png"))
        assert torch.equal(rounded, quantize(exact))


def test_nothing_is_left_of_writing(runs: dict[str, Path]) -> None:
    assert not list(runs["png"].rglob("*.tmp"))


def test_another_form_is_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="images are kept as png or float, got 'jpg'"):
        prepare(small(pictures), tmp_path, keep_images="jpg")


def test_a_run_that_goes_on_says_what_it_does_not_keep(pictures: Path, tmp_path: Path) -> None:
    """Its first half was finished without."""
    half = small(pictures, examples=2)
    run(half, tmp_path)
    with pytest.warns(UserWarning, match=r"9 chunks in .* were finished before without keeping"):
        run(half, tmp_path, keep_images="png")
    assert not (tmp_path / "images").exists()


def test_a_stopped_run_keeps_the_rest(pictures: Path, tmp_path: Path, runs: dict[str, Path]) -> None:
    import shutil

    shutil.copytree(runs["png"], tmp_path, dirs_exist_ok=True)
    lost = sorted(tmp_path.glob("*/00001.json"))
    for path in [*lost, *sorted((tmp_path / "images").glob("*/00001.json"))]:
        path.unlink()
    run(small(pictures), tmp_path, keep_images="png")
    for path in sorted(runs["png"].rglob("*.*")):
        assert (tmp_path / path.relative_to(runs["png"])).read_bytes() == path.read_bytes()


def test_the_space_is_estimated_before(pictures: Path, tmp_path: Path, runs: dict[str, Path]) -> None:
    for form in ("png", "float"):
        space = space_of(prepare(small(pictures), tmp_path, keep_images=form))
        files = list((runs[form] / "images").glob(f"*/*{SUFFIXES[form]}"))
        assert space.images == len(files)
        assert sum(path.stat().st_size for path in files) <= space.most
        assert space.free > 0


def replay(folder: Path, out: Path, **changes: Any) -> list[Result]:
    usual: dict[str, Any] = {
        "defenses": ["none", "jpeg", "rain(enhancer=bicubic)"],
        "classifiers": ["models:tiny"],
        "draws": 2,
    }
    return replaying.run(replaying.prepare(folder, out, **usual | changes))


def test_exact_images_and_the_same_draws_give_the_same_answers(runs: dict[str, Path], tmp_path: Path) -> None:
    before = load(runs["float"])
    again = replay(runs["float"], tmp_path)
    assert len(again) == 4 * 3
    for defense, access, made_on in (
        ("rain(enhancer=bicubic)", "adaptive", "rain(enhancer=bicubic)"),
        ("rain(enhancer=bicubic)", "transfer", "none"),
        ("jpeg", "static", "jpeg"),
        ("none", "static", "none"),
    ):
        result = cell_of(before, defense, access)
        source = "transfer" if made_on == "none" else access
        (one,) = [
            each
            for each in again
            if each.cell.defense == defense
            and f"access={source}," in each.cell.attack
            and f"defense={made_on}," in each.cell.attack
        ]
        strip = [replace(outcome, flat=None) for outcome in result.outcomes]
        assert list(one.outcomes) == strip


def test_a_replayed_cell_is_a_transfer_that_says_what_it_was_made_against(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    from rain.bench.columns import is_adaptive, traits

    for result in replay(runs["png"], tmp_path):
        assert result.complete
        assert result.cell.access == "transfer"
        assert "form=png" in result.cell.attack
        assert not traits(result).follows
        assert not is_adaptive(result)
        (against,) = result.made_by["images_against"]
        assert "before models:tiny, access " in against


def test_a_corruption_stays_one(pictures: Path, tmp_path: Path) -> None:
    from rain.bench.columns import is_corruption

    attacks = [{"attack": "corruption(kind=noise)", "access": ["transfer"], "eps": 1.0}]
    run(small(pictures, attacks=attacks, defenses=["none"]), tmp_path / "run", keep_images="png")
    (result,) = replay(tmp_path / "run", tmp_path / "out", defenses=["jpeg"])
    assert is_corruption(result)


def test_other_draws_are_others(runs: dict[str, Path], tmp_path: Path) -> None:
    defense = ["rain(enhancer=bicubic)"]
    one = replay(runs["float"], tmp_path / "one", defenses=defense, draws=8)
    two = replay(runs["float"], tmp_path / "two", defenses=defense, draws=8, seed=5)
    assert all(len(outcome.robust) == 8 for result in one for outcome in result.outcomes)
    assert [result.outcomes for result in one] != [result.outcomes for result in two]


def test_another_classifier_judges(runs: dict[str, Path], tmp_path: Path) -> None:
    results = replay(runs["png"], tmp_path, classifiers=["models:other"], defenses=["none"])
    assert {result.cell.classifier for result in results} == {"models:other"}
    assert all("classifier=models:tiny" in result.cell.attack for result in results)


def test_a_replay_that_is_done_does_nothing(runs: dict[str, Path], tmp_path: Path) -> None:
    replay(runs["png"], tmp_path, defenses=["none"])
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    plan = replaying.prepare(runs["png"], tmp_path, defenses=["none"], classifiers=["models:tiny"], draws=2)
    assert plan.work == ()
    replaying.run(plan)
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}


def test_code_that_a_file_names_is_not_loaded(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"classifier 'models:tiny', and what a file names .* --classifier"):
        replaying.prepare(runs["png"], tmp_path, defenses=["none"])


def test_a_folder_without_images_says_how_to_make_some(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"no attacked images are kept in it; .*--keep-images"):
        replay(runs[""], tmp_path)
    with pytest.raises(ResultError, match="no such folder"):
        replay(runs[""] / "none", tmp_path)


def with_list(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = sorted((folder / "images").glob("*/00000.json"))[0]
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def first_image(folder: Path) -> Path:
    return sorted((folder / "images").glob("*/00000000.*"))[0]


def brighter(folder: Path) -> None:
    path = first_image(folder)
    _, height, width = rain.read_image(path).shape
    Image.new("RGB", (width, height), (255, 255, 255)).save(path)


def huge(folder: Path) -> None:
    Image.new("RGB", (900, 900)).save(first_image(folder))


def no_image(folder: Path) -> None:
    first_image(folder).write_bytes(b"<script>alert(1)</script>")


def linked(folder: Path) -> None:
    path = first_image(folder)
    path.unlink()
    path.symlink_to("/etc/hostname")


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "another image": (brighter, "from the clean image in linf, and the budget is"),
    "a huge one": (huge, "more than the limit|bytes, and at most"),
    "no image": (no_image, "not an image of a format"),
    "a link": (linked, "a link that leads out of"),
    "a missing one": (lambda folder: first_image(folder).unlink(), "cannot be read: No such file"),
    "NaN": (lambda f: with_list(f, lambda c: c["images"][0].update(rounding=float("nan"))), "not a list of"),
    "a count": (lambda f: with_list(f, lambda c: c["source"].update(examples=10**18)), "not a list of kept"),
    "a path": (lambda f: with_list(f, lambda c: c["images"][0].update(index="../x")), "index is '../x'"),
    "a field": (lambda f: with_list(f, lambda c: c["images"][0].update(file="/etc/x")), "which is no field"),
    "another cell": (lambda f: with_list(f, lambda c: c["source"].update(seed=9)), "does not hold what its"),
    "another index": (lambda f: with_list(f, lambda c: c["images"][0].update(index=7)), "does not hold what"),
    "one twice": (lambda f: with_list(f, lambda c: c["images"].append(c["images"][0])), "does not hold what"),
    "a label": (lambda f: with_list(f, lambda c: c["images"][0].update(label=4)), "has label 4 there"),
    "a form": (lambda f: with_list(f, lambda c: c.update(form="pickle")), "form is 'pickle'"),
    "a format": (lambda f: with_list(f, lambda c: c.update(format=9)), "its format is 9"),
    "no list": (lambda f: with_list(f, lambda c: c.update(images={})), "images is"),
    "other data": (lambda f: with_list(f, lambda c: c["made_by"].update(data_digest="x")), "of other images"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_images_are_refused(name: str, runs: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "theirs"
    shutil.copytree(runs["png"], folder)
    change, message = HOSTILE[name]
    change(folder)
    with pytest.raises(ResultError, match=message):
        replay(folder, tmp_path / "out", defenses=["none"])


@pytest.mark.parametrize("value", [float("nan"), 2.0, None])
def test_hostile_tensors_are_refused(value: float | None, runs: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(runs["float"], tmp_path / "theirs")
    path = first_image(tmp_path / "theirs")
    image = load_file(path)["image"]
    if value is None:
        save_file({"other": image}, path)
    else:
        image[0, 0, 0] = value
        save_file({"image": image}, path)
    with pytest.raises(ResultError, match="not the attacked image 0"):
        replay(tmp_path / "theirs", tmp_path / "out", defenses=["none"])


def test_a_name_with_a_script_is_escaped_in_the_page(runs: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    from rain.report.exports import write_html

    shutil.copytree(runs["png"], tmp_path / "theirs")
    for path in list((tmp_path / "theirs" / "images").glob("*/*.json")):
        content = json.loads(path.read_text())
        content["source"]["classifier"] = "<script>alert(1)</script>"
        content["made_by"]["attack"] = "<img src=x onerror=alert(2)>"
        source = Cell(**content["source"])
        home = path.parent.parent / source.key
        if not home.exists():
            shutil.copytree(path.parent, home, ignore=shutil.ignore_patterns("*.json"))
        (home / path.name).write_text(json.dumps(content | {"source": asdict(source)}))
        path.unlink()
    out = tmp_path / "out"
    replay(tmp_path / "theirs", out, defenses=["none"])
    write_html(out, out / "report.html")
    page = (out / "report.html").read_text()
    assert "<script>alert(1)" not in page
    assert "<img src=x" not in page
    assert "were made against what stands there" in page


def test_the_page_of_usual_results_says_nothing_of_kept_images() -> None:
    from rain.report.labels import meanings_of

    assert "kept" not in meanings_of(["transfer"])["transfer"]
    assert "kept" in meanings_of(["transfer"], replayed=True)["transfer"]
    assert "transfer" not in meanings_of(["static"], replayed=True)


def test_known_images_are_not_kept(pictures: Path, tmp_path: Path) -> None:
    attacks = [{"attack": "pgd(steps=1)", "access": ["known"], "eps": "8/255"}]
    only = small(pictures, attacks=attacks, examples=1, defenses=["rain(enhancer=bicubic)"])
    with pytest.warns(UserWarning, match="of access known are made for each draw, and not kept"):
        results = run(only, tmp_path, keep_images="png")
    assert path_of(tmp_path, results[0].cell, 0).is_file()
    assert not (tmp_path / "images").exists()
    assert largest_budgets([results[0].cell]) == set()
