"""Attacked images that are kept are put together as results are, and can be judged again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from measuring import contents, grid

from rain.bench import merging, replaying
from rain.bench.cells import load
from rain.bench.merging import merge
from rain.bench.runners import run
from rain.errors import ResultError

LISTS = "images/*/0*.json"


@pytest.fixture(scope="module")
def shards(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards with kept images, ``1`` and ``2``, and the ``whole`` run."""
    root = tmp_path_factory.mktemp("shards")
    attack = {"attack": "fgsm", "access": ["transfer", "static"], "eps": "8/255"}
    asked = grid(pictures, defenses=["none", "jpeg"], attacks=[attack], examples=4, chunk=2, gallery=0)
    run(asked, root / "whole", keep_images="png")
    for number in (1, 2):
        run(asked, root / str(number), shard=f"{number}/2", keep_images="png")
    return root


@pytest.fixture
def parts(shards: Path, tmp_path: Path) -> tuple[Path, Path]:
    return tuple(Path(shutil.copytree(shards / name, tmp_path / name)) for name in "12")


def first(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def judged(folder: Path, out: Path) -> list[Any]:
    options: dict[str, Any] = {"defenses": ["none", "jpeg"], "classifiers": ["models:tiny"]}
    return replaying.run(replaying.prepare(folder, out, device="cpu", **options))


def test_a_merged_folder_is_that_of_the_whole_run_and_can_be_judged_again(
    shards: Path, parts: tuple[Path, Path], tmp_path: Path
) -> None:
    merged = merge(parts, tmp_path / "all")
    assert merged.images == 8
    assert contents(tmp_path / "all") == contents(shards / "whole")
    again = judged(tmp_path / "all", tmp_path / "again")
    assert all(result.complete for result in again)
    assert again == judged(shards / "whole", tmp_path / "expected")


def test_a_merge_that_is_stopped_goes_on_and_writes_nothing_twice(
    shards: Path, parts: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves no list whose images are not there, and no result whose list is not."""
    out, write = tmp_path / "all", merging.write_file
    names: list[str] = []
    limits: list[int] = []

    def writing(path: Path, content: bytes) -> None:
        if len(names) == limits[-1]:
            raise KeyboardInterrupt
        names.append(path.relative_to(out).as_posix())
        write(path, content)

    def kinds() -> tuple[int, int, int]:
        images = sum(name.endswith(".png") for name in names)
        lists = sum(name.startswith("images/") for name in names) - images
        return images, lists, len(names) - images - lists

    monkeypatch.setattr(merging, "write_file", writing)
    # An image whose list did not come to be counts for nothing, and is written again.
    for limit, expected in ((3, (3, 0, 0)), (10, (8, 2, 0)), (8, (4, 2, 2))):
        limits.append(limit)
        names.clear()
        with pytest.raises(KeyboardInterrupt):
            merge(parts, out)
        assert kinds() == expected
    limits.append(99)
    names.clear()
    merge(parts, out)
    assert kinds() == (0, 0, 7)
    assert contents(out) == contents(shards / "whole")


def test_images_without_results_are_put_together_too(parts: tuple[Path, Path], tmp_path: Path) -> None:
    for path in parts[0].glob("*/0*.json"):
        path.unlink()
    assert merge(parts, tmp_path / "all").images == 8


def test_a_run_without_kept_images_has_none(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards / "1", tmp_path / "1")
    shutil.rmtree(tmp_path / "1" / "images")
    assert merge([tmp_path / "1"], tmp_path / "all").images == 0
    assert not (tmp_path / "all" / "images").exists()


def test_what_no_list_names_is_not_copied(parts: tuple[Path, Path], tmp_path: Path) -> None:
    home = first(parts[0], LISTS).parent
    (home / "evil.py").write_text("")
    (home / "00000099.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (home.parent / "evil.html").write_text("")
    merge(parts, tmp_path / "all")
    assert not list((tmp_path / "all").rglob("evil*"))
    assert not list((tmp_path / "all").rglob("00000099*"))


def no_picture(folder: Path) -> None:
    first(folder, "images/*/*.png").write_text("<script>")


def no_file(folder: Path) -> None:
    first(folder, "images/*/*.png").unlink()


def a_link(folder: Path) -> None:
    path = first(folder, "images/*/*.png")
    shutil.move(path, folder.parent / "secret")
    path.symlink_to(folder.parent / "secret")


def linked_images(folder: Path) -> None:
    shutil.move(folder / "images", folder.parent / "elsewhere")
    (folder / "images").symlink_to(folder.parent / "elsewhere")


def no_list(folder: Path) -> None:
    first(folder, LISTS).write_text('{"format": 1, "images": NaN}')


def another_chunk(folder: Path) -> None:
    rewrite(first(folder, LISTS), chunk=7)


def a_path_for_an_index(folder: Path) -> None:
    path = first(folder, LISTS)
    rows = json.loads(path.read_text())["images"]
    rewrite(path, images=[row | {"index": "../../secret"} for row in rows])


HOSTILE = [
    (no_picture, r"png: not an attacked image \(no PNG\); delete it"),
    (no_file, "png: cannot be read: No such file.*; delete it"),
    (a_link, "a link that leads out of"),
    (linked_images, "a link that leads out of"),
    (no_list, "not a list of kept images"),
    (another_chunk, "does not hold what its name says"),
    (a_path_for_an_index, "not a list of kept images"),
]


@pytest.mark.parametrize(("spoil", "message"), HOSTILE)
def test_images_of_others_are_refused_and_nothing_is_copied(
    spoil: Callable[[Path], None], message: str, parts: tuple[Path, Path], tmp_path: Path
) -> None:
    spoil(parts[1])
    with pytest.raises(ResultError, match=message):
        merge(parts, tmp_path / "all")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"made_by": {"device": "a card"}}, r"0000\d.json differ \(.*device.*\): merge one of the two"),
        ({"form": "float"}, r"0000\d.json differ \(form\): merge one of the two folders only"),
        ({"format": 1}, None),
    ],
)
def test_two_lists_of_one_chunk_are_equal_or_refused(
    changes: dict[str, Any], message: str | None, shards: Path, tmp_path: Path
) -> None:
    one, other = (Path(shutil.copytree(shards / "1", tmp_path / name)) for name in ("one", "other"))
    if message is None:
        assert merge([one, other], tmp_path / "all").images == len(list(one.glob("images/*/*.png")))
        return
    path = first(other, LISTS)
    for image in path.parent.glob("*.png") if "form" in changes else ():
        image.with_suffix(".safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    rewrite(path, **changes)
    with pytest.raises(ResultError, match=message):
        merge([one, other], tmp_path / "all")


def test_two_pictures_of_one_image_that_differ_are_named(shards: Path, tmp_path: Path) -> None:
    one, other = (Path(shutil.copytree(shards / "1", tmp_path / name)) for name in ("one", "other"))
    path = first(other, "images/*/*.png")
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ResultError, match=rf"{path.name} differ: merge one of the two folders only"):
        merge([one, other], tmp_path / "all")


def test_images_of_another_revision_are_refused(parts: tuple[Path, Path], tmp_path: Path) -> None:
    for path in parts[1].glob(LISTS):
        rewrite(path, made_by=json.loads(path.read_text())["made_by"] | {"revision": "zzz"})
    with pytest.raises(ResultError, match=r"more than one revision: .*'zzz' in .*2"):
        merge(parts, tmp_path / "all")


def test_a_file_that_is_larger_than_its_image_can_be_is_not_read(pictures: Path, tmp_path: Path) -> None:
    attack = {"attack": "fgsm", "access": "transfer", "eps": "8/255"}
    options: dict[str, Any] = {"examples": 1, "chunk": 1, "gallery": 0, "size": 32}
    run(grid(pictures, defenses=["none"], attacks=[attack], **options), tmp_path, keep_images="png")
    path = first(tmp_path, "images/*/*.png")
    path.write_bytes(path.read_bytes() + b"0" * 2**17)
    with pytest.raises(ResultError, match=r"png: cannot be read: it has 13\d,\d* bytes, and at most 71,680"):
        merge([tmp_path], tmp_path / "all")


def test_exact_images_travel_too(pictures: Path, tmp_path: Path) -> None:
    attack = {"attack": "fgsm", "access": "transfer", "eps": "8/255"}
    asked = grid(pictures, defenses=["none"], attacks=[attack], examples=1, chunk=1, gallery=0)
    run(asked, tmp_path / "1", keep_images="float")
    assert merge([tmp_path / "1"], tmp_path / "all").images == 1
    assert contents(tmp_path / "all") == contents(tmp_path / "1")
    assert load(tmp_path / "all")
    path = first(tmp_path / "1", "images/*/*.safetensors")
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(ResultError, match=r"not an attacked image \(no safetensors\)"):
        merge([tmp_path / "1"], tmp_path / "other")
