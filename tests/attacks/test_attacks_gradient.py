"""What is particular to each of the gradient attacks.

What all promise is in test_contracts.py and test_oracle.py.
"""

import math
import sys
from typing import Any

import pytest
import torch
from models import linear, tiny
from torch import Tensor, nn

from rain.attacks import margins
from rain.attacks._minimising import Smallest
from rain.attacks.apgd import _checkpoints, apgd
from rain.attacks.autoattack import autoattack, calls
from rain.attacks.bim import bim
from rain.attacks.carlini_wagner import carlini_wagner
from rain.attacks.deepfool import deepfool
from rain.attacks.ead import ElasticNet, ead
from rain.attacks.lbfgs import lbfgs
from rain.attacks.mifgsm import mifgsm
from rain.attacks.noise import noise
from rain.attacks.pgd import pgd
from rain.errors import ClassifierError, OptionError
from rain.images import distance
from rain.registry import ATTACKS, load_attack


class Recorder:
    """A model that remembers its batches."""

    def __init__(self, model: Any):
        self.model = model
        self.batches: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.batches.append(images.detach().clone())
        return self.model(images)


def bowl(target: Tensor) -> Recorder:
    """Three classes; the margin of the first one is smallest at the target, and positive even there."""

    def logits(images: Tensor) -> Tensor:
        distance = (images - target).square().flatten(1).sum(1)
        return torch.stack([torch.ones_like(distance), -distance, -5 + 0 * distance], dim=1)

    return Recorder(logits)


def crowd(count: int = 20) -> tuple[nn.Module, Tensor, Tensor]:
    """The small network, random images and what it says to them."""
    model, images = tiny().eval(), torch.rand(count, 3, 24, 24, generator=torch.Generator().manual_seed(3))
    return model, images, model(images).argmax(1)


def test_bim_begins_at_the_image_and_walks_a_path_of_one_and_a_quarter_budgets() -> None:
    images = torch.full((2, 3, 4, 4), 0.5)
    model = bowl(images + 0.4)
    bim(model, images, torch.zeros(2, dtype=torch.long), eps=0.1, steps=10)
    assert torch.equal(model.batches[0], images)
    assert len(model.batches) == 11
    assert torch.allclose(model.batches[1], images + 0.0125)
    assert torch.allclose(model.batches[10], images + 0.1)


@pytest.mark.parametrize(("decay", "moved"), [(1.0, 1.0), (0.0, 0.0), (0.5, 0.0), (2.0, 2.0)])
def test_mifgsm_weighs_the_gradients_of_before(decay: float, moved: float) -> None:
    """The gradient points up, then, twice as long, down.

    With all of its memory the attack stands still, with none it turns back.
    """
    slopes = iter([1.0, -2.0, 0.0])
    model = Recorder(
        lambda images: torch.stack(
            [1000 - next(slopes) * images.flatten(1).sum(1), images.flatten(1).sum(1) * 0], dim=1
        )
    )
    images = torch.full((1, 3, 4, 4), 0.5)
    mifgsm(model, images, torch.zeros(1, dtype=torch.long), eps=0.2, steps=2, decay=decay, loss="margin")
    assert torch.allclose(model.batches[1], images + 0.1)
    assert torch.allclose(model.batches[2], images + 0.1 * moved)


