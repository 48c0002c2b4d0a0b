"""Corruptions are no attacks: they have a table of their own, and count for nothing else."""

from dataclasses import replace

import pytest
from synthetic import (
    CORRUPTION,
    GATED,
    cell,
    corrupted,
    of_cell,
    result,
    share,
    three_columns,
    unattacked,
    with_facts,
)

from rain.bench.access import traits_text
from rain.bench.checks import check
from rain.bench.columns import is_corruption, settings, traits, without_corruptions
from rain.bench.corruptions import CLEAN, corruptions
from rain.errors import OptionError
from rain.registry import Traits
from rain.report.costs import costs
from rain.report.verdict import summary


def test_a_line_has_each_defence_and_what_the_gate_flags() -> None:
    lines = corruptions(corrupted())
    assert [line.attack for line in lines] == [CLEAN, CORRUPTION.format(1), CORRUPTION.format(5)]
    assert list(lines[0].accuracy) == ["none", GATED, "rain"]
    assert [line.accuracy["none"].rate for line in lines] == [0.9, 0.8, 0.4]
    assert [line.flagged[GATED].rate for line in lines] == [0, 0, 1]
    assert all(list(line.flagged) == [GATED] for line in lines)
    assert all(line.images == 10 and line.complete for line in lines)


def test_all_defences_of_a_line_are_of_the_same_images() -> None:
    bare, rain, *_ = corrupted()
    fewer = replace(rain, outcomes=rain.outcomes[6:], complete=False)
    clean, line = corruptions([bare, fewer])
    assert (line.images, line.complete, clean.complete) == (4, False, False)
    assert line.accuracy["none"].rate == line.accuracy["rain"].rate == 0.5
    none_shared = replace(bare, outcomes=bare.outcomes[:6])
    assert corruptions([none_shared, fewer]) == []


def test_places_stand_apart_and_attacks_stand_elsewhere() -> None:
    smaller = [of_cell(one, size=96) for one in corrupted()[:2]]
    lines = corruptions([*corrupted(), *smaller, *three_columns()])
    assert [line.size for line in lines] == [224, 224, 224, 96, 96]
    assert corruptions(three_columns()) == []


def test_a_corruption_counts_for_no_verdict_and_no_point_of_the_checklist() -> None:
    results = three_columns()
    assert summary([*results, *corrupted()]) == summary(results)
    (setting,) = settings([*results, *corrupted()[:2]])
    rain = next(column for column in setting if column.defense == "rain")
    assert {one.cell.attack for one in rain.attacked} == {"pgd(confidence=inf)"}
    texts = [finding.text for finding in check([*results, *corrupted(100)])]
    assert texts == [finding.text for finding in check(results)]


def test_where_there_are_corruptions_only_nothing_was_attacked() -> None:
    """The checklist does not ask for an adaptive corruption, and the costs are told."""
    results = corrupted()
    levels = {finding.level for finding in check(results)}
    assert "error" not in levels
    told = [cost.defense for cost in costs(results)]
    assert sorted(told) == sorted(["rain", GATED])


def test_results_of_before_there_were_corruptions_are_read() -> None:
    old = "traits(follows=True, sees=gradients, steps=0, stops=fooled, targeted=False)"
    attacked = with_facts(result(cell(), share(0.5, 4)), attack_traits=old)
    assert traits(attacked) == Traits(stops="fooled")
    assert not is_corruption(attacked)
    # What is written of an attack is what was written before.
    assert traits_text("pgd") == old
    assert "corrupts=True" in traits_text(CORRUPTION.format(1))
    clean = result(unattacked(), [1])
    assert without_corruptions([attacked, clean, *corrupted()]) == [attacked, clean]


def test_a_corruption_that_follows_a_model_is_a_contradiction() -> None:
    with pytest.raises(OptionError, match="declare follows=False with corrupts=True"):
        Traits(corrupts=True)
