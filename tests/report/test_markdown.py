"""The Markdown says what the results say, and no name in them can become markup."""

import re
from dataclasses import replace

from synthetic import cell, of_cell, result, share, three_columns, unattacked, with_facts

from rain.bench.cells import Result
from rain.report.comparisons import compare_attacked, compare_clean, pairs_to_compare
from rain.report.markdown import markdown


def cells_of(line: str) -> list[str]:
    return [text.strip() for text in line.strip("|").split("|")]


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each table but the checklist's, without its rule."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    blocks = [lines for lines in blocks if not lines[0].startswith("| Point |")]
    return [[cells_of(line) for number, line in enumerate(lines) if number != 1] for lines in blocks]


def test_figures_stand_with_interval_and_images_below_what_the_attacker_knew() -> None:
    clean = result(unattacked(draws=3), share(0.7), share(0.7))
    figures, *_ = tables(markdown([*three_columns(), clean]))
    assert figures[0] == ["Defence", "Draws", "Clean", "transfer", "adaptive"]
    assert figures[1][:2] == ["no defence", "single"]
    assert figures[2] == [
        "rain",
        "single",
        "70.0 (63.3 to 75.9; 200)",
        "62.0 (55.1 to 68.4; 200)",
        "0.0 (0.0 to 1.9; 200)",
    ]
    assert figures[3][:2] == ["rain", "3 averaged"]


def test_an_attack_of_the_bare_classifier_alone_names_no_draws() -> None:
    bare, transfer, adaptive = three_columns()
    other = of_cell(bare, attack="apgd(steps=80)", access="adaptive", eot=1)
    (figures, *_) = tables(markdown([bare, transfer, adaptive, with_facts(other, defense_random="no")]))
    assert not any("eot" in heading for heading in figures[0])


def test_a_deterministic_defence_joins_the_adaptive_column_of_the_random_ones() -> None:
    bare, transfer, adaptive = three_columns()
    bare = with_facts(bare, defense_random="no")
    figures, *_ = tables(markdown([bare, transfer, adaptive]))
    assert figures[1] == ["no defence", "single", "80.0 (73.9 to 85.0; 200)", "-", "0.0 (0.0 to 1.9; 200)"]
    fewer = of_cell(adaptive, eot=5)
    figures, *_ = tables(markdown([bare, adaptive, fewer]))
    assert figures[0][3:] == ["adaptive: eot 5", "adaptive: eot 20"]
    assert figures[1][3] == figures[1][4]


def test_many_attacks_have_a_row_each() -> None:
    attacks = [f"pgd(confidence=inf, steps={steps})" for steps in range(10, 17)]
    results = [of_cell(one, attack=attack) for attack in attacks for one in three_columns()]
    figures, *_ = tables(markdown(results))
    assert figures[0] == ["Attack", "no defence, single", "rain, single", "rain, 3 averaged"]
    assert "transfer: `pgd(confidence=inf, steps=10)`" in [line[0] for line in figures]
    assert f"adaptive: `{attacks[0]}`, averaged over 20 draws a step" in [line[0] for line in figures]


def test_comparisons_say_better_worse_and_p() -> None:
    _, compared, *_ = tables(markdown(three_columns(adaptive=0.03)))
    assert compared[0] == ["Compared", "Clean", "transfer", "adaptive"]
    assert compared[1] == [
        "rain against no defence",
        "-14.0 (0 / 28, p < 0.001)",
        "-",
        "+3.0 (6 / 0, p = 0.031)",
    ]


def test_defences_are_compared_that_differ_in_one_option() -> None:
    large, released = "rain(enhancer=compact(weights=large))", "rain(preset=released)"
    both = "rain(enhancer=compact(weights=large), preset=released)"
    assert pairs_to_compare(["rain", large, released, both, "jpeg"]) == [
        (large, "rain"),
        (released, "rain"),
        (both, large),
        (both, released),
    ]
    assert ("jpeg", "none") in pairs_to_compare(["none", "jpeg"])


def test_only_attacks_that_both_met_are_compared() -> None:
    first = result(cell(defense="rain"), share(0.5))
    other = result(cell(defense="jpeg"), share(0.2))
    worse = result(cell(defense="rain", attack="apgd(confidence=inf)"), share(0.0))
    comparison = compare_attacked([first, other, worse], "adaptive", "rain", "jpeg")
    assert comparison
    assert (comparison.better, comparison.worse) == (60, 0)
    assert compare_attacked([other, worse], "adaptive", "rain", "jpeg") is None
    assert compare_clean([first], "rain", "jpeg") is None