def test_apgd_checks_its_step_where_the_paper_says() -> None:
    assert sorted(_checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_apgd_halves_its_step_and_arrives_where_a_fixed_step_cannot(norm: str) -> None:
    images, eps = torch.full((4, 3, 6, 6), 0.5), {"linf": 0.1, "l2": 1.0}[norm]
    target = images + 0.03 * torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    model = bowl(target)
    adversarial = apgd(
        model, images, torch.zeros(4, dtype=torch.long), eps=eps, norm=norm, steps=100, loss="margin"
    )
    steps = [
        float(distance(one, other, norm).max())
        for one, other in zip(model.batches[:-1], model.batches[1:], strict=True)
    ]
    assert max(steps[:20]) > eps / 2
    assert max(steps[-5:]) < eps / 8
    assert (distance(adversarial, target, norm) < eps / 10).all()
    assert len(model.batches) == 101


def scripted(values: list[float], signs: list[int]) -> Recorder:
    """A model that follows a script: at each call its loss, and the sign of the slope of every value."""
    script = iter(zip(values, signs, strict=True))

    def logits(images: Tensor) -> Tensor:
        (value, sign), total = next(script), images.flatten(1).sum(1)
        return torch.stack([1000 - value - sign * (total - total.detach()), 0 * total], dim=1)

    return Recorder(logits)


def apgd_step(point: Tensor, previous: Tensor, sign: int, length: float) -> Tensor:
    """A step of algorithm 1 around grey images with a budget of 0.1."""
    ahead = (point + sign * length).clamp(0.4, 0.6)
    return (point + 0.75 * (ahead - point) + 0.25 * (point - previous)).clamp(0.4, 0.6)


def test_apgd_goes_back_to_its_best_point_with_half_the_step() -> None:
    """Once, by luck, the loss is high, and never again: at the first check the attack returns there."""
    model = scripted([0, 5, *range(-1, -20, -1)], [1, -1, 1, -1, *[1] * 17])
    grey, generator = torch.full((1, 3, 4, 4), 0.5), torch.Generator().manual_seed(0)
    adversarial = apgd(
        model, grey, torch.zeros(1, dtype=torch.long), eps=0.1, steps=20, loss="margin", generator=generator
    )
    seen = model.batches
    # The first step has twice the budget, and no momentum.
    assert torch.allclose(seen[1], torch.full_like(grey, 0.6))
    for number, sign in ((1, -1), (2, 1), (3, -1), (4, 1)):
        assert torch.allclose(
            seen[number + 1], apgd_step(seen[number], seen[number - 1], sign, 0.2), atol=1e-6
        )
    assert torch.allclose(seen[6], apgd_step(seen[1], seen[4], -1, 0.1), atol=1e-6)
    assert torch.equal(adversarial, seen[1])


def test_apgd_halves_its_step_when_nothing_better_was_found_between_two_checks() -> None:
    """The loss rises up to the first check, then falls far and rises again, but not as high.

    The share of rises alone would let it pass.
    """
    model = scripted([*range(23), *range(-50, -23), *range(51)], [*[1] * 22, -1, *[1] * 78])
    apgd(
        model,
        torch.full((1, 3, 4, 4), 0.5),
        torch.zeros(1, dtype=torch.long),
        eps=0.1,
        steps=100,
        loss="margin",
    )
    seen = model.batches
    assert torch.allclose(seen[23], apgd_step(seen[22], seen[21], -1, 0.2), atol=1e-6)
    assert torch.allclose(seen[42], apgd_step(seen[22], seen[40], -1, 0.1), atol=1e-6)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.004), ("l2", 0.1)])
@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "dlr"])
def test_apgd_is_not_weaker_than_pgd(norm: str, eps: float, loss: str) -> None:
    model, images, labels = crowd(40)
    options: dict[str, Any] = {"eps": eps, "norm": norm, "steps": 20, "confidence": math.inf}
    ours = apgd(model, images, labels, loss=loss, generator=torch.Generator().manual_seed(0), **options)
    base = pgd(
        model, images, labels, loss="cross_entropy", generator=torch.Generator().manual_seed(0), **options
    )
    left, before = margins(model(ours), labels), margins(model(base), labels)
    assert 0 < (before > 0).sum() < 40  # the budget is neither too small nor too large to tell
    assert (left > 0).sum() <= (before > 0).sum()
    assert left.mean() <= before.mean() + 1e-3


