"""Gates as detectors: against whom, of which images, and beside what can be had without a gate."""

from dataclasses import replace

import pytest
from synthetic import GATED, cell, corrupted, detected, of_cell, result, share, suspected, three_columns

from rain.bench.cells import Result
from rain.bench.detection import Detection, baselines, defense_behind, detections, threshold_of
from rain.errors import ResultError


def by_name(results: list[Result]) -> dict[tuple[str, str], Detection]:
    return {(one.method, one.cell.access): one for one in detections(results)}


def test_a_gate_is_held_against_who_knows_it_and_who_does_not() -> None:
    gates = by_name(detected())
    unaware, aware = gates["gate", "transfer"], gates["gate", "adaptive"]
    assert (unaware.knowledge, aware.knowledge) == ("unaware", "aware")
    # Nine of ten have a score above all clean ones, the others stand in their first third.
    assert unaware.every.auroc.rate == pytest.approx(0.9 + 0.1 * 0.34, abs=0.01)
    assert aware.every.auroc.rate == 0.5
    assert unaware.every.flagged
    assert unaware.every.flagged.rate == pytest.approx(0.9)
    assert unaware.false
    assert unaware.false.rate == 0
    assert all(level.true.rate == pytest.approx(0.9) for level in unaware.every.caught)


def test_attacks_that_succeeded_are_told_apart() -> None:
    gates = by_name(detected())
    transferred, aware = gates["gate", "transfer"].successful, gates["gate", "adaptive"].successful
    assert transferred
    assert transferred.images == 90  # the bare classifier is right on ten of them
    assert aware
    assert aware.images == 50  # the gate is wrong on half of them
    without_bare = by_name(detected()[1:])
    assert without_bare["gate", "transfer"].successful is None
    assert without_bare["gate", "transfer"].every == gates["gate", "transfer"].every


def test_an_attack_succeeds_draw_by_draw() -> None:
    about = cell(defense=GATED, draws=2)
    gate = suspected(result(about, [(0, 1), (0, 0)]), [(0.1, 0.1)] * 2, [(0.2, 0.9), (0.3, 0.4)])
    (one,) = detections([gate])
    assert (one.every.images, one.every.scores) == (2, 4)
    assert one.successful
    assert (one.successful.images, one.successful.scores) == (1, 1)
    assert one.successful.flagged
    assert one.successful.flagged.rate == 1


def test_draw_agreement_and_another_label_stand_beside_the_gate() -> None:
    results = detected()
    beside = by_name(results)
    agreement, label = beside["agreement", "transfer"], beside["label", "transfer"]
    assert agreement.cell.defense == label.cell.defense == "rain"
    assert agreement.every.auroc.rate == 1.0  # half of the draws agree, and three quarters of the clean ones
    assert agreement.every.scores == agreement.every.images
    assert label.false
    assert label.every.flagged
    bare, rain = results[0].outcomes, results[1].outcomes
    clean = [answer != two.clean[0] for one, two in zip(rain, bare, strict=True) for answer in one.clean]
    after = [answer != two.robust[0] for one, two in zip(rain, bare, strict=True) for answer in one.robust]
    assert label.false.rate == pytest.approx(sum(clean) / len(clean))
    assert label.every.flagged.rate == pytest.approx(sum(after) / len(after))
    # Two kinds of scores: the curve has one corner, and the area is its mean height.
    height = (1 + label.every.flagged.rate - label.false.rate) / 2
    assert label.every.auroc.rate == pytest.approx(height)


def test_labels_are_compared_on_the_very_same_images_only() -> None:
    bare, rain, *gates = detected()
    elsewhere = replace(bare, outcomes=tuple(replace(one, distance=0.01) for one in bare.outcomes))
    assert ("label", "transfer") not in by_name([elsewhere, rain, *gates])
    other_seed = of_cell(bare, seed=1)
    assert ("label", "transfer") not in by_name([other_seed, rain, *gates])
    static = of_cell(bare, access="static")  # before a bare classifier the accesses are the same
    assert ("label", "transfer") in by_name([static, rain, *gates])


