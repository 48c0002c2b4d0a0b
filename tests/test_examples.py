"""Every script of examples/ runs as its head says, and says what it should."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))


def run(script: str, *arguments: str, folder: Path) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_harden(tmp_path: Path) -> None:
    assert run("harden.py", folder=tmp_path).startswith("bull mastiff: ")


def test_evaluate(tmp_path: Path) -> None:
    sentence = run("evaluate.py", "out", "2", folder=tmp_path)
    assert sentence.startswith("rain ")
    assert "At 4/255 an adaptive attack leaves" in sentence
    assert len(list(tmp_path.glob("out/*/00000.json"))) == 6


def test_an_attack_of_your_own(tmp_path: Path) -> None:
    clean, attacked = run("plugin_attack.py", folder=tmp_path).splitlines()
    assert clean == "clean: 2 of 2 right"
    assert attacked.startswith("attacked by who knows RAIN: ")


def test_a_defence_of_your_own(tmp_path: Path) -> None:
    assert run("plugin_defense.py", folder=tmp_path).startswith("it is bull mastiff; ")


def test_train(folder: Path, held_out: Path, tmp_path: Path) -> None:
    output = run("train.py", str(folder), str(held_out), "2", folder=tmp_path)
    assert output.startswith("best at step 2: ")
    assert (tmp_path / "runs" / "my-dg" / "weights.safetensors").is_file()


def test_another_library(tmp_path: Path) -> None:
    clean, attacked = run("other_library.py", folder=tmp_path).splitlines()
    assert clean == "clean: [True, True]"
    assert "False" in attacked


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_example_is_short(script: str) -> None:
    assert len((EXAMPLES / script).read_text().splitlines()) <= 40


def test_each_example_is_tried_above() -> None:
    source = Path(__file__).read_text()
    assert all(f'run("{script}"' in source for script in SCRIPTS)
