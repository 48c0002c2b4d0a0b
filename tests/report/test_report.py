"""What people read: losses first, nothing flattering alone, and one page that loads nothing, runs nothing and believes no name."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from synthetic import CELL, cell, gallery, result, share, unattacked, write, write_gallery

from rain.bench.cells import Result, load
from rain.bench.metrics import rows
from rain.errors import RainError, ResultError
from rain.report import page
from rain.report.verdict import Headline, html, read_galleries, summary, table, to_json, write_html

HOSTILE = '<b onclick="x">\'&</b>'


def measured(
    *,
    bare: float = 0.0,
    transfer: float = 0.62,
    adaptive: float | None = 0.0,
    clean: float = 0.66,
    defense: str = "rain",
) -> list[Result]:
    found = [
        result(cell(defense="none", eot=1), share(bare), share(0.8)),
        result(cell(defense=defense, access="transfer", eot=1, draws=3), share(transfer), share(clean)),
    ]
    return (
        found
        if adaptive is None
        else [*found, result(cell(defense=defense, draws=3), share(adaptive), share(clean))]
    )


def only(results: list[Result]) -> Headline:
    (line,) = summary(results)
    return line


def test_a_loss_is_said_first() -> None:
    line = only(measured())
    assert line.sentence == (
        "rain loses 14.0 points of clean accuracy and keeps 0.0 % under the adaptive attack at 4/255 (the bare classifier 0.0 %): "
        "it gives no robustness against an attacker who knows it; against transfer 62.0 %."
    )
    assert (line.verdict, line.transfer, line.adaptive, line.static, line.images) == (
        "none",
        0.62,
        0.0,
        None,
        200,
    )
    assert line.lost == pytest.approx(0.14)


@pytest.mark.parametrize(
    ("rates", "verdict", "said"),
    [
        ({"bare": 0.3, "adaptive": 0.1}, "weaker", "makes the classifier weaker, by 20.0 points"),
        ({"bare": 0.3, "adaptive": 0.3}, "none", "adds no robustness"),
        (
            {"adaptive": None},
            "unclaimed",
            "was not attacked adaptively at 4/255: nothing here is a robustness claim",
        ),
        (
            {"bare": 0.3, "adaptive": 0.31},
            "noise",
            "gains 1.0 points against an attacker who knows it, which may be noise",
        ),
        ({"bare": 0.1, "adaptive": 0.4}, "gain", "gains 30.0 points"),
        ({"clean": 0.8}, "none", "keeps clean accuracy at 80.0 %"),
        ({"clean": 0.79}, "none", "loses 1.0 points of clean accuracy, which may be noise, and"),
    ],
)
def test_verdicts(rates: dict[str, Any], verdict: str, said: str) -> None:
    line = only(measured(**rates))
    assert line.verdict == verdict
    assert said in line.sentence


def test_without_the_bare_classifier_the_gain_is_unknown() -> None:
    line = only(measured(adaptive=0.5)[1:])
    assert (line.verdict, line.lost, line.bare) == ("unknown", None, None)
    assert "unknown" in line.sentence


def test_the_worst_of_all_attacks_stands_beside_a_higher_adaptive_figure() -> None:
    line = only(measured(bare=0.1, transfer=0.2, adaptive=0.5))
    assert (line.adaptive, line.worst) == (0.5, 0.2)
    assert (
        "keeps 50.0 % under the adaptive attack at 4/255 (20.0 % when each image meets the worst of all attacks; the bare classifier 10.0 %)"
        in line.sentence
    )


def test_defences_that_lose_come_first() -> None:
    results = [
        *measured(bare=0.1, adaptive=0.5, defense="a_gain"),
        *measured(bare=0.1, defense="loss")[1:],
        *measured(adaptive=None, defense="b")[1:],
    ]
    assert [line.defense for line in summary(results)] == ["loss", "b", "a_gain"]


def test_unfinished_results_are_flagged_and_compared_on_the_same_images() -> None:
    results = measured(bare=0.5, adaptive=0.5)
    half = Result(results[2].cell, results[2].outcomes[:50], False, results[2].made_by)
    line = only([*results[:2], half])
    assert (line.images, line.adaptive, line.bare, line.transfer) == (50, 1.0, 1.0, 0.62)
    assert (
        "keeps 100.0 % under the adaptive attack at 4/255 (50 images; the bare classifier 100.0 %)"
        in line.sentence
    )
    assert "not finished: 50 images so far" in line.sentence
    assert "Not finished:" in html([*results[:2], half], {})
    assert "rain *" in shown([*results[:2], half])


def test_results_without_a_common_image_make_no_headline() -> None:
    results = [measured()[2], result(cell(attack="apgd", draws=3), share(0.0), share(0.66))]
    parts = [
        Result(one.cell, one.outcomes[start : start + 100], False, one.made_by)
        for one, start in zip(results, (0, 100), strict=True)
    ]
    assert summary(parts) == []
    assert "lack images" in html(parts, {})


def test_few_images_of_a_dear_attack_decide_over_nothing_but_themselves() -> None:
    """RAIN keeps clean accuracy on the first 20 images only; the attacks by queries reached no more than 10."""
    dear = [
        result(cell(draws=3, examples=20), share(0.5, 20), share(1.0, 20)),
        result(
            cell(attack="square", access="query", eot=1, draws=3, examples=10), share(0.2, 10), share(1.0, 10)
        ),
    ]
    line = only([*measured(adaptive=None), *dear])
    assert (line.images, line.clean, line.adaptive, line.worst, line.query) == (20, 0.66, 0.5, 0.5, 0.2)
    assert line.sentence == (
        "rain loses 14.0 points of clean accuracy and keeps 50.0 % under the adaptive attack at 4/255 (20 images; the bare classifier 0.0 %): "
        "it gains 50.0 points against an attacker who knows it; against transfer 62.0 %, query 20.0 % (10 images)."
    )


def test_no_attack_no_claim() -> None:
    results = [result(unattacked(), share(0.8), share(0.8))]
    assert summary(results) == []
    assert "nothing to say about robustness" in html(results, {})


def shown(results: list[Result]) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table(rows(results)))
    return capture.get()


def test_table_says_what_the_attacker_knew_and_escapes_markup() -> None:
    text = shown([*measured(defense="[red]x"), result(unattacked(), share(0.5), share(0.5))])
    assert re.search(r"\[red\]x .* 4/255 +adaptive +20 +3 +66\.0 +0\.0 +0\.0 to 1\.9", text)
    assert re.search(r"rain +none .* - +- +- +1 +50\.0 +- +-", text)
    assert "samples, 224 pixels, small, linf" in text


def test_an_empty_table() -> None:
    assert "access" in shown([])


def test_json_reads_back() -> None:
    found = rows(measured())
    assert json.loads(to_json(found)) == found
    assert json.loads(to_json([])) == []


class Parsed(HTMLParser):
    """Collects what a page holds, and holds it to be well nested."""

    VOID = frozenset({"meta", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    results = measured()
    write(tmp_path, results)
    write_gallery(tmp_path, results[2].cell, gallery())
    return tmp_path


def test_page_is_self_contained(folder: Path) -> None:
    target = folder / "report.html"
    write_html(folder, target)
    text = target.read_text()
    parsed = Parsed(text)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(parsed.tags)
    assert not re.search(r"https?:|url\((?!#)|@import", text)
    for tag, name, value in parsed.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "xlink:href", "srcset"):
            assert value.startswith(("data:image/png;base64,", "#")), (tag, name, value)


def test_page_is_accessible(folder: Path) -> None:
    parsed = Parsed(html(load(folder), read_galleries(folder, load(folder))))
    assert (
        parsed.tags.count("img")
        == sum(tag == "img" and name == "alt" and bool(value) for tag, name, value in parsed.attributes)
        == 20
    )
    assert parsed.tags.count("th") == sum(
        tag == "th" and name == "scope" for tag, name, _ in parsed.attributes
    )
    ids = [value for _, name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_page_is_the_same_each_time(folder: Path) -> None:
    first, second = (
        [write_html(folder, folder / name), (folder / name).read_bytes()][1] for name in ("a.html", "b.html")
    )
    assert first == second


def test_page_shows_figures_with_their_access(folder: Path) -> None:
    text = html(load(folder), read_galleries(folder, load(folder)))
    for words in (
        "14.0 points",
        "adaptive",
        "Perturbation, 31 times",
        "After SRd",
        "After DG",
        "cat (91 %)",
        "revision",
        load(folder)[0].cell.key,
    ):
        assert words in text
    assert text.index("it gives no robustness") < text.index('id="figures"') < text.index('id="pictures"')
    panels = [
        value
        for _, name, value in Parsed(text).attributes
        if name == "aria-label" and "Accuracy against eps" in value
    ]
    assert [panel.partition(".")[0] for panel in panels] == ["transfer", "adaptive"]
    assert "rain: 66.0 % at eps 0, 0.0 % at eps 4/255" in panels[1]


def test_attacks_without_a_budget_become_a_curve_and_no_verdict() -> None:
    free = {"attack": "carlini_wagner", "norm": "l2", "eps": 1000.0}
    results = [
        *measured(),
        *(result(cell(defense=name, **free), share(0.0, 20), share(0.8, 20)) for name in ("none", "rain")),
    ]
    for place in (-1, -2):
        moved = tuple(replace(outcome, distance=0.1 * outcome.index) for outcome in results[place].outcomes)
        results[place] = replace(results[place], outcomes=moved)
    assert [line.eps for line in summary(results)] == [4 / 255]
    text = html(results, {})
    Parsed(text)
    assert "Accuracy against the size of the perturbation" in text
    assert "Half of the clean accuracy is gone: no defence: at 0.8; rain: at 0.8." in text
    assert "Accuracy against the size" not in html(measured(), {})
    console = Console(width=200, record=True)
    console.print(table(rows(results)))
    assert "any" in console.export_text()


def test_page_escapes_hostile_names() -> None:
    results = measured(defense=HOSTILE)
    text = html(results, {results[2].cell.key: gallery(name=HOSTILE)})
    assert "<b" not in text.replace("<body", "")
    assert "&lt;b onclick=" in text
    Parsed(text)


def test_page_escapes_a_hostile_access() -> None:
    """No result file brings one, ``load`` refuses it; but a page shall believe nobody."""
    results = measured()
    hostile = replace(results[2], cell=replace(results[2].cell, access='"><script>alert(1)</script><i x="'))
    assert "script" not in Parsed(html([*results[:2], hostile], {})).tags


def test_page_of_other_defences_names_no_stage_of_rain() -> None:
    results = measured(defense="jpeg")
    text = html(
        results,
        {results[2].cell.key: {name: array for name, array in gallery().items() if name != "randomized"}},
    )
    assert "After the defence" in text
    assert "After DG" not in text


def test_a_large_gallery_is_cut() -> None:
    results = measured()
    parsed = Parsed(html(results, {one.cell.key: gallery(30) for one in results}))
    assert 0 < parsed.tags.count("img") <= 10 * page.GALLERY_IMAGES


def test_spectrum_finds_the_frequency() -> None:
    waves = np.sin(2 * np.pi * 4 * np.arange(32) / 32)[None, :, None] * np.ones((32, 1, 3))
    found = page.spectrum(waves)
    assert sorted(map(tuple, np.argwhere(found == found.max()).tolist())) == [(16, 12), (16, 20)]
    assert page.spectrum(np.zeros((8, 8, 3))).max() == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"clean": None},
        {"says": None},
        {"clean": np.zeros((2, 8, 8, 3), np.float32)},
        {"clean": np.zeros((2, 8, 8), np.uint8)},
        {"enhanced": np.zeros((3, 8, 8, 3), np.uint8)},
        {"randomized": np.zeros((2, 0, 4, 3), np.uint8)},
        {"perturbation": np.full((2, 8, 8, 3), np.nan, np.float32)},
        {"says": np.array([["a", "b"]] * 2)},
        {"truth": np.array([1, 2])},
        {"truth": np.array([{}, {}], dtype=object)},
    ],
)
def test_a_bad_gallery_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    results = measured()
    path = write_gallery(tmp_path, results[2].cell, gallery(**changes))
    with pytest.raises(ResultError, match=re.escape(str(path))):
        read_galleries(tmp_path, results)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_gallery_is_refused(tmp_path: Path, content: bytes) -> None:
    path = write_gallery(tmp_path, CELL, gallery())
    path.write_bytes(content)
    with pytest.raises(ResultError, match="not a gallery"):
        read_galleries(tmp_path, [Result(CELL, (), False, {})])


def test_a_lone_array_and_a_cut_gallery_are_refused(tmp_path: Path) -> None:
    path = write_gallery(tmp_path, CELL, gallery())
    whole = path.read_bytes()
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    for content in (path.read_bytes(), whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ResultError, match="not a gallery"):
            read_galleries(tmp_path, [Result(CELL, (), False, {})])


def test_results_without_galleries(tmp_path: Path) -> None:
    write(tmp_path, measured())
    assert read_galleries(tmp_path, load(tmp_path)) == {}
    assert 'id="pictures"' not in html(load(tmp_path), {})


def test_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(RainError, match=re.escape("pip install 'rain-defense[report]'")):
        html(measured(), {})


def test_report_imports_neither_torch_nor_the_libraries_of_the_page(folder: Path) -> None:
    light = "import sys, rain.report, rain.metrics, rain.checks; assert not {'torch', 'jinja2', 'matplotlib'} & set(sys.modules)"
    whole = "import sys, pathlib, rain.report as r; p = pathlib.Path(sys.argv[1]); r.write_html(p, p / 'x.html'); assert 'torch' not in sys.modules"
    for code in (light, whole):
        subprocess.run([sys.executable, "-W", "error", "-c", code, str(folder)], check=True)


def test_the_sentence_says_of_how_many_attacks_a_figure_is_the_worst() -> None:
    one = measured()
    more = [
        replace(result, cell=replace(result.cell, attack="apgd(confidence=inf)"))
        for result in one
        if result.cell.attack != "none"
    ]
    assert all("the worst" not in line.sentence for line in summary(one))
    (line,) = [line for line in summary([*one, *more]) if line.defense != "none"]
    assert "under the worst on each image of 2 adaptive attacks at" in line.sentence
    assert "(the worst of 2)" in line.sentence
