"""Feature squeezing: its score, its alarm, its threshold, and what an attacker who knows it sees."""

from pathlib import Path

import pytest
import torch
from models import other, tiny
from torch import Tensor, nn

import rain
from rain.adaptive import Expectation, Seeded, attackable
from rain.attacks.gate import parts_of
from rain.calibration import load
from rain.defense import Defense, Draw
from rain.errors import ClassifierError, GateError, OptionError
from rain.hardened import Hardened
from rain.registry import foreign_code, load_attack

CHEAP = "bit_depth(bits=5)+median"
CHEAP_SPEC = f"squeezing(squeezers={CHEAP}, threshold=0.5)"


def pictures(count: int, seed: int = 0, side: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    return nn.functional.interpolate(coarse, (side, side), mode="bilinear").clamp(0, 1)


def squeezing(**options: object) -> Hardened:
    return rain.harden(tiny(), "squeezing", **({"squeezers": CHEAP, "share": 0.1} | options))


class Sharp(nn.Module):
    """Three classes by the mean red; so steep that squeezing turns it."""

    def forward(self, images: Tensor) -> Tensor:
        red = images[:, 0].mean((1, 2))
        return torch.stack([0.5 - red, red - 0.5, torch.full_like(red, -1)], 1) * 400


class Darkening(Defense):
    """Takes ``amount`` from every value."""

    random = False

    def __init__(self, amount: float):
        super().__init__()
        self.amount = amount

    def draw(self, images: Tensor, generator: torch.Generator | None = None) -> Draw:
        return {}

    def transform(self, images: Tensor, draw: Draw) -> Tensor:
        return (images - self.amount).clamp(0, 1)


def darkened(*amounts: float, threshold: float = 1.0) -> Hardened:
    detector = rain.load_defense(
        "squeezing", squeezers=[Darkening(amount) for amount in amounts], threshold=threshold
    )
    return rain.harden(Sharp(), detector)


def flat(*values: float) -> Tensor:
    return torch.tensor(values)[:, None, None, None].expand(-1, 3, 8, 8).clone()


def test_the_defaults_are_those_of_the_authors() -> None:
    detector = rain.load_defense("squeezing")
    bits, median, nlm = detector.compared()
    assert bits.bits == 5
    assert median.size == 2
    assert (nlm.search, nlm.patch, nlm.strength) == (11, 3, 4)
    assert detector.share == 0.05


def test_the_score_is_the_largest_change_of_the_probabilities(images: Tensor) -> None:
    hardened = squeezing(threshold=0.5)
    own = hardened.classify(images).softmax(1)
    changes = []
    for name in ("bit_depth(bits=5)", "median"):
        squeezed = hardened.classify(rain.load_defense(name)(images)).softmax(1)
        changes.append((squeezed - own).abs().sum(1))
    expected = torch.stack(changes).amax(0)
    torch.testing.assert_close(hardened.predict(images).suspicion, expected)


def test_what_squeezing_turns_is_flagged_and_answered_by_the_classifier_all_the_same() -> None:
    hardened, images = darkened(0.02), flat(0.2, 0.51, 0.8)
    prediction = hardened.predict(images)
    assert prediction.flagged.tolist() == [False, True, False]
    assert prediction.labels.tolist() == [0, 1, 1]
    assert torch.equal(prediction.bare, prediction.labels)
    assert torch.equal(hardened(images), hardened.classify(images))
    assert prediction.suspicion[1] == pytest.approx(2, abs=0.01)
    assert prediction.agreement.tolist() == [1, 1, 1]


def test_any_squeezer_may_raise_the_alarm() -> None:
    images = flat(0.51, 0.53)
    assert darkened(0.001, 0.02).predict(images).flagged.tolist() == [True, False]
    assert darkened(0.04, 0.001).predict(images).flagged.tolist() == [True, True]


def test_a_batch_of_nothing_and_a_list_of_sizes_are_answered() -> None:
    hardened = squeezing(threshold=0.5)
    assert hardened.predict(torch.zeros(0, 3, 16, 16)).flagged.shape == (0,)
    mixed = [pictures(1)[0], pictures(1, side=24)[0], pictures(1, seed=1)[0]]
    assert hardened.predict(mixed).suspicion.shape == (3,)


@pytest.mark.parametrize("size", [(8, 8), (2, 3), (750, 1000)])
def test_small_large_and_grey_pictures_are_scored(size: tuple[int, int]) -> None:
    grey = torch.rand(1, 1, *size).expand(1, 3, -1, -1)
    suspicion = squeezing(threshold=0.5).predict(grey).suspicion
    assert torch.isfinite(suspicion).all()


def test_calibration_sets_the_threshold_and_a_file_of_it_serves_again(tmp_path: Path) -> None:
    hardened = squeezing()
    clean = pictures(60)
    with pytest.raises(GateError, match="this detector is not calibrated"):
        hardened.predict(clean)
    calibration = hardened.calibrate(clean, "sixty")
    assert list(calibration.scores) == ["l1"]
    prediction = hardened.predict(clean)
    # The sixth largest of 61 * 0.1 is the threshold; in a batch of another size it may be rounded otherwise.
    is_sixth = (prediction.suspicion / hardened.defense.threshold - 1).abs() < 1e-5
    assert is_sixth.sum() == 1
    assert prediction.flagged[~is_sixth].sum() == 5
    path = tmp_path / "squeezing.json"
    calibration.save(path)
    assert load(path) == calibration
    for again in (
        squeezing(calibration=path),
        squeezing(calibration=str(path)),
        rain.harden(
            tiny(), rain.load_defense("squeezing", squeezers=CHEAP, share=0.1, calibration=load(path))
        ),
    ):
        assert again.defense.threshold == hardened.defense.threshold
    with pytest.raises(GateError, match="pictures of 16x16"):
        hardened.predict(pictures(2, side=24))


def test_a_calibration_of_other_squeezers_or_of_a_gate_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "squeezing.json"
    squeezing().calibrate(pictures(60)).save(path)
    with pytest.raises(GateError, match="belongs to another defence"):
        squeezing(squeezers="median(size=3)", calibration=path)
    with pytest.raises(GateError, match="belongs to another defence"):
        rain.harden(tiny(), "median", gate=0.1, calibration=path)
    with pytest.raises(OptionError, match="goes with a gate"):
        rain.harden(tiny(), "median", calibration=path)


def test_answers_that_are_no_numbers_calibrate_nothing() -> None:
    model = tiny()
    model.register_forward_hook(lambda _, __, logits: logits * torch.nan)
    with pytest.raises(ClassifierError):
        rain.harden(model, "squeezing", squeezers=CHEAP).calibrate(pictures(120))


def test_a_threshold_of_its_own_is_not_calibrated() -> None:
    with pytest.raises(GateError, match="this detector has a threshold of its own"):
        squeezing(threshold=0.5).calibrate(pictures(60))
    calibration = squeezing().calibrate(pictures(60))
    with pytest.raises(GateError, match="leave threshold out"):
        rain.harden(tiny(), f"squeezing(squeezers={CHEAP}, threshold=0.5)", calibration=calibration)


def test_no_alarm_is_raised_by_the_threshold_of_other_weights() -> None:
    hardened = squeezing()
    hardened.calibrate(pictures(60))
    hardened.classifier.load_state_dict(other().state_dict())
    with pytest.raises(GateError, match="this detector was calibrated for other weights"):
        hardened.predict(pictures(2))


def test_an_attacker_gets_a_gradient_that_sees_the_squeezers(images: Tensor) -> None:
    hardened = squeezing(threshold=0.01)
    bare = rain.harden(tiny(), "none")
    gradients = []
    for model in (bare, attackable(hardened), attackable(hardened, gate="parts")):
        leaf = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)
        assert gradient.flatten(1).any(1).all()
        gradients.append(gradient)
    assert not torch.allclose(gradients[0], gradients[1])


