"""One picture explained: what is computed for the page."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rain.bench.explainer import explain
from rain.bench.explanation import CLEAN, Explanation, Gate
from rain.calibration import Calibration, identity
from rain.errors import GateError, ImageError, LabelError, OptionError, UnknownNameError
from rain.hardening import harden
from rain.images import enter
from rain.pictures import read_image
from rain.registry import load_classifier

SEEING = "models:seeing(side=24)"
RAIN = "rain(enhancer=bicubic)"
FAST = {"classifier": SEEING, "defense": RAIN, "attack": "pgd(confidence=inf, steps=3)", "eot": 4, "draws": 3}


def of(folder: Path, **changes: Any) -> Explanation:
    return explain(folder / "class0" / "0.png", **FAST | changes)


def test_a_picture_is_attacked_twice_within_the_budget(folder: Path) -> None:
    about = of(folder, eps=8 / 255)
    assert [version.kind for version in about.versions] == [CLEAN, "transfer", "adaptive"]
    for version in about.attacked:
        moved = np.abs(version.pixels - about.clean.pixels).max()
        assert 0 < moved <= 8 / 255 + 1e-6
        assert len(version.draws) == 3
        assert version.pixels.shape == (24, 24, 3)
        assert version.randomized is not None
        assert version.randomized.shape == (12, 12, 3)
        assert version.change is not None
        assert 0 < version.change.fine < 1
    assert about.clean.change is None
    assert about.setting.attack.startswith("pgd(")
    assert "random_start=True" in about.setting.attack  # with all its options


def test_the_same_seed_gives_the_same_explanation(folder: Path) -> None:
    first, second, third = of(folder, seed=1), of(folder, seed=1), of(folder, seed=2)
    for one, other in zip(first.versions, second.versions, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert one.draws == other.draws
    assert not np.array_equal(first.clean.defended, third.clean.defended)


def test_answers_are_those_of_the_hardened_classifier(folder: Path) -> None:
    about = of(folder, attack="none", draws=2)
    image = enter(read_image(folder / "class0" / "0.png"), 24)[None]
    classifier = load_classifier(SEEING).requires_grad_(False)
    probabilities = classifier(image).softmax(1)[0]
    assert about.held == int(probabilities.argmax()) == about.clean.bare.label
    assert about.clean.bare.probability == pytest.approx(float(probabilities.max()), abs=1e-6)
    hardened = harden(classifier, RAIN)
    mean = torch.zeros(5)
    for guess in about.clean.draws:
        assert guess.held <= guess.probability <= 1
    for seed in range(200):
        mean += hardened(image, generator=torch.Generator().manual_seed(seed)).softmax(1)[0] / 200
    assert about.clean.mean.held == pytest.approx(float(mean[about.held]), abs=0.05)


def test_all_versions_are_shown_with_one_draw(folder: Path) -> None:
    """A budget of next to nothing: what is left of it behind the defence is next to nothing, too."""
    about = of(folder, eps=1e-6)
    for version in about.attacked:
        assert np.abs(version.defended - about.clean.defended).max() < 1e-4


def test_without_an_attack_only_the_picture_is_looked_at(folder: Path) -> None:
    about = of(folder, attack="none")
    assert [version.kind for version in about.versions] == [CLEAN]
    assert about.setting.attack == "none"


def test_detail_is_measured_where_the_defence_says_what_it_should_give(folder: Path) -> None:
    detail = of(folder, attack="none").detail
    assert detail.true is not None
    assert 0 < detail.true < 1
    assert detail.missing is not None
    assert detail.missing.shape == (24, 24, 3)
    assert detail.randomized is not None
    assert detail.randomized.radii.max() < 0.5 < detail.clean.radii.max()
    jpeg = of(folder, attack="none", defense="jpeg").detail
    assert (jpeg.true, jpeg.missing, jpeg.randomized) == (None, None, None)


@pytest.mark.parametrize(
    "defense", ["jpeg", "resize_pad", "rain(preset=no_pick, shift=0.0, enhancer=bicubic)"]
)
def test_other_defences_can_be_explained(folder: Path, defense: str) -> None:
    about = of(folder, defense=defense)
    assert len(about.versions) == 3
    assert len(about.clean.draws) == (3 if about.setting.random else 1)


def test_an_attack_by_queries_asks_the_defended_classifier(folder: Path) -> None:
    about = of(folder, attack="square(queries=5)")
    assert [version.kind for version in about.versions] == [CLEAN, "transfer", "query"]


def test_the_gate_of_a_defence_scores_each_draw(folder: Path) -> None:
    about = of(folder, defense=f"gated(defense={RAIN}, threshold=0.0)")
    assert about.gate == Gate("evidence", None, 0.0, is_used=True)
    assert all(len(version.suspicion) == 3 for version in about.versions)
    for version in about.versions:
        for score, guess in zip(version.suspicion, version.draws, strict=True):
            assert score > 0 or guess.label == version.bare.label
    # The stages are those of the defence behind the gate, which says what it should give.
    assert about.clean.randomized is not None
    assert about.detail.missing is not None


def test_a_detector_scores_the_picture_and_leaves_the_answer(folder: Path) -> None:
    about = of(folder, defense="squeezing(squeezers=median, threshold=0.3)")
    assert about.gate == Gate("l1", None, 0.3, is_used=True, overrules=False)
    for version in about.versions:
        assert len(version.suspicion) == 1
        assert version.draws[0].label == version.bare.label


def test_a_gate_that_is_shut_leaves_the_answers_of_the_classifier(folder: Path) -> None:
    about = of(folder, defense=f"gated(defense={RAIN}, threshold=1e9)")
    for version in about.versions:
        assert {guess.label for guess in version.draws} == {version.bare.label}


def test_a_shipped_calibration_says_what_a_gate_would_say(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hardened = harden(load_classifier(SEEING), RAIN)
    scores = tuple(np.linspace(2, 0, 250).tolist())
    known = Calibration(
        identity(hardened.classifier), identity(hardened.defense), ((24, 24),), 499, 0.1, {"evidence": scores}
    )
    monkeypatch.setattr("rain.calibration.shipped", lambda: (known,))
    about = of(folder, attack="none")
    assert about.gate == Gate("evidence", 0.02, known.threshold("evidence", 0.02), is_used=False)
    assert len(about.clean.suspicion) == 3
    assert of(folder, attack="none", size=32).gate is None  # it is of pictures of 24 pixels
    assert of(folder, attack="none", defense="rain(enhancer=bicubic, shift=0.0)").gate is None


@pytest.mark.parametrize(("label", "number"), [("2", 2), (" 4 ", 4)])
def test_a_label_may_be_given(folder: Path, label: str, number: int) -> None:
    about = of(folder, attack="none", label=label)
    assert (about.held, about.held_name, about.held_is_own) == (number, f"class {number}", False)


def test_a_label_may_be_a_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import models

    monkeypatch.setattr(models.Tiny, "categories", ("dog", "cat", "ship", "car", "tree"), raising=False)
    about = of(folder, attack="none", label="ship")
    assert (about.held, about.held_name) == (2, "ship")
    with pytest.raises(LabelError, match="did you mean 'ship'"):
        of(folder, attack="none", label="shop")
    with pytest.raises(LabelError, match="a number from 0 to 4 does as well"):
        of(folder, attack="none", label="zeppelin")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"defense": "none"}, OptionError, "leaves a picture as it is"),
        ({"defense": "rian"}, UnknownNameError, "did you mean 'rain'"),
        ({"attack": "pdg"}, UnknownNameError, "did you mean 'pgd'"),
        ({"attack": "pgd(steps=0)"}, OptionError, "steps must be an integer of at least 1"),
        ({"attack": "fgsm", "norm": "l3"}, OptionError, "norm"),
        ({"eps": 0.0}, OptionError, "eps must be positive"),
        ({"eps": 4.0}, OptionError, "4/255"),
        ({"eps": float("nan")}, OptionError, "eps must be"),
        ({"draws": 0}, OptionError, "at least 1"),
        ({"eot": 0}, OptionError, "at least 1"),
        ({"size": 4}, OptionError, "at least 8 pixels"),
        (
            {"classifier": "models:tiny"},
            OptionError,
            "does not say what size it sees: give the side by --size",
        ),
        ({"label": "5"}, LabelError, "none of the classifier's classes, 0 to 4"),
        ({"label": "dog"}, LabelError, "give label 'dog' by its number"),
        ({"defense": "gated(defense=jpeg)"}, GateError, "not calibrated"),
        ({"attack": "gate"}, OptionError, "needs a gate, and is made on the bare classifier"),
        ({"attack": "gate", "defense": "gated(defense=jpeg, threshold=1)"}, OptionError, "needs a gate"),
        ({"seed": 2**70}, OptionError, "64 bits"),
    ],
)
def test_what_cannot_be_explained_is_said(
    folder: Path, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        of(folder, **changes)


def test_a_picture_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    for name, words in (("text.png", "not an image"), ("nowhere.png", "no such file")):
        with pytest.raises(ImageError, match=words):
            explain(tmp_path / name, **FAST)
