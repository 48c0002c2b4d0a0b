"""``rain explain``: a picture in, a page out, and one line where that cannot be."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rain.cli.main import app

FAST = ("--attack", "pgd(steps=2, confidence=inf)", "--eot", "2", "--draws", "3")
SEEING = ("--classifier", "models:seeing(side=24)", "--defense", "rain(enhancer=bicubic)")


def explain(*arguments: object, status: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["explain", *map(str, [*SEEING, *FAST, *arguments])])
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout, result.stderr


@pytest.fixture
def picture(folder: Path) -> Path:
    return folder / "class1" / "1.png"


def test_a_picture_becomes_a_page(picture: Path, tmp_path: Path) -> None:
    page = tmp_path / "deeper" / "page.html"
    output, _ = explain(picture, "--html", page)
    text = page.read_text(encoding="utf-8")
    for words in (
        "In short",
        "Transferred attack",
        "Adaptive attack",
        "The answers of 3 draws",
        "Frequencies",
    ):
        assert words in text
    assert [line.partition(":")[0] for line in output.splitlines() if line.startswith("- ")] == [
        "- clean",
        "- transfer",
        "- adaptive",
    ]
    assert output.splitlines()[-1] == f"page: {page.resolve().as_uri()}"


def test_the_same_command_gives_the_same_page(picture: Path, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        explain(picture, "--html", tmp_path / name, "--seed", 3)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_options_reach_the_page(picture: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    explain(picture, "--html", page, "--eps", "0.5", "--norm", "l2", "--label", 2, "--size", 32)
    text = page.read_text(encoding="utf-8")
    assert "a change of length 0.5" in text
    assert "32 x 32 pixels" in text
    assert "class 2" in text
    assert "the class that was given" in text


def test_a_name_of_any_letters_stands_on_the_page_as_text(picture: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "<img src=x onerror=alert(1)>&ü图.png"
    hostile.write_bytes(picture.read_bytes())
    page = tmp_path / "page.html"
    explain(hostile, "--html", page, "--attack", "none")
    text = page.read_text(encoding="utf-8")
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text
    assert "ü图.png" in text


def test_a_name_that_is_no_text_is_spelt_out(picture: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"gr\xfcn.png")
    try:
        odd.write_bytes(picture.read_bytes())
    except OSError:
        pytest.skip("this file system takes text only")
    explain(odd, "--html", tmp_path / "page.html", "--attack", "none")
    assert r"gr\udcfcn.png" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_what_goes_wrong_is_one_line_and_leaves_no_page(picture: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    page = tmp_path / "page.html"
    for arguments, words in [
        ((tmp_path / "text.png",), "text.png: not an image of a format that is read here"),
        ((tmp_path / "nowhere.png",), "nowhere.png: no such file"),
        ((tmp_path,), "cannot be opened as a file"),
        ((picture, "--eps", "four"), "'four' is not a number; write 4/255"),
        ((picture, "--classifier", "models:tiny"), "give the side by --size"),
        ((picture, "--label", "77"), "label 77 is none of the classifier's classes, 0 to 4"),
        ((picture, "--attack", "pdg"), "did you mean 'pgd'"),
        ((picture, "--defense", "none"), "leaves a picture as it is"),
        ((picture, "--device", "abacus"), "cannot be used here"),
    ]:
        _, errors = explain("--html", page, *arguments, status=1)
        assert words in errors
        assert len(errors.strip().splitlines()) == 1, errors
        assert not page.exists()


def test_a_page_that_cannot_be_written_is_said_before_the_work(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("it has begun to work")

    monkeypatch.setattr("rain.bench.explainer.explain", never)
    (tmp_path / "file").write_text("")
    for page, words in [
        (tmp_path, "is a folder; give the name of a file"),
        (tmp_path / "file" / "page.html", "cannot be written"),
        (tmp_path / ("x" * 300 + ".html"), "cannot be written"),
    ]:
        _, errors = explain(picture, "--html", page, status=1)
        assert words in errors
        assert len(errors.strip().splitlines()) == 1, errors


def test_an_old_page_stays_where_the_work_fails(picture: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")
    explain(picture, "--html", page, "--label", "77", status=1)
    assert page.read_text() == "old"
    assert os.listdir(tmp_path) == ["page.html"]


def test_a_slow_defence_says_what_it_will_take(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, errors = explain(picture, "--html", tmp_path / "page.html")
    assert not errors
    monkeypatch.setattr("rain.bench.explainer.seconds_for", lambda *_: 2.0)
    _, errors = explain(picture, "--html", tmp_path / "slow.html")
    # Three pictures, each shown twice and asked about three times; an attack of two steps and two draws.
    assert f"itself will take about {2 * (3 * 5 + 4)} s: 2 s for an image and a draw" in errors
    assert (tmp_path / "slow.html").read_bytes() == (tmp_path / "page.html").read_bytes()