def test_without_a_gate_there_is_no_detector_but_baselines_can_be_asked_for() -> None:
    bare, rain, *_ = detected()
    assert detections([bare, rain]) == []
    assert detections(three_columns()) == []
    methods = [one.method for one in baselines(rain, [bare, rain])]
    assert methods == ["agreement", "label"]
    assert [one.method for one in baselines(rain, [rain])] == ["agreement"]
    assert baselines(bare, [bare, rain]) == []


def test_corruptions_and_clean_images_are_no_attacks_to_be_detected() -> None:
    assert detections(corrupted()) == []
    unattacked = of_cell(detected()[2], attack="none", access="none", eps=0.0)
    assert detections([unattacked]) == []


def test_detectors_of_two_places_do_not_meet() -> None:
    bare, rain, *gates = detected()
    small = [of_cell(one, size=96) for one in (bare, rain)]
    assert {one.method for one in detections([*small, *gates])} == {"gate"}
    again = [replace(one, cell=replace(one.cell, size=96)) for one in gates]
    assert len(detections([*gates, *again])) == 4


def test_a_gate_without_its_own_threshold_flags_nothing_of_its_own() -> None:
    *_, gate = detected()
    silent = replace(gate, made_by={**gate.made_by, "gate_threshold": ("0.1", "0.2")})
    (one,) = detections([silent])
    assert one.false is None
    assert one.every.flagged is None
    assert one.every.auroc.rate == 0.5
    assert threshold_of(result(cell(), [1])) is None


@pytest.mark.parametrize("text", ["much", "nan", "inf", ""])
def test_a_threshold_that_is_no_number_is_refused(text: str) -> None:
    *_, gate = detected()
    with pytest.raises(ResultError, match="delete it and run the grid again"):
        threshold_of(replace(gate, made_by={"gate_threshold": (text,)}))


def test_an_unfinished_gate_says_so() -> None:
    *_, gate = detected()
    cut = replace(gate, outcomes=gate.outcomes[:30], complete=False)
    (one,) = detections([cut])
    assert (one.clean_images, one.complete) == (30, False)
    assert one.every.auroc.rate == pytest.approx(0.5, abs=0.01)


def test_an_attack_that_does_not_follow_the_model_knows_nothing_of_the_gate() -> None:
    gate = of_cell(detected()[3], attack="noise(tries=10)")
    gate = suspected(gate, [(0.1,)] * 100, [(0.1,)] * 100)
    (one,) = detections([gate])
    assert one.knowledge == "unaware"


def test_an_attack_on_the_defence_behind_the_gate_goes_around_it() -> None:
    *_, gate = detected()
    around = replace(gate, cell=replace(gate.cell, attack="ungated(attack=pgd)"))
    assert [one.knowledge for one in detections([gate, around])] == ["aware", "around"]


@pytest.mark.parametrize(
    ("spec", "inner"),
    [
        (GATED, "rain"),
        ("gated(share=0.1)", "rain"),
        ("gated(defense=rain(shift=0.1,  keep=2))", "rain(keep=2, shift=0.1)"),
        ("gated(defense=3)", ""),
        ("gated(defense)", ""),
        ("squeezing(threshold=0.5)", ""),
    ],
)
def test_what_stands_behind_a_gate(spec: str, inner: str) -> None:
    assert defense_behind(spec) == inner


def test_the_share_of_images_is_that_of_the_results() -> None:
    """Another number of images of the bare classifier: only the common ones can be called successful."""
    bare, _, gate, _ = detected()
    fewer = replace(bare, outcomes=bare.outcomes[:50])
    (one,) = detections([fewer, gate])
    assert one.successful
    assert one.successful.images == 40
    assert share(0.1, 100)[:50].count(1) == 10