def test_apgd_with_targets_makes_a_run_for_each_and_finds_no_less() -> None:
    model, images, labels = crowd()
    options: dict[str, Any] = {"eps": 0.003, "steps": 10, "loss": "dlr", "confidence": math.inf}
    counted = Recorder(model)
    apgd(
        counted, images, labels, targets=3, restarts=2, generator=torch.Generator().manual_seed(0), **options
    )
    assert len(counted.batches) == 1 + 3 * 2 * 11
    counted = Recorder(model)
    targeted = apgd(counted, images, labels, targets=9, generator=torch.Generator().manual_seed(0), **options)
    assert len(counted.batches) == 1 + 4 * 11  # there are four wrong classes
    free = apgd(model, images, labels, generator=torch.Generator().manual_seed(0), **options)
    assert (margins(model(targeted), labels) < 0).sum() >= (margins(model(free), labels) < 0).sum()


def test_dlr_needs_enough_classes() -> None:
    images, labels = torch.rand(2, 3, 4, 4), torch.zeros(2, dtype=torch.long)
    for classes, targets in ((2, 0), (3, 1)):
        with pytest.raises(OptionError, match="needs at least"):
            apgd(
                linear(torch.randn(classes, 48), torch.zeros(classes)),
                images,
                labels,
                eps=0.1,
                loss="dlr",
                targets=targets,
            )


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_deepfool_finds_the_nearest_of_many_classes(norm: str) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(12, 48, generator=generator) / 10
    images = 0.4 + 0.2 * torch.rand(30, 3, 4, 4, generator=generator)
    model = linear(weights, torch.zeros(12))
    logits = model(images).detach()
    labels = logits.argmax(1)
    ways = (weights[labels][:, None] - weights).norm(dim=2, p=1 if norm == "linf" else 2)
    optimum = ((logits.gather(1, labels[:, None]) - logits) / ways).nan_to_num(torch.inf).min(1).values
    adversarial = deepfool(model, images, labels, eps=math.inf, norm=norm, candidates=11)
    assert (model(adversarial).argmax(1) != labels).all()
    assert torch.allclose(distance(adversarial, images, norm), 1.02 * optimum, rtol=1e-3)


def test_deepfool_crosses_a_boundary_that_it_lies_on() -> None:
    model = linear(torch.tensor([[1.0] * 48, [-1.0] * 48]), torch.tensor([-24.0, 24.0]))
    images = torch.full((1, 3, 4, 4), 0.5)
    label = torch.zeros(1, dtype=torch.long)
    assert model(deepfool(model, images, label, eps=math.inf)).argmax(1) == 1


def test_deepfool_gives_up_without_a_gradient_to_follow() -> None:
    images = torch.rand(2, 3, 4, 4)
    flat = linear(torch.zeros(3, 48), torch.tensor([1.0, 0.0, 0.0]))
    assert torch.equal(
        deepfool(flat, images, torch.zeros(2, dtype=torch.long), eps=math.inf, steps=3), images
    )


@pytest.mark.parametrize("name", ["carlini_wagner", "ead", "lbfgs"])
def test_confidence_asks_for_a_margin(name: str) -> None:
    model, images, labels = crowd(2)
    options: dict[str, Any] = {"searches": 5, "constant": 1.0}
    options |= {"carlini_wagner": {"steps": 60, "rate": 0.05}, "ead": {"steps": 40}, "lbfgs": {"steps": 20}}[
        name
    ]
    near, far = (
        load_attack(name, confidence=much, **options)(model, images, labels, eps=math.inf, norm="l2")
        for much in (0.0, 0.5)
    )
    assert (margins(model(far), labels) < -0.5).all()
    assert (margins(model(near), labels) < 0).all()
    assert (margins(model(near), labels) > -0.5).all()
    assert (distance(far, images, "l2") > distance(near, images, "l2")).all()


def test_ead_changes_less_in_l1_than_carlini_and_wagner() -> None:
    model, images, labels = crowd(4)
    options: dict[str, Any] = {"eps": math.inf, "steps": 40, "searches": 4, "constant": 0.1}
    l1 = {
        rule: (ead(model, images, labels, rule=rule, beta=0.005, **options) - images).abs().sum((1, 2, 3))
        for rule in ("en", "l1")
    }
    other = (carlini_wagner(model, images, labels, rate=0.02, **options) - images).abs().sum((1, 2, 3))
    assert (l1["l1"] <= l1["en"]).all()
    assert (l1["en"] < other).all()


