"""bfloat16 where it is fast, and a word where it is not."""

import warnings

import pytest
import torch

from rain.runtime.precision import is_mixed

CPU = torch.device("cpu")


@pytest.fixture(params=["amx_tile", "avx512_bf16", "neither"])
def unit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A CPU that has this unit for bfloat16, or neither of them."""
    for name in ("amx_tile", "avx512_bf16"):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda name=name: name == request.param)
    return str(request.param)


def test_auto_takes_bfloat16_where_the_cpu_has_a_unit_for_it(unit: str) -> None:
    assert is_mixed("auto", CPU) == (unit != "neither")
    assert not is_mixed("32-true", CPU)


def test_bfloat16_without_a_unit_is_done_and_said_to_be_slow(unit: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert is_mixed("bf16-mixed", CPU)
    slow = [str(warning.message) for warning in caught]
    assert len(slow) == (unit == "neither")
    assert all("ten times as long" in message for message in slow)
