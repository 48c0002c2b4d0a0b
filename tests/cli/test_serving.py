"""``rain serve`` as a user runs it: started, asked, stopped."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving import SMALL, Place, png
from typer.testing import CliRunner

from rain.cli.main import app
from rain.cli.serving import _check_reach, _is_loopback, _token
from rain.errors import OptionError

TESTS = Path(__file__).parent.parent


def start(tmp_path: Path, *options: str) -> tuple[subprocess.Popen[str], Place]:
    """Start the command on any port, and wait until it listens."""
    log = tmp_path / "log"
    command = [sys.executable, "-m", "rain", "serve", "--classifier", "models:tiny", "--defense", SMALL]
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, "--port", "0", "--device", "cpu", *options],
            stdout=file,
            stderr=file,
            text=True,
            env=os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
    for _ in range(1200):
        listening = re.search(r"running on http://127\.0\.0\.1:(\d+)", log.read_text())
        if listening:
            place = Place(int(listening.group(1)), None)  # type: ignore[arg-type]
            # Of several processes the first one that is there takes requests.
            with contextlib.suppress(OSError):
                if place.ask("GET", "/ready")[0] == 200:
                    return process, place
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    process.kill()
    raise AssertionError(log.read_text())


def test_terminated_under_load_it_answers_what_it_took(tmp_path: Path) -> None:
    process, place = start(tmp_path, "--draws", "2")
    assert json.loads(place.ask("GET", "/model")[2])["draws"] == 2

    def ask(level: int) -> int:
        try:
            return place.predict(*[png(level)] * 8)[0]
        except OSError:
            return 0  # refused, since it came too late

    with ThreadPoolExecutor(16) as threads:
        asking = threads.map(ask, range(20, 220))
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        statuses = list(asking)
    assert process.wait(30) in (0, -signal.SIGTERM)
    assert 200 in statuses
    assert set(statuses) <= {0, 200, 503}
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_several_processes_add_up_what_they_count(tmp_path: Path) -> None:
    process, place = start(tmp_path, "--workers", "2", "--draws", "1")
    try:
        with ThreadPoolExecutor(8) as threads:
            statuses = list(threads.map(lambda level: place.predict(png(level))[0], range(40, 60)))
        assert statuses == [200] * 20
        for _ in range(4):
            metrics = place.ask("GET", "/metrics")[2].decode()
            assert re.findall(r"^rain_images_total (.*)$", metrics, re.MULTILINE) == ["20.0"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_strangers_are_let_in_only_on_purpose() -> None:
    assert _is_loopback("127.0.0.1")
    assert _is_loopback("::1")
    assert not _is_loopback("0.0.0.0")
    assert not _is_loopback("example.org")
    _check_reach("127.0.0.1", "", insecure=False)
    _check_reach("0.0.0.0", "secret", insecure=False)
    _check_reach("0.0.0.0", "", insecure=True)
    with pytest.raises(OptionError, match=r"--host 0\.0\.0\.0 lets other machines ask"):
        _check_reach("0.0.0.0", "", insecure=False)


def test_a_secret_is_a_line_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAIN_TOKEN", "of the environment")
    assert _token(None) == "of the environment"
    file = tmp_path / "secret"
    file.write_text("open sesame\n")
    assert _token(file) == "open sesame"
    for text in ("", "two\nlines", "sésame"):
        file.write_text(text)
        with pytest.raises(OptionError, match="one line of printable ASCII"):
            _token(file)
    with pytest.raises(OptionError, match="cannot be read"):
        _token(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--model m --gate 0.02", "for which --gate cannot be chosen any more: leave out either"),
        ("--model m --gate 0", "for which --gate cannot"),
        ("--model m --calibration c.json", "for which --calibration cannot"),
        ("--model m --size 96", "for which --size cannot"),
        ("--model m --device cpu", "for which --device cannot"),
        ("--model m --classifier efficientnet_lite0", "for which --classifier cannot"),
        ("--defense rain --size 9 --model m", "for which --defense, --size cannot"),
        ("--model m --page", "--page attacks by gradients"),
        ("--gate 0 --calibration c.json", "--calibration is of a gate, and --gate 0 is none"),
        ("--token-file t --insecure", "--token-file asks for a secret, and --insecure for none"),
    ],
)
def test_options_of_which_one_would_be_ignored_are_refused(options: str, message: str) -> None:
    answer = CliRunner().invoke(app, ["serve", *options.split()])
    assert answer.exit_code == 1
    assert message in " ".join(answer.output.split())


@pytest.mark.parametrize("options", ["--draws 2", "--no-page", "--queue 99 --workers 1"])
def test_options_that_go_together_are_taken(options: str, tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["serve", "--model", str(tmp_path / "nowhere"), *options.split()])
    assert answer.exit_code == 1
    assert "nowhere" in "".join(answer.output.split())
