"""``rain predict`` on files, on folders, and as JSON."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rain.cli.main import app

TINY = ("--classifier", "models:tiny", "--defense", "rain(enhancer=bicubic)", "--seed", 1)


def predict(*arguments: object, status: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["predict", *map(str, [*arguments, *TINY])])
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout, result.stderr


def objects(*arguments: object, status: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in predict(*arguments, "--json", status=status)[0].splitlines()]


@pytest.fixture
def album(pictures: Path, tmp_path: Path) -> Path:
    """Three pictures, one of them a folder deeper."""
    root = tmp_path / "album"
    (root / "deeper").mkdir(parents=True)
    for index, place in enumerate(("a.png", "b.png", "deeper/c.png")):
        shutil.copy(pictures / f"{index}.png", root / place)
    return root


def test_a_folder_is_all_pictures_within_one_line_each(album: Path) -> None:
    output, _ = predict(album)
    lines = output.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        str(album / name) for name in ("a.png", "b.png", "deeper/c.png")
    ]
    assert all("of 8 draws agree)" in line and " %" in line for line in lines)


def test_a_folder_says_what_its_files_say_alone(album: Path) -> None:
    alone = [object_ for name in ("a.png", "b.png", "deeper/c.png") for object_ in objects(album / name)]
    assert objects(album) == alone


def test_one_bad_file_of_a_folder_does_not_end_the_others(album: Path) -> None:
    (album / "a.png").write_bytes(b"no picture")
    output, errors = predict(album, status=1)
    assert len(output.splitlines()) == 2
    assert "a.png: not an image" in errors
    bad, *good = objects(album, status=1)
    assert bad["error"].startswith(f"{album / 'a.png'}: not an image")
    assert (bad["label"], bad["probability"], bad["agreement"]) == (None, None, None)
    assert [one["error"] for one in good] == [None, None]


def test_a_json_object_says_all_of_an_image(album: Path) -> None:
    (one,) = objects(album / "a.png")
    assert list(one) == ["file", "label", "name", "probability", "agreement", "error"]
    assert one["file"] == str(album / "a.png")
    assert 0 <= one["label"] < 5
    assert one["name"] is None  # the classifier does not name its classes
    assert 0.2 < one["probability"] <= 1
    assert one["agreement"] * 8 == round(one["agreement"] * 8)
    (several,) = objects(album / "a.png", "--top", 2)
    assert several["top"][0]["label"] == one["label"]
    assert len(several["top"]) == 2


def test_files_folders_and_what_is_neither_go_together(album: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    output, errors = predict(empty, tmp_path / "nowhere.png", album / "a.png", album, status=1)
    assert f"{empty}: no pictures; the file names must end in" in errors
    assert "nowhere.png: no such file" in errors
    assert len(output.splitlines()) == (1 + 3) + 3


def test_a_network_that_fails_on_one_picture_goes_on(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rain.hardened import Hardened

    predict_all = Hardened.predict

    def fail_on_squares(self: Hardened, images: Any, **options: Any) -> Any:
        if images.shape[2] == images.shape[3]:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        return predict_all(self, images, **options)

    monkeypatch.setattr(Hardened, "predict", fail_on_squares)
    errors = [one["error"] for one in objects(album, status=1)]
    assert errors[0].startswith(f"{album / 'a.png'}: RuntimeError: mat1 and mat2 shapes cannot be multiplied")
    assert errors[1:] == [None, None]


def test_another_size_than_the_classifier_sees_is_said(album: Path) -> None:
    options = ("--classifier", "models:seeing(side=24)", "--defense", "none")
    command = ["predict", str(album / "a.png"), *options]
    with pytest.warns(UserWarning, match="enter at 32 pixels, and models:seeing.* sees 24"):
        assert CliRunner().invoke(app, [*command, "--size", "32"]).exit_code == 0
    for size in ("24", "0"):
        assert CliRunner().invoke(app, [*command, "--size", size]).exit_code == 0


def test_a_slow_defence_says_what_it_will_take_and_shows_progress(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, errors = predict(album)
    assert not errors
    monkeypatch.setattr("rain.runtime.rehearsal.seconds_for", lambda *_: 2.0)
    shown: list[bool] = []
    told: list[float] = []

    @contextmanager
    def bar(work: list[Any], visible: bool) -> Iterator[Iterator[Any]]:
        shown.append(visible)
        yield iter([told.append] * len(work))

    monkeypatch.setattr("rain.runtime.progress.bar", bar)
    assert predict(album / "a.png")[1] == (
        "rain(enhancer=bicubic) itself will take about 16 s: 2 s for an image and a draw\n"
    )
    assert shown == [True]
    assert told == [1 / 8] * 8 + [1]
    slow_output, slow_errors = predict(album)
    assert "about 48 s" in slow_errors
    assert slow_output == output
    (album / "a.png").write_bytes(b"no picture")
    assert "48 s" not in predict(album / "a.png", "--size", 0, status=1)[1]
    for one in objects(album / "b.png"):
        assert one["error"] is None


def test_with_a_gate_one_draw_is_expected(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rain.runtime.rehearsal.seconds_for", lambda *_: 4.0)
    gated = ("--defense", "gated(defense=rain(enhancer=bicubic), threshold=1)")
    result = CliRunner().invoke(app, ["predict", str(album), "--classifier", "models:tiny", *gated])
    assert "itself will take about 12 s" in result.stderr


def test_the_name_of_a_file_commands_no_terminal_and_writes_no_line(album: Path) -> None:
    (album / "a.png").rename(album / "a\x1b[31m\nfake.png: class 3 99.9 %.png")
    output, _ = predict(album)
    assert "\x1b" not in output
    assert len(output.splitlines()) == 3


def test_a_folder_at_home_is_found(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(album.parent))
    output, _ = predict("~/album")
    assert len(output.splitlines()) == 3
