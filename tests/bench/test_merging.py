"""Folders of results are put together, and what does not belong together is refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from measuring import contents, grid
from synthetic import proof_cell

from rain.bench import certificates, planned, proofs
from rain.bench.cells import Cell, load
from rain.bench.certificates import CertifiedCell, CertifiedImage
from rain.bench.merging import merge
from rain.bench.proofs import ProvenImage
from rain.bench.runners import run
from rain.errors import ResultError


@pytest.fixture(scope="module")
def shards(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of two shards, ``1`` and ``2``, and of the whole run, ``whole``."""
    root = tmp_path_factory.mktemp("shards")
    attacks = [{"attack": "none"}, {"attack": "fgsm", "access": "transfer", "eps": "8/255"}]
    asked = grid(pictures, defenses=["none", "jpeg"], attacks=attacks, chunk=2)
    run(asked, root / "whole")
    for number in (1, 2):
        run(asked, root / str(number), shard=f"{number}/2")
    return root


@pytest.fixture
def parts(shards: Path, tmp_path: Path) -> tuple[Path, Path]:
    return tuple(Path(shutil.copytree(shards / name, tmp_path / name)) for name in "12")


def change(folder: Path, **changes: Any) -> Path:
    """Change what made the results of a folder, or other fields of its files."""
    for path in folder.glob("*/0*.json"):
        content = json.loads(path.read_text())
        content["made_by"] |= changes
        path.write_text(json.dumps(content))
    return folder


def test_shards_come_to_the_files_of_the_whole_run(
    shards: Path, parts: tuple[Path, Path], tmp_path: Path
) -> None:
    merged = merge(parts, tmp_path / "all")
    assert contents(tmp_path / "all") == contents(shards / "whole")
    assert (merged.chunks, merged.fresh, merged.missing) == (16, 16, 0)
    again = merge([*parts, parts[0]], tmp_path / "all")
    assert (again.chunks, again.fresh) == (16, 0)


def test_a_folder_may_be_the_destination_too(parts: tuple[Path, Path]) -> None:
    first, second = parts
    before = len(list(first.glob("*/0*.json")))
    merged = merge([first, second], first)
    assert merged.chunks == 16
    assert merged.fresh == 16 - before
    assert all(result.complete for result in load(first))


def test_what_is_missing_is_counted(parts: tuple[Path, Path], tmp_path: Path) -> None:
    next(parts[0].glob("*/00000.json")).unlink()
    assert merge(parts, tmp_path / "all").missing == 1