def test_budgets_come_largest_first_and_none_at_last() -> None:
    free = {"attack": "carlini_wagner", "norm": "l2", "eps": 1000.0}
    smaller = [of_cell(one, eps=1 / 255) for one in three_columns()]
    in_l2 = [of_cell(one, eps=0.5, norm="l2") for one in three_columns()]
    text = markdown([result(cell(**free), share(0.0), share(0.8)), *smaller, *in_l2, *three_columns()])
    titles = re.findall(r"^(At .*|Without .*):$", text, flags=re.MULTILINE)
    assert titles[:4] == [
        "At 4/255",
        "At 1/255",
        "At 0.5 in l2",
        "Without a budget, the smallest perturbation in l2",
    ]


def test_of_an_attack_that_was_measured_twice_the_table_shows_the_result_of_most_images() -> None:
    bare, transfer, adaptive = three_columns()
    few = replace(adaptive, cell=replace(adaptive.cell, examples=20), outcomes=adaptive.outcomes[:20])
    for several in ([few, adaptive], [adaptive, few]):
        figures, *_ = tables(markdown([bare, transfer, *several]))
        assert figures[2][-1] == "0.0 (0.0 to 1.9; 200)"


def test_a_comparison_of_fewer_images_than_others_says_of_how_many() -> None:
    """Of two adaptive attacks the stronger one was tried on 20 images: only these count."""
    few = result(cell(attack="apgd(confidence=inf)"), share(0.1, 20))
    beside = result(cell(attack="apgd(confidence=inf)", defense="none", eot=1), share(0.0, 20))
    text = markdown([*three_columns(bare=0.1, adaptive=0.2), few, beside])
    _, compared, *_ = tables(text)
    assert compared[1][1:] == ["-14.0 (0 / 28, p < 0.001)", "-", "+10.0 (2 / 0, p = 0.5; 20 images)"]
    assert "\nAt 4/255, compared on up to 200 images:\n" in text
    assert "Only images count that every one of these attacks was tried on" in text


def test_where_nothing_is_in_common_nothing_is_compared() -> None:
    bare, _, adaptive = three_columns()
    late = replace(adaptive, outcomes=adaptive.outcomes[150:], complete=False)
    early = replace(bare, outcomes=bare.outcomes[:50], complete=False)
    assert "compared on up to 0 images" in markdown([early, late])


def two_seeds() -> list[Result]:
    """Seed 0 leaves rain nothing, and seed 1 all; the bare classifier is right on 40 % under either."""
    results = [result(unattacked(), share(1.0)), result(unattacked(defense="none"), share(1.0))]
    for seed, left in ((0, 0.0), (1, 1.0)):
        results.append(result(cell(seed=seed), share(left)))
        results.append(result(cell(seed=seed, defense="none", eot=1), share(0.4)))
    return results


def test_another_seed_is_an_attack_of_its_own_in_comparisons() -> None:
    comparison = compare_attacked(two_seeds(), "adaptive", "rain", "none")
    assert comparison
    assert (comparison.better, comparison.worse, comparison.images) == (0, 80, 200)
    assert compare_attacked(two_seeds()[2:6:3], "adaptive", "rain", "none") is None


def test_of_several_seeds_the_table_shows_the_worst_and_says_so() -> None:
    for results in (two_seeds(), two_seeds()[::-1]):
        figures, compared, *_ = tables(markdown(results))
        assert figures[1][-1] == "40.0 (33.5 to 46.9; 200, worst of 2 seeds)"
        assert figures[2][-1] == "0.0 (0.0 to 1.9; 200, worst of 2 seeds)"
        assert compared[1][-1] == "-40.0 (0 / 80, p < 0.001)"


def test_a_seed_of_few_images_hides_nothing_in_the_table() -> None:
    bare, transfer, adaptive = three_columns(adaptive=0.5)
    few = result(cell(draws=3, seed=1), share(0.0, 20))
    figures, *_ = tables(markdown([bare, transfer, few, adaptive]))
    assert figures[2][-1] == "50.0 (43.1 to 56.9; 200, one of 2 seeds)"


def test_what_is_not_finished_is_marked() -> None:
    *others, last = three_columns()
    half = replace(last, outcomes=last.outcomes[:50], complete=False)
    assert "; 50, not finished)" in markdown([*others, half])


def test_the_checklist_stands_at_the_end() -> None:
    text = markdown(three_columns(adaptive=None))
    assert "- error: rain: no adaptive attack at eps 4/255" in text[text.index("What may mislead:") :]


def test_clean_images_alone_make_a_table() -> None:
    text = markdown([result(unattacked(), share(0.5), share(0.5))])
    assert tables(text)[0][1] == ["rain", "single", "50.0 (43.1 to 56.9; 200)"]


def test_no_name_becomes_markup() -> None:
    hostile = "a|b <!-- end --> `x` *y* [z](w)\n\n# heading"
    text = markdown([*three_columns(defense=hostile), *three_columns(defense="jpeg")[1:]])
    assert not re.search(r"<(?! )", text)
    assert "`x`" not in text.replace("\\`x\\`", "")
    assert "\n# heading" not in text
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1


def test_the_same_results_give_the_same_text() -> None:
    results: list[Result] = three_columns()
    assert markdown(results) == markdown(list(results))
