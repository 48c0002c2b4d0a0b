from pathlib import Path

import pytest
from typer.testing import CliRunner

import rain.train
from rain.cli.main import app

WARNING = "nothing was better than what it began with"


def train(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    recipe: str,
    before: dict[str, float],
    after: dict[str, float],
    classifier: Path | None = None,
) -> tuple[list[str], str]:
    """What ``rain train`` prints after a run that measured this: lines, and standard error."""
    trained = rain.train.Trained(tmp_path / "weights.safetensors", 7, after, before, classifier)
    monkeypatch.setattr(rain.train, "fit", lambda *arguments, **options: trained)
    command = ["train", recipe, "--images", "mine", "--validation", "others", "--out", str(tmp_path)]
    outcome = CliRunner().invoke(app, command)
    assert outcome.exit_code == 0, (outcome.output, outcome.exception)
    return outcome.stdout.splitlines(), outcome.stderr


def test_it_says_what_was_measured_and_what_it_was_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = {"accuracy": 0.25, "robust": 0.1}
    after = {"accuracy": 0.5, "robust": 0.2, "psnr": 30.0}
    lines, errors = train(monkeypatch, tmp_path, "adversarial", before, after)
    attacker = "pgd(steps=5, step=2/255, confidence=inf), adaptive, eot 2, eps 4/255 (linf), one draw"
    measured = f"accuracy 0.5 (before 0.25), robust ({attacker}) 0.2 (before 0.1), psnr 30"
    assert lines == [f"best at step 7: {measured}", f"weights: {tmp_path / 'weights.safetensors'}"]
    assert errors == ""


@pytest.mark.parametrize(
    ("recipe", "measure", "before", "after", "better"),
    [
        ("classifier", "accuracy", 0.5, 0.6, True),
        ("classifier", "accuracy", 0.5, 0.5, False),
        ("classifier", "accuracy", 0.5, 0.4, False),
        ("accuracy", "kl", 0.5, 0.4, True),
        ("accuracy", "kl", 0.5, 0.6, False),
        ("accuracy", "kl", None, 0.6, True),
    ],
)
def test_it_warns_where_training_did_not_help(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    recipe: str,
    measure: str,
    before: float | None,
    after: float,
    better: bool,
) -> None:
    began = {} if before is None else {measure: before}
    _, errors = train(monkeypatch, tmp_path, recipe, began, {measure: after})
    assert (WARNING in errors) is not better


@pytest.mark.parametrize("variable", ["LOCAL_RANK", "NODE_RANK"])
def test_only_the_first_process_speaks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    assert train(monkeypatch, tmp_path, "classifier", {}, {"accuracy": 0.5}) == ([], "")


def test_a_run_of_both_says_that_it_changes_the_classifier(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before, after = {"balance": 0.25}, {"balance": 0.5}
    lines, errors = train(monkeypatch, tmp_path, "both", before, after, classifier=tmp_path / "c")
    file = tmp_path / "classifier.safetensors"
    change = f"note: this changes the classifier: {file} will not be small_resnet, as it was given"
    assert errors == f"{change}. DG is trained for that one only\n"
    assert lines[-1] == f"classifier: {tmp_path / 'c'}, which is not the one that was given"


@pytest.mark.parametrize("name", ["path", "self"])
def test_a_field_that_a_function_calls_its_own_is_told(name: str, tmp_path: Path) -> None:
    command = ["train", "accuracy", "--set", f"{name}=x", "--out", str(tmp_path / "run")]
    outcome = CliRunner().invoke(app, command)
    assert isinstance(outcome.exception, SystemExit)
    assert f"accuracy: a recipe has no '{name}'" in outcome.stderr
