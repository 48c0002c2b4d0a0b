"""What long work shows of itself."""

import time

import pytest

from rain.runtime import progress
from rain.runtime.forecast import Piece


def test_without_a_terminal_a_line_now_and_then_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.05)
    with progress.bar([Piece("first", 10), Piece("second", 30)], visible=True) as ticks:
        for tick in ticks:
            tick(5)
            time.sleep(0.5)
    with progress.steps_bar(8, 2, visible=True) as tick:
        tick(3, {"loss": 0.25})
        time.sleep(0.5)
    output, lines = capfd.readouterr()
    assert not output
    assert "12% done, spent" in lines.replace("  ", " ")
    assert "1 of 2: first" in lines
    assert "left: about" in lines
    assert "38%" in lines
    assert "2 of 2: second" in lines
    assert "3/8 steps" in lines
    assert "loss 0.250" in lines


def test_nothing_is_shown_that_was_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.01)
    with progress.bar([Piece("first", 10)], visible=False) as ticks:
        next(ticks)(5)
        time.sleep(0.05)
    with progress.steps_bar(8, 2, visible=False) as tick:
        tick(3, {})
    assert capfd.readouterr() == ("", "")
