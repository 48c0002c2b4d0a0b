"""What a step minimises, and the attack that some images go through."""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
from models import tiny
from torch import Tensor, nn

from rain.defense import Defense, Draw
from rain.errors import OptionError, RecipeError
from rain.images import Images
from rain.randomize import shift
from rain.registry import ATTACKS, load_defense, own_traits
from rain.seeding import generator_for
from rain.training.attacker import behind_draw, build_attack, evenly_chosen, frozen
from rain.training.checks import check_target
from rain.training.learners import target_of
from rain.training.objective import Objective, divergence
from rain.training.recipe import Config
from rain.training.stages import Stages, feature_distance, relative_distance

DG = "enhancer=compact(weights=None, head=4, near=1, features=4, blocks=1)"


def pictures(count: int, seed: int = 0) -> Images:
    return torch.rand(count, 3, 32, 32, generator=generator_for(seed))


# --- what is frozen


def test_the_classifier_is_frozen_and_only_the_enhancer_moves(config: Callable[..., Config]) -> None:
    objective = Objective(config(feature=1.0, pixel=1.0))
    assert objective.classifier is not None
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    objective.train()
    assert not objective.classifier.training
    optimizer = torch.optim.SGD([weight for weight in objective.parameters() if weight.requires_grad], 0.1)
    clean = pictures(4, seed=1)
    objective(clean, clean, torch.zeros(4, dtype=torch.long), generator_for(2))["loss"].backward()
    optimizer.step()
    moved = {name for name, value in objective.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith(("learner.", "defense.enhancer.")) for name in moved)


def test_the_attackers_tools_are_no_submodules(config: Callable[..., Config]) -> None:
    plain, windowed = Objective(config()), Objective(config(window=16, feature=1.0, attack="pgd(steps=1)"))
    assert [name for name, _ in windowed.named_children()] == ["classifier", "defense", "learner"]
    assert windowed.state_dict().keys() == plain.state_dict().keys()


def test_a_teacher_is_what_l1_compares_with(config: Callable[..., Config]) -> None:
    """On attacked images, too: it sees the same ones behind the same draw, and does not move."""
    objective = Objective(config(pixel=1.0, distillation=0.0, teacher="rain"))
    assert objective.teacher is not None
    entering, clean = pictures(2, seed=1), pictures(2, seed=2)
    draw = objective.defense.draw(entering, generator_for(2))
    losses = objective.losses(entering, clean, torch.zeros(2, dtype=torch.long), draw)
    restored = objective.defense.transform(entering, draw)
    expected = (restored - objective.teacher.transform(entering, draw)).abs().mean()
    assert torch.allclose(losses["pixel"], expected)
    losses["loss"].backward()
    assert all(weight.grad is None for weight in objective.teacher.parameters())
    assert any(weight.grad is not None for weight in objective.learner.parameters())


def test_who_is_its_own_teacher_has_nothing_to_learn(config: Callable[..., Config]) -> None:
    objective = Objective(config(defense="rain", pixel=1.0, distillation=0.0, teacher="rain"))
    clean = pictures(2)
    assert torch.equal(objective(clean, clean, torch.zeros(2), generator_for(2))["loss"], torch.zeros(()))


def test_a_teacher_of_other_draws_is_refused(config: Callable[..., Config]) -> None:
    for teacher in (
        "rain(down=bicubic, enhancer=bicubic)",
        "rain(shift=0.0)",
        "rain(down=pixel, enhancer=bicubic)",
        "none",
    ):
        objective = Objective(config(pixel=1.0, teacher=teacher))
        with pytest.raises(RecipeError, match="a teacher must answer to the same draw"):
            check_target(objective, pictures(1))
    check_target(Objective(config(pixel=1.0, teacher="rain")), pictures(1))


def test_frozen_holds_a_module_still_and_gives_it_back_as_it_was() -> None:
    network = tiny().train()
    network.head.requires_grad_(False)
    learning = [parameter.requires_grad for parameter in network.parameters()]
    assert any(learning)
    assert not all(learning)
    with suppress(ZeroDivisionError), frozen(network):
        assert not any(module.training for module in network.modules())
        assert not any(parameter.requires_grad for parameter in network.parameters())
        raise ZeroDivisionError
    assert all(module.training for module in network.modules())
    assert [parameter.requires_grad for parameter in network.parameters()] == learning
    with frozen(network.eval()):
        pass
    assert not network.training


# --- the losses


