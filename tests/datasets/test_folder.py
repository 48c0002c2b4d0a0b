"""Folders: which label a class gets, what is no class, and what is skipped."""

from pathlib import Path

import pytest
import torch
from painting import paint
from PIL import Image

from rain import imagenet
from rain.errors import DatasetError, OptionError
from rain.pictures import read_image
from rain.registry import load_dataset


def test_folder_is_sorted_and_labelled_by_its_subfolders(folders: Path) -> None:
    pictures = load_dataset(f"folder:{folders}")
    assert pictures.files == ("cat/c.png", "dog/b.png", "dog/deep/a.JPG")
    assert pictures.labels == (0, 1, 1)
    assert pictures.categories == ("cat", "dog")
    assert len(pictures) == 3
    image, label = pictures[1]
    assert image.shape == (3, 3, 4)
    assert label == 1
    assert torch.allclose(image, torch.tensor(20 / 255))
    with pytest.raises(IndexError):
        pictures[3]


def test_the_first_pictures_of_a_folder_are_of_many_classes(tmp_path: Path) -> None:
    for name, count in (("a", 3), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        for index in range(count):
            Image.new("RGB", (4, 4)).save(tmp_path / name / f"{index}.png")
    pictures = load_dataset(f"folder:{tmp_path}")
    assert pictures.labels == (0, 1, 2, 0, 2, 0)
    assert pictures.files[:4] == ("a/0.png", "b/0.png", "c/0.png", "a/1.png")


def test_folder_takes_labels_from_a_table(folders: Path, tmp_path: Path) -> None:
    table = tmp_path / "names.csv"
    table.write_text("folder,label,category\ndog,5,hound\ncat,2,\n")
    pictures = load_dataset(f"folder:{folders}(labels={table}, licence=CC0)")
    assert pictures.labels == (2, 5, 5)
    assert pictures.categories[2] == "cat"
    assert pictures.categories[5] == "hound"
    assert pictures.licence == "CC0"
    table.write_text("folder,label\ndog,5\n")
    with pytest.raises(DatasetError, match="no label for the folders cat"):
        load_dataset(f"folder:{folders}", labels=str(table))


def test_folder_knows_imagenette_by_its_folder_names(tmp_path: Path) -> None:
    paint(tmp_path / "n03888257" / "a.png", 1)
    paint(tmp_path / "n01440764" / "b.png", 2)
    pictures = load_dataset(f"folder:{tmp_path}")
    assert pictures.labels == (0, 701)
    assert [pictures.categories[label] for label in pictures.labels] == ["tench", "parachute"]
    assert load_dataset(f"folder:{tmp_path}(labels=sorted)").labels == (0, 1)
    paint(tmp_path / "n99999999" / "c.png", 3)
    with pytest.raises(DatasetError, match="no ImageNet label known for n99999999"):
        load_dataset(f"folder:{tmp_path}")


def test_imagenet_needs_its_thousand_folders(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / "val" / f"n{number:08d}").mkdir(parents=True)
    paint(tmp_path / "val" / "n00000017" / "x.png", 1)
    with pytest.warns(UserWarning, match="999 of 1000 class folders without pictures") as messages:
        pictures = load_dataset(f"imagenet:{tmp_path}")
    assert "numbered" not in str(messages[0].message)
    assert (pictures.name, pictures.labels) == ("imagenet (val)", (17,))
    assert pictures.categories == imagenet.categories()
    (tmp_path / "val" / "n00000003").rmdir()
    with pytest.raises(DatasetError, match="999 class folders where ImageNet has 1000"):
        load_dataset(f"imagenet:{tmp_path}")
    with pytest.raises(DatasetError, match=r"no such folder.*image-net.org"):
        load_dataset(f"imagenet:{tmp_path}(split=train)")
    with pytest.raises(OptionError, match="split must be"):
        load_dataset(f"imagenet:{tmp_path}(split=test)")


def test_imagenet_has_a_thousand_names() -> None:
    assert len(imagenet.categories()) == 1000
    assert imagenet.categories()[-1] == "toilet tissue"


def test_folder_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone: no such folder"):
        load_dataset(f"folder:{tmp_path / 'gone'}")
    with pytest.raises(DatasetError, match=r"a\.png: not a folder"):
        load_dataset(f"folder:{paint(tmp_path / 'a.png', 0)}")
    with pytest.raises(DatasetError, match="no subfolders"):
        load_dataset(f"folder:{tmp_path}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no pictures"):
        load_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize("stray", ["__MACOSX", "@eaDir", ".ipynb_checkpoints", "lost+found", "$RECYCLE.BIN"])
@pytest.mark.parametrize("full", [False, True])
def test_folders_of_the_system_are_no_classes(tmp_path: Path, stray: str, full: bool) -> None:
    paint(tmp_path / "n02102040" / "a.png", 1)
    paint(tmp_path / "n01440764" / "b.png", 2)
    before = load_dataset(f"folder:{tmp_path}")
    (tmp_path / stray).mkdir()
    (tmp_path / "n01440764" / stray).mkdir()
    if full:
        paint(tmp_path / stray / "n01440764" / "b.png", 3)
        paint(tmp_path / "n01440764" / stray / "b.png", 4)
    after = load_dataset(f"folder:{tmp_path}")
    assert after.labels == before.labels == (0, 217)
    assert after.files == before.files
    assert after.digest() == before.digest()
    assert load_dataset(f"pictures:{tmp_path}").files == before.files


def test_a_class_with_underscores_stays_one(tmp_path: Path) -> None:
    paint(tmp_path / "__background__" / "a.png", 1)
    paint(tmp_path / "cat" / "b.png", 2)
    assert load_dataset(f"folder:{tmp_path}").categories == ("__background__", "cat")


def test_a_stray_folder_beside_imagenets_does_not_renumber_them(tmp_path: Path) -> None:
    paint(tmp_path / "n02102040" / "a.png", 1)
    paint(tmp_path / "n01440764" / "b.png", 2)
    (tmp_path / "tmp").mkdir()
    with pytest.warns(UserWarning, match=r"1 of 3 class folders without pictures \(tmp\)$"):
        assert load_dataset(f"folder:{tmp_path}").labels == (0, 217)
    paint(tmp_path / "tmp" / "c.png", 3)
    with pytest.raises(DatasetError, match=r"2 of 3 folders are named like ImageNet's .* 1 are not \(tmp\)"):
        load_dataset(f"folder:{tmp_path}")
    assert load_dataset(f"folder:{tmp_path}(labels=sorted)").labels == (0, 1, 2)
    table = tmp_path / "labels.csv"
    table.write_text("folder,label\nn01440764,0\nn02102040,217\ntmp,5\n")
    assert load_dataset(f"folder:{tmp_path}(labels={table})").labels == (0, 217, 5)


def test_a_class_without_pictures_is_said_and_shifts_no_other(tmp_path: Path) -> None:
    for name in ("ape", "cat", "dog"):
        paint(tmp_path / name / "a.png", 1)
    before = load_dataset(f"folder:{tmp_path}")
    (tmp_path / "bee").mkdir()
    (tmp_path / "cow" / "deep").mkdir(parents=True)
    says = r"2 of 5 class folders without pictures \(bee, cow\); the others are numbered without them, unless"
    with pytest.warns(UserWarning, match=says):
        after = load_dataset(f"folder:{tmp_path}")
    assert (after.labels, after.categories) == (before.labels, before.categories)


def test_a_table_labels_what_holds_pictures(tmp_path: Path) -> None:
    paint(tmp_path / "own" / "cat" / "a.png", 1)
    (tmp_path / "own" / "bee").mkdir()
    table = tmp_path / "table.csv"
    table.write_text("folder,label\ncat,7\n")
    with pytest.warns(UserWarning, match=r"1 of 2 class folders without pictures \(bee\)$"):
        assert load_dataset(f"folder:{tmp_path / 'own'}(labels={table})").labels == (7,)


def test_skipped_files_are_said_with_their_number(folders: Path) -> None:
    for name in ("notes.txt", "list.csv", "more.TXT", "README"):
        (folders / "cat" / name).write_text("no picture")
    (folders / "cat" / "gone.png").symlink_to(folders / "nothing")
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._c.png"):
        (folders / "cat" / name).write_text("of a system")
    says = (
        r"5 files are skipped, as they are no pictures \(2 .txt, 1 without an ending, 1 .png, 1 .csv\): cat/"
    )
    for kind in ("folder", "pictures"):
        with pytest.warns(UserWarning, match=says):
            assert len(load_dataset(f"{kind}:{folders}")) == 3


def test_pictures_in_no_class_folder_are_said(folders: Path) -> None:
    paint(folders / "stray.png", 1)
    (folders / "README.txt").write_text("beside the classes, and none of theirs")
    with pytest.warns(UserWarning, match=r"1 picture is left out, in no class folder: stray\.png"):
        assert len(load_dataset(f"folder:{folders}")) == 3


def test_parts_of_a_dataset_are_no_classes(tmp_path: Path) -> None:
    paint(tmp_path / "train" / "cat" / "a.png", 1)
    paint(tmp_path / "val" / "cat" / "b.png", 2)
    with pytest.warns(UserWarning, match=r"train, val look like parts of a dataset.* folder:.*train"):
        load_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize("ending", ["avif", "jfif", "jp2", "tga", "jpe", "JPEG", "dib", "pnm", "webp"])
def test_a_folder_reads_what_a_path_reads(tmp_path: Path, ending: str) -> None:
    Image.new("RGB", (8, 8), (10, 200, 30)).save(tmp_path / f"a.{ending}")
    pictures = load_dataset(f"pictures:{tmp_path}")
    assert pictures.files == (f"a.{ending}",)
    assert torch.equal(pictures[0][0], read_image(tmp_path / f"a.{ending}"))
