"""Datasets: order, labels, names, digests, and what a broken one says."""

import os
import pickle
import re
import unicodedata
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from painting import paint

from rain.datasets import Pictures
from rain.datasets._listing import list_pictures
from rain.errors import DatasetError, ImageError, OptionError, UnknownNameError
from rain.registry import load_dataset

# --- tables


@pytest.fixture
def table(tmp_path: Path) -> Path:
    paint(tmp_path / "one.png", 10)
    paint(tmp_path / "images" / "two.png", 20)
    path = tmp_path / "labels.csv"
    path.write_text(
        "file,label,category,license\ntwo.png,3,owl,CC BY\none.png,0,newt,CC0\n", encoding="utf-8-sig"
    )
    return path


def test_csv_keeps_the_order_of_the_table(table: Path) -> None:
    pictures = load_dataset(f"csv:{table.parent}")
    assert pictures.files == ("images/two.png", "one.png")
    assert pictures.labels == (3, 0)
    assert pictures.categories == ("newt", "1", "2", "owl")
    assert pictures.licence == "CC BY, CC0"
    assert load_dataset(f"csv:{table}").digest() == pictures.digest()
    assert len(load_dataset(f"csv:{table}(categories=imagenet)").categories) == 1000
    assert load_dataset(f"csv:{table}(licence=mine)").licence == "mine"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("file,label\n../secret.png,1\n", "leaves the folder"),
        ("file,label\n/etc/secret.png,1\n", "leaves the folder"),
        ("file,label\ngone.png,1\n", "neither beside the table nor in images/"),
        ("file,label\none.png,cat\n", "must be a whole number"),
        ("file,label\none.png,-1\n", "must be a whole number"),
        ("file,label,category\none.png,99999999999,cat\n", "must be a whole number from 0 to 999999"),
        (f"file,label\n{300 * 'x'}.png,1\n", "neither beside the table nor in images/"),
        ("file,label\none.png,\n", r"entry 1 \(about line 2\) has no label"),
        ("file,class\none.png,1\n", "no column 'label' in its first line, which has 2 columns"),
        ("file;label\none.png;1\n", "1 column; they are separated by ';', and must be by commas"),
        ("file,label\n", "no entries"),
        ("", "no column 'file' in its first line, which has 0 columns"),
        (b"file,label\n\xff\xfe,1\n", "not text in UTF-8 .byte 12 is 0xff.; save the file as UTF-8"),
    ],
)
def test_csv_says_what_is_wrong(table: Path, content: str | bytes, says: str) -> None:
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DatasetError, match=says):
        load_dataset(f"csv:{table}")


def test_csv_refuses_what_is_not_there(tmp_path: Path, table: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        load_dataset(f"csv:{tmp_path / 'other.csv'}")
    with pytest.raises(DatasetError, match=r"gone: no such folder; write csv:PATH of a folder"):
        load_dataset(f"csv:{tmp_path / 'gone'}")
    with pytest.raises(OptionError, match="categories must be imagenet"):
        load_dataset(f"csv:{table}(categories=cifar)")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_table_may_compose_its_letters_another_way(tmp_path: Path, form: Literal["NFC", "NFD"]) -> None:
    other: Literal["NFC", "NFD"] = "NFD" if form == "NFC" else "NFC"
    name, folder = (unicodedata.normalize(form, text) for text in ("grün.png", "käfer"))
    paint(tmp_path / "own" / folder / name, 9)
    table = tmp_path / "own" / folder / "labels.csv"
    table.write_text(f"file,label\n{unicodedata.normalize(other, name)},4\n", encoding="utf-8-sig")
    assert load_dataset(f"csv:{table}").files == (name,)
    table.unlink()
    classes = tmp_path / "classes.csv"
    classes.write_text(f"folder,label\n{unicodedata.normalize(other, folder)},6\n", encoding="utf-8-sig")
    assert load_dataset(f"folder:{tmp_path / 'own'}(labels={classes})").labels == (6,)


# --- what all have in common


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (("deep/a.png",), "for the folder write folder:{root}"),
        (("a.png",), "for the folder write pictures:{root}"),
        (("labels.csv", "a.png"), "for the table write csv:{root}"),
    ],
)
def test_a_path_alone_is_told_how_it_is_written(tmp_path: Path, files: tuple[str, ...], says: str) -> None:
    for name in files:
        paint(tmp_path / "own" / name, 1) if name.endswith("png") else (tmp_path / "own").mkdir()
        (tmp_path / "own" / name).touch()
    root = tmp_path / "own"
    with pytest.raises(UnknownNameError, match=re.escape(says.format(root=root))):
        load_dataset(str(root))


