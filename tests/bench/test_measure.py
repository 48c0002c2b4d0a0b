from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest
import torch
from measuring import cell_of, grid
from PIL import Image
from torch import Tensor

import rain
from rain.bench import measure, workload
from rain.bench.access import attacker_view
from rain.bench.assets import Assets
from rain.bench.cells import load
from rain.bench.measure import Bench, Question, seeded
from rain.bench.outcomes import Batch
from rain.bench.runners import run
from rain.errors import (
    AttackError,
    ClassifierError,
    DatasetError,
)

CPU = torch.device("cpu")


def test_columns_are_paired(pictures: Path, tmp_path: Path) -> None:
    """All attacks on a defence see the same clean draws; on the bare classifier accesses are one attack."""
    results = run(grid(pictures), tmp_path)
    for defense in ("none", "jpeg", "rain(enhancer=bicubic)"):
        assert (
            len(
                {
                    tuple(outcome.clean for outcome in result.outcomes)
                    for result in results
                    if result.cell.defense == defense
                }
            )
            == 1
        )
    bare = {
        tuple((o.robust, o.distance) for o in cell_of(results, "none", access).outcomes)
        for access in ("transfer", "frozen", "static", "adaptive")
    }
    assert len(bare) == 1
    # What is transferred is what was made on the bare classifier.
    far = {
        defense: [o.distance for o in cell_of(results, defense, "transfer").outcomes]
        for defense in ("none", "jpeg", "rain(enhancer=bicubic)")
    }
    assert far["none"] == far["jpeg"] == far["rain(enhancer=bicubic)"]


def test_seeds_know_neither_defence_nor_attack(pictures: Path) -> None:
    cell = grid(pictures).cells[0]
    other = replace(cell, defense="x", attack="y", eps=0.5, access="adaptive", eot=9, draws=9, classifier="z")
    assert seeded(cell, 1, 0, "attack").initial_seed() == seeded(other, 1, 0, "attack").initial_seed()
    different = [
        seeded(cell, 1, 0, "clean"),
        seeded(cell, 2, 0, "attack"),
        seeded(cell, 1, 1, "attack"),
        seeded(replace(cell, seed=1), 1, 0, "attack"),
    ]
    assert len({generator.initial_seed() for generator in [*different, seeded(cell, 1, 0, "attack")]}) == 5


def test_nan_is_no_answer(pictures: Path, tmp_path: Path) -> None:
    """The largest of NaNs is class 0: a classifier that breaks down would be right about all images of it."""
    bright = tmp_path / "bright"
    bright.mkdir()
    for index in range(2):
        Image.new("RGB", (32, 32), (255, 255, 255) if index else (0, 0, 0)).save(bright / f"{index}.png")
    (bright / "labels.csv").write_text("file,label\n0.png,0\n1.png,0\n")
    begun = grid(
        bright, classifier="models:blind", attacks=[{"attack": "none"}], defenses=["none", "jpeg"], examples=2
    )
    with (
        pytest.warns(UserWarning, match="answers NaN or infinite logits for images 1 of a batch of 2"),
        pytest.raises(AttackError, match="2 of 2"),
    ):
        run(begun, tmp_path / "out")
    hardened = rain.harden(models.blind().eval(), "none")
    with pytest.raises(ClassifierError, match="images 0, 2"):
        hardened.predict(torch.tensor([1.0, 0.0, 1.0])[:, None, None, None].expand(3, 3, 8, 8))


def test_galleries_are_kept_of_the_strongest_transferred_and_adaptive_attacks(
    pictures: Path, tmp_path: Path
) -> None:
    attacks = [
        {
            "attack": "pgd(steps=2)",
            "access": ["transfer", "static", "adaptive"],
            "eps": ["1/255", "8/255"],
            "eot": 2,
        }
    ]
    results = run(grid(pictures, attacks=attacks, size=32), tmp_path)
    kept = {path.parent.name for path in tmp_path.rglob("gallery.npz")}
    assert kept == {
        r.cell.key
        for r in results
        if r.cell.access in ("transfer", "adaptive") and r.cell.eps > 0.01 and r.cell.defense != "none"
    }
    rain = next(r for r in results if r.cell.key in kept and r.cell.defense.startswith("rain"))
    with np.load(tmp_path / rain.cell.key / "gallery.npz", allow_pickle=False) as arrays:
        assert arrays["clean"].shape == arrays["enhanced"].shape == (2, 32, 32, 3)
        assert arrays["randomized"].shape == (2, 16, 16, 3)
        assert arrays["says"].shape == (2, 4)
        assert np.abs(arrays["perturbation"]).max() <= 8 / 255 + 1e-6
        # The first images of the set, not ones that were chosen for what happened to them.
        assert arrays["index"].tolist() == [0, 1]


