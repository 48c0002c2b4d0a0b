"""Training: what is learnt, what stays as it was, and what is chosen."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fitting import rows, weights
from models import tiny
from PIL import Image
from torch import Tensor, nn

from rain import checkpoints
from rain.errors import OptionError, RecipeError, TrainError
from rain.randomize import shift
from rain.registry import load_defense, load_enhancer
from rain.seeding import generator_for
from rain.training import loop as train
from rain.training.loop import fit, follow, rate, read
from rain.training.objective import Objective, Stages, divergence, relative
from rain.training.recipe import Config, shipped
from rain.training.validation import luma, sr_quality

# --- every recipe


@pytest.mark.parametrize("name", list(shipped()))
def test_every_shipped_recipe_trains_on_a_few_pictures(
    name: str, folder: Path, held: Path, tmp_path: Path
) -> None:
    recipe = read(name, images=f"folder:{folder}", validation=f"folder:{held}")
    attack = recipe.attack.replace("steps=7", "steps=2").replace("steps=5", "steps=2")
    small = {
        "side": 32,
        "batch": 4,
        "steps": 2,
        "epochs": 0,
        "validation_images": 4,
        "workers": 0,
        "accelerator": "cpu",
        "attack": attack,
    }
    kind = "classifier" if recipe.trains == "classifier" else "enhancer"
    if kind == "classifier":
        spec = "small_resnet(width=4, classes=5)"
        changes = {"classifier": spec}
    else:
        spec = (
            "edsr(weights=None, features=4, blocks=1)"
            if "edsr" in recipe.defense
            else "compact(weights=None, head=4, near=1, features=4, blocks=1)"
        )
        options = "preset=released, " if "released" in recipe.defense else ""
        changes = {
            "defense": f"rain({options}enhancer={spec})",
            "classifier": recipe.classifier and "models:tiny",
        }
    done = fit(
        read(name, images=f"folder:{folder}", validation=f"folder:{held}", **small | changes),
        tmp_path / "run",
    )
    assert np.isfinite(list(done.measured.values())).all()
    told = checkpoints.read(done.weights)[1]
    assert {"data", "licence", "command", "recipe", "commit", "versions", "validation"} <= told.keys()
    assert json.loads(told["recipe"])["side"] == 32
    # What a user does with the file.
    if kind == "classifier":
        from rain.registry import load_classifier

        assert load_classifier(f"small_resnet(weights={done.weights})")(torch.rand(1, 3, 32, 32)).shape == (
            1,
            5,
        )
    else:
        shape = ", features=4, blocks=1" if "edsr" in spec else ""
        assert load_enhancer(f"{spec.partition('(')[0]}(weights={done.weights}{shape})")(
            torch.rand(1, 3, 8, 8)
        ).shape == (1, 3, 16, 16)
    if kind == "enhancer":
        sheet = np.asarray(Image.open(next((tmp_path / "run" / "sheets").glob("*.png"))))
        assert sheet.shape == (3 * 36, 4 * 36, 3)
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))


# --- what is learnt


def test_the_classifier_is_frozen_and_only_the_enhancer_moves(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    objective = Objective(config(feature=1.0, pixel=1.0))
    assert objective.classifier is not None
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    objective.train()
    assert not objective.classifier.training
    optimizer = torch.optim.SGD([weight for weight in objective.parameters() if weight.requires_grad], 0.1)
    clean = torch.rand(4, 3, 32, 32, generator=generator_for(1))
    objective(clean, clean, torch.zeros(4, dtype=torch.long), generator_for(2))["loss"].backward()
    optimizer.step()
    moved = {name for name, value in objective.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith(("trained.", "defense.enhancer.")) for name in moved)


def test_l1_training_brings_dg_nearer_to_the_pictures(config: Callable[..., Config], tmp_path: Path) -> None:
    blind = "rain(enhancer=compact(weights=None, informed=False, head=8, near=1, features=8, blocks=1))"
    changes = {"defense": blind, "classifier": "", "choose": "psnr", "distillation": 0.0, "pixel": 1.0}
    changes |= {"steps": 150, "validate_every": 150, "rate": 3e-3}
    done = fit(config(**changes), tmp_path / "run")
    start = fit(config(**changes | {"steps": 1, "rate": 1e-9}), tmp_path / "start")
    assert done.measured["psnr"] > start.measured["psnr"] + 0.5


def test_label_free_training_brings_the_answers_nearer(config: Callable[..., Config], tmp_path: Path) -> None:
    done = fit(config(steps=60, validate_every=60, rate=5e-3), tmp_path / "run")
    start = fit(config(steps=1, rate=1e-9), tmp_path / "start")
    assert done.measured["kl"] < 0.8 * start.measured["kl"]
    assert done.measured["kl"] < 0.8 * done.began["kl"]
    assert json.loads(checkpoints.read(done.weights)[1]["before"])["kl"] == pytest.approx(
        done.began["kl"], rel=1e-4
    )


def test_the_losses_are_what_their_names_say(config: Callable[..., Config]) -> None:
    objective = Objective(config(pixel=2.0, feature=3.0, cross_entropy=0.5))
    assert objective.classifier is not None
    objective.train(False)
    clean, labels = torch.rand(3, 3, 32, 32, generator=generator_for(0)), torch.tensor([0, 1, 2])
    losses = objective(clean, clean, labels, generator_for(5))
    draw = objective.defense.draw(clean, generator_for(5))
    restored, target = objective.defense.transform(clean, draw), shift(clean, 2 * draw["offsets"])
    logits, wanted = objective.classifier(restored), objective.classifier(target)
    assert losses["pixel"].item() == pytest.approx((restored - target).abs().mean().item(), rel=1e-5)
    assert losses["cross_entropy"].item() == pytest.approx(
        nn.functional.cross_entropy(logits, labels).item(), rel=1e-5
    )
    by_hand = (wanted.softmax(1) * (wanted.log_softmax(1) - logits.log_softmax(1))).sum(1).mean()
    assert losses["distillation"].item() == pytest.approx(by_hand.item(), rel=1e-4)
    total = (
        2 * losses["pixel"] + 3 * losses["feature"] + 0.5 * losses["cross_entropy"] + losses["distillation"]
    )
    assert losses["loss"].item() == pytest.approx(total.item(), rel=1e-5)


def test_a_perfect_restoration_costs_nothing(config: Callable[..., Config]) -> None:
    stages = Stages(tiny().eval(), 32)
    assert [type(module).__name__ for module in stages.modules] == ["BatchNorm2d"]
    network = tiny().eval()
    watching = Stages(network, 32)
    image = torch.rand(2, 3, 32, 32, generator=generator_for(0))
    with torch.no_grad():
        with watching.recorded() as one:
            network(image)
        with watching.recorded() as other:
            network(image)
    assert [float(relative(a, b)) for a, b in zip(one, other, strict=True)] == [0.0]
    assert float(relative(torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 3, 3))) == 1.0
    assert float(divergence(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.0]]))) == pytest.approx(
        0, abs=1e-7
    )
    with pytest.raises(OptionError, match="no feature maps"):
        Stages(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)), 32)


@pytest.mark.parametrize("access", ["adaptive", "known", "transfer"])
def test_attacked_images_keep_the_budget_and_the_share(config: Callable[..., Config], access: str) -> None:
    objective = Objective(
        config(attack="pgd(steps=2, confidence=inf)", eps="4/255", access=access, eot=2)
    ).train()
    clean, labels = torch.rand(4, 3, 32, 32, generator=generator_for(0)), torch.tensor([0, 1, 2, -1])
    entering = objective.attacked(clean, labels, 0.5, generator_for(1))
    moved = (entering - clean).abs().flatten(1).amax(1)
    assert (moved[1::2] > 1 / 255).all()
    assert moved.max() <= 4 / 255 + 1e-6
    assert torch.equal(entering[::2], clean[::2])
    # However small the part of a batch that one process has.
    alone = [objective.attacked(clean[:1], labels[:1], 0.25, generator_for(1), first) for first in range(8)]
    assert [not torch.equal(one, clean[:1]) for one in alone] == [False, False, False, True] * 2
    assert objective.trained.training
    assert all(weight.requires_grad and weight.grad is None for weight in objective.trained.parameters())


def test_a_known_draw_is_the_one_that_is_learnt_from(config: Callable[..., Config]) -> None:
    objective = Objective(config(attack="pgd(steps=2)", access="known"))
    clean, labels = torch.rand(5, 3, 32, 32, generator=generator_for(1)), torch.full((5,), -1)
    asked: list[Tensor] = []

    def attack(model: nn.Module, images: Tensor, labels: Tensor, **options: Any) -> Tensor:
        asked.append(model(images))
        return images.clamp(0.1, 0.9)

    objective.attack = attack
    ours, theirs = generator_for(2), generator_for(2)
    entering = objective.attacked(clean, labels, 0.4, ours)
    restored = objective.defense.transform(clean, objective.defense.draw(clean, theirs))
    moved = (entering != clean).flatten(1).any(1)
    assert moved.sum() == 2
    assert torch.allclose(asked[0], objective.classify(restored)[moved], atol=1e-6)
    # Nothing was taken from the generator: what is drawn next is the same draw.
    assert torch.equal(objective.answer(clean, ours), objective.classify(restored))
    objective.attack = lambda model, images, labels, **options: model(images[:1])
    with pytest.raises(RecipeError, match="asks about all images at each step"):
        objective.attacked(clean, labels, 0.4, ours)


def test_an_attack_in_training_makes_all_its_steps_unless_it_says_otherwise(
    config: Callable[..., Config],
) -> None:
    assert Objective(config(attack="pgd(steps=2)")).attack.keywords["confidence"] == float("inf")
    assert Objective(config(attack="pgd(steps=2, confidence=0.0)")).attack.keywords["confidence"] == 0
    assert "confidence" not in Objective(config(attack="fgsm")).attack.keywords


def test_trades_adds_the_divergence_between_the_clean_and_the_attacked_answer(
    config: Callable[..., Config],
) -> None:
    changes = {
        "trains": "classifier",
        "defense": "none",
        "distillation": 0.0,
        "cross_entropy": 1.0,
        "trades": 6.0,
        "choose": "robust",
    }
    objective = Objective(config(**changes, attack="pgd(steps=2, loss=kl, confidence=inf)")).train(False)
    assert objective.classifier is not None
    clean, labels = torch.rand(4, 3, 32, 32, generator=generator_for(0)), torch.tensor([0, 1, 2, 3])
    entering = objective.attacked(clean, labels, 1.0, generator_for(1))
    losses = objective(entering, clean, labels, generator_for(2))
    assert losses["cross_entropy"].item() == pytest.approx(
        nn.functional.cross_entropy(objective.classifier(clean), labels).item(), rel=1e-5
    )
    assert losses["trades"].item() == pytest.approx(
        divergence(objective.classifier(clean), objective.classifier(entering)).mean().item(), rel=1e-4
    )
    assert losses["trades"] > 0


# --- the schedule and the average


def test_the_rate_warms_up_and_falls(config: Callable[..., Config]) -> None:
    cosine = config(rate=1.0, warmup=9)
    assert rate(cosine, 0, 100) == pytest.approx(0.1)
    assert rate(cosine, 50, 100) == pytest.approx(0.505)
    assert rate(cosine, 100, 100) == pytest.approx(0.01)
    steps = config(rate=1.0, schedule="steps", milestones=[0.6, 0.7, 0.9], decay=0.2)
    assert [rate(steps, step, 250) for step in (149, 150, 175, 225)] == pytest.approx([1, 0.2, 0.04, 0.008])


def test_the_average_follows_floats_and_copies_counters() -> None:
    layer = nn.BatchNorm1d(2)
    average = {name: value.clone() for name, value in layer.state_dict().items()}
    layer(torch.randn(4, 2, generator=generator_for(0)))
    with torch.no_grad():
        layer.weight.fill_(3.0)
    follow(average, layer, 0.75)
    assert average["weight"].tolist() == [1.5, 1.5]
    assert average["num_batches_tracked"] == 1


# --- choosing and stopping


def test_the_best_weights_are_kept_and_patience_ends_a_run(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    # At this rate nothing moves, so that the first validation stays the best.
    done = fit(config(rate=1e-12, steps=30, patience=2), tmp_path / "run")
    validated = [row["step"] for row in rows(tmp_path / "run") if "validation/kl" in row]
    assert validated == [0, 3, 6, 9]
    assert done.step == 3
    assert done.measured == pytest.approx(done.began)
    assert json.loads(checkpoints.read(done.weights)[1]["validation"])["step"] == 3


def test_a_loss_that_is_not_finite_ends_the_run(config: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(
        TrainError, match=r"the loss is (nan|inf), the gradient's norm .* at step \d+: lower the rate"
    ):
        fit(config(pixel=1e39), tmp_path / "run")
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_a_gradient_that_is_not_finite_ends_the_run_before_it_is_followed(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    with pytest.raises(TrainError, match=r"the loss is \d.*, the gradient's norm nan at step 0"):
        fit(config(classifier="models:steep", clip=0.0, checkpoint_minutes=0.0), tmp_path / "run")
    assert not (tmp_path / "run" / "state.safetensors").exists()


def test_a_run_without_a_finite_validation_has_no_weights_to_name(
    config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "validate", lambda *_: ({"kl": float("nan")}, None))
    with pytest.raises(TrainError, match="no validation gave a finite kl"):
        fit(config(), tmp_path / "run")


# --- yardsticks


def test_psnr_and_ssim_are_of_luma_without_borders(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (33, 40, 3), dtype=np.uint8)).save(tmp_path / "one.png")
    defense = load_defense("rain(down=bicubic, shift=0.0, enhancer=bicubic)")
    quality = sr_quality(defense, (str(tmp_path),), torch.device("cpu"))
    image = (
        torch.from_numpy(np.asarray(Image.open(tmp_path / "one.png")).copy())
        .permute(2, 0, 1)[None, :, :32]
        .float()
        / 255
    )
    restored = defense(image)
    error = (luma(restored) - luma(image))[..., 2:-2, 2:-2].square().mean()
    assert quality[f"psnr_{tmp_path.name}"] == pytest.approx(float(-10 * error.log10()), abs=1e-3)
    assert 0 < quality[f"ssim_{tmp_path.name}"] < 1
    assert luma(torch.ones(1, 3, 1, 1)).item() == pytest.approx(235 / 255, abs=1e-6)
    assert luma(torch.zeros(1, 3, 1, 1)).item() == pytest.approx(16 / 255, abs=1e-6)


@pytest.mark.filterwarnings("ignore:this CPU has no instructions")
def test_mixed_precision_trains(config: Callable[..., Config], tmp_path: Path) -> None:
    done = fit(
        config(
            precision="bf16-mixed", pixel=1.0, feature=1.0, attack="pgd(steps=2, confidence=inf)", steps=3
        ),
        tmp_path / "run",
    )
    assert np.isfinite(list(done.measured.values())).all()
    assert all(value.dtype == torch.float32 for value in weights(tmp_path / "run").values())


@pytest.mark.parametrize(
    ("classifier", "dtype"), [("models:tiny", torch.bfloat16), ("models:depthwise", torch.float32)]
)
def test_mixed_precision_spares_depthwise_convolutions_on_cpus(
    config: Callable[..., Config], classifier: str, dtype: torch.dtype
) -> None:
    seen = set()
    objective = Objective(config(pixel=1.0, classifier=classifier))
    assert objective.classifier is not None
    for module in objective.classifier.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda module, arguments, output: seen.add(output.dtype))
    images, labels = torch.rand(2, 3, 32, 32, generator=generator_for(0)), torch.tensor([0, 1])
    with torch.autocast("cpu", torch.bfloat16):
        mixed = objective(images, images, labels, generator_for(1))
    assert seen == {dtype}
    exact = objective(images, images, labels, generator_for(1))
    assert all(
        mixed[name].item() == pytest.approx(exact[name].item(), rel=0.05, abs=1e-4)
        for name in ("pixel", "distillation")
    )


def test_an_enhancer_that_answers_in_bfloat16_is_no_trouble(config: Callable[..., Config]) -> None:
    objective = Objective(
        config(
            pixel=1.0,
            classifier="models:depthwise",
            defense="rain(enhancer=edsr(weights=None, features=4, blocks=1))",
        )
    )
    images, labels = torch.rand(2, 3, 32, 32, generator=generator_for(0)), torch.tensor([0, 1])
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(images, images, labels, generator_for(1))["loss"]
    loss.backward()
    assert loss.isfinite()


def test_the_classifier_is_asked_once_about_the_same_pictures(config: Callable[..., Config]) -> None:
    images, labels = torch.rand(2, 3, 32, 32, generator=generator_for(0)), torch.full((2,), -1)
    dg = "enhancer=compact(weights=None, head=4, near=1, features=4, blocks=1)"
    counts = []
    for fraction in (0.0, 0.4):
        objective, asked = Objective(config(feature=1.0, defense=f"rain(shift={fraction}, {dg})")), []
        assert objective.classifier is not None
        objective.classifier.register_forward_hook(lambda *call, asked=asked: asked.append(call))
        objective(images, images, labels, generator_for(1))
        counts.append(len(asked))
    assert counts == [2, 3]


def test_dg_learns_the_answer_to_the_image_and_not_to_the_shifted_one(config: Callable[..., Config]) -> None:
    images, labels = torch.rand(4, 3, 32, 32, generator=generator_for(0)), torch.full((4,), -1)
    found = []
    for feature in (0.0, 1.0):
        objective = Objective(
            config(
                feature=feature,
                defense="rain(shift=0.4, enhancer=compact(weights=None, head=4, near=1, features=4, blocks=1))",
            )
        )
        found.append(objective(images, images, labels, generator_for(1))["distillation"].item())
        assert objective.classifier is not None
        wanted = objective.classify(images)
        draw = objective.defense.draw(images, generator_for(1))
        assert found[-1] == pytest.approx(
            divergence(wanted, objective.classify(objective.defense.transform(images, draw))).mean().item(),
            rel=1e-4,
        )
    assert found[0] == pytest.approx(found[1], rel=1e-5)