@pytest.mark.parametrize("spec", ["my/pictures", "foldr:my/pictures", "sample"])
def test_a_dataset_typed_wrong_is_told_what_there_is(spec: str) -> None:
    with pytest.raises(UnknownNameError, match=r"your own pictures are folder:PATH .*csv:PATH"):
        load_dataset(spec)


def test_a_file_name_that_is_no_text_is_a_name(tmp_path: Path) -> None:
    name = os.fsdecode(b"gr\xfcn.png")
    paint(tmp_path / "a.png", 5)
    try:
        (tmp_path / "a.png").rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes text only")
    pictures = load_dataset(f"pictures:{tmp_path}")
    assert pictures.files == (name,)
    assert len(pictures.digest()) == 16
    assert pictures[0][0].shape == (3, 3, 4)
    (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(ImageError, match="not an image"):
        pictures[0]


def test_a_damaged_picture_is_told_when_it_is_read(folders: Path) -> None:
    (folders / "cat" / "c.png").write_bytes(b"no picture")
    pictures = load_dataset(f"folder:{folders}")
    with pytest.raises(ImageError, match=r"c\.png: not an image"):
        pictures[0]


def test_the_digest_knows_names_labels_and_content(folders: Path) -> None:
    def digest() -> str:
        return str(load_dataset(f"folder:{folders}").digest())

    before = digest()
    assert len(before) == 16
    assert digest() == before
    paint(folders / "cat" / "c.png", 11)
    changed = digest()
    assert changed != before
    (folders / "cat" / "c.png").rename(folders / "cat" / "d.png")
    assert digest() != changed


def test_the_digest_of_a_large_set_leaves_the_content_out(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rain.datasets.SMALL_BYTES", 10)
    before = load_dataset(f"folder:{folders}").digest()
    path = folders / "cat" / "c.png"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    assert load_dataset(f"folder:{folders}").digest() == before


def test_a_label_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="label 2 is past the 2 categories"):
        Pictures("own", tmp_path, ("a.png",), (2,), ("x", "y"))


def test_hidden_files_and_other_formats_are_left_out(folders: Path) -> None:
    assert list_pictures(folders, "cat").pictures == ["cat/c.png"]


# --- samples and STL-10


def test_hidden_folders_and_folders_with_the_name_of_a_picture_are_no_pictures(folders: Path) -> None:
    paint(folders / "cat" / ".ipynb_checkpoints" / "c-checkpoint.png", 10)
    (folders / "cat" / "d.png").mkdir()
    assert list_pictures(folders, "cat").pictures == ["cat/c.png"]
    assert "c-checkpoint" not in " ".join(load_dataset(f"pictures:{folders}").files)


def test_stl10_sends_no_pictures_to_other_processes(stl10: Path) -> None:
    pictures = load_dataset(f"stl10:{stl10}")
    sent = pickle.dumps(pictures)
    assert len(sent) < 3 * 96 * 96
    assert torch.equal(pickle.loads(sent)[1][0], pictures[1][0])


def test_samples_are_twenty_pictures() -> None:
    pytest.importorskip("foolbox")
    pictures = load_dataset("samples")
    assert len(pictures) == 20
    image, label = pictures[0]
    assert image.shape == (3, 512, 512)
    assert pictures.categories[label]


@pytest.fixture
def stl10(tmp_path: Path) -> Path:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 96, 96), dtype=np.uint8)
    pixels.tofile(folder / "test_X.bin")
    np.array([1, 10], dtype=np.uint8).tofile(folder / "test_y.bin")
    (folder / "class_names.txt").write_text("\n".join(f"class{number}" for number in range(10)))
    return tmp_path


def test_stl10_agrees_with_the_format(stl10: Path) -> None:
    pictures = load_dataset(f"stl10:{stl10}")
    stored = np.fromfile(stl10 / "stl10_binary" / "test_X.bin", dtype=np.uint8).reshape(2, 3, 96, 96)
    image, label = pictures[1]
    assert label == 9
    assert torch.equal((image * 255).round().byte(), torch.from_numpy(stored[1].transpose(0, 2, 1).copy()))
    assert len(pictures) == 2
    assert len(pictures.categories) == 10
    assert len(pictures.digest()) == 16
    with pytest.raises(IndexError):
        pictures[2]


def test_stl10_says_what_is_wrong(stl10: Path) -> None:
    with pytest.raises(DatasetError, match=r"no train_X\.bin, train_y\.bin; pass download=True"):
        load_dataset(f"stl10:{stl10}(split=train)")
    with pytest.raises(OptionError, match="split must be one of"):
        load_dataset(f"stl10:{stl10}(split=unlabeled)")
    with (stl10 / "stl10_binary" / "test_X.bin").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(DatasetError, match="do not belong together"):
        load_dataset(f"stl10:{stl10}")
