"""A gate that was calibrated on pictures of some sizes only: what its service says at start, and later."""

from pathlib import Path
from typing import Any

import pytest
import torch
from serving import png, serving

import rain
from rain.calibration import Calibration
from rain.deploy.answering import Question
from rain.deploy.model import Model
from rain.deploy.settings import Settings
from rain.errors import ClassifierError, GateError
from rain.gate import Gated
from rain.registry import load_classifier

SMALL = "rain(enhancer=bicubic)"


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    """Of the classifier models:tiny and the small defence, on pictures of 16x16."""
    hardened = rain.harden(load_classifier("models:tiny"), SMALL, gate=0.5)
    images = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return hardened.calibrate(images, seed=0)


@pytest.fixture
def shipped(calibration: Calibration, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the package held that calibration, and 0.5 were the usual share."""
    monkeypatch.setattr("rain.detector.look_up", lambda *place: calibration)
    monkeypatch.setattr("rain.deploy.model.GATE", 0.5)


def model(**changes: Any) -> Model:
    return Model(Settings(**{"classifier": "models:tiny", "defense": SMALL, "device": "cpu"} | changes))


def is_gated(served: Model) -> bool:
    return isinstance(served.hardened.defense, Gated)


# --- at start


@pytest.mark.usefixtures("shipped")
def test_a_gate_that_nobody_asked_for_is_there_where_it_fits_and_else_left_out() -> None:
    assert is_gated(model(size=16))
    for size, text in ((24, "of 24x24"), (0, "of any size"), (None, "of any size")):
        with pytest.warns(UserWarning, match=f"without a gate: .* on pictures of 16x16, .* {text}"):
            served = model(size=size)
        assert not is_gated(served)
        assert served.about()["gate"] is None
        (answer,) = served.answer([served.read(png(side=40), 1, 1)])
        assert isinstance(answer, dict)


def test_a_gate_that_was_asked_for_and_does_not_fit_is_told_at_start(
    calibration: Calibration, shipped: None, tmp_path: Path
) -> None:
    calibration.save(tmp_path / "own.json")
    for choice in ({"gate": 0.5}, {"calibration": str(tmp_path / "own.json")}):
        with pytest.raises(GateError, match=r"the gate was calibrated .* 16x16, .* those of 24x24: serve"):
            model(size=24, **choice)
        assert is_gated(model(size=16, **choice))


@pytest.mark.usefixtures("shipped")
def test_a_gate_within_the_spec_was_asked_for() -> None:
    for gate in (None, 0):
        with pytest.raises(GateError, match="calibrated on pictures of 16x16"):
            model(size=24, gate=gate, defense=f"gated(share=0.5, defense={SMALL})")


def test_an_alarm_without_a_threshold_is_told_whatever_is_said_of_a_gate() -> None:
    with pytest.raises(GateError, match="this detector is not calibrated"):
        model(gate=0, defense="squeezing(squeezers=median)")


def test_a_service_starts_only_if_it_answers_a_picture_of_its_size() -> None:
    class Blind(Model):
        def answer(self, questions: list[Question]) -> list[dict[str, Any] | Exception]:
            return [ClassifierError("no number")]

    choice = {"classifier": "models:tiny", "defense": "none", "device": "cpu"}
    with pytest.raises(ClassifierError, match="no number"):
        Blind(Settings(**choice, size=16)).warm_up()


def test_a_first_picture_whose_size_is_only_guessed_stops_no_service(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = model(defense="none")

    def answer_small(questions: list[Question]) -> list[dict[str, Any] | Exception]:
        return [RuntimeError("it takes 16x16")]

    monkeypatch.setattr(served, "answer", answer_small)
    served.warm_up()
    assert "64x64 pixels is not answered: it takes 16x16" in caplog.text


# --- pictures of any size


@pytest.mark.usefixtures("shipped")
def test_a_picture_that_the_gate_does_not_take_is_its_senders_fault() -> None:
    with serving(defense=SMALL, size=0, gate=0.5) as place:
        status, answer = place.predict(png(side=24))
        assert (status, answer["detail"]) == (
            422,
            "0.png: a picture of 24x24 (height x width), and the gate was calibrated on 16x16: resize it",
        )
        status, answer = place.predict(png(side=16))
        assert status == 200
        assert "flagged" in answer["predictions"][0]


def test_an_exported_model_says_so_too(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from handmade import handmade

    made = handmade(tmp_path / "model", threshold=0.5, size=None)
    text = (made / "rain.json").read_text()
    (made / "rain.json").write_text(text.replace('"sizes": []', '"sizes": [[8, 12]]'))
    with serving(model=str(made)) as place:
        assert place.predict(png(side=16))[0] == 422
        assert place.ask("GET", "/ready")[0] == 200