def test_the_losses_are_what_their_names_say(config: Callable[..., Config]) -> None:
    objective = Objective(config(pixel=2.0, feature=3.0, cross_entropy=0.5))
    assert objective.classifier is not None
    objective.train(False)
    clean, labels = pictures(3), torch.tensor([0, 1, 2])
    losses = objective(clean, clean, labels, generator_for(5))
    draw = objective.defense.draw(clean, generator_for(5))
    restored, target = objective.defense.transform(clean, draw), shift(clean, 2 * draw["offsets"])
    logits, target_logits = objective.classifier(restored), objective.classifier(target)
    cross_entropy = nn.functional.cross_entropy(logits, labels)
    log_ratio = target_logits.log_softmax(1) - logits.log_softmax(1)
    by_hand = (target_logits.softmax(1) * log_ratio).sum(1).mean()
    assert losses["pixel"].item() == pytest.approx((restored - target).abs().mean().item(), rel=1e-5)
    assert losses["cross_entropy"].item() == pytest.approx(cross_entropy.item(), rel=1e-5)
    assert losses["distillation"].item() == pytest.approx(by_hand.item(), rel=1e-4)
    weights = {"pixel": 2, "feature": 3, "cross_entropy": 0.5, "distillation": 1}
    total = sum(weight * losses[name].item() for name, weight in weights.items())
    assert losses["loss"].item() == pytest.approx(total, rel=1e-5)


def test_a_perfect_restoration_costs_nothing() -> None:
    network = tiny().eval()
    stages = Stages(network, 32)
    assert [type(module).__name__ for module in stages.modules] == ["BatchNorm2d"]
    image = pictures(2)
    with torch.no_grad():
        with stages.recorded() as features:
            network(image)
        with stages.recorded() as targets:
            network(image)
    assert len(features) == len(targets) == 1
    assert float(feature_distance(features, targets)) == 0.0
    assert float(relative_distance(torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 3, 3))) == 1.0
    logits = torch.tensor([[1.0, 2.0]])
    assert float(divergence(logits, logits)) == pytest.approx(0, abs=1e-7)


def test_a_network_without_maps_has_no_stages() -> None:
    with pytest.raises(OptionError, match="no feature maps"):
        Stages(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)), 32)


def test_trades_adds_the_divergence_between_the_clean_and_the_attacked_answer(
    config: Callable[..., Config],
) -> None:
    changes = {"trains": "classifier", "defense": "none", "distillation": 0.0, "choose": "robust"}
    changes |= {"cross_entropy": 1.0, "trades": 6.0, "attack": "pgd(steps=2, loss=kl, confidence=inf)"}
    objective = Objective(config(**changes)).train(False)
    assert objective.classifier is not None
    clean, labels = pictures(4), torch.tensor([0, 1, 2, 3])
    entering = objective.attacked(clean, labels, 1.0, generator_for(1))
    losses = objective(entering, clean, labels, generator_for(2))
    clean_logits = objective.classifier(clean)
    cross_entropy = nn.functional.cross_entropy(clean_logits, labels)
    trades = divergence(clean_logits, objective.classifier(entering)).mean()
    assert losses["cross_entropy"].item() == pytest.approx(cross_entropy.item(), rel=1e-5)
    assert losses["trades"].item() == pytest.approx(trades.item(), rel=1e-4)
    assert losses["trades"] > 0


def test_the_classifier_is_asked_once_about_the_same_pictures(config: Callable[..., Config]) -> None:
    images, labels = pictures(2), torch.full((2,), -1)
    counts = []
    for fraction in (0.0, 0.4):
        objective = Objective(config(feature=1.0, defense=f"rain(shift={fraction}, {DG})"))
        assert objective.classifier is not None
        calls: list[Any] = []
        objective.classifier.register_forward_hook(lambda *call, calls=calls: calls.append(call))
        objective(images, images, labels, generator_for(1))
        counts.append(len(calls))
    assert counts == [2, 3]


def test_dg_learns_the_answer_to_the_image_and_not_to_the_shifted_one(config: Callable[..., Config]) -> None:
    images, labels = pictures(4), torch.full((4,), -1)
    losses = []
    for feature in (0.0, 1.0):
        objective = Objective(config(feature=feature, defense=f"rain(shift=0.4, {DG})"))
        losses.append(objective(images, images, labels, generator_for(1))["distillation"].item())
        draw = objective.defense.draw(images, generator_for(1))
        logits = objective.classify(objective.defense.transform(images, draw))
        by_hand = divergence(objective.classify(images), logits).mean()
        assert losses[-1] == pytest.approx(by_hand.item(), rel=1e-4)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_defence_that_cannot_say_its_target_trains_nothing(config: Callable[..., Config]) -> None:
    class Mute(Defense):
        def draw(self, images: Images, generator: torch.Generator | None = None) -> Draw:
            return {}

        def transform(self, images: Images, draw: Draw) -> Images:
            return images

    with pytest.raises(RecipeError, match=r"Mute cannot say .* it needs a method target\(images, draw\)"):
        target_of(Mute(), pictures(1), {})
    rain = load_defense(f"rain(shift=0.0, {DG})")
    assert torch.equal(target_of(rain, pictures(1), rain.draw(pictures(1), generator_for(0))), pictures(1))


# --- the attack