def test_planned_cells_that_nobody_began_are_missing(parts: tuple[Path, Path], tmp_path: Path) -> None:
    cell = load(parts[0])[0].cell
    planned.note(parts[0], [replace(cell, seed=cell.seed + 1)])
    assert merge(parts, tmp_path / "all").missing == cell.chunks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"revision": "zzz"}, "more than one revision: '.*' in .*1, 'zzz' in .*2"),
        ({"rain": "99"}, "more than one rain:"),
        ({"data_digest": "x"}, "more than one data digest"),
        ({"classifier_weights": "x"}, "more than one classifier weights"),
    ],
)
def test_other_revisions_images_and_weights_are_refused(
    parts: tuple[Path, Path], tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    change(parts[1], **changes)
    with pytest.raises(ResultError, match=message):
        merge(parts, tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_another_machine_is_warned_of(parts: tuple[Path, Path], tmp_path: Path) -> None:
    change(parts[1], device="a card", python="3.99")
    with pytest.warns(UserWarning, match="more than one (device: 'a card' in|python: )"):
        assert merge(parts, tmp_path / "all").missing == 0


def test_two_results_of_one_chunk_that_differ_are_named(
    shards: Path, parts: tuple[Path, Path], tmp_path: Path
) -> None:
    other = change(Path(shutil.copytree(shards / "whole", tmp_path / "other")), device="a card")
    with pytest.raises(ResultError, match=r"1/\w+/0000\d.json and .*other/\w+/0000\d.json differ \(device\)"):
        merge([parts[0], other], tmp_path / "all")
    path = next(parts[0].glob("*/00000.json"))
    content = json.loads(path.read_text())
    content["outcomes"][0]["label"] = 4 - content["outcomes"][0]["label"] or 3
    path.write_text(json.dumps(content))
    with pytest.raises(ResultError, match="differ, and the same made them: delete one of them"):
        merge([parts[0], shards / "whole"], tmp_path / "all")


@pytest.mark.parametrize("text", ["", "[]", '{"cell": NaN}', '{"format": 99}', "\0" * 100])
def test_a_hostile_file_is_refused_and_nothing_is_copied(
    parts: tuple[Path, Path], tmp_path: Path, text: str
) -> None:
    next(parts[1].glob("*/0*.json")).write_text(text)
    with pytest.raises(ResultError, match=str(parts[1])):
        merge(parts, tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_links_out_of_a_folder_are_refused(parts: tuple[Path, Path], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    gallery = next(parts[1].glob("*/0*.json")).with_name("gallery.npz")
    gallery.unlink(missing_ok=True)
    gallery.symlink_to(secret)
    with pytest.raises(ResultError, match="a link that leads out of"):
        merge(parts, tmp_path / "all")


def test_what_is_no_result_is_not_copied(parts: tuple[Path, Path], tmp_path: Path) -> None:
    (parts[0] / "evil.py").write_text("")
    next(parts[0].glob("*/0*.json")).with_name("evil.html").write_text("")
    merge(parts, tmp_path / "all")
    assert not list((tmp_path / "all").rglob("evil*"))


def test_a_folder_without_results_is_told(parts: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="nowhere: no such folder"):
        merge([parts[0], tmp_path / "nowhere"], tmp_path / "all")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResultError, match="empty: no results in it"):
        merge([tmp_path / "empty", parts[0]], tmp_path / "all")


def test_a_shard_that_had_nothing_to_do_is_no_hindrance(pictures: Path, tmp_path: Path) -> None:
    """Of one chunk nothing is left for the second of two shards; its folder holds what is planned."""
    asked = grid(pictures, defenses=["none"], attacks=[{"attack": "none"}], examples=2, chunk=2, gallery=0)
    folders = [tmp_path / "1", tmp_path / "2"]
    for number, folder in enumerate(folders, 1):
        run(asked, folder, shard=f"{number}/2")
    empty, full = sorted(folders, key=lambda folder: len(list(folder.glob("*/0*.json"))))
    assert not list(empty.glob("*/0*.json"))
    for order in ([empty, full], [full, empty]):
        merged = merge(order, tmp_path / f"all{order[0].name}")
        assert (merged.chunks, merged.missing) == (1, 0)
    assert contents(tmp_path / "all1") == contents(tmp_path / "all2") == contents(full)


def test_plans_alone_are_no_results(parts: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "plan").mkdir()
    shutil.copytree(parts[0] / "planned", tmp_path / "plan" / "planned")
    with pytest.raises(ResultError, match="plan: no results there, only what was planned"):
        merge([tmp_path / "plan"], tmp_path / "all")
    assert not (tmp_path / "all").exists()
    assert merge([tmp_path / "plan", *parts], tmp_path / "all").missing == 0


def proven(folder: Path, of: Cell | None = None, **facts: str) -> Path:
    """Put a finished proof into a folder."""
    place = {"dataset": of.dataset, "classifier": of.classifier, "defense": of.defense} if of else {}
    about = proof_cell(**place, examples=1, chunk=1)
    image = ProvenImage(0, fit=True, found=True, random_found=False)
    proofs.save(folder, about, 0, [image], facts)
    return folder


def certified(folder: Path, of: Cell | None = None, **facts: str) -> Path:
    """Put a finished certificate into a folder."""
    cell = CertifiedCell("samples", 32, "small_resnet", "gaussian", 0.25, 10, 100, 0.001, 0, 1, 1)
    if of:
        cell = replace(cell, dataset=of.dataset, classifier=of.classifier, defense=of.defense)
    image = CertifiedImage(index=0, label=0, answer=-1, radius=0.0, guess=0, votes=0)
    certificates.save(folder, cell, 0, [image], facts)
    return folder


@pytest.mark.parametrize("put", [proven, certified])
def test_what_stands_beside_results_is_put_together_too(
    put: Callable[..., Path], parts: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = parts
    merge([put(first), put(second)], tmp_path / "all")
    assert len(proofs.load(tmp_path / "all")) + len(certificates.load_certified(tmp_path / "all")) == 1


@pytest.mark.parametrize("put", [proven, certified])
def test_of_other_weights_it_is_refused(
    put: Callable[..., Path], parts: tuple[Path, Path], tmp_path: Path
) -> None:
    """One file of one name could hold only one of them."""
    put(parts[0], classifier_weights="a")
    put(parts[1], classifier_weights="b")
    with pytest.raises(ResultError, match=r"differ|more than one classifier weights: 'a' in .*1, 'b' in .*2"):
        merge(parts, tmp_path / "all")
    assert not (tmp_path / "all").exists()


def beside(put: Callable[..., Path], results: Path, folder: Path, **changes: str) -> Path:
    """A folder of a proof or a certificate, made with what the results were made with but for this."""
    one = next(result for result in load(results) if result.cell.defense == "jpeg")
    return put(folder, of=one.cell, **{name: value for name, (value, *_) in one.made_by.items()} | changes)


@pytest.mark.parametrize("put", [proven, certified])
def test_what_stands_beside_results_was_made_with_what_they_were_made_with(
    put: Callable[..., Path], parts: tuple[Path, Path], tmp_path: Path
) -> None:
    merge([parts[0], beside(put, parts[0], tmp_path / "same")], tmp_path / "all")
    # It may be made later.
    later = beside(put, parts[0], tmp_path / "later", revision="later")
    with pytest.warns(match=r"more than one revision: .* in .*1, 'later' in .*later"):
        merge([parts[0], later], tmp_path / "later all")
    for fact in ("classifier_weights", "defense_weights", "data_digest"):
        other = beside(put, parts[0], tmp_path / fact, **{fact: "other"})
        words = fact.replace("_", " ")
        with pytest.raises(ResultError, match=rf"more than one {words}.*belong together"):
            merge([parts[0], other], tmp_path / "other all")
        with pytest.raises(ResultError, match=rf"more than one {words}.*belong together"):
            merge([other], parts[0])
    assert not (tmp_path / "other all").exists()


def test_what_is_left_out_of_more_images_than_a_proof_takes_is_no_difference(
    parts: tuple[Path, Path], tmp_path: Path
) -> None:
    few = beside(proven, parts[0], tmp_path / "few", left_out="7")
    merge([parts[0], few, proven(tmp_path / "more", left_out="7, 9")], tmp_path / "all")
