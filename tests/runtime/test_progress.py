"""What long work shows of itself."""

import os
import subprocess
import sys
import time
from pathlib import Path

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


PRINTS = """
from rain.runtime.forecast import Piece
from rain.runtime.progress import bar
with bar([Piece("first", 1), Piece("second", 1)], visible=True) as ticks:
    for tick in ticks:
        print("a line of output")
        tick(1)
"""


def test_what_is_printed_beside_a_bar_goes_where_the_output_goes(tmp_path: Path) -> None:
    ours, terminal = os.openpty()
    with (tmp_path / "output").open("wb") as output:
        environment = os.environ | {"TERM": "xterm"}
        command = [sys.executable, "-c", PRINTS]
        process = subprocess.Popen(command, stdout=output, stderr=terminal, env=environment)
        assert process.wait(60) == 0
    os.close(terminal)
    shown = os.read(ours, 100_000)
    os.close(ours)
    assert (tmp_path / "output").read_text().splitlines() == ["a line of output"] * 2
    assert b"done, spent" in shown
    assert b"a line of output" not in shown