@pytest.mark.parametrize("access", ["adaptive", "known", "transfer"])
def test_attacked_images_keep_the_budget_and_the_share(config: Callable[..., Config], access: str) -> None:
    attack = {"attack": "pgd(steps=2, confidence=inf)", "eps": "4/255", "access": access, "eot": 2}
    objective = Objective(config(**attack)).train()
    clean, labels = pictures(4), torch.tensor([0, 1, 2, -1])
    entering = objective.attacked(clean, labels, 0.5, generator_for(1))
    moved = (entering - clean).abs().flatten(1).amax(1)
    assert (moved[1::2] > 1 / 255).all()
    assert moved.max() <= 4 / 255 + 1e-6
    assert torch.equal(entering[::2], clean[::2])
    # However small the part of a batch that one process has.
    alone = [objective.attacked(clean[:1], labels[:1], 0.25, generator_for(1), first) for first in range(8)]
    assert [not torch.equal(one, clean[:1]) for one in alone] == [False, False, False, True] * 2
    assert objective.learner.training
    assert all(weight.requires_grad and weight.grad is None for weight in objective.learner.parameters())


def test_a_share_is_spread_evenly_over_a_run() -> None:
    assert evenly_chosen(0.5, 0, 6).tolist() == [False, True] * 3
    assert evenly_chosen(1.0, 5, 3).all()
    parts = [evenly_chosen(0.3, first, 1) for first in range(100)]
    assert torch.equal(torch.cat(parts), evenly_chosen(0.3, 0, 100))
    assert sum(map(int, parts)) == 30


def test_a_known_draw_is_the_one_that_is_learnt_from(config: Callable[..., Config]) -> None:
    objective = Objective(config(attack="pgd(steps=2)", access="known"))
    clean, labels = pictures(5, seed=1), torch.full((5,), -1)
    answers: list[Tensor] = []

    def attack(model: nn.Module, images: Tensor, labels: Tensor, **options: Any) -> Tensor:
        answers.append(model(images))
        return images.clamp(0.1, 0.9)

    objective.attack = attack
    ours, theirs = generator_for(2), generator_for(2)
    entering = objective.attacked(clean, labels, 0.4, ours)
    restored = objective.defense.transform(clean, objective.defense.draw(clean, theirs))
    moved = (entering != clean).flatten(1).any(1)
    assert moved.sum() == 2
    assert torch.allclose(answers[0], objective.classify(restored)[moved], atol=1e-6)
    # Nothing was taken from the generator: what is drawn next is the same draw.
    assert torch.equal(objective.answer(clean, ours), objective.classify(restored))
    objective.attack = lambda model, images, labels, **options: model(images[:1])
    with pytest.raises(RecipeError, match="asks about all images at each step"):
        objective.attacked(clean, labels, 0.4, ours)


def test_an_attacker_who_knows_the_draw_gets_the_parts_of_the_attacked_images() -> None:
    defense = load_defense(f"rain(shift=0.2, {DG})")
    images, chosen = pictures(4), torch.tensor([True, False, False, True])
    draw = defense.draw(images, generator_for(3))
    model = behind_draw(lambda restored: restored.flatten(1), defense, draw, chosen)
    restored = defense.transform(images, draw)
    assert torch.allclose(model(images[chosen]), restored[chosen].flatten(1), atol=1e-6)


def test_an_attack_in_training_makes_all_its_steps_unless_it_says_otherwise(
    config: Callable[..., Config],
) -> None:
    assert Objective(config(attack="pgd(steps=2)")).attack.keywords["confidence"] == float("inf")
    assert Objective(config(attack="pgd(steps=2, confidence=0.0)")).attack.keywords["confidence"] == 0
    assert "confidence" not in Objective(config(attack="fgsm")).attack.keywords


# --- in bfloat16


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
    images, labels = pictures(2), torch.tensor([0, 1])
    with torch.autocast("cpu", torch.bfloat16):
        mixed = objective(images, images, labels, generator_for(1))
    assert seen == {dtype}
    exact = objective(images, images, labels, generator_for(1))
    for name in ("pixel", "distillation"):
        assert mixed[name].item() == pytest.approx(exact[name].item(), rel=0.05, abs=1e-4)


def test_an_enhancer_that_answers_in_bfloat16_is_no_trouble(config: Callable[..., Config]) -> None:
    edsr = "rain(enhancer=edsr(weights=None, features=4, blocks=1))"
    objective = Objective(config(pixel=1.0, classifier="models:depthwise", defense=edsr))
    images, labels = pictures(2), torch.tensor([0, 1])
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(images, images, labels, generator_for(1))["loss"]
    loss.backward()
    assert loss.isfinite()


@pytest.mark.parametrize("name", [name for name in ATTACKS.names() if name != "autoattack"])
def test_every_attack_can_be_one_of_a_training_run(name: str) -> None:
    """One that stops early makes all its steps; to others nothing is given that they do not take."""
    sure = build_attack(name).keywords
    assert sure == ({"confidence": math.inf} if own_traits(name).stops == "fooled" else {})
    build_attack(f"targeted(attack={name})")