def test_labels_that_the_classifier_does_not_know_are_named(pictures: Path, tmp_path: Path) -> None:
    table = pictures / "wrong.csv"
    table.write_text("file,label\n0.png,77\n")
    with pytest.raises(DatasetError, match=r"label 77.*5 classes"):
        run(grid(pictures, dataset=f"csv:{table}", examples=1), tmp_path)


def test_pictures_without_labels_are_not_measured_on(pictures: Path, tmp_path: Path) -> None:
    asked = grid(pictures, dataset=f"pictures:{pictures}", examples=1)
    # The table beside the pictures is no picture.
    skipped = pytest.warns(UserWarning, match=r"skipped, as they are no pictures \(\d \.csv\)")
    with skipped, pytest.raises(DatasetError, match="has no labels: it is for training"):
        run(asked, tmp_path)


def test_random_starts_are_the_same_for_every_access(pictures: Path, tmp_path: Path) -> None:
    """A step of almost nothing leaves the start, wherever it was drawn in a batch."""
    attacks = [
        {
            "attack": "pgd(steps=1, step=1e-9, confidence=inf)",
            "access": ["transfer", "adaptive"],
            "eps": "8/255",
            "eot": 30,
        }
    ]
    results = run(grid(pictures, attacks=attacks, size=32, defenses=["rain(enhancer=bicubic)"]), tmp_path)
    distances = [[outcome.distance for outcome in result.outcomes] for result in results]
    assert distances[0] == pytest.approx(distances[1], abs=1e-7)


@pytest.mark.filterwarnings("ignore:this CPU has no instructions")
@pytest.mark.parametrize("access", ["query", "frozen", "static", "adaptive"])
def test_only_attacks_on_a_random_defence_compute_in_bfloat16(
    pictures: Path, access: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[torch.dtype]] = {}

    def watched(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def convolve(images: Tensor, *arguments: Any, **options: Any) -> Tensor:
            output = original(images, *arguments, **options)
            seen.setdefault(stage, set()).add(output.dtype)
            return output

        return convolve

    monkeypatch.setattr(torch.nn.Conv2d, "_conv_forward", watched(torch.nn.Conv2d._conv_forward))
    assets = Assets(CPU, "bf16-mixed")
    bench = Bench(assets)
    attack = "square(queries=9)" if access == "query" else "pgd(steps=2, confidence=inf)"
    for defense in ("none", "jpeg", "rain(enhancer=bicubic)"):
        cell = replace(
            grid(pictures).cells[0], defense=defense, attack=attack, access=access, eot=2, draws=1, eps=0.03
        )
        stage = "setting up"
        batch = Batch(0, (0, 1), torch.rand(2, 3, 32, 32), torch.tensor([0, 1]))
        assets.twin(cell.classifier, defense, (32, 32))
        stage = f"attack on {defense}"
        adversarial = bench.attacked(cell, 0, batch, lambda units: None).images
        stage = "judgement"
        bench.answers(cell, Question(cell, 0, 0, "robust"), adversarial)
    assert seen["attack on rain(enhancer=bicubic)"] == {torch.bfloat16}
    assert seen["attack on none"] == seen["attack on jpeg"] == seen["judgement"] == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16):
        twin = assets.twin("models:tiny", "rain(enhancer=bicubic)", (32, 32))
        assert twin(torch.rand(1, 3, 32, 32)).dtype == torch.float32  # small differences survive


