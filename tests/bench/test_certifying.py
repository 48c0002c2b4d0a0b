"""Certificates of a dataset: chunk by chunk, the same after a kill, and refused where they would mislead."""

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interrupting import start
from measuring import grid

from rain.bench import certifying
from rain.bench.certificates import (
    CertifiedCell,
    CertifiedImage,
    CertifiedResult,
    abstained_share,
    average_radius,
    certified_accuracy,
    load_both,
    load_certified,
    path_of,
)
from rain.bench.certifying import Numbers, clean_cells, prepare, run, with_sigma
from rain.bench.grid import clean_cell
from rain.errors import CertificateError, DatasetError, OptionError, ResultError
from rain.hardened import Hardened
from rain.report.certificates import certificate_sections

FEW = Numbers(n0=10, n=50)
SMOOTH = "smooth(sigma=0.12)"


def cells(pictures: Path, **changes):
    options = {"size": None, "examples": 7, "chunk": 3} | changes
    return [clean_cell(f"csv:{pictures}", "models:tiny", SMOOTH, **options)]


def certified(pictures: Path, folder: Path, **options):
    plan, _ = prepare(cells(pictures), folder, FEW, device="cpu", **options)
    return run(plan)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.json")}


def test_every_image_gets_its_certificate_and_a_second_run_has_nothing_to_do(pictures: Path, tmp_path: Path):
    (result,) = certified(pictures, tmp_path)
    assert result.complete
    assert [image.index for image in result.images] == list(range(7))
    assert [image.label for image in result.images] == [index % 5 for index in range(7)]
    assert result.cell.sigma == 0.12
    assert "data_digest" in result.made_by
    assert load_both(tmp_path) == ([], [result])
    plan, _ = prepare(cells(pictures), tmp_path, FEW)
    assert not plan.work


def test_certificates_are_those_of_python_with_the_same_seeds(pictures: Path, tmp_path: Path):
    from rain import harden, load_classifier, load_dataset
    from rain.seeding import seed_for

    (result,) = certified(pictures, tmp_path)
    image, _ = load_dataset(f"csv:{pictures}")[4]
    hardened = harden(load_classifier("models:tiny"), SMOOTH)
    seed = seed_for(0, f"csv:{pictures}", 4, "certificate")
    alone = hardened.certify(image[None], n0=10, n=50, seed=[seed])
    assert result.images[4].votes == int(alone.counts[0])
    assert result.images[4].radius == float(alone.radii[0])


def test_a_killed_run_goes_on_and_leaves_the_files_of_a_single_one(pictures: Path, tmp_path: Path):
    single, other = tmp_path / "single", tmp_path / "other"
    certified(pictures, single)
    command = ["certify", "--images", str(pictures), "--classifier", "models:tiny", "--defense", SMOOTH]
    command += ["--n0", "10", "--n", "50", "--chunk", "3", "--size", "0", "--device", "cpu"]
    killed = start(other, *command, sign=signal.SIGKILL, after=1)
    assert killed.wait(300) == -signal.SIGKILL
    between = contents(other)
    assert len(between) == 1
    assert between.items() <= contents(single).items()
    certified(pictures, other)
    assert contents(other) == contents(single)


def test_more_images_are_certified_without_the_first_ones_again(pictures: Path, tmp_path: Path):
    certified(pictures, tmp_path / "all")
    fewer = cells(pictures, examples=4)
    run(prepare(fewer, tmp_path / "grown", FEW, device="cpu")[0])
    plan, _ = prepare(cells(pictures), tmp_path / "grown", FEW, device="cpu")
    # Of four images the second chunk has one, and is not that of seven.
    assert [number for _, number in plan.work] == [1, 2]
    run(plan)
    assert contents(tmp_path / "all").items() <= contents(tmp_path / "grown").items()
    (result,) = load_certified(tmp_path / "grown")
    assert len(result.images) == 7


def test_another_batch_leaves_the_same_certificates(pictures: Path, tmp_path: Path):
    (first,), (second,) = (certified(pictures, tmp_path / str(batch), batch=batch) for batch in (60, 7))
    assert first.images == second.images