def test_ead_leaves_most_values_as_they_were() -> None:
    model, images, labels = crowd(3)
    adversarial = ead(model, images, labels, eps=math.inf, steps=40, searches=4, constant=1.0, beta=0.01)
    assert (margins(model(adversarial), labels) < 0).all()
    assert 0.5 < (adversarial == images).float().mean() < 1


def test_ead_measures_an_elastic_net_or_l1() -> None:
    images, points = torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5)
    for rule, size in (("en", 0.1 * 6 + 3), ("l1", 6)):
        smallest = Smallest(images, "l2", math.inf)
        net = ElasticNet(smallest, torch.tensor([0]), torch.tensor([0]), 0.1, rule)
        assert net.offer(points, torch.tensor([[0.0, 1.0]])).all()
        assert smallest.sizes.tolist() == pytest.approx([size])


def test_ista_does_with_one_pass_a_step() -> None:
    model, images, labels = crowd(2)
    passes = []
    for fista in (True, False):
        counted = Recorder(model)
        adversarial = ead(
            counted, images, labels, eps=math.inf, steps=40, searches=4, constant=1.0, fista=fista
        )
        assert (margins(model(adversarial), labels) < 0).all()
        passes.append(len(counted.batches))
    assert passes == [1 + 4 * 80, 1 + 4 * 40]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_noise_returns_the_worst_of_its_tries(norm: str) -> None:
    model, images, labels = crowd(3)
    counted, eps = Recorder(model), {"linf": 0.01, "l2": 0.2}[norm]
    noisy = noise(
        counted,
        images,
        labels,
        eps=eps,
        norm=norm,
        tries=30,
        batch=21,
        confidence=math.inf,
        generator=torch.Generator().manual_seed(0),
    )
    assert [len(batch) for batch in counted.batches] == [21, 21, 21, 21, 6]
    seen = torch.cat(counted.batches)
    assert torch.allclose(distance(noisy, images, norm), torch.tensor(eps), rtol=0.05)
    lowest = margins(model(seen), labels.repeat(30)).unflatten(0, (30, 3)).amin(0)
    assert torch.allclose(margins(model(noisy), labels), lowest, atol=1e-5)


@pytest.mark.parametrize("attack", [bim, mifgsm, apgd, noise, deepfool, carlini_wagner, ead])
def test_fooled_images_leave(attack: Any) -> None:
    model, images, labels = crowd(10)
    labels[:7] = (labels[:7] + 1) % 5  # fooled from the start
    counted = Recorder(model)
    options: dict[Any, dict[str, int]] = {
        noise: {"batch": 1, "tries": 9},
        carlini_wagner: {"steps": 9},
        ead: {"steps": 9},
    }
    attack(counted, images, labels, eps=1e-6, norm="l2", **options.get(attack, {}))
    assert len(counted.batches[0]) == 10
    assert all(len(batch) <= 3 for batch in counted.batches[1:])


def test_autoattack_finds_more_than_pgd_and_leaves_tracers_alone() -> None:
    model, images, labels = crowd()
    tracer = sys.gettrace()
    adversarial = autoattack(model, images, labels, eps=0.02, generator=torch.Generator().manual_seed(0))
    assert sys.gettrace() is tracer
    fooled = model(adversarial).argmax(1) != labels
    assert fooled.sum() >= (model(pgd(model, images, labels, eps=0.02)).argmax(1) != labels).sum()
    assert torch.equal(adversarial[~fooled], images[~fooled])


