"""The page of one picture: it says who won, loads nothing, and believes no name."""

import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from explained import STOPPED, WINS, explanation, guess, version, with_gate
from test_page import Parsed

from rain.bench.explanation import CLEAN, Change
from rain.errors import RainError
from rain.report.explanation_page import explanation_html
from rain.report.explanation_texts import (
    answers_text,
    budget_text,
    change_curves_text,
    fine_texts,
    held_text,
    in_short,
    meaning_text,
    outcomes,
)
from rain.report.gate_texts import WIDTH, gate_scores, gated_labels

HOSTILE = 'album/<b onclick="x">\'&.png'


def test_the_page_loads_nothing_and_is_well_nested() -> None:
    text = explanation_html(explanation(STOPPED, WINS))
    parsed = Parsed(text)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(parsed.tags)
    assert not re.search(r"https?:|url\((?!#)|@import", text)
    for tag, name, value in parsed.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "xlink:href", "srcset"):
            assert value.startswith(("data:image/png;base64,", "#")), (tag, name, value)
    described = [value for tag, name, value in parsed.attributes if tag == "img" and name == "alt"]
    # Clean: itself, SRd, DG, what is lost; each attacked one: itself, change, SRd, DG, what is left.
    assert parsed.tags.count("img") == len(list(filter(None, described))) == 4 + 5 + 5
    ids = [value for _, name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_all_sections_are_there() -> None:
    text = explanation_html(explanation(STOPPED, WINS))
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    assert headings == [
        "In short",
        "The picture, step by step",
        f"The answers of {4} draws",
        "Frequencies",
        "How it was made",
    ]
    assert re.findall(r"<h3>(.*?)</h3>", text) == ["Clean", "Transferred attack", "Adaptive attack"]
    assert "31 times as strong" in text  # of 4/255, half of the range
    assert text.count('class="held"') == 3 * (1 + 4)
    assert text.count('class="other"') == (1 + 1) + (1 + 4)
    assert "pgd(<wbr>confidence=inf,<wbr> steps=20)" in text


def test_the_same_explanation_gives_the_same_page() -> None:
    assert explanation_html(explanation(STOPPED, WINS)) == explanation_html(explanation(STOPPED, WINS))


def test_the_page_escapes_hostile_names() -> None:
    about = replace(explanation(STOPPED, WINS, picture=HOSTILE), held_name="<script>dog</script>")
    text = explanation_html(about)
    assert "<b onclick" not in text
    assert "&lt;b onclick=" in text
    assert "script" not in Parsed(text).tags


def test_it_says_that_the_adaptive_attack_wins() -> None:
    about = explanation(STOPPED, WINS)
    assert in_short(about) == "rain stops the attack that was made without it; the adaptive attack wins."
    clean, transfer, adaptive = outcomes(about)
    assert [one.word for one in (clean, transfer, adaptive)] == ["Kept", "Stopped", "Wins"]
    assert 'Behind rain 3 of 4 draws say "dog".' in transfer.text
    assert 'Behind rain 0 of 4 draws say "dog"; averaged, they say "cat" (75 %).' in adaptive.text
    assert "worth what it keeps against this attacker" in adaptive.text


def test_an_attack_that_fails_proves_nothing() -> None:
    kept = version("adaptive", 0, (0, 0, 0, 0), 0)
    about = explanation(STOPPED, kept)
    assert "which proves nothing" in in_short(about)
    assert "More steps might win" in outcomes(about)[2].text
    lost = version("transfer", 1, (1, 1, 1, 0), 1)
    assert "shows only that it was too weak" in in_short(explanation(lost, kept))


def test_neither_attack_may_be_stopped() -> None:
    both = version("transfer", 1, (1, 1, 1, 0), 1)
    assert in_short(explanation(both, WINS)) == "rain stops neither attack; the adaptive attack wins."


def test_an_attack_that_does_not_fool_the_bare_classifier_is_no_success_of_the_defence() -> None:
    feeble = version("transfer", 0, (0, 0, 0, 0), 0)
    outcome = outcomes(explanation(feeble, WINS))[1]
    assert outcome.word == "No attack"
    assert "does not even fool the classifier alone" in outcome.text


def test_a_defence_that_changes_a_clean_answer_pays_a_price() -> None:
    clean = version(CLEAN, 0, (1, 1, 0, 2), 1)
    outcome = outcomes(explanation(STOPPED, WINS, clean=clean))[0]
    assert (outcome.word, outcome.tone) == ("Changed", "bad")
    assert "that is its price" in outcome.text
    assert "before anybody attacks" in in_short(explanation(STOPPED, WINS, clean=clean))


def test_draws_are_counted_by_what_they_say() -> None:
    about = explanation(STOPPED, WINS)
    assert answers_text(about, WINS) == (
        'Of 4 draws 3 say "cat" and 1 says "ship". Averaged, they say "cat" (75 %).'
    )


def test_a_given_label_is_told_apart_from_the_classifiers_own() -> None:
    own = explanation(STOPPED)
    assert "the classifier's own answer" in held_text(own)
    assert "the class that was given" in held_text(replace(own, held_is_own=False))
    wrong = explanation(STOPPED, clean=version(CLEAN, 2, (2, 2, 2, 2), 2))
    assert 'says "ship" even before any attack' in held_text(replace(wrong, held_is_own=False))


@pytest.mark.parametrize(
    ("norm", "eps", "words"),
    [
        ("linf", 4 / 255, "at most 4/255: 4 of the 255 steps"),
        ("linf", 1.0, "as much as they like"),
        ("l2", 0.5, "length 0.5"),
    ],
)
def test_the_budget_is_said(norm: str, eps: float, words: str) -> None:
    assert words in budget_text(explanation(STOPPED, WINS, norm=norm, eps=eps))


def test_each_attacker_says_what_he_knew_and_how_long_he_tried() -> None:
    about = explanation(STOPPED, WINS)
    assert meaning_text(about, WINS).endswith("makes 20 steps, and averages over 12 draws at each.")
    assert meaning_text(about, STOPPED).endswith("The attack makes 20 steps.")
    still = explanation(STOPPED, WINS, random=False)
    assert "nothing to average over" in meaning_text(still, WINS)
    noise = explanation(STOPPED, WINS, attack="noise", follows=False)
    assert "does not look at the model" in meaning_text(noise, STOPPED)
    assert "An attacker who does not look at the model" in outcomes(noise)[1].text


def test_a_defence_without_randomness_has_one_answer() -> None:
    alone = [replace(one, draws=(one.mean,), randomized=None) for one in (STOPPED, WINS)]
    clean = replace(version(CLEAN, 0, (0,), 0), randomized=None)
    about = explanation(*alone, clean=clean, defense="jpeg", draws=1, random=False)
    about = replace(about, detail=replace(about.detail, randomized=None, true=None, missing=None))
    text = explanation_html(about)
    assert "one answer is all answers" in text
    assert "The draw" not in text
    assert "After SRd" not in text
    assert "Behind jpeg" in text


def test_without_an_attack_there_is_no_word_of_one() -> None:
    text = explanation_html(explanation(attack="none", eps=0.0))
    assert "keeps the answer to this picture" in text
    assert "attackers" not in text
    assert "The changes" not in text


def test_a_change_of_nothing_is_shown() -> None:
    """An attack may fail to move a picture: there is no factor to divide by."""
    clean = version(CLEAN, 0, (0, 0, 0, 0), 0)
    flat = explanation().detail.clean
    idle = replace(STOPPED, pixels=clean.pixels, change=Change(0.0, 0.0, flat, flat))
    about = explanation(idle, WINS)
    assert "Nothing was changed." in explanation_html(about)
    assert "found nothing to change" in outcomes(about)[1].text


def test_sentences_on_frequencies_follow_the_numbers() -> None:
    about = explanation(STOPPED, WINS)
    assert "2.0 dB less power" in " ".join(fine_texts(about))
    more = replace(about, detail=replace(about.detail, lost=-1.5))
    assert "1.5 dB more power" in " ".join(fine_texts(more))
    assert "comes back as noise" in " ".join(fine_texts(about))
    smooth = replace(
        about.detail, randomized=replace(about.detail.clean, radii=0.5 * about.detail.clean.radii)
    )
    assert "comes back as noise" not in " ".join(fine_texts(replace(about, detail=smooth)))
    assert "puts less of the change there" not in change_curves_text(about)
    coarse = replace(WINS, change=replace(WINS.change, fine=0.4))
    assert "puts less of the change there" in change_curves_text(explanation(STOPPED, coarse))


SCORES = (0.0, 0.0, 0.0, 0.0), (9.0, 9.0, 9.0, 0.0), (0.0, 0.0, 0.0, 0.0)


def test_a_gate_has_a_section_with_a_dot_for_each_draw() -> None:
    about = with_gate(explanation(STOPPED, WINS), *SCORES)
    text = explanation_html(about)
    assert '<h2 id="gate">The gate</h2>' in text
    assert text.count("<circle") == 3 * 4
    assert "3 of 4 draws are above the threshold" in text
    assert "so that 2 of 100 clean images may be above it" in text
    assert "The adaptive attacker knows it." in text
    assert "the gate has nothing to see" in text
    Parsed(text)
    assert 'id="gate"' not in explanation_html(explanation(STOPPED, WINS))


def test_a_gate_that_nobody_asked_for_says_what_it_would_say() -> None:
    about = with_gate(explanation(STOPPED, WINS), *SCORES, is_used=False)
    text = explanation_html(about)
    assert "What a gate would say" in text
    assert "No attacker here knew of it" in text
    assert about.gate is not None
    # Above the threshold the defence answers, elsewhere the classifier, which is wrong.
    assert gated_labels(about.gate, about.versions[1]) == [0, 0, 0, 1]
    assert gated_labels(with_gate(explanation(STOPPED, WINS), *SCORES).gate, about.versions[1]) == [
        0,
        0,
        0,
        1,
    ]


@pytest.mark.parametrize("score", [np.inf, -1.0, 1.5, 0.0])
def test_any_score_has_a_place_on_the_axis(score: float) -> None:
    about = with_gate(explanation(STOPPED), (0.0,) * 4, (score,) * 4)
    assert about.gate is not None
    scale, rows = gate_scores(about, about.gate)
    assert all(0 <= place <= WIDTH for row in rows for place in row.places)
    assert 0 < scale.threshold < WIDTH
    assert (rows[1].places[0] > scale.threshold) == (score > 1.5)


def test_classes_of_no_name_are_shown_by_number() -> None:
    clean = replace(version(CLEAN, 0, (0,) * 4, 0), bare=replace(guess(0), name="class 0"))
    assert '"class 0" (75 %)' in outcomes(explanation(STOPPED, clean=clean))[0].text


def test_pictures_keep_their_pixels() -> None:
    """A picture of 8 bits is shown as it is."""
    from rain.report.explanation_page import _picture
    from rain.report.pictures import png

    levels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert _picture((levels / 255).astype(np.float32)) == png(levels)


@pytest.mark.parametrize("name", ["jinja2", "matplotlib"])
def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RainError, match=re.escape("pip install 'rain-defense[report]'")):
        explanation_html(explanation(STOPPED, WINS))