def test_a_full_memory_halves_the_passes(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (whole,) = certified(pictures, tmp_path / "whole")
    exact, asked, most = certifying.certify, [], 8

    def small(model, image, n0, n, alpha, seed, batch):
        asked.append(batch)
        if batch > most:
            raise torch.OutOfMemoryError("full")
        return exact(model, image, n0, n, alpha, seed, batch)

    monkeypatch.setattr(certifying, "certify", small)
    (halved,) = certified(pictures, tmp_path / "halved", batch=32)
    assert halved.images == whole.images
    assert asked == [32, 16, 8, 8, 8, 8, 8, 8, 8]
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        certified(pictures, tmp_path / "never")


def test_certificates_of_other_images_are_refused(pictures: Path, tmp_path: Path):
    copy = Path(shutil.copytree(pictures, tmp_path / "copy"))
    certified(copy, tmp_path / "out")
    shutil.copy(copy / "1.png", copy / "2.png")
    with pytest.raises(ResultError, match="other images than there are now"):
        prepare(cells(copy), tmp_path / "out", FEW)


def test_bfloat16_is_computed_told_and_not_mixed_with_float32(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = set()
    answer = Hardened.answer

    def spy(model: Hardened, *given, **more):
        seen.add(torch.is_autocast_enabled("cpu"))
        return answer(model, *given, **more)

    monkeypatch.setattr(Hardened, "answer", spy)
    monkeypatch.setattr("rain.runtime.precision._is_bfloat16_fast", lambda device: True)
    (result,) = certified(pictures, tmp_path, precision="auto")
    assert seen == {True}
    assert result.made_by["precision"] == ("bf16-mixed",)
    plan, _ = prepare(cells(pictures), tmp_path, FEW, device="cpu", precision="auto")
    assert not plan.work
    with pytest.raises(ResultError, match="made with another precision than now"):
        prepare(cells(pictures), tmp_path, FEW, device="cpu")
    for path in path_of(tmp_path, result.cell, 0).parent.iterdir():
        content = json.loads(path.read_text())
        del content["made_by"]["precision"]
        path.write_text(json.dumps(content))
    with pytest.raises(ResultError, match="made with another precision than now"):
        prepare(cells(pictures), tmp_path, FEW, device="cpu", precision="auto")
    (section,) = certificate_sections([result], [], {SMOOTH: "smooth"})
    assert "as it computes in bfloat16" in section.sentences[0]


def test_damaged_images_are_left_out_if_asked(pictures: Path, tmp_path: Path):
    copy = Path(shutil.copytree(pictures, tmp_path / "copy"))
    (copy / "2.png").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="1 of 7 images"):
        plan, _ = prepare(cells(copy), tmp_path / "out", FEW, skip_damaged=True)
    (result,) = run(plan)
    assert [image.index for image in result.images] == [0, 1, 3, 4, 5, 6]
    assert load_certified(tmp_path / "out") == [result]


def test_images_without_labels_are_refused(pictures: Path, tmp_path: Path):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(pictures / "1.png", alone)
    unlabelled = [clean_cell(f"pictures:{alone}", "models:tiny", SMOOTH, size=None)]
    plan, _ = prepare(unlabelled, tmp_path, FEW)
    with pytest.raises(DatasetError, match="has no labels"):
        run(plan)


def test_a_grid_gives_its_certifiable_defences_with_most_images(pictures: Path, tmp_path: Path):
    defenses = ["none", SMOOTH, [SMOOTH, "jpeg"], ["jpeg", SMOOTH]]
    clean = {"attack": "none", "examples": 5, "chunk": 2}
    attack = {"attack": "pgd", "access": "adaptive", "eps": 0.25, "norm": "l2"}
    of_grid = clean_cells(grid(pictures, defenses=defenses, attacks=[clean, attack]))
    assert len(of_grid) == 4
    assert {(cell.examples, cell.chunk) for cell in of_grid} == {(7, 2)}
    plan, reasons = prepare(of_grid, tmp_path, FEW)
    assert [cell.defense for cell in plan.cells] == [SMOOTH, f"chain(parts={SMOOTH}+jpeg)"]
    assert "does not come first" in reasons[f"chain(parts=jpeg+{SMOOTH})"]
    assert [chunk for _, chunk in plan.work] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_nothing_that_can_be_certified_is_an_error(pictures: Path, tmp_path: Path):
    with pytest.raises(CertificateError, match="none: NoDefense does not begin with Gaussian noise"):
        prepare([clean_cell(f"csv:{pictures}", "models:tiny", "none", size=None)], tmp_path, FEW)


@pytest.mark.parametrize(
    ("defense", "other"),
    [
        ("smooth", "smooth(sigma=0.5)"),
        ("smooth(enhancer=compact(scale=1), sigma=0.25)", "smooth(enhancer=compact(scale=1), sigma=0.5)"),
        ("chain(parts=smooth+rain)", "chain(parts=smooth(sigma=0.5)+rain)"),
    ],
)
def test_sigma_goes_into_the_spec(defense: str, other: str):
    assert with_sigma(defense, 0.5) == other


@pytest.mark.parametrize("defense", ["rain", "chain(parts=rain+smooth)", "none"])
def test_sigma_of_what_does_not_begin_with_smooth_is_refused(defense: str):
    with pytest.raises(OptionError, match="does not begin with it"):
        with_sigma(defense, 0.5)


CELL = CertifiedCell("csv:x", 16, "models:tiny", SMOOTH, 0.12, 10, 50, 0.001, 0, 4, 2)


def test_the_numbers_are_of_all_images():
    images = [
        CertifiedImage(0, 1, 1, 0.3, 1, 50),
        CertifiedImage(1, 1, 1, 0.1, 1, 40),
        CertifiedImage(2, 1, 0, 0.9, 0, 50),  # proven, and wrong
        CertifiedImage(3, 1, -1, 0.0, 1, 26),
    ]
    assert [certified_accuracy(images, radius) for radius in (0.0, 0.1, 0.2, 0.5)] == [0.5, 0.5, 0.25, 0]
    assert average_radius(images) == pytest.approx(0.1)
    assert abstained_share(images) == 0.25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.update(format=2), "its format is 2"),
        (lambda file: file["images"].pop(), "not those of the chunk"),
        (lambda file: file["images"][0].update(votes=99), "that cannot be"),
        (lambda file: file["images"][0].update(answer=3, guess=1), "that cannot be"),
        (lambda file: file["images"][0].update(answer=-1, radius=0.5), "a radius where it abstains"),
        (lambda file: file["images"][0].update(radius=1000.0), "a radius that its votes do not prove"),
        (lambda file: file["images"][0].update(votes=25, radius=0.0), "that its votes do not prove"),
        (lambda file: file["images"][0].update(radius="far"), "radius is 'far'"),
        (lambda file: file["certified"].update(n0=0), "n0 is 0, not an integer"),
        (lambda file: file["certified"].update(alpha=2.0), "alpha is 2.0"),
        (lambda file: file["certified"].update(seed=1), "what its name says"),
        (lambda file: file.pop("made_by"), "without made_by"),
        (lambda file: file.update(chunk=9), "a chunk that the cell does not have"),
    ],
)
def test_a_file_that_is_none_of_ours_is_told(change, message: str, tmp_path: Path):
    from rain.bench.certificates import save

    images = [CertifiedImage(index, 1, 1, 0.1, 1, 50) for index in (0, 1)]
    save(tmp_path, CELL, 0, images, {"rain": "0"})
    (result,) = load_certified(tmp_path)
    assert result == CertifiedResult(CELL, tuple(images), False, {"rain": ("0",)})
    path = path_of(tmp_path, CELL, 0)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ResultError, match=message):
        load_certified(tmp_path)


def test_an_unfinished_cell_is_not_complete(tmp_path: Path):
    from rain.bench.certificates import save

    both = replace(CELL, examples=3)
    save(tmp_path, both, 1, [CertifiedImage(2, 1, 1, 0.1, 1, 50)], {})
    assert not load_certified(tmp_path)[0].complete


def test_a_folder_without_anything_is_an_error(tmp_path: Path):
    with pytest.raises(ResultError, match="no results in it"):
        load_both(tmp_path)
