"""RAIN without each of its parts: a point of the checklist, and controls of which no claim is asked."""

import re

import pytest
from test_checklist import attacked, of

from rain.bench.cases import Verdict
from rain.bench.cells import Result
from rain.bench.checklist import POINTS, checklist
from rain.bench.parts import PARTS
from rain.registry import DEFENSES


def test_each_part_left_out() -> None:
    def without(spec: str) -> Result:
        return attacked(0.2, defense=f"rain({spec})")

    def of_rain(*results: Result) -> Verdict:
        every = checklist([attacked(0.1), *results])
        (checked,) = [one for one in every if one.case.defense == "rain"]
        return checked.verdicts[[point.name for point in POINTS].index("Each part alone")]

    parts = [without("down=bicubic"), without("preset=no_shift")]
    assert of_rain(*parts).state == "not run"
    assert "no_dg" in of_rain(*parts).advice
    whole = of_rain(*parts, without("enhancer=bicubic"))
    assert whole[:2] == ("passed", "without pick 20.0 %, without shift 20.0 %, without DG 20.0 %")
    # Two parts at once are not one.
    assert of_rain(*parts, without("down=bicubic, enhancer=bicubic")).state == "not run"
    assert of("Each part alone", attacked(0.1, defense="jpeg")).state == "does not apply"
    assert of("Each part alone", attacked(0.1, defense="rain(shift=0.0)")).state == "does not apply"


def test_what_leaves_a_part_of_another_rain_out_is_no_ablation_of_this_one() -> None:
    def check(defense: str, *others: str) -> Verdict:
        every = [attacked(0.2, defense=other) for other in others]
        (checked,) = [
            one for one in checklist([attacked(0.1, defense=defense), *every]) if one.case.defense == defense
        ]
        return checked.verdicts[[point.name for point in POINTS].index("Each part alone")]

    own = "rain(enhancer=compact(weights=mine))"
    others = ["rain(preset=no_shift)", "rain(enhancer=bicubic, seam=wrapped)"]
    missed = check(own, *others)
    assert (missed.state, missed.figure) == ("not run", "")
    # Behind bicubic down-sampling the own DG restores less, so that another one has to stand there.
    shift = "rain(enhancer=compact(weights=mine), shift=0.0)"
    assert missed.advice.startswith(f"add rain(preset=no_pick), {shift}, rain(preset=no_dg), ")
    assert check(own, *others, "rain(preset=no_pick)", shift, "rain(preset=no_dg)").state == "passed"
    of_sr, of_bicubic = "rain(down=bicubic, enhancer=compact(weights=sr))", "rain(enhancer=bicubic)"
    assert check(own, *others, of_sr, shift, of_bicubic).state == "passed"
    released = check("rain(preset=released)", "rain(preset=released, shift=0)")
    assert released.figure == "without shift 20.0 %"
    assert "rain(down=bicubic, enhancer=compact(weights=sr), preset=released)" in released.advice
    # Without a pick there is no cell to pick from; but its side is what DG restores.
    assert (
        "rain(down=bicubic, enhancer=compact(scale=4))"
        in check("rain(cell=4, enhancer=compact(scale=4))").advice
    )


@pytest.mark.parametrize("defense", ["rain", "rain(enhancer=compact(weights=adversarial224))"])
def test_the_ablations_that_are_advised_are_ablations(defense: str) -> None:
    (checked,) = checklist([attacked(0.1, defense=defense)])
    advice = checked.verdicts[[point.name for point in POINTS].index("Each part alone")].advice
    ablations = re.findall(r"rain\((?:[^()]|\([^()]*\))*\)", advice)
    assert len(ablations) == len(PARTS)
    for spec in ablations:
        DEFENSES.build(spec)  # which warns, an error here, where its DG was trained for something else


def controls(*results: Result) -> list[str]:
    return [one.case.defense for one in checklist(results) if one.control]


def test_of_an_ablation_on_few_images_no_claim_is_asked() -> None:
    whole, few = attacked(0.1), attacked(0.0, 20, defense="rain(shift=0.0)")
    assert controls(whole, few) == ["rain(shift=0.0)"]
    # On many images it may be claimed; alone it is a defence as any other.
    assert controls(whole, attacked(0.0, 200, defense="rain(shift=0.0)")) == []
    assert controls(few) == []
    # What it is an ablation of must have been attacked, and itself, too.
    assert controls(attacked(0.1, access="transfer"), few) == []
    assert controls(whole, attacked(0.0, 20, defense="rain(shift=0.0)", access="transfer")) == []
    assert controls(whole, attacked(0.0, 20, defense="rain(shift=0.0, enhancer=bicubic)")) == []
    assert controls(whole, attacked(0.0, 20, defense="jpeg")) == []


def test_an_ablation_at_which_a_point_failed_is_no_control() -> None:
    few = attacked(0.0, 20, defense="rain(shift=0.0)")
    stronger = attacked(0.9, 20, defense="rain(shift=0.0)", access="known")
    assert controls(attacked(0.1), few, stronger) == []
