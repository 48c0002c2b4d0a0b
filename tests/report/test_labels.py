"""Short names are short, differ from one another, and are the same however results may name things."""

import pytest

from rain.report.labels import attack_labels, defense_labels, fact_text, meanings_of, spec_text


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ("none", "no defence"),
        ("rain", "rain"),
        ("rain(enhancer=bicubic, seam=wrapped)", "rain (bicubic, wrapped)"),
        ("rain(enhancer=compact(weights=large), preset=released)", "rain (large, released)"),
        ("rain(shift=0.1, shared_shift=True)", "rain (shift 0.1, shared shift True)"),
        ("jpeg(quality=75)", "jpeg (quality 75)"),
        ("a b)(", "a b)("),
    ],
)
def test_a_defence_is_named_by_the_values_of_its_options(spec: str, label: str) -> None:
    assert defense_labels([spec]) == {spec: label}


def test_defences_that_would_share_a_name_keep_their_specs() -> None:
    one, other = "rain(enhancer=compact(weights=large))", "rain(enhancer=edsr(weights=large))"
    assert defense_labels([one, other, "rain"]) == {one: one, other: other, "rain": "rain"}


def test_an_attack_is_named_by_what_sets_it_apart() -> None:
    specs = ["pgd(confidence=3.0, steps=20)", "pgd(confidence=3.0, steps=40)", "fgsm", "apgd(steps=20)"]
    labels = ["pgd, 20 steps", "pgd, 40 steps", "fgsm", "apgd"]
    assert list(attack_labels(specs).values()) == labels
    assert list(attack_labels(["pgd", "pgd(steps=1, step=1/255)"]).values()) == [
        "pgd",
        "pgd, 1 step, step 1/255",
    ]


def test_a_decimal_is_the_fraction_that_it_is() -> None:
    assert spec_text("pgd(step=0.000980392156862745, steps=20)") == "pgd(step=1/1020, steps=20)"
    assert spec_text("pgd(step=0.1234567)") == "pgd(step=0.1234567)"


def test_only_what_occurs_is_explained_and_least_knowledge_first() -> None:
    assert list(meanings_of(["adaptive", "none", "transfer", "adaptive"])) == ["transfer", "adaptive"]


def test_facts_are_told_in_words() -> None:
    assert fact_text("classifier_weights") == "Digest of the classifier's weights"
    assert fact_text("of_another_package") == "Of another package"


def test_nothing_is_no_fraction() -> None:
    assert defense_labels(["rain(shift=0.0)"]) == {"rain(shift=0.0)": "rain (shift 0)"}