def test_lbfgs_survives_a_model_whose_calls_differ() -> None:
    """Its line search then divides nothing by nothing; the model must never be asked about NaN."""
    for seed in (33, 36):
        generator = torch.Generator().manual_seed(seed)
        image, label = torch.rand(1, 3, 3, 3, generator=generator), torch.tensor([0])

        def noisy(batch: Tensor, generator: torch.Generator = generator) -> Tensor:
            assert torch.isfinite(batch).all()
            return batch.flatten(1) @ torch.randn(27, 5, generator=generator) + torch.tensor(
                [50.0, 0, 0, 0, 0]
            )

        assert torch.equal(lbfgs(noisy, image, label, eps=math.inf), image)


@pytest.mark.parametrize("version", ["standard", "rand"])
def test_autoattack_makes_about_the_calls_that_the_time_left_is_told(version: str) -> None:
    options = {"version": version, "draws": 3, "judge": 4, "steps": 10 if version == "rand" else 100}
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 4, 4, generator=generator)
    counted = Recorder(linear(torch.randn(10, 48, generator=generator), torch.zeros(10)))
    autoattack(counted, images, counted(images).argmax(1), eps=1e-6, **options)
    asked = sum(len(batch) for batch in counted.batches)
    assert asked == pytest.approx(2 * calls(options), rel=0.05)


def test_autoattack_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = torch.rand(2, 3, 4, 4), torch.zeros(2, dtype=torch.long)
    with pytest.raises(OptionError, match="at least 4 classes"):
        autoattack(linear(torch.randn(3, 48), torch.zeros(3)), images, labels, eps=0.1)
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(OptionError, match=r"pip install 'rain-defense\[attacks\]'"):
        autoattack(tiny().eval(), images, labels, eps=0.1)


@pytest.mark.parametrize("spec", [
    *("bim(steps=0)", "bim(step=-1)", "mifgsm(steps=1.5)", "mifgsm(step=0)", "mifgsm(decay=-1)"),
    *("apgd(steps=0)", "apgd(restarts=0)", "apgd(targets=-1)", "apgd(targets=0.5)", "apgd(loss=hinge)"),
    *("deepfool(candidates=0)", "deepfool(overshoot=-0.1)", "noise(tries=0)", "noise(batch=0)"),
    *("autoattack(version=plus)", "autoattack(batch=0)", "autoattack(steps=50)"),
    *("carlini_wagner(rate=0)", "carlini_wagner(constant=-1)"),
    *("carlini_wagner(confidence=inf)", "carlini_wagner(searches=0)"),
    *("ead(rule=l2)", "ead(beta=-1)", "ead(steps=0)", "lbfgs(constant=inf)", "lbfgs(confidence=-1)"),
])  # fmt: skip
def test_odd_options_are_refused_before_any_work(spec: str) -> None:
    norm = "l2" if ATTACKS.look_up(spec)[0] in ("carlini_wagner", "ead", "lbfgs") else "linf"
    with pytest.raises(OptionError):
        load_attack(spec)(
            tiny().eval(), torch.zeros(0, 3, 8, 8), torch.zeros(0, dtype=torch.long), eps=0.1, norm=norm
        )


@pytest.mark.parametrize("name", ["apgd", "autoattack", "bim", "deepfool", "ead", "lbfgs", "mifgsm"])
def test_a_model_without_gradient_is_told(name: str) -> None:
    model, images, labels = crowd(2)
    with pytest.raises(OptionError, match="needs gradients"):
        load_attack(name)(lambda batch: model(batch).detach(), images, labels, eps=0.1, norm="l2")


@pytest.mark.parametrize("attack", ["pgd(steps=40, confidence=inf)", "apgd(steps=40)", "fgsm"])
def test_a_classifier_that_answers_nan_is_no_attack_that_failed(attack: str, images: Tensor) -> None:
    """An image whose margin is no number would leave as if it had held."""
    with pytest.raises(ClassifierError, match="answers NaN or infinite logits for images 0, 1, 2"):
        load_attack(attack)(
            lambda batch: batch.flatten(1)[:, :3] * torch.nan,
            images,
            torch.zeros(3, dtype=torch.long),
            eps=0.1,
        )