def test_the_soft_view_is_the_bare_answer_below_the_threshold_and_the_mean_of_the_squeezed_above() -> None:
    images = flat(0.2, 0.51)
    view = attackable(darkened(0.02, 0.03))
    hardened = darkened(0.02, 0.03)
    squeezed = [hardened.classify(images - amount).softmax(1) for amount in (0.02, 0.03)]
    answer = view(images).softmax(1)
    torch.testing.assert_close(answer[0], hardened.classify(images).softmax(1)[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(answer[1], torch.stack(squeezed).mean(0)[1], atol=1e-3, rtol=0)


def test_in_parts_what_is_flagged_has_no_answer() -> None:
    images = flat(0.2, 0.51)
    hardened = darkened(0.02)
    bare, flagged, above = parts_of(attackable(hardened, gate="parts")(images))
    torch.testing.assert_close(bare, hardened.classify(images).log_softmax(1))
    torch.testing.assert_close(flagged, torch.full((2, 3), 1 / 3).log())
    suspicion = hardened.predict(images).suspicion
    torch.testing.assert_close(above, (suspicion - 1) / 0.1)


def test_an_attacker_who_knows_it_is_flagged_less_than_one_who_does_not() -> None:
    hardened = rain.harden(tiny(), "squeezing", squeezers="bit_depth(bits=3)+median(size=3)", share=0.1)
    hardened.calibrate(pictures(60))
    images = pictures(12, seed=1)
    labels = hardened.predict(images).labels
    options = {"eps": 0.06, "norm": "linf"}
    seed = {"generator": torch.Generator().manual_seed(0)}
    unaware = load_attack("pgd(steps=20)")(hardened.classify, images, labels, **options, **seed)
    parts = Expectation(Seeded(attackable(hardened, gate="parts"), torch.Generator()), draws=1)
    aware = load_attack("gate(aim=close, steps=20)")(parts, images, labels, **options, **seed)
    unseen = []
    for attacked in (unaware, aware):
        prediction = hardened.predict(attacked)
        unseen.append(int(((prediction.labels != labels) & ~prediction.flagged).sum()))
    assert unseen[1] > unseen[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_scores_in_single(dtype: torch.dtype, images: Tensor) -> None:
    prediction = squeezing(threshold=0.5).to(dtype).predict(images.to(dtype))
    assert prediction.suspicion.dtype == torch.float32


def test_the_pictures_on_the_way_are_the_squeezed_ones(images: Tensor) -> None:
    detector = rain.load_defense(CHEAP_SPEC)
    stages = detector.stages(images, {})
    assert list(stages) == ["squeezed1", "squeezed2", "unchanged"]
    assert torch.equal(stages["squeezed2"], rain.load_defense("median")(images))


def test_a_squeezer_may_answer_itself_or_be_a_chain(images: Tensor) -> None:
    chained = squeezing(squeezers="chain(parts=median+bit_depth)", threshold=0.5)
    assert torch.isfinite(chained.predict(images).suspicion).all()


@pytest.mark.parametrize(
    ("squeezers", "message"),
    [
        ("noise", "squeezer Noise is random"),
        ([], "at least one squeezer"),
        ([3], "got a int"),
        ([Darkening], "the class Darkening: make one"),
        (CHEAP_SPEC, "is a detector itself"),
        ("gated(defense=median, threshold=1)", "is a detector itself"),
    ],
)
def test_what_cannot_squeeze_is_refused(squeezers: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        rain.load_defense("squeezing", squeezers=squeezers)


@pytest.mark.parametrize("share", [0, 0.6, True, "many"])
def test_a_share_out_of_range_is_refused_by_its_name(share: object) -> None:
    with pytest.raises(GateError, match="share must be a share of clean images"):
        rain.load_defense("squeezing", share=share)


def test_neither_a_gate_nor_a_chain_takes_a_detector() -> None:
    with pytest.raises(OptionError, match="Squeezing raises alarms only"):
        rain.load_defense("gated", defense=CHEAP_SPEC)
    with pytest.raises(OptionError, match="raises alarms, which a chain would lose"):
        rain.Chain("median", CHEAP_SPEC)


def test_code_of_others_among_the_squeezers_is_known() -> None:
    assert not foreign_code("small_resnet", f"squeezing(squeezers={CHEAP})", "none")
    assert foreign_code("small_resnet", "squeezing(squeezers=median+test_squeezing:Darkening)", "none")
