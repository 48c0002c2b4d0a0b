from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest
import torch
from measuring import grid
from models import tiny
from PIL import Image
from torch import Tensor

import rain
from rain import checkpoints
from rain.bench import access as attacker
from rain.bench import runners as evaluate
from rain.bench.access import attacker_view
from rain.bench.cells import Cell, load, path_of
from rain.bench.grid import Grid
from rain.bench.measure import Bench, seeded
from rain.classifiers import Preprocessed
from rain.errors import (
    AttackError,
    ClassifierError,
    DatasetError,
    GridError,
    OptionError,
    ResultError,
    UnknownNameError,
)
from rain.images import distance
from rain.specs import innermost


def cell_of(results: list[Any], defense: str, access: str) -> Any:
    (found,) = [
        result for result in results if result.cell.defense == defense and result.cell.access == access
    ]
    return found


def test_a_grid_is_measured_whole_at_each_images_own_size(pictures: Path, tmp_path: Path) -> None:
    results = evaluate.run(grid(pictures), tmp_path)
    assert len(results) == 15
    for result in results:
        assert result.complete
        assert [outcome.index for outcome in result.outcomes] == list(range(7))
        assert [outcome.label for outcome in result.outcomes] == [0, 1, 2, 3, 4, 0, 1]
        limit = result.cell.eps * 1.00001 + 1e-6
        assert all(
            outcome.distance <= limit and len(outcome.clean) == len(outcome.robust) == result.cell.draws
            for outcome in result.outcomes
        )


def test_only_what_is_random_gets_several_draws(pictures: Path, tmp_path: Path) -> None:
    results = evaluate.run(grid(pictures), tmp_path)
    draws = {
        (result.cell.defense, result.cell.draws, result.cell.eot)
        for result in results
        if result.cell.access == "adaptive"
    }
    assert draws == {("none", 1, 1), ("jpeg", 1, 1), ("rain(enhancer=bicubic)", 3, 4)}


def test_columns_are_paired(pictures: Path, tmp_path: Path) -> None:
    """All attacks on a defence see the same clean draws; on the bare classifier all accesses are one attack."""
    results = evaluate.run(grid(pictures), tmp_path)
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


