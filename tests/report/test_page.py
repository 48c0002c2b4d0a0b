"""The page loads nothing, runs one script and believes no name; every figure on it carries its access."""

import re
import sys
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser

import numpy as np
import pytest
from synthetic import cell, gallery, of_cell, result, share, three_columns, unattacked

import rain
from rain.bench.cells import Result
from rain.errors import RainError
from rain.report import pictures
from rain.report.page import html

HOSTILE = '<b onclick="x">\'&</b>'


class Parsed(HTMLParser):
    """Collects what a page holds, and holds it to be well nested."""

    VOID = frozenset({"meta", "img", "wbr"})

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
def results() -> list[Result]:
    return three_columns()


@pytest.fixture
def text(results: list[Result]) -> str:
    """A page with pictures."""
    return html(results, {results[2].cell.key: gallery()})


def test_page_is_self_contained(text: str) -> None:
    parsed = Parsed(text)
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(parsed.tags)
    assert not re.search(r"https?:|url\((?!#)|@import", text)
    for tag, name, value in parsed.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "xlink:href", "srcset"):
            assert value.startswith(("data:image/png;base64,", "#")), (tag, name, value)


def test_page_runs_one_script_and_its_policy_allows_no_other(text: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    (policy,) = [
        value
        for tag, name, value in Parsed(text).attributes
        if (tag, name) == ("meta", "content") and "src" in value
    ]
    assert policy.startswith("default-src 'none';")
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "</" not in script
    assert text.count("<script") == 1


def test_page_says_what_each_defence_costs(text: str) -> None:
    costs = text[text.index('id="costs"') : text.index('id="pictures"')]
    assert re.search(r"rain</th>.*66\.0.*80\.0.*14\.0", costs)
    assert 'id="costs"' not in html([result(cell(), share(0.5, 4))], {})


def test_page_has_the_grid_and_how_to_cite(text: str) -> None:
    last = text[text.index('id="again"') :]
    assert "[[attacks]]" in last
    assert "2004.14798" in last
    assert f"version = {{{rain.__version__}}}" in last
    copied = [value for _, name, value in Parsed(text).attributes if name == "data-copies"]
    ids = [value for _, name, value in Parsed(text).attributes if name == "id"]
    assert copied == ["grid1", "bibtex"]
    assert set(copied) <= set(ids)


def test_page_is_accessible(text: str) -> None:
    parsed = Parsed(text)
    described = [value for tag, name, value in parsed.attributes if tag == "img" and name == "alt"]
    assert parsed.tags.count("img") == len(list(filter(None, described))) == 20
    scopes = [value for tag, name, value in parsed.attributes if tag == "th" and name == "scope"]
    assert parsed.tags.count("th") == len(scopes)
    ids = [value for _, name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_page_shows_figures_with_their_access(results: list[Result], text: str) -> None:
    for words in (
        "14.0 points",
        "adaptive",
        "Perturbation, 31 times",
        "After SRd",
        "After DG",
        "cat (91\N{NO-BREAK SPACE}%)",
        "Revision of its code",
        results[0].cell.key,
    ):
        assert words in text
    assert text.index("adds no robustness") < text.index('id="figures"') < text.index('id="pictures"')
    labels = [value for _, name, value in Parsed(text).attributes if name == "aria-label"]
    panels = [label for label in labels if "Accuracy against eps" in label]
    assert [panel.partition(".")[0] for panel in panels] == ["transfer", "adaptive"]
    assert "rain: 66.0 % at eps 0, 0.0 % at eps 4/255" in panels[1]


def test_all_defences_and_the_words_are_explained_before_each_defence(text: str) -> None:
    overall, transfer, each = (
        text.index(words)
        for words in (
            "This defence does not stop",
            "<dt>transfer</dt>",
            "<strong>rain</strong> adds no robustness",
        )
    )
    assert overall < transfer < each
    assert "<dt>frozen</dt>" not in text


def test_smaller_budgets_are_folded_away(results: list[Result]) -> None:
    text = html([*results, *(of_cell(one, eps=1 / 255) for one in results)], {})
    Parsed(text)
    outside = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert "At 4/255 an adaptive attack" in outside
    assert "At 1/255 an adaptive attack" in text
    assert "At 1/255 an adaptive attack" not in outside
    assert re.search(r"adaptive, 4/255\s*<", outside)
    assert not re.search(r"adaptive, 1/255\s*<", outside)


def test_long_specs_are_named_shortly_and_explained(results: list[Result]) -> None:
    spec = "rain(enhancer=compact(weights=large), preset=released)"
    text = html(three_columns(defense=spec), {})
    assert "<strong>rain (large, released)</strong> adds no robustness" in text
    assert spec in text[text.index('id="figures"') : text.index('id="provenance"')]


def test_words_are_broken_behind_signs_only(results: list[Result]) -> None:
    text = html([of_cell(one, attack="pgd(confidence=inf, steps=40)") for one in results], {})
    assert "pgd(<wbr>confidence=inf,<wbr> steps=40)" in text
    assert "overflow-wrap: anywhere" not in re.sub(r"\.digests code.*", "", text)


def test_attacks_without_a_budget_become_a_curve(results: list[Result]) -> None:
    assert "Accuracy against the size" not in html(results, {})
    for defense in ("none", "rain"):
        about = cell(defense=defense, attack="carlini_wagner", norm="l2", eps=1000.0)
        free = result(about, share(0.0, 20), share(0.8, 20))
        moved = tuple(replace(outcome, distance=0.1 * outcome.index) for outcome in free.outcomes)
        results.append(replace(free, outcomes=moved))
    text = html(results, {})
    Parsed(text)
    assert "Accuracy against the size of the perturbation" in text
    assert "Half of the clean accuracy is gone: no defence: at 0.8; rain: at 0.8." in text


def test_curves_over_the_perturbation_are_of_one_seed_each_and_of_most_draws() -> None:
    free = {"attack": "carlini_wagner", "norm": "l2", "eps": 1000.0}
    results = []
    for number, (seed, eot) in enumerate([(0, 20), (0, 1), (1, 20), (1, 1)], 1):
        one = result(cell(**free, seed=seed, eot=eot), share(0.0, 20), share(1.0, 20))
        moved = tuple(replace(outcome, distance=float(number)) for outcome in one.outcomes)
        results.append(replace(one, outcomes=moved))
    text = html(results, {})
    for seed, distance in ((0, 1), (1, 3)):
        assert f"carlini_wagner, adaptive, seed {seed}" in text
        assert f"rain: at {distance}." in text


def test_what_is_not_finished_is_said_on_top(results: list[Result]) -> None:
    *others, last = results
    half = replace(last, outcomes=last.outcomes[:50], complete=False)
    text = html([*others, half], {})
    assert "Not finished:" in text
    assert "1 of 3 cells lack images" in text


def test_attacks_without_a_budget_only_are_named_as_such() -> None:
    free = result(cell(attack="carlini_wagner", norm="l2", eps=1000.0), share(0.1))
    page = html([free], {})
    assert "No defence was attacked here" not in page
    assert "rain was attacked without a budget only, and no claim can rest on that" in page


def test_no_attack_no_claim() -> None:
    text = html([result(unattacked(), share(0.8), share(0.8))], {})
    assert "says nothing of what they hold" in text


def test_page_escapes_hostile_names() -> None:
    results = three_columns(defense=HOSTILE)
    text = html(results, {results[2].cell.key: gallery(name=HOSTILE)})
    assert "<b" not in text.replace("<body", "").replace("<button", "")
    assert "&lt;b onclick=" in text
    Parsed(text)


def test_page_escapes_a_hostile_access(results: list[Result]) -> None:
    """No result file brings one, ``load`` refuses it; but a page shall believe nobody."""
    access = '"><script>alert(1)</script><i x="'
    hostile = replace(results[2], cell=replace(results[2].cell, access=access))
    assert Parsed(html([*results[:2], hostile], {})).tags.count("script") == 1


def test_page_of_other_defences_names_no_stage_of_rain() -> None:
    results = three_columns(defense="jpeg")
    arrays = gallery()
    del arrays["randomized"]
    text = html(results, {results[2].cell.key: arrays})
    assert "After the defence" in text
    assert "After DG" not in text


def test_a_large_gallery_is_cut(results: list[Result]) -> None:
    parsed = Parsed(html(results, {one.cell.key: gallery(30) for one in results}))
    assert 0 < parsed.tags.count("img") <= 10 * pictures.GALLERY_IMAGES


def test_spectrum_finds_the_frequency() -> None:
    waves = np.sin(2 * np.pi * 4 * np.arange(32) / 32)[None, :, None] * np.ones((32, 1, 3))
    spectrum = pictures.spectrum(waves)
    brightest = np.argwhere(spectrum == spectrum.max()).tolist()
    assert sorted(map(tuple, brightest)) == [(16, 12), (16, 20)]
    assert pictures.spectrum(np.zeros((8, 8, 3))).max() == 0


@pytest.mark.parametrize("name", ["jinja2", "matplotlib"])
def test_missing_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, results: list[Result], name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RainError, match=re.escape("pip install 'rain-defense[report]'")):
        html(results, {})
