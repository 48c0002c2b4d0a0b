"""``rain calibrate``, and ``rain predict`` with what it wrote."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import rain
from rain.calibration import load
from rain.cli.main import app

TINY = ("--classifier", "models:tiny", "--defense", "rain(enhancer=bicubic)")


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Sixty pictures without labels."""
    folder = tmp_path / "album"
    folder.mkdir()
    images = torch.rand(60, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for number, image in enumerate(images):
        rain.save_image(image, folder / f"{number:02d}.png")
    return folder


def call(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def test_a_calibration_is_written_and_used(album: Path, tmp_path: Path) -> None:
    out = tmp_path / "gate.json"
    text = call("calibrate", "--images", album, "--out", out, *TINY)
    assert f"{out}: 60 pictures; classifier and defence disagree on " in text
    assert "gate=0.02: a share of 0.02 needs at least 250 clean pictures, these are 60" in text
    assert "60 pictures of" in load(out).origin
    again = tmp_path / "again.json"
    call("calibrate", "--images", album, "--out", again, *TINY)
    assert again.read_bytes() == out.read_bytes()
    arguments = ("predict", album, "--gate", 0.1, "--calibration", out, "--seed", 1, *TINY)
    lines = call(*arguments).splitlines()
    assert len(lines) == 60
    assert any("not flagged: the classifier's own answer" in line for line in lines)
    objects = [json.loads(line) for line in call(*arguments, "--json").splitlines()]
    assert {"flagged", "suspicion", "bare"} <= objects[0].keys()
    assert 0 < sum(each["flagged"] for each in objects) < 20
    assert all(each["name"] == each["bare"] or each["flagged"] for each in objects if each["name"])


def test_a_part_of_the_pictures_may_do(album: Path, tmp_path: Path) -> None:
    call("calibrate", "--images", album, "--count", 20, "--out", tmp_path / "gate.json", *TINY)
    assert load(tmp_path / "gate.json").pictures == 20


def test_what_cannot_be_calibrated_is_said_in_one_line(album: Path, tmp_path: Path) -> None:
    out = tmp_path / "gate.json"
    text = call("calibrate", "--images", tmp_path / "nowhere", "--out", out, *TINY, status=1)
    assert "nowhere" in text
    text = call("calibrate", "--images", album, "--out", album / "00.png" / "gate.json", *TINY, status=1)
    assert "cannot be written" in text
    text = call("predict", album, "--gate", 0.1, *TINY, status=1)
    assert "not calibrated" in text
    text = call("predict", album, "--gate", 0.9, *TINY, status=1)
    assert "gate must be a share" in text
    assert not out.exists()


def test_a_slow_defence_says_what_it_will_take(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "gate.json"
    quick = call("calibrate", "--images", album, "--out", out, *TINY)
    assert "itself" not in quick
    monkeypatch.setattr("rain.runtime.rehearsal.seconds_for", lambda *_: 2.0)
    slow = call("calibrate", "--images", album, "--out", tmp_path / "slow.json", *TINY)
    assert "rain(enhancer=bicubic) itself will take about 2 min: 2 s for an image and a draw" in slow
    assert (tmp_path / "slow.json").read_bytes() == out.read_bytes()


def test_squeezing_is_calibrated_and_raises_its_alarm(album: Path, tmp_path: Path) -> None:
    out, squeezers = tmp_path / "squeezing.json", "squeezers=bit_depth(bits=3)+median"
    own = ("--classifier", "models:tiny", "--size", 16)
    text = call("calibrate", "--images", album, "--out", out, "--defense", f"squeezing({squeezers})", *own)
    assert "share=0.05: a share of 0.05 needs at least 100 clean pictures, these are 60" in text
    assert list(load(out).scores) == ["l1"]
    defense = f"squeezing({squeezers}, share=0.1)"
    lines = call("predict", album, "--defense", defense, "--calibration", out, *own).splitlines()
    flagged = [line for line in lines if "flagged, to be refused: the classifier's own answer" in line]
    assert len(flagged) == 5
    arguments = ("predict", album, "--defense", f"squeezing({squeezers}, share=0.1, calibration={out})")
    objects = [json.loads(line) for line in call(*arguments, "--json", *own).splitlines()]
    assert sum(each["flagged"] for each in objects) == 5
    assert all(each["bare"] == (each["name"] or str(each["label"])) for each in objects)


def test_what_squeezing_needs_is_said_in_one_line(album: Path, tmp_path: Path) -> None:
    own = ("--classifier", "models:tiny", "--size", 16)
    squeezing = "squeezing(squeezers=median)"
    text = call("predict", album, "--defense", squeezing, *own, status=1)
    assert "this detector is not calibrated" in text
    text = call("predict", album, "--defense", squeezing, "--gate", 0.1, *own, status=1)
    assert "raises alarms only" in " ".join(text.split())
    fixed = "squeezing(squeezers=median, threshold=0.5)"
    arguments = ("--images", album, "--out", tmp_path / "a.json", "--defense", fixed)
    text = call("calibrate", *arguments, *own, status=1)
    assert "this detector has a threshold of its own" in " ".join(text.split())


def test_what_cannot_be_is_told_before_the_work(album: Path, tmp_path: Path) -> None:
    text = call("calibrate", "--images", album, *TINY, "--seed", 10**22, status=1)
    assert "seed must be an integer of 64 bits" in text
    assert "not to standard output" in call("calibrate", "--images", album, *TINY, "--out", "-", status=1)
