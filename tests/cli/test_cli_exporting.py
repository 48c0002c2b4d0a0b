"""``rain export``."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from rain.cli.main import app

TINY = ["export", "--classifier", "models:tiny", "--defense", "noise"]


def run(*options: str) -> tuple[int, str]:
    answer = CliRunner().invoke(app, [*TINY, *options])
    return answer.exit_code, answer.output


def test_export_writes_a_model_and_says_how_it_is_used(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    code, output = run("--out", str(tmp_path / "model"), "--size", "16x24", "--defense", "none")
    assert code == 0, output
    assert "models:tiny behind none, for images of 16x24" in output
    assert "hardened.onnx (0.0 MB), rain.json" in output
    assert "logits differ from torch" in output
    assert f"use: rain.deploy.Runtime('{tmp_path / 'model'}').predict(images)" in output


def test_export_of_a_gate_says_its_threshold(tmp_path: Path) -> None:
    gate = "gated(defense=noise, threshold=0.25, score=l1)"
    code, output = run("--defense", gate, "--out", str(tmp_path), "--size", "16", "--format", "torch")
    assert code == 0, output
    assert "gate: flagged above 0.25 (l1)" in output
    assert "Runtime" not in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "16", "--format", "tflite"], "no format 'tflite'"),
        (["--size", "large"], "--size must be a number of pixels"),
        (["--size", "16x"], "--size must be a number of pixels"),
        ([], "does not say what size it sees"),
        (["--size", "16", "--defense", "jpeg"], "jpeg cannot be exported"),
        (["--size", "16", "--gate", "0.02"], "not calibrated"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path, options: list[str], message: str) -> None:
    code, output = run("--out", str(tmp_path / "model"), *options)
    assert code == 1
    (line,) = output.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "model").exists()
