"""The script that certifies images against changed pixels, on a tiny set."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

SCRIPTS = Path(__file__).parents[1] / "scripts"
SMALL = "rain(down=pixel, enhancer=bicubic)"
LARGE = "rain(down=pixel, cell=4, enhancer=bicubic)"

Script = Callable[..., None]


class Bright(nn.Module):
    """Class 1 where the picture is bright."""

    def forward(self, images: Tensor) -> Tensor:
        bright = images.mean((1, 2, 3)) - 0.5
        return torch.stack([-bright, bright], 1)


def bright() -> nn.Module:
    return Bright()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Run the script with some arguments."""
    if not SCRIPTS.is_dir():
        pytest.skip("the scripts are not here")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import pixel_certificates

    sys.modules.pop("pixel_certificates")

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["pixel_certificates.py", *arguments])
        pixel_certificates.main()

    return run


@pytest.fixture
def images(tmp_path: Path) -> str:
    """A dark picture, two bright ones, and one whose label is wrong."""
    for name, value in (("dark/1", 20), ("light/1", 220), ("light/2", 240), ("light/3", 30)):
        path = tmp_path / "set" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (value,) * 3).save(path)
    return f"folder:{tmp_path / 'set'}(labels=sorted)"


def test_it_tells_the_share_that_is_right_and_certified_at_each_radius(
    script: Script, images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier = ("--images", images, "--classifier", "test_pixel_certificates:bright", "--n0", "5")
    defenses = ("--defense", SMALL, "--defense", LARGE)
    table = tmp_path / "shares.csv"
    script(*classifier, *defenses, "--n", "200", "--csv", str(table))
    text = capsys.readouterr().out
    assert "4 images of folder:" in text
    assert "certified at radius 7              75.0 %" in text
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    shares = {(row["defense"], row["what"]): float(row["share"]) for row in rows}
    for defense, farthest in ((SMALL, 1), (LARGE, 7)):
        assert shares[defense, "right without the defence"] == shares[defense, "right by 5 draws"] == 0.75
        reached = [shares[defense, f"certified at radius {radius}"] for radius in range(farthest + 2)]
        assert reached == [0.75] * (farthest + 1) + [0.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("--defense", "rain(enhancer=bicubic)"), "one pick for all colours"),
        (("--defense", LARGE, "--side", "6"), "whole cells of 4 x 4"),
        (("--defense", LARGE, "--examples", "0"), "no labelled images"),
        (("--defense", LARGE, "--n", "0"), "n must be a positive integer"),
    ],
)
def test_what_cannot_be_certified_is_one_line(
    script: Script,
    images: str,
    changes: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        script("--images", images, "--classifier", "test_pixel_certificates:bright", *changes)
    assert end.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
