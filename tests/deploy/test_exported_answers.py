"""NumPy's reading of logits against torch's: probabilities, and the scores of the gate."""

import numpy as np
import pytest
import torch

from rain.answers import probabilities_of
from rain.deploy import answers
from rain.errors import ClassifierError
from rain.gate import SCORES, Gated
from rain.prediction import average
from rain.registry import load_defense


def logits_of(seed: int, spread: float = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, (64, 10)).astype(np.float32)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("spread", [0.1, 4, 60])
def test_a_score_is_torchs(score: str, spread: float) -> None:
    bare, defended = logits_of(0, spread), logits_of(1, spread)
    defended[:20] = bare[:20] + logits_of(2, 0.05)[:20]  # most images are clean
    gate = Gated(load_defense("none"), score=score, threshold=0.5)
    expected = gate.suspicion(torch.from_numpy(bare), torch.from_numpy(defended)).numpy()
    np.testing.assert_allclose(answers.suspicion_of(score, bare, defended), expected, rtol=1e-4, atol=1e-4)


def test_every_score_of_the_gate_is_there() -> None:
    assert set(answers.SCORES) == set(SCORES)


def test_a_class_that_is_ruled_out_is_no_fault() -> None:
    bare, defended = logits_of(0), logits_of(1)
    bare[:, 3] = -np.inf
    expected = probabilities_of(torch.from_numpy(bare)).numpy()
    np.testing.assert_allclose(answers.probabilities_of(bare), expected, atol=1e-6)
    for score in ("evidence", "gain", "js", "l1", "odds"):
        gate = Gated(load_defense("none"), score=score, threshold=0.5)
        of_torch = gate.suspicion(torch.from_numpy(bare), torch.from_numpy(defended)).numpy()
        np.testing.assert_allclose(
            answers.suspicion_of(score, bare, defended), of_torch, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    logits = logits_of(0)
    logits[2, 0] = value
    with pytest.raises(ClassifierError, match="images 2 of a batch of 64"):
        answers.probabilities_of(logits)
    with pytest.raises(ClassifierError, match="images 0, 1, 2, 3 and others"):
        answers.probabilities_of(np.full((6, 3), -np.inf))


def test_a_gate_says_what_torchs_says() -> None:
    bare, each = logits_of(0), np.stack([logits_of(seed) for seed in (1, 2, 3)])
    each[:, :30] = bare[:30] + each[:, :30] / 50
    gate = Gated(load_defense("none"), score="l1", threshold=0.4)
    expected = gate.combine(torch.from_numpy(bare), torch.from_numpy(each))
    prediction = answers.gated("l1", 0.4, bare, list(each))
    assert 0 < prediction.flagged.sum() < 64
    for name in expected._fields:
        ours, theirs = getattr(prediction, name), getattr(expected, name).numpy()
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert ours.dtype == theirs.dtype


def test_the_mean_over_draws_is_torchs() -> None:
    each = answers.probabilities_of(logits_of(4)).reshape(4, 16, 10)
    for ours, theirs in zip(answers.average(each), average(torch.from_numpy(each)), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6)
        assert ours.dtype == theirs.numpy().dtype
