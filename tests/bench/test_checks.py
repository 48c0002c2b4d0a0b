"""The checklist fires where a claim lacks something, and is silent where it lacks nothing."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from synthetic import cell, of_cell, result, share, unattacked, with_facts

from rain.bench.cases import cases
from rain.bench.cells import Result
from rain.bench.checks import check
from rain.errors import ResultError
from rain.report.verdict import summary


def measured(**rates: float) -> list[Result]:
    """A complete evaluation of a defence of 4 draws at one eps, where nothing is missing."""
    level = {"bare": 0.1, "transfer": 0.7, "adaptive": 0.3, **rates}
    return [
        result(unattacked(defense="none"), share(0.9)),
        result(cell(defense="none", eot=1), share(level["bare"]), share(0.9)),
        result(unattacked(draws=4), share(0.8)),
        result(cell(access="transfer", eot=1, draws=4), share(level["transfer"]), share(0.8)),
        result(cell(draws=4), share(level["adaptive"]), share(0.8)),
    ]


def texts(results: Sequence[Result], level: str) -> str:
    return "\n".join(finding.text for finding in check(results) if finding.level == level)


def changed(results: Sequence[Result], place: int, **changes: Any) -> list[Result]:
    """The same results, but that one of them is of a cell that differs in these fields."""
    return [*results[:place], of_cell(results[place], **changes), *results[place + 1 :]]


def cut(one: Result, images: int) -> Result:
    """The first images of a result, as a whole one."""
    return replace(of_cell(one, examples=images), outcomes=one.outcomes[:images])


def deterministic(results: Sequence[Result]) -> list[Result]:
    """The same results, of a defence that is not random."""
    return [with_facts(of_cell(one, draws=1, eot=1), defense_random="no") for one in results]


def test_nothing_is_said_of_a_complete_evaluation() -> None:
    assert check(measured()) == []


def test_nothing_is_said_of_the_bare_classifier_alone() -> None:
    assert check(measured()[:2]) == []


def test_no_adaptive_attack_is_an_error() -> None:
    findings = check(measured()[:-1])
    assert [(finding.level, finding.defense) for finding in findings] == [("error", "rain")]
    assert "no adaptive attack at eps 4/255 (linf)" in findings[0].text


def test_an_adaptive_attack_at_another_eps_does_not_count() -> None:
    assert "no adaptive attack at eps 4/255" in texts(changed(measured(), 4, eps=8 / 255), "error")


def test_budgets_that_are_none_are_one() -> None:
    far = [result(cell(attack="deepfool", norm="l2", eps=100, draws=4), share(0.4), share(0.8))]
    farther = [
        result(
            cell(attack="hopskipjump", norm="l2", eps=1000, access="query", eot=1, draws=4),
            share(0.3),
            share(0.8),
        )
    ]
    assert "no adaptive attack at eps any (l2)" in texts(measured() + farther, "error")
    assert not texts(measured() + far + farther, "error")
    assert "adaptive figure" not in texts(measured() + far + farther, "warning")


def test_an_adaptive_figure_above_a_weaker_attackers() -> None:
    assert "adaptive attack is too weak" in texts(measured(adaptive=0.75), "warning")
    # Two of 200 images more may be noise.
    assert check(measured(adaptive=0.71)) == []


def test_few_images_everywhere() -> None:
    small = [cut(one, 30 if one.cell.defense == "none" else 20) for one in measured()]
    (finding,) = [finding for finding in check(small) if "images" in finding.text]
    assert (finding.level, finding.defense) == ("warning", "")
    assert finding.text == (
        "only 20 images of samples: an accuracy near 50 % has a 95 % interval 40 points wide; "
        "smaller differences between defences mean nothing here; measure at least 100"
    )


def test_few_images_beside_many_name_what_is_of_few() -> None:
    results = [
        *measured(),
        cut(result(cell(access="frozen", eot=1, draws=4), share(0.7), share(0.8)), 20),
        cut(result(cell(access="static", eot=1, draws=4), share(0.7), share(0.8)), 20),
        cut(result(cell(attack="square", access="query", eot=1, draws=4), share(0.9), share(0.8)), 10),
        cut(result(unattacked(defense="none", seed=1), share(0.9)), 99),
    ]
    findings = [finding for finding in check(results) if "interval" in finding.text]
    assert [finding.level for finding in findings] == ["warning", "warning"]
    assert {finding.defense: finding.text for finding in findings} == {
        "none": "only 99 images without an attack: an accuracy near 50 % there has a 95 % interval "
        "19 points wide; smaller differences mean nothing there; measure at least 100",
        "rain": "only 10 images at eps 4/255 (linf; query); 20 images at eps 4/255 (linf; frozen, static): "
        "an accuracy near 50 % there has a 95 % interval up to 53 points wide; "
        "smaller differences mean nothing there; measure at least 100",
    }
    assert "interval" not in texts(
        [*measured(), cut(result(cell(draws=4, seed=1), share(0.3)), 100)], "warning"
    )


def test_no_bare_classifier() -> None:
    assert "no bare classifier" in texts(measured()[2:], "warning")
    assert "bare classifier was not attacked at eps 4/255" in texts([measured()[0], *measured()[2:]], "note")


def test_few_draws_of_the_attacker() -> None:
    few = changed(measured(), 4, eot=3)
    assert "at most 3 draws a step (eot) at eps 4/255" in texts(few, "warning")
    assert "draws a step" not in texts([*few, measured()[4]], "warning")
    assert "draws a step" not in texts(deterministic(measured()), "warning")


def test_a_random_defence_scored_on_one_draw() -> None:
    assert "1 of 3 cells score a random defence on 1 draw" in texts(
        changed(measured(), 3, draws=1), "warning"
    )


def test_a_random_defence_on_one_draw_everywhere_is_known_by_what_made_it() -> None:
    results = [of_cell(one, draws=1) for one in measured()]
    results = changed(results, 4, eot=2, attack="pgd(confidence=0.0)")
    for text in (
        "at most 2 draws a step",
        "3 of 3 cells score a random defence on 1 draw",
        "confidence 0 (adaptive)",
    ):
        assert text in texts(results, "warning")


def test_unfinished_cells() -> None:
    whole = measured()
    half = replace(whole[4], outcomes=whole[4].outcomes[:150], complete=False)
    assert "1 of 3 cells are not finished (150 of 200 images)" in texts([*whole[:4], half], "warning")


@pytest.mark.parametrize(
    ("attack", "fires"),
    [
        ("pgd(confidence=inf, step=1/255, steps=3)", True),
        ("pgd(confidence=inf, step=1/255, steps=4)", False),
        ("pgd(confidence=inf, steps=3)", False),
    ],
)
def test_an_attack_that_cannot_reach_its_budget(attack: str, fires: bool) -> None:
    assert ("cannot reach the edge" in texts(changed(measured(), 4, attack=attack), "warning")) == fires


def test_more_budget_that_does_less_harm() -> None:
    more = [
        result(cell(defense="none", eot=1, eps=8 / 255), share(0.0), share(0.9)),
        result(cell(draws=4, eps=8 / 255), share(0.5), share(0.8)),
    ]
    assert "does less harm at eps 8/255 (linf) than at eps 4/255 (linf)" in texts(
        [*measured(), *more], "warning"
    )


@pytest.mark.parametrize(
    ("attack", "fires"), [("pgd(confidence=inf, steps=6)", True), ("pgd(confidence=inf, steps=20)", False)]
)
def test_an_adaptive_attack_of_few_steps(attack: str, fires: bool) -> None:
    assert (
        "the adaptive attack made only 6 steps" in texts(changed(measured(), 4, attack=attack), "warning")
    ) == fires


def with_adaptive(attack: str, in_full: str | None = None) -> list[Result]:
    """A complete evaluation by another adaptive attack; ``in_full`` is what the result file says of it."""
    results = changed(measured(), 4, attack=attack)
    if in_full:
        results[4] = with_facts(results[4], attack=in_full)
    return results


@pytest.mark.parametrize(
    ("attack", "in_full", "text"),
    [
        ("fgsm", None, "made only 1 step at eps 4/255"),
        ("bim(confidence=inf)", "bim(confidence=inf, steps=10)", "made only 10 steps"),
        ("targeted(attack=pgd(confidence=inf, steps=2))", None, "made only 2 steps"),
        (
            "targeted(attack=pgd(confidence=inf, step=1/2550, steps=30))",
            None,
            "cannot reach the edge of eps 4/255",
        ),
        ("targeted", "targeted(attack=pgd(confidence=0.0, steps=40))", "confidence 0 (adaptive)"),
        ("aggmo", None, "confidence 0 (adaptive)"),
        ("pgd", None, "confidence 0 (adaptive)"),
    ],
)
def test_a_weak_attack_is_found_by_all_the_options_it_had(
    attack: str, in_full: str | None, text: str
) -> None:
    assert text in texts(with_adaptive(attack, in_full), "warning")


@pytest.mark.parametrize(
    "attack", ["noise", "distort(defense=rain)", "ensemble(classifiers=small)", "targeted(attack=noise)"]
)
def test_an_attack_that_does_not_follow_the_model_is_not_adaptive(attack: str) -> None:
    results = with_adaptive(attack)
    assert "no adaptive attack at eps 4/255" in texts(results, "error")
    (headline,) = summary(results)
    assert (headline.verdict, headline.adaptive) == ("unclaimed", None)


def test_an_attack_that_stops_at_success_may_stand_beside_one_that_goes_on() -> None:
    assert "confidence 0 (adaptive)" in texts(with_adaptive("pgd"), "warning")
    both = [*with_adaptive("pgd"), *with_adaptive("pgd(confidence=inf, steps=40)")[-1:]]
    assert "confidence 0 (adaptive)" not in texts(both, "warning")
    short = [*with_adaptive("pgd"), *with_adaptive("fgsm")[-1:]]
    assert "confidence 0 (adaptive)" in texts(short, "warning")


def test_a_gate_that_nobody_went_around_is_said() -> None:
    text = "no adaptive attack at eps 4/255 (linf) went around the gate"
    through = [
        of_cell(one, defense="gated(defense=rain)") for one in measured() if one.cell.defense != "none"
    ]
    assert text in texts(through, "warning")
    attack = "ungated(attack=pgd(confidence=inf, steps=40))"
    around = [of_cell(one, attack=attack) for one in through if one.cell.access == "adaptive"]
    assert text not in texts([*through, *around], "warning")
    assert text not in texts(measured(), "warning")


def test_a_detector_whose_score_nobody_kept_low_is_said() -> None:
    text = "no adaptive attack at eps 4/255 (linf) kept the score of the detector below its threshold"
    unaware = [of_cell(one, defense="squeezing") for one in measured() if one.cell.defense != "none"]
    assert text in texts(unaware, "warning")
    attack = "gate(aim=close, steps=40)"
    aware = [of_cell(one, attack=attack) for one in unaware if one.cell.access == "adaptive"]
    assert text not in texts([*unaware, *aware], "warning")
    assert text not in texts(measured(), "warning")


def test_budgets_with_as_few_steps_are_one_finding() -> None:
    few = with_adaptive("pgd(confidence=inf, steps=6)")
    farther = [of_cell(one, eps=8 / 255) for one in few if one.cell.attack != "none"]
    both = texts([*few, *farther], "warning")
    assert both.count("made only 6 steps at eps 4/255 (linf), eps 8/255 (linf)") == 1


def test_steps_are_those_of_the_strongest_attack() -> None:
    assert check([*measured(), *changed(measured(), 4, attack="fgsm")[4:]]) == []


def test_an_attack_by_queries_that_gives_images_up_at_a_lucky_draw() -> None:
    def with_square(early: int) -> list[Result]:
        """All images hold; the first so many left after 7 of 100 queries."""
        whole = result(cell(attack="square", access="query", eot=1, draws=4), share(0.8), share(0.8))
        outcomes = [
            replace(one, queries=7 if place < early else 100) for place, one in enumerate(whole.outcomes)
        ]
        return [*measured(), replace(whole, outcomes=tuple(outcomes))]

    assert "square (query) gave up 20 of 200 images at a lucky draw" in texts(with_square(20), "warning")
    assert "lucky" not in texts(with_square(10), "warning")
    assert "lucky" not in texts(deterministic(with_square(20)), "warning")


def test_results_of_two_versions() -> None:
    mixed = [with_facts(one, torch=str(place % 2)) for place, one in enumerate(measured())]
    assert "different torch (0, 1)" in texts(mixed, "warning")


def test_digests_may_differ_between_defences_but_not_within_one() -> None:
    own = [with_facts(one, defense_weights=one.cell.defense) for one in measured()]
    assert check(own) == []
    mixed = [with_facts(one, defense_weights=str(place)) for place, one in enumerate(measured())]
    assert "different defense weights" in texts(mixed, "warning")


def test_precision_may_differ_between_defences_but_not_within_one() -> None:
    bare, defended = measured()[:2], measured()[2:]
    own = [*bare, *(with_facts(one, precision="bf16-mixed") for one in defended)]
    assert check(own) == []
    static = result(cell(access="static", eot=1, draws=4), share(0.5), share(0.8))
    assert "different precision (32-true, bf16-mixed)" in texts([*own, static], "warning")
    assert check([*measured()[:4], own[4]]) == []  # what is not attacked through the defence has no precision


def test_errors_come_first() -> None:
    levels = [finding.level for finding in check([measured()[0], measured()[3]])]
    assert levels[0] == "error"
    assert "note" in levels
    assert levels == sorted(levels, key=["error", "warning", "note"].index)


@pytest.mark.parametrize("name", ["data_digest", "classifier_weights", "classifier_options"])
def test_columns_of_one_table_are_about_the_same_images_and_classifier(name: str) -> None:
    own = [with_facts(one, **{name: str(one.cell.defense == "none")}) for one in measured()]
    assert f"different {name.replace('_', ' ')} (False, True)" in texts(own, "warning")


def test_chunks_of_one_cell_that_were_made_differently_are_found() -> None:
    *others, one = measured()
    two = {**one.made_by, "torch": ("2", "3"), "precision": ("32-true", "bf16-mixed")}
    results = [*others, replace(one, made_by=two)]
    assert "different torch (2, 3)" in texts(results, "warning")
    assert "different precision (32-true, bf16-mixed)" in texts(results, "warning")


def test_what_some_results_do_not_say_is_no_difference() -> None:
    *others, one = measured()
    assert check([*others, with_facts(one, pillow="12")]) == []


def silent(one: Result) -> Result:
    """The same result, as version 0.1 wrote it."""
    return replace(one, made_by={name: made for name, made in one.made_by.items() if "attack" not in name})


def test_results_that_do_not_say_what_their_attacks_do_are_one_warning() -> None:
    results = with_adaptive("noise")
    assert "no adaptive attack" in texts(results, "error")
    (finding,) = check(list(map(silent, results)))
    assert (finding.level, finding.defense) == ("warning", "")
    assert finding.text.startswith(
        "3 of 3 attacked cells do not say what their attacks do: "
        "they are taken for attacks by gradients that make all their steps; "
    )
    assert "1 of 3 attacked cells do not say" in texts([*results[:4], silent(results[4])], "warning")


@pytest.mark.parametrize("text", ["traits(sees=nothing)", "traits(steps=many)", "traits(unheard=1)"])
def test_traits_that_cannot_be_read_are_refused(text: str) -> None:
    *others, one = measured()
    with pytest.raises(ResultError, match=f"{one.cell.key}: its attack_traits cannot be read"):
        check([*others, with_facts(one, attack_traits=text)])


@pytest.mark.parametrize(
    ("attack", "text"),
    [
        ("square(queries=2)", "asks for scores or labels only"),
        ("targeted(attack=pgd(confidence=inf, steps=40), target=0)", "drives images to one class"),
        ("deepfool(steps=50)", "ends where a single draw is fooled"),
        ("carlini_wagner", "ends where a single draw is fooled"),
        ("carlini_wagner(confidence=5)", ""),
        ("autoattack(version=standard)", "ends where a single draw is fooled"),
        ("autoattack(version=rand)", ""),
    ],
)
def test_an_adaptive_attack_of_a_weak_kind_is_not_enough_alone(attack: str, text: str) -> None:
    results = changed(with_adaptive(attack), 1, attack=attack)
    warnings = texts(results, "warning")
    assert warnings.count(f"every adaptive attack at eps 4/255 (linf) {text}") == bool(text)
    strong = [of_cell(measured()[place], attack="pgd(confidence=inf, steps=40)") for place in (1, 4)]
    assert "every adaptive attack" not in texts([*results, *strong], "warning")


def test_a_blind_attack_within_another_is_blind() -> None:
    attack = "targeted(attack=ensemble(attack=pgd(confidence=inf, steps=40)))"
    assert "no adaptive attack" in texts(with_adaptive(attack), "error")


def test_draws_and_steps_of_two_attacks_make_no_strong_one() -> None:
    many = changed(measured(), 4, attack="pgd(confidence=inf, steps=40)", eot=1)[4]
    apart = [*changed(measured(), 4, attack="fgsm"), many]
    assert (
        "no single adaptive attack at eps 4/255 (linf) has both 10 draws a step (eot) and 20 steps"
        in texts(apart, "warning")
    )
    assert "no single adaptive" not in texts([*apart, measured()[4]], "warning")


def test_the_bare_classifier_met_other_attacks() -> None:
    other = changed(measured(), 1, attack="apgd(confidence=inf)")
    assert "at eps 4/255 (linf) the bare classifier met other attacks than the defence" in texts(
        other, "warning"
    )


def test_gradients_that_are_all_zero() -> None:
    def with_flat(count: int) -> list[Result]:
        whole = result(cell(draws=4), share(0.8), share(0.8))
        outcomes = [replace(one, flat=place < count) for place, one in enumerate(whole.outcomes)]
        return [*measured()[:4], replace(whole, outcomes=tuple(outcomes))]

    what = "(adaptive) was exactly 0 for 30 of 200 images, which hold: take loss=margin"
    assert what in texts(with_flat(30), "warning")
    assert "exactly 0" not in texts(with_flat(10), "warning")


def test_an_ablation_behind_a_dg_of_another_is_warned_of() -> None:
    reason = "rain halves by bicubic, and its DG was not trained for that, but for one pixel"
    told = [with_facts(one, unfit=reason) if one.cell.defense != "none" else one for one in measured()]
    assert texts(told, "warning").startswith(f"{reason}: it restores less")
    assert "what picking, or keeping fewer pixels, is worth" in texts(told, "warning")


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_the_first_version_did_not_say_that_its_dg_was_of_another(version: str) -> None:
    results = [
        with_facts(of_cell(one, defense="rain(preset=no_pick)"), rain=version)
        for one in measured()
        if one.cell.defense != "none"
    ]
    said = "rain halves by bicubic, and its DG was not trained for that" in texts(results, "warning")
    assert said is (version == "0.1.0")


# --- attacks that average by themselves


def averaging(attack: str) -> list[Result]:
    """A complete evaluation whose adaptive attack has access static, and averages over draws by itself."""
    return changed(measured(), 4, attack=attack, access="static", eot=1)


@pytest.mark.parametrize(
    "attack",
    [
        "autoattack(version=rand)",
        "eot(attack=pgd(confidence=inf), draws=20)",
        "targeted(attack=autoattack(version=rand))",
    ],
)
def test_an_attack_that_averages_by_itself_is_adaptive(attack: str) -> None:
    results = averaging(attack)
    assert "no adaptive attack" not in texts(results, "error")
    assert "draws a step" not in texts(results, "warning")
    (headline,) = summary(results)
    assert headline.adaptive is not None
    assert headline.adaptive.rate == pytest.approx(0.3)
    assert "static" not in headline.under
    held = [case for case in cases(results) if case.attacked and case.defense != "none"]
    assert [bool(case.with_access(access)) for case in held for access in ("static", "adaptive")] == [
        False,
        True,
    ]


def test_the_draws_that_it_averages_over_are_counted() -> None:
    few = averaging("eot(attack=pgd(confidence=inf), draws=4)")
    assert "at most 4 draws a step" in texts(few, "warning")
    both = changed(few, 4, access="adaptive", eot=5)
    assert "draws a step" not in texts(both, "warning")


def test_an_attack_on_one_draw_a_step_is_not_adaptive() -> None:
    assert "no adaptive attack" in texts(averaging("eot(attack=pgd(confidence=inf), draws=1)"), "error")
    blind = averaging("eot(attack=ensemble)")
    assert "no adaptive attack" in texts(blind, "error")


def test_it_is_held_against_weaker_ones_as_adaptive_ones_are() -> None:
    results = averaging("autoattack(version=rand)")
    results[4] = result(results[4].cell, share(0.75), share(0.8))
    assert "the adaptive figure is" in texts(results, "warning")
