"""``rain serve`` of what cannot be served: told once, before the server or any worker is started."""

from typing import Any

import pytest
from serving import SMALL
from typer.testing import CliRunner

from rain.cli.main import app


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gate", "0.02"], "error: this gate is not calibrated"),
        (["--classifier", "models:missing"], "no function 'missing' in models"),
        (["--device", "nowhere"], "device 'nowhere' cannot be used here"),
        (
            ["--classifier", "torch.nn:Identity", "--size", "16"],
            "error: the classifier must answer with logits",
        ),
    ],
)
def test_what_cannot_be_served_is_told_once(
    options: list[str], message: str, workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr("uvicorn.run", lambda *choice, **_: started.append(choice))
    command = ["serve", "--classifier", "models:tiny", "--defense", SMALL, "--device", "cpu"]
    answer = CliRunner().invoke(app, [*command, "--workers", workers, *options])
    assert answer.exit_code == 1
    assert message in answer.output
    assert not started
