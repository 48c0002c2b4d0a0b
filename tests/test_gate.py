"""The gate: who answers, what it costs, and what calibrates it."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from models import other, tiny
from torch import Tensor, nn

import rain
from rain.adaptive import attackable
from rain.calibration import Calibration, load
from rain.errors import ClassifierError, GateError, OptionError
from rain.gate import SCORES, Gated
from rain.hardened import Hardened

BICUBIC = "rain(enhancer=bicubic)"


def pictures(count: int, seed: int = 0, side: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    return nn.functional.interpolate(coarse, (side, side), mode="bilinear").clamp(0, 1)


def gated(share: float = 0.1, score: str = "l1", **options: Any) -> Hardened:
    defense = rain.load_defense("gated", defense=BICUBIC, share=share, score=score, **options)
    return rain.harden(tiny(), defense)


class Counting(nn.Module):
    """Counts the images that it classifies; the brighter the red, the surer of class 1."""

    def __init__(self) -> None:
        super().__init__()
        self.images = 0

    def forward(self, images: Tensor) -> Tensor:
        self.images += len(images)
        red = images[:, 0].mean((1, 2))
        return torch.stack([0.5 - red, red - 0.5, torch.full_like(red, -1)], 1) * 20


class Inverting(rain.Defense):
    """Inverts the bright images, and only these; draws nothing of consequence."""

    def draw(self, images: Tensor, generator: Any = None) -> Any:
        return {"number": torch.rand(len(images), generator=generator)}

    def transform(self, images: Tensor, draw: Any) -> Tensor:
        bright = images.mean((1, 2, 3), keepdim=True) > 0.5
        return torch.where(bright, 1 - images, images)


def flat(*values: float) -> Tensor:
    return torch.tensor(values)[:, None, None, None].expand(-1, 3, 8, 8).clone()


def inverting(**options: Any) -> Hardened:
    return rain.harden(Counting(), Gated(Inverting(), threshold=1.0, score="l1", **options))


def test_the_classifier_answers_unless_the_two_answers_differ_enough() -> None:
    hardened = inverting()
    images = flat(0.1, 0.9, 0.2, 0.8)
    bare = hardened.classify(images)
    prediction = hardened.predict(images, draws=3)
    assert prediction.flagged.tolist() == [False, True, False, True]
    assert prediction.bare.tolist() == bare.argmax(1).tolist() == [0, 1, 0, 1]
    assert prediction.labels.tolist() == [0, 0, 0, 0]
    torch.testing.assert_close(prediction.probabilities[0], bare.softmax(1)[0])
    torch.testing.assert_close(prediction.probabilities[1], hardened.classify(1 - images).softmax(1)[1])
    logits = hardened(images)
    assert torch.equal(logits[0], bare[0])
    assert logits.argmax(1).tolist() == [0, 0, 0, 0]


def test_further_draws_are_asked_only_of_what_is_flagged() -> None:
    hardened = inverting()
    hardened.classifier.images = 0
    hardened.predict(flat(0.1, 0.9, 0.2, 0.3), draws=8)
    assert hardened.classifier.images == 4 + 4 + 7


def test_a_gate_without_calibration_says_what_to_do() -> None:
    hardened = gated()
    for ask in (hardened, hardened.predict):
        with pytest.raises(GateError, match=r"not calibrated.*rain calibrate"):
            ask(pictures(2))


def test_a_seed_gives_the_same_calibration() -> None:
    first, second, other_draws = (gated().calibrate(pictures(60), seed=seed) for seed in (3, 3, 4))
    assert first == second
    assert first.scores != other_draws.scores


def test_the_share_that_was_asked_for_is_overruled() -> None:
    hardened = gated(0.1)
    calibration = hardened.calibrate(pictures(200))
    assert hardened.defense.threshold == calibration.threshold("l1", 0.1)
    flagged = torch.cat([hardened.predict(pictures(200, seed), 1).flagged for seed in range(1, 6)])
    assert 0.05 < float(flagged.float().mean()) < 0.16


@pytest.mark.parametrize("score", SCORES)
def test_every_score_is_finite_and_small_where_the_answers_are_equal(score: str) -> None:
    answers = torch.tensor([[3.0, -torch.inf, 0.1], [200.0, 0.0, -50.0]]).log_softmax(1)
    turned = answers.flip(1)
    same, different = SCORES[score].of(answers, answers), SCORES[score].of(answers, turned)
    assert same.abs().max() < 1e-5
    assert (different > 0.5 * SCORES[score].width).all()
    assert not different.isnan().any()


@pytest.mark.parametrize("score", SCORES)
def test_every_score_has_a_gradient_that_is_a_number(score: str) -> None:
    bare, defended = (torch.tensor([values], requires_grad=True) for values in ([3.0, 1, 0], [1.0, 2, 0]))
    SCORES[score].of(bare.log_softmax(1), defended.log_softmax(1)).sum().backward()
    for logits in (bare, defended):
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()
    assert defended.grad is not None
    assert defended.grad.any()


def test_a_calibration_holds_for_its_classifier_and_defense_only(tmp_path: Path) -> None:
    path = tmp_path / "gate.json"
    gated().calibrate(pictures(100), "test pictures").save(path)
    assert load(path).origin == "test pictures"
    hardened = rain.harden(tiny(), BICUBIC, gate=0.1, calibration=path)
    assert len(hardened.predict(pictures(3)).flagged) == 3
    with pytest.raises(GateError, match="another classifier"):
        rain.harden(other(), BICUBIC, gate=0.1, calibration=path)
    with pytest.raises(GateError, match="another defence"):
        rain.harden(tiny(), "rain(enhancer=bicubic, shift=0.0)", gate=0.1, calibration=path)
    with pytest.raises(OptionError, match="goes with a gate"):
        rain.harden(tiny(), BICUBIC, calibration=path)
    with pytest.raises(GateError, match="another classifier already"):
        rain.harden(other(), hardened.defense)


def test_a_gate_refuses_another_size_than_it_was_calibrated_on() -> None:
    hardened = gated()
    hardened.calibrate(pictures(100))
    for ask in (hardened, hardened.predict):
        with pytest.raises(GateError, match="16x16, these are 24x24"):
            ask(pictures(2, side=24))
    lists = [*pictures(60), *pictures(60, side=24)]
    hardened.calibrate(lists)
    answers = hardened.predict([lists[0], lists[-1]])
    assert answers.labels.shape == answers.flagged.shape == (2,)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (pictures(49), "at least 50 clean pictures, these are 49"),
        (pictures(0), "at least 50"),
        (torch.full((60, 3, 16, 16), 0.3), "one value in all pixels"),
        (pictures(1).repeat(60, 1, 1, 1), "2 % of the pictures differ"),
    ],
)
def test_pictures_that_do_not_calibrate_are_refused(images: Tensor, message: str) -> None:
    hardened = gated(0.1)
    with pytest.raises(GateError, match=message):
        hardened.calibrate(images)
    with pytest.raises(GateError, match="not calibrated"):
        hardened.predict(pictures(1))


def test_attacked_pictures_do_not_calibrate() -> None:
    hardened = rain.harden(Counting(), Gated(Inverting(), share=0.1))
    bright = 0.6 + 0.4 * pictures(60)
    with pytest.raises(GateError, match="disagree on 100 % of the pictures: they look attacked"):
        hardened.calibrate(bright)


@pytest.mark.parametrize("share", [0, -0.1, 0.6, float("nan"), "2 %", True])
def test_a_share_that_is_none_is_refused(share: Any) -> None:
    with pytest.raises(GateError, match="gate must be a share"):
        rain.harden(tiny(), BICUBIC, gate=share)


def test_a_defense_without_a_gate_has_nothing_to_calibrate() -> None:
    with pytest.raises(OptionError, match=r"gate=0\.02"):
        rain.harden(tiny(), "jpeg").calibrate(pictures(3))


def test_a_gate_within_a_gate_is_refused() -> None:
    with pytest.raises(OptionError, match="gated already"):
        rain.harden(tiny(), "gated(defense=rain(enhancer=bicubic))", gate=0.1)


@pytest.mark.parametrize(
    "change",
    [
        {"scores": {"l1": [1.0]}},
        {"scores": {"l1": "x"}},
        {"format": 2},
        {"pictures": 0},
        {"sizes": [3]},
        {"classifier": 3},
        {"surplus": 1},
        {"sizes": [[float("inf"), 1]]},
        {"sizes": [[-1, 16]]},
        {"scores": {"l1": [10**400]}},
        {"scores": {}},
        {"disagree": "much"},
        {"disagree": float("nan")},
        {"origin": ["a", "list"]},
    ],
)
def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "gate.json"
    gated().calibrate(pictures(60)).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(GateError, match="not a calibration"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff\xfe", b"{" * 100_000])
def test_garbage_is_no_calibration(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "gate.json"
    path.write_bytes(content)
    with pytest.raises(GateError, match="not a calibration"):
        load(path)
    with pytest.raises(GateError, match="rain calibrate makes one"):
        load(tmp_path / "missing.json")


def test_the_threshold_is_the_score_that_the_share_leaves_above_it() -> None:
    scores = {"l1": tuple(float(100 - place) for place in range(50))}
    calibration = Calibration("c", "d", (), 99, 0.1, scores)
    assert calibration.threshold("l1", 0.1) == 91.0  # the tenth largest of 99
    with pytest.raises(GateError, match="no score 'js'"):
        calibration.threshold("js", 0.1)


def test_a_seed_for_each_image_gives_each_the_same_answer_in_any_company() -> None:
    images, seeds = pictures(6, 9), [5, 6, 7, 8, 9, 10]
    middle = float(gated(threshold=0.0).predict(images, seed=seeds).suspicion.median())
    hardened = gated(threshold=middle)
    together = hardened.predict(images, draws=4, seed=seeds)
    assert together.flagged.any()
    assert not together.flagged.all()
    for row in range(6):
        alone = hardened.predict(images[row : row + 1], draws=4, seed=[5 + row])
        torch.testing.assert_close(alone.probabilities[0], together.probabilities[row])
        assert alone.flagged[0] == together.flagged[row]


def test_no_images_are_no_error() -> None:
    prediction = inverting().predict(torch.zeros(0, 3, 8, 8))
    assert prediction.labels.shape == prediction.flagged.shape == prediction.suspicion.shape == (0,)


def test_a_soft_gate_is_between_the_two_answers_and_has_a_slope_at_the_step() -> None:
    soft = Hardened(Counting(), Gated(Inverting(), threshold=1.0, score="l1", view="soft"))
    images = flat(0.1, 0.505).requires_grad_()
    logits = soft(images)
    torch.testing.assert_close(logits.softmax(1).sum(1), torch.ones(2))
    torch.testing.assert_close(logits[0].softmax(0), soft.classify(images)[0].softmax(0))
    (gradient,) = torch.autograd.grad(logits[1, 0], images)
    assert gradient[1].abs().sum() > 0


def test_parts_are_both_answers_and_the_score_in_widths() -> None:
    gate = Gated(Inverting(), threshold=1.0, score="l1")
    parts = Hardened(Counting(), gate.seen_as("parts"))
    images = flat(0.1, 0.9)
    bare, defended, above = parts(images).split([3, 3, 1], 1)
    hardened = Hardened(Counting(), gate)
    torch.testing.assert_close(bare, hardened.classify(images).log_softmax(1))
    torch.testing.assert_close(defended[1], hardened.classify(1 - images).log_softmax(1)[1])
    suspicion = hardened.predict(images).suspicion
    torch.testing.assert_close(above[:, 0], (suspicion - 1.0) / SCORES["l1"].width)


class Sure(nn.Module):
    """A classifier of so many classes that half precision rounds most of their probabilities to 0.

    Args:
        spoiled: what the first image of each batch is answered with, in the place of its logits.
    """

    def __init__(self, spoiled: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-20, 20, 50))
        self.spoiled = spoiled

    def forward(self, images: Tensor) -> Tensor:
        logits = images.mean((1, 2, 3))[:, None] * self.weight
        if self.spoiled is None:
            return logits
        return torch.cat([torch.full_like(logits[:1], self.spoiled), logits[1:]])


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_judges_as_single_precision_does(score: str, dtype: torch.dtype) -> None:
    gate = Gated(Inverting(), score=score, threshold=0.01)
    hardened = rain.harden(Sure(), gate).to(dtype)
    images = flat(0.25, 0.75, 0.875).to(dtype)
    prediction = hardened.predict(images, draws=2)
    bare, answer = hardened.classify(images), hardened(images)
    assert torch.equal((answer != bare).any(1), prediction.flagged)
    assert prediction.suspicion.dtype == torch.float32
    single = rain.harden(Sure(), Gated(Inverting(), score=score, threshold=0.01)).predict(images.float())
    torch.testing.assert_close(prediction.suspicion, single.suspicion, rtol=0.05, atol=0.01)
    leaf = images.clone().requires_grad_()
    for view in ("soft", "parts"):
        (gradient,) = torch.autograd.grad(attackable(hardened, gate=view)(leaf).sum(), leaf)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("spoiled", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_calibrate_nothing(spoiled: float) -> None:
    hardened = rain.harden(Sure(spoiled), BICUBIC, gate=0.1)
    with pytest.raises(ClassifierError, match="for images 0 of a batch"):
        hardened.calibrate(pictures(60))


def test_an_infinite_threshold_is_refused_where_it_would_never_flag() -> None:
    scores = {"odds": (float("inf"),) * 8 + (1.0,) * 2, "l1": (1.0,) * 10}
    calibration = Calibration("a", "b", (), 20, 0.0, scores)
    assert calibration.threshold("l1", 0.25) == 1
    assert calibration.threshold("odds", 0.5) == 1
    with pytest.raises(GateError, match=r"no finite threshold for a share of 0\.25"):
        calibration.threshold("odds", 0.25)


@pytest.mark.parametrize("threshold", [float("nan"), "0.5", True])
def test_a_threshold_that_is_no_number_is_refused(threshold: Any) -> None:
    with pytest.raises(GateError, match="threshold must be a number"):
        gated(threshold=threshold)


def test_a_gate_with_a_threshold_of_its_own_is_not_calibrated() -> None:
    with pytest.raises(GateError, match="leave threshold out"):
        gated(threshold=0.5).calibrate(pictures(60))


def calibrated() -> Hardened:
    hardened = gated()
    hardened.calibrate(pictures(60), seed=1)
    return hardened


def into_the_model(hardened: Hardened, state: dict[str, Tensor]) -> None:
    named = {f"classifier.{name}": value for name, value in state.items()}
    hardened.load_state_dict(hardened.state_dict() | named)


def into_the_classifier(hardened: Hardened, state: dict[str, Tensor]) -> None:
    hardened.classifier.load_state_dict(state)


def into_a_model_of_several(hardened: Hardened, state: dict[str, Tensor]) -> None:
    several = nn.ModuleDict({"first": hardened})
    several.load_state_dict(
        {f"first.classifier.{name}": value for name, value in state.items()}, strict=False
    )


def by_assignment(hardened: Hardened, state: dict[str, Tensor]) -> None:
    hardened.classifier.load_state_dict(state, assign=True)


@pytest.mark.parametrize(
    "load_into", [into_the_model, into_the_classifier, into_a_model_of_several, by_assignment]
)
def test_no_threshold_outlives_the_weights_that_it_was_calibrated_for(load_into: Any) -> None:
    hardened = calibrated()
    before = hardened.defense.threshold
    load_into(hardened, other().state_dict())
    for ask in (hardened, hardened.predict):
        with pytest.raises(GateError, match=r"other weights than were loaded .*hardened\.calibrate"):
            ask(pictures(2))
    load_into(hardened, tiny().state_dict())
    assert hardened.defense.threshold == before
    load_into(hardened, other().state_dict())
    again = hardened.calibrate(pictures(60), seed=1)
    assert hardened.defense.threshold == again.threshold("l1", 0.1)
    assert again.classifier != calibrated().calibrate(pictures(60)).classifier


def test_a_threshold_outlives_its_own_weights_in_any_precision() -> None:
    hardened, state = calibrated(), calibrated().state_dict()
    before = hardened.defense.threshold
    hardened.load_state_dict(state)
    assert hardened.defense.threshold == before
    hardened.half().load_state_dict(state)
    assert hardened.defense.threshold == before
    hardened.load_state_dict(calibrated().half().state_dict())
    assert hardened.defense.threshold == before


def test_other_weights_of_the_defense_end_a_threshold_too() -> None:
    hardened = rain.harden(tiny(), "rain(enhancer=compact)", gate=0.1)
    hardened.calibrate(pictures(60))
    hardened.defense.load_state_dict(
        {name: value + 0.01 for name, value in hardened.defense.state_dict().items()}
    )
    with pytest.raises(GateError, match="other weights than were loaded"):
        hardened.predict(pictures(2))


def test_a_copy_of_a_model_watches_its_own_weights() -> None:
    hardened = calibrated()
    twin, kept = copy.deepcopy(hardened), pickle.loads(pickle.dumps(hardened))
    for model in (twin, kept):
        into_the_model(model, other().state_dict())
        with pytest.raises(GateError, match="other weights"):
            model.predict(pictures(2))
    assert len(hardened.predict(pictures(2)).flagged) == 2
    into_the_model(hardened, other().state_dict())
    with pytest.raises(GateError, match="other weights"):
        hardened.predict(pictures(2))


def test_a_threshold_of_its_own_stays_whatever_is_loaded() -> None:
    hardened = gated(threshold=0.5)
    into_the_model(hardened, other().state_dict())
    assert hardened.defense.threshold == 0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_classifier_that_was_rounded_before_it_was_hardened_is_told(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    path = tmp_path / "gate.json"
    calibrated().calibrate(pictures(60)).save(path)
    advice = rf"harden the classifier in float32, then hardened\.to\({dtype}\)"
    with pytest.raises(GateError, match=f"another classifier.*{advice}"):
        rain.harden(tiny().to(dtype), BICUBIC, gate=0.1, calibration=path)
    hardened = rain.harden(tiny().to(dtype), BICUBIC, gate=0.1)
    with pytest.raises(GateError, match=f"not calibrated.*{advice}"):
        hardened.predict(pictures(2).to(dtype))
    later = rain.harden(tiny(), BICUBIC, gate=0.1, calibration=path).to(dtype)
    assert len(later.predict(pictures(2).to(dtype)).flagged) == 2