def test_a_second_run_computes_nothing_and_a_part_is_completed(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate.run(grid(pictures), tmp_path)
    contents = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    gone = sorted(contents)[3]
    gone.unlink()
    measured: list[tuple[Cell, int]] = []
    real = Bench.measure
    monkeypatch.setattr(
        Bench,
        "measure",
        lambda self, cell, chunk, **rest: (measured.append((cell, chunk)), real(self, cell, chunk, **rest))[
            1
        ],
    )
    assert evaluate.run(grid(pictures), tmp_path) == first
    assert len(measured) == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == contents


def test_results_of_other_weights_or_images_are_not_mixed_in(pictures: Path, tmp_path: Path) -> None:
    small = grid(pictures, attacks=[{"attack": "none"}], defenses=["none"])
    evaluate.run(small, tmp_path)
    path = path_of(tmp_path, small.cells[0], 0)
    path.write_text(
        path.read_text().replace(load(tmp_path)[0].made_by["classifier_weights"][0], "0123456789abcdef")
    )
    with pytest.raises(ResultError, match="another classifier weights than now: choose a fresh folder"):
        evaluate.run(small, tmp_path)


def test_results_of_a_classifier_with_another_mean_are_not_mixed_in(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the mean nor the size of the crop is a weight."""
    chosen = {"mean": (0.5,) * 3, "crop": 32}
    monkeypatch.setattr(
        models, "chosen", lambda: Preprocessed(tiny(), resize=32, std=(1.0,) * 3, **chosen), raising=False
    )
    begun = grid(pictures, classifier="models:chosen", attacks=[{"attack": "none"}], defenses=["none"])
    evaluate.run(begun, tmp_path)
    evaluate.run(begun, tmp_path)
    further = replace(begun.cells[0], defense="jpeg")
    for name, value in (("mean", (0.4,) * 3), ("crop", 28)):
        monkeypatch.setitem(chosen, name, value)
        with pytest.raises(ResultError, match="another classifier options than now"):
            evaluate.run(Grid((further,), 0), tmp_path)
        monkeypatch.setitem(chosen, name, {"mean": (0.5,) * 3, "crop": 32}[name])


def test_results_of_another_surrogate_are_not_mixed_in(pictures: Path, tmp_path: Path) -> None:
    weights = tmp_path / "surrogate.safetensors"
    attacks = [
        {
            "attack": f"ensemble(classifiers=small_resnet(weights={weights}, classes=5))",
            "access": "transfer",
            "eps": "4/255",
        }
    ]
    begun = grid(pictures, attacks=attacks, defenses=["none"], size=32, examples=2)
    for seed in range(2):
        torch.manual_seed(seed)
        checkpoints.save(rain.load_classifier("small_resnet", classes=5), weights, {})
        if seed == 0:
            evaluate.run(begun, tmp_path / "results")
    with pytest.raises(ResultError, match="another attack files than now"):
        evaluate.run(begun, tmp_path / "results")


def test_what_made_a_cell_says_every_option_of_its_attack(pictures: Path) -> None:
    (cell,) = grid(
        pictures,
        attacks=[{"attack": "targeted(attack=pgd(steps=3))", "access": "static", "eps": "4/255"}],
        defenses=["none"],
    ).cells
    assert innermost(Bench(torch.device("cpu")).made_by(cell)["attack"]) == (
        "pgd",
        {
            "confidence": 0.0,
            "loss": "cross_entropy",
            "random_start": True,
            "restarts": 1,
            "step": None,
            "steps": 3,
        },
    )


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
        evaluate.run(begun, tmp_path / "out")
    hardened = rain.harden(models.blind().eval(), "none")
    with pytest.raises(ClassifierError, match="images 0, 2"):
        hardened.predict(torch.tensor([1.0, 0.0, 1.0])[:, None, None, None].expand(3, 3, 8, 8))


def test_a_gallery_is_kept_of_the_strongest_adaptive_attack(pictures: Path, tmp_path: Path) -> None:
    attacks = [
        {"attack": "pgd(steps=2)", "access": ["static", "adaptive"], "eps": ["1/255", "8/255"], "eot": 2}
    ]
    results = evaluate.run(grid(pictures, attacks=attacks, size=32), tmp_path)
    kept = {path.parent.name for path in tmp_path.rglob("gallery.npz")}
    assert kept == {
        r.cell.key
        for r in results
        if r.cell.access == "adaptive" and r.cell.eps > 0.01 and r.cell.defense != "none"
    }
    rain = next(r for r in results if r.cell.key in kept and r.cell.defense.startswith("rain"))
    with np.load(tmp_path / rain.cell.key / "gallery.npz", allow_pickle=False) as arrays:
        assert arrays["clean"].shape == arrays["enhanced"].shape == (2, 32, 32, 3)
        assert arrays["randomized"].shape == (2, 16, 16, 3)
        assert arrays["says"].shape == (2, 4)
        assert np.abs(arrays["perturbation"]).max() <= 8 / 255 + 1e-6
        # The first images of the set, not ones that were chosen for what happened to them.
        assert arrays["index"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda images, eps: images + 3 * eps, r"moved an image|left \[0, 1\]"),
        (lambda images, eps: images * float("nan"), "NaN"),
        (lambda images, eps: images[:, :, :-1], "returned"),
        (lambda images, eps: images[:1], "returned"),
        (lambda images, eps: None, "NoneType"),
        (lambda images, eps: images - eps * (images < eps), r"left \[0, 1\]"),
        (lambda images, eps: (images + 1.01 * eps).clamp(0, 1), "moved an image by 0.0316"),
    ],
)
def test_an_attack_that_breaks_its_promise_is_named_and_nothing_is_saved(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: Callable[[Tensor, float], Any],
    message: str,
) -> None:
    def attack(model: Any, images: Tensor, labels: Tensor, *, eps: float, norm: str) -> Any:
        return broken(images, eps)

    monkeypatch.setattr(attacker, "load_attack", lambda spec: attack)
    with pytest.raises(AttackError, match=message), pytest.warns(match=message):
        evaluate.run(
            grid(pictures, attacks=[{"attack": "pgd", "access": "static", "eps": "8/255"}]), tmp_path
        )
    assert not list(tmp_path.rglob("*.json"))


def test_one_broken_attack_does_not_stop_the_others(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told at once and again in the end, and is tried in one chunk only."""
    calls: list[int] = []
    load = attacker.load_attack

    def broken(model: Any, images: Tensor, labels: Tensor, *, eps: float, norm: str) -> Tensor:
        calls.append(len(images))
        return images if not len(images) else model(images * float("nan"))

    monkeypatch.setattr(attacker, "load_attack", lambda spec: broken if spec == "pgd" else load(spec))
    attacks = [{"attack": ["pgd", "fgsm"], "access": "static", "eps": "8/255"}]
    with (
        pytest.raises(AttackError, match=r"1 of 2 cells.*pgd asked.*NaN"),
        pytest.warns(match="the rest goes on") as told,
    ):
        evaluate.run(grid(pictures, attacks=attacks, defenses=["rain(enhancer=bicubic)"]), tmp_path)
    assert len(told) == 1
    assert [count for count in calls if count] == [calls[-1]]
    (done,) = evaluate.load(tmp_path)
    assert done.cell.attack == "fgsm"
    assert len(done.outcomes) == done.cell.examples


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"examples": 8}, GridError, "has 7 images, the grid asks for 8"),
        ({"defenses": ["rian"]}, UnknownNameError, "did you mean 'rain'"),
        ({"classifier": "models:tinny"}, Exception, "tinny"),
        (
            {"attacks": [{"attack": "pgd(stepz=3)", "access": "static", "eps": 0.1}]},
            OptionError,
            "no option 'stepz'; did you mean 'step",
        ),
        (
            {"attacks": [{"attack": "pdg", "access": "static", "eps": 0.1}]},
            UnknownNameError,
            "did you mean 'pgd'",
        ),
        ({"dataset": "csv:nowhere"}, DatasetError, "nowhere"),
        ({"attacks": [{"attack": "pgd(steps=many)", "access": "static", "eps": 0.1}]}, OptionError, "steps"),
        (
            {"attacks": [{"attack": "pgd(confidence=much)", "access": "static", "eps": 0.1}]},
            OptionError,
            "pgd",
        ),
        (
            {"attacks": [{"attack": "pgd(eps=0.5)", "access": "static", "eps": 0.1}]},
            OptionError,
            "eps is given with the call",
        ),
        ({"defenses": ["rain(shift=far)"]}, OptionError, "rain"),
    ],
)
def test_a_mistake_in_a_grid_shows_before_anything_is_computed(
    pictures: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        evaluate.run(grid(pictures, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_that_the_classifier_does_not_know_are_named(pictures: Path, tmp_path: Path) -> None:
    table = pictures / "wrong.csv"
    table.write_text("file,label\n0.png,77\n")
    with pytest.raises(DatasetError, match=r"label 77.*5 classes"):
        evaluate.run(grid(pictures, dataset=f"csv:{table}", examples=1), tmp_path)


def test_pictures_without_labels_are_not_measured_on(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has no labels: it is for training"):
        evaluate.run(grid(pictures, dataset=f"pictures:{pictures}", examples=1), tmp_path)


def test_a_folder_that_cannot_be_made_is_told_before_the_work(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ResultError, match="no folder can be made"):
            evaluate.run(grid(pictures), out)


def test_a_device_that_is_not_there_is_told(pictures: Path, tmp_path: Path) -> None:
    for device in ("nonsense", "meta"):
        with pytest.raises(OptionError, match=f"{device}.*cannot be used here"):
            evaluate.run(grid(pictures), tmp_path, device=device)


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
    results = evaluate.run(
        grid(pictures, attacks=attacks, size=32, defenses=["rain(enhancer=bicubic)"]), tmp_path
    )
    distances = [[outcome.distance for outcome in result.outcomes] for result in results]
    assert distances[0] == pytest.approx(distances[1], abs=1e-7)


def test_queries_are_counted_for_each_image_and_held_to_their_budget(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attack(
        model: Any, images: Tensor, labels: Tensor, *, eps: float, norm: str, queries: int = 9
    ) -> Tensor:
        for _ in range(2 + int(labels.sum())):
            model(images.repeat(2, 1, 1, 1))
        return images

    monkeypatch.setattr(attacker, "load_attack", lambda spec: attack)
    asking = [{"attack": "pgd", "access": "query", "eps": "8/255"}]
    (result,) = evaluate.run(
        grid(pictures, attacks=asking, examples=3, defenses=["rain(enhancer=bicubic)"]), tmp_path
    )
    assert [outcome.queries for outcome in result.outcomes] == [4, 6, 8]
    with (
        pytest.warns(match="left out"),
        pytest.raises(AttackError, match="asked 10 times for one image, 9 queries were allowed"),
    ):
        evaluate.run(
            grid(pictures, attacks=asking, examples=4, defenses=["rain(enhancer=bicubic)"]), tmp_path
        )


def test_query_access_gives_no_gradient(pictures: Path) -> None:
    cell = replace(grid(pictures).cells[0], access="query", defense="rain(enhancer=bicubic)")
    view = attacker_view(
        Bench(torch.device("cpu")).hardened(cell.classifier, cell.defense), cell, torch.Generator()
    )
    assert not view(torch.rand(1, 3, 32, 32, requires_grad=True)).requires_grad


def test_an_adaptive_attacker_sees_fresh_draws_at_every_call(pictures: Path) -> None:
    cell = replace(grid(pictures).cells[0], access="adaptive", defense="rain(enhancer=bicubic)", eot=2)
    view = attacker_view(
        Bench(torch.device("cpu")).hardened(cell.classifier, cell.defense), cell, torch.Generator()
    )
    images = torch.rand(1, 3, 32, 32)
    assert not torch.equal(view(images), view(images))


def test_the_budget_is_measured_in_the_cells_norm() -> None:
    images = torch.zeros(1, 3, 4, 4)
    assert distance(images, images + 0.1, "linf").item() == pytest.approx(0.1)
    assert distance(images, images + 0.1, "l2").item() == pytest.approx(0.1 * 48**0.5)


def test_a_frozen_attacker_meets_one_draw(pictures: Path, tmp_path: Path) -> None:
    """His model gives the same answer each time, and to each image whatever stands beside it."""
    cell = grid(pictures).cells[0]
    model = rain.harden(tiny(), "rain(enhancer=bicubic)")
    generator = torch.Generator().manual_seed(5)
    view = attacker_view(model, replace(cell, access="frozen"), generator)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(view(images), view(images))
    assert torch.allclose(view(images)[1:2], view(images[1:2]), atol=1e-5)
    other = attacker_view(model, replace(cell, access="static"), generator)
    assert not torch.equal(other(images), other(images))


def test_attacks_ask_a_folded_twin_and_the_classifier_itself_judges() -> None:
    bench = Bench(torch.device("cpu"))
    twin, model = bench.twin("models:tiny", "none", (32, 32)), bench.hardened("models:tiny", "none")
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in twin.modules())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(twin(images), model(images), atol=1e-5)
    assert bench.twin("models:tiny", "none", (48, 48)) is twin  # one copy, however many sizes the images have


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
    bench = Bench(torch.device("cpu"), "bf16-mixed")
    attack = "square(queries=9)" if access == "query" else "pgd(steps=2, confidence=inf)"
    for defense in ("none", "jpeg", "rain(enhancer=bicubic)"):
        cell = replace(
            grid(pictures).cells[0], defense=defense, attack=attack, access=access, eot=2, draws=1, eps=0.03
        )
        stage = "setting up"
        images, labels = torch.rand(2, 3, 32, 32), torch.tensor([0, 1])
        bench.twin(cell.classifier, defense, (32, 32))
        stage = f"attack on {defense}"
        adversarial, *_ = bench._attacked(cell, 0, 0, images, labels, lambda units: None)
        stage = "judgement"
        bench._answer(cell, adversarial, seeded(cell, 0, 0, "robust"))
    assert seen["attack on rain(enhancer=bicubic)"] == {torch.bfloat16}
    assert seen["attack on none"] == seen["attack on jpeg"] == seen["judgement"] == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16):
        twin = bench.twin("models:tiny", "rain(enhancer=bicubic)", (32, 32))
        assert twin(torch.rand(1, 3, 32, 32)).dtype == torch.float32  # small differences survive


@pytest.mark.filterwarnings("ignore:this CPU has no instructions")
def test_results_say_which_attacks_computed_in_bfloat16(pictures: Path, tmp_path: Path) -> None:
    results = evaluate.run(grid(pictures, examples=2), tmp_path, precision="bf16-mixed")
    found = {(result.cell.defense, result.cell.access): result.made_by["precision"] for result in results}
    quick = {key for key, precision in found.items() if precision == ("bf16-mixed",)}
    assert quick == {
        (defense, access)
        for defense, access in found
        if defense.startswith("rain") and access not in ("none", "transfer")
    }
    assert quick


def test_an_unknown_precision() -> None:
    with pytest.raises(OptionError, match="precision must be one of auto, 32-true, bf16-mixed, got 'half'"):
        Bench(torch.device("cpu"), "half")


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
    """The estimate sets the time left, at most: it may be above what is done, by what leaves early, and below it by a pass or two for an image."""
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
    Bench(torch.device("cpu")).measure(cell, 0, tick=done.append)
    estimate = attacker.cost(cell, 0)
    assert 0.5 * estimate <= sum(done) <= 1.35 * estimate


@pytest.mark.parametrize("attack", ["square(queries=30)", "nes(queries=40, samples=4)", "rays(queries=30)"])
def test_a_query_attack_finds_the_same_whether_images_are_asked_together_or_not(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    asking = grid(
        pictures, attacks=[{"attack": attack, "access": "query", "eps": "16/255"}], defenses=["none"], size=32
    )
    (one,) = evaluate.run(asking, tmp_path / "together")
    monkeypatch.setattr(attacker, "AT_ONCE", 1)
    (other,) = evaluate.run(asking, tmp_path / "alone")
    assert [outcome.queries for outcome in one.outcomes] == [outcome.queries for outcome in other.outcomes]
    assert [outcome.distance for outcome in one.outcomes] == pytest.approx(
        [outcome.distance for outcome in other.outcomes], rel=1e-4
    )


@pytest.mark.parametrize(
    ("defense", "largest"), [("rain(enhancer=bicubic)", 4), ("rain(enhancer=bicubic, shared_shift=true)", 1)]
)
def test_images_are_asked_together_only_where_each_has_its_own_draw(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defense: str, largest: int
) -> None:
    seen: list[int] = []

    def watched(*arguments: Any) -> Any:
        view = attacker_view(*arguments)
        return lambda images: (seen.append(len(images)), view(images))[1]

    monkeypatch.setattr(evaluate, "attacker_view", watched)
    asking = [{"attack": "square(queries=5, confidence=inf)", "access": "query", "eps": "16/255"}]
    evaluate.run(grid(pictures, attacks=asking, defenses=[defense], size=32), tmp_path)
    assert max(seen) == largest


def test_options_that_fail_only_at_work_do_not_stop_the_others(pictures: Path, tmp_path: Path) -> None:
    attacks = [{"attack": ["pgd(steps=1)", "noise(tries=1)"], "access": "query", "eps": "8/255"}]
    with pytest.raises(AttackError, match=r"1 of 2 cells.*gradient"), pytest.warns(match="the rest goes on"):
        evaluate.run(grid(pictures, attacks=attacks, defenses=["rain(enhancer=bicubic)"]), tmp_path)
    (done,) = evaluate.load(tmp_path)
    assert done.cell.attack == "noise(tries=1)"


def test_the_options_of_an_inner_attack_are_tried_before_any_work(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="steps must be an integer"):
        evaluate.run(
            grid(
                pictures,
                attacks=[{"attack": "targeted(attack=pgd(steps=0))", "access": "static", "eps": "8/255"}],
            ),
            tmp_path,
        )


def test_cells_of_other_chunks_leave_the_files_of_a_run_alone(pictures: Path, tmp_path: Path) -> None:
    """The images of a chunk may be those of another cell's chunk with another number, and so with other draws."""
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
        evaluate.run(replace(mixed, cells=part), tmp_path / name)
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
    (found,) = evaluate.run(
        grid(pictures, **table, attacks=[{"attack": attack, "access": access, "eps": "1/255", "eot": 2}]),
        tmp_path,
    )
    sure = [outcome for outcome in found.outcomes if set(outcome.clean) == {outcome.label}]
    assert sure
    assert all(outcome.flat is flat for outcome in sure)
    assert load(tmp_path) == [found]