@pytest.mark.parametrize(
    ("attack", "access"),
    [
        ("none", "none"),
        ("noise(tries=30, confidence=inf)", "query"),
        ("square(queries=20, confidence=inf)", "query"),
        ("pgd(steps=8, confidence=inf)", "adaptive"),
        ("targeted(attack=pgd(steps=8, confidence=inf))", "adaptive"),
    ],
)
def test_a_chunk_takes_about_the_work_that_was_estimated(pictures: Path, attack: str, access: str) -> None:
    """It may be above what is done, by what leaves early, and below it by a pass or two for an image."""
    cell = replace(
        grid(pictures).cells[0],
        defense="rain(enhancer=bicubic)",
        attack=attack,
        access=access,
        eot=4,
        draws=2,
        eps=0.03,
        norm="l2",
    )
    done: list[float] = []
    Bench(Assets(CPU)).measure(cell, 0, tick=done.append)
    estimate = workload.cost(cell, 0)
    assert 0.5 * estimate <= sum(done) <= 1.35 * estimate


@pytest.mark.parametrize(
    ("defense", "largest"), [("rain(enhancer=bicubic)", 4), ("rain(enhancer=bicubic, shared_shift=true)", 1)]
)
def test_images_are_asked_together_only_where_each_has_its_own_draw(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defense: str, largest: int
) -> None:
    seen: list[int] = []

    def watched(*arguments: Any, **options: Any) -> Any:
        view = attacker_view(*arguments, **options)
        return lambda images: (seen.append(len(images)), view(images))[1]

    monkeypatch.setattr(measure, "attacker_view", watched)
    asking = [{"attack": "square(queries=5, confidence=inf)", "access": "query", "eps": "16/255"}]
    run(grid(pictures, attacks=asking, defenses=[defense], size=32), tmp_path)
    assert max(seen) == largest


def test_cells_of_other_chunks_leave_the_files_of_a_run_alone(pictures: Path, tmp_path: Path) -> None:
    """The images of a chunk may be those of another cell's chunk with another number: with other draws."""
    attacks = [
        {"attack": "none"},
        {"attack": "fgsm", "access": "transfer", "eps": "8/255", "examples": 6, "chunk": 2},
    ]
    mixed = grid(
        pictures,
        classifier="models:nervous",
        defenses=["rain(enhancer=bicubic)"],
        attacks=attacks,
        examples=6,
        chunk=4,
        draws=8,
    )
    kept: dict[str, Any] = {}
    for name, part in {"whole": mixed.cells, "last": mixed.cells[1:]}.items():
        run(replace(mixed, cells=part), tmp_path / name)
        kept[name] = {
            path.name: path.read_bytes() for path in tmp_path.glob(f"{name}/{mixed.cells[1].key}/*.json")
        }
    assert len(kept["whole"]) == 3
    assert kept["whole"] == kept["last"]


@pytest.mark.parametrize(
    ("attack", "flat"),
    [("pgd(confidence=inf, steps=2)", True), ("pgd(confidence=inf, loss=margin, steps=2)", False)],
)
@pytest.mark.parametrize("access", ["static", "adaptive"])
def test_gradients_that_vanish_are_kept_in_mind(
    attack: str, flat: bool, access: str, pictures: Path, tmp_path: Path
) -> None:
    """Where the right class is certain to the last bit, cross-entropy has no slope."""
    table = {"classifier": "models:certain", "defenses": ["rain(enhancer=bicubic)"], "draws": 2}
    (found,) = run(
        grid(pictures, **table, attacks=[{"attack": attack, "access": access, "eps": "1/255", "eot": 2}]),
        tmp_path,
    )
    sure = [outcome for outcome in found.outcomes if set(outcome.clean) == {outcome.label}]
    assert sure
    assert all(outcome.flat is flat for outcome in sure)
    assert load(tmp_path) == [found]


def test_progress_is_told_of_each_draw(pictures: Path) -> None:
    cells = [cell for cell in grid(pictures, size=24).cells if cell.defense.startswith("rain")]
    clean = next(cell for cell in cells if cell.attack == "none")
    told: list[float] = []
    Bench(Assets(CPU)).measure(clean, 0, tick=told.append)
    assert told == [8, 8, 8, 0]  # of four images, whose answers count twice
    told.clear()
    adaptive = next(cell for cell in cells if cell.access == "adaptive")
    bench = Bench(Assets(CPU))
    bench.measure(adaptive, 0, tick=told.append)
    assert told[:3] == [4, 4, 4]
    assert told[-4:] == [4, 4, 4, 0]
    assert sum(told[3:-4]) <= workload.cost(adaptive, 0)
    told.clear()
    bench.measure(replace(adaptive, eps=1 / 255), 0, tick=told.append)
    assert told[-1] == 12  # the clean answers were there
