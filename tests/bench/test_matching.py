"""Two runs are paired by what was asked, and by which images."""

from dataclasses import replace

import pytest
from synthetic import cell, of_cell, result, three_columns, with_facts

from rain.bench.cells import Result
from rain.bench.matching import DEFENSE_MAKERS, DIGEST, MAKERS, match, of_defense, unlike_facts
from rain.bench.provenance import FACTS
from rain.errors import ResultError


def attacked(**changes: object) -> Result:
    return result(cell(**changes), [1, 0, 1])


def test_a_run_matches_itself_whole() -> None:
    results = three_columns()
    matching = match(results, results)
    assert [pair.first for pair in matching.pairs] == results
    assert all(pair.first is pair.second and not pair.fault for pair in matching.pairs)
    assert matching.only_first == matching.only_second == []


@pytest.mark.parametrize(
    "changes",
    [
        *({"size": 96}, {"classifier": "other"}, {"defense": "jpeg"}, {"dataset": "folder:there"}),
        *({"attack": "fgsm"}, {"eps": 8 / 255}, {"norm": "l2"}, {"access": "static"}),
    ],
)
def test_another_question_is_no_partner(changes: dict[str, object]) -> None:
    first, second = attacked(), attacked(**changes)
    matching = match([first], [second])
    assert (matching.pairs, matching.only_first, matching.only_second) == ([], [first], [second])


def test_two_defences_are_paired_where_that_is_meant() -> None:
    first, second = attacked(), attacked(defense="jpeg", eot=1)
    (pair,) = match([first], [second], across=True).pairs
    assert (pair.first, pair.second) == (first, second)


def test_a_defence_is_not_flattered_by_its_weakest_attacker() -> None:
    """Beside one that is not random, the other defence stands with its most draws a step."""
    few, many = attacked(eot=1), attacked(eot=20)
    jpeg = with_facts(attacked(defense="jpeg", eot=1), defense_random="no")
    for own in ([few, many], [many, few]):
        matching = match(own, [jpeg], across=True)
        assert matching.pairs[0].first == many
        assert matching.only_first == [few]
        matching = match([jpeg], own, across=True)
        assert matching.pairs[0].second == many
        assert matching.only_second == [few]


def test_a_random_defence_that_met_one_draw_only_is_held_against_the_other_at_one_draw() -> None:
    few, many, other = attacked(eot=1), attacked(eot=20), attacked(defense="barrage", eot=1)
    matching = match([few, many], [other], across=True)
    assert [(pair.first, pair.second) for pair in matching.pairs] == [(few, other)]
    assert matching.only_first == [many]


def test_most_draws_are_those_of_the_same_images() -> None:
    here, there = attacked(eot=20), attacked(dataset="folder:there", eot=1)
    jpeg = with_facts(attacked(defense="jpeg", eot=1), defense_random="no")
    of_there = of_cell(jpeg, dataset="folder:there", defense="jpeg")
    of_there = with_facts(of_there, defense_random="no")
    assert len(match([here, there], [jpeg, of_there], across=True).pairs) == 2


def test_a_copy_of_a_weak_result_in_the_other_run_is_no_weak_one() -> None:
    """Its files were copied; it equals the one that is left out, and is not that one."""
    few, many = attacked(eot=1), attacked(eot=20)
    copy = with_facts(replace(few), defense_random="no")
    weak = with_facts(replace(few), defense_random="no")
    matching = match([weak, many], [copy], across=True)
    assert [(pair.first, pair.second) for pair in matching.pairs] == [(many, copy)]
    assert matching.only_second == []


def test_of_several_the_nearest_is_taken_and_each_once() -> None:
    few, many = attacked(eot=1), attacked(eot=20)
    matching = match([many, few], [few, many])
    assert [(pair.first.cell.eot, pair.second.cell.eot) for pair in matching.pairs] == [(20, 20), (1, 1)]
    matching = match([many], [few, attacked(eot=10)])
    assert matching.pairs[0].second.cell.eot == 10
    assert matching.only_second == [few]


def test_the_exact_partner_is_taken_before_a_near_one() -> None:
    few, many, more = attacked(eot=10), attacked(eot=20), attacked(eot=40)
    matching = match([few, many], [many])
    assert [(pair.first, pair.second) for pair in matching.pairs] == [(many, many)]
    assert matching.only_first == [few]
    matching = match([few, many], [many, more])
    assert [(pair.first.cell.eot, pair.second.cell.eot) for pair in matching.pairs] == [(10, 40), (20, 20)]


def test_a_dataset_is_one_wherever_its_files_lie() -> None:
    here = with_facts(attacked(dataset="csv:here"), data_digest="d1")
    there = with_facts(attacked(dataset="csv:there"), data_digest="d1")
    assert match([here], [there]).pairs[0].fault == ""
    other = with_facts(attacked(dataset="csv:there"), data_digest="d2")
    assert match([here], [other]).pairs == []


def test_other_images_of_one_name_are_not_compared() -> None:
    first = with_facts(attacked(), data_digest="d1")
    second = with_facts(attacked(), data_digest="d2")
    assert "other images" in match([first], [second]).pairs[0].fault


def test_labels_that_differ_are_other_images() -> None:
    first = attacked()
    moved = replace(first.outcomes[1], label=7)
    second = replace(first, outcomes=(first.outcomes[0], moved, first.outcomes[2]))
    assert match([first], [second]).pairs[0].fault == "image 1 has the label 0 in one and 7 in the other"


def test_runs_of_other_images_have_none_in_common() -> None:
    first = attacked()
    early, late = replace(first, outcomes=first.outcomes[:1]), replace(first, outcomes=first.outcomes[2:])
    assert match([early], [late]).pairs[0].fault == "no image that both measured"


def test_what_made_them_otherwise_is_named() -> None:
    first = with_facts(attacked(), torch="2.9", defense_weights="w1")
    second = with_facts(attacked(), torch="2.14", defense_weights="w2")
    assert unlike_facts(match([first], [second]).pairs) == {
        "torch": (("2.9",), ("2.14",)),
        "defense_weights": (("w1",), ("w2",)),
    }
    jpeg = with_facts(attacked(defense="jpeg"), torch="2.9", defense_weights="none")
    assert unlike_facts(match([first], [jpeg], across=True).pairs) == {}


def test_a_defence_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(ResultError, match="run: no results of the defence 'rian'; did you mean 'rain'"):
        of_defense([attacked()], "rian", "run")
    same = of_cell(attacked(), eot=5)
    assert of_defense([same, attacked(defense="none")], "rain", "run") == [same]


def test_whatever_a_run_refuses_a_folder_for_is_told() -> None:
    told = {DIGEST, *MAKERS, *DEFENSE_MAKERS}  # another digest is a fault of the pair
    assert {name for name, fact in FACTS.items() if fact.refused} <= told


def test_an_edited_plug_in_and_other_options_of_an_attack_are_told() -> None:
    facts = {"plugin_code": "a", "attack": "pgd(confidence=0.0)", "attack_files": "x", "left_out": "none"}
    others = {"plugin_code": "b", "attack": "pgd(confidence=3.0)", "attack_files": "y", "left_out": "[3]"}
    first, second = (
        replace(attacked(), made_by={name: (value,) for name, value in each.items()})
        for each in (facts, others)
    )
    unlike = unlike_facts(match([first], [second]).pairs)
    assert unlike == {name: ((facts[name],), (others[name],)) for name in facts}
