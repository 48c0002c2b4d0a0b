"""Each point of the checklist passes, fails, was not run or does not apply, as the results have it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic import cell, result, share, unattacked, with_facts

from rain.bench.cases import Verdict
from rain.bench.cells import Result
from rain.bench.checklist import POINTS, Checked, checklist, checklist_rows
from rain.bench.proofs import LEAST_FIT, Proof

PGD = "pgd(confidence=inf)"


def attacked(left: float, count: int = 200, **changes: Any) -> Result:
    """A result that leaves so much of the images; by default of an adaptive attack on four draws."""
    about = {"draws": 4, **changes}
    if about.get("access", "adaptive") != "adaptive":
        about.setdefault("eot", 1)
    return result(cell(**about), share(left, count), share(0.8, count))


def bare(left: float = 0.0) -> Result:
    return result(cell(defense="none", eot=1), share(left), share(0.9))


def deterministic(one: Result) -> Result:
    return with_facts(one, defense_random="no")


def proof(**changes: Any) -> Proof:
    fields: dict[str, Any] = {
        "classifier": "small",
        "defense": "rain",
        "attack": PGD,
        "norm": "linf",
        "eps": 4 / 255,
        "access": "adaptive",
        "eot": 20,
        "images": 50,
        "found": 0.98,
        "random_found": 0.1,
        "unfit": 0,
        "dataset": "samples",
        "size": 224,
        "seed": 0,
        "complete": True,
        "made_by": {},
    }
    return Proof(**fields | changes)


def only(*results: Result, proofs: tuple[Proof, ...] = ()) -> Checked:
    """What the checklist says of the only defence here."""
    (checked,) = checklist(results, proofs)
    return checked


def of(name: str, *results: Result, proofs: tuple[Proof, ...] = ()) -> Verdict:
    """What one point says of the only defence here."""
    checked = only(*results, proofs=proofs)
    return next(one for point, one in zip(POINTS, checked.verdicts, strict=True) if point.name == name)


def test_every_point_has_a_source_and_a_question() -> None:
    assert len({point.name for point in POINTS}) == len(POINTS) == 19
    for point in POINTS:
        assert "arXiv" in point.source
        assert point.question.endswith("?")


def test_an_adaptive_attack() -> None:
    assert of("Adaptive attack", attacked(0.1)) == ("passed", "10.0 % left of 200 images", "")
    assert of("Adaptive attack", attacked(0.1, access="static")).state == "not run"
    # One at another budget says nothing of this one: the case is the budget of most attacks.
    others = [attacked(0.6, access="transfer"), attacked(0.5, access="static")]
    assert of("Adaptive attack", attacked(0.1, eps=8 / 255), *others).state == "not run"


def test_a_proof_of_an_attack_that_was_run() -> None:
    assert of("Attack proven", attacked(0.1)).state == "not run"
    verdict = of("Attack proven", attacked(0.1), proofs=(proof(),))
    assert verdict[:2] == ("passed", "98.0 % found on 50 images; random points 10.0 %")
    assert of("Attack proven", attacked(0.1), proofs=(proof(found=0.9),)).state == "failed"
    # One that leaves more than another decides nothing, whether or not it finds what is there.
    weak = proof(attack="fgsm", found=0.1)
    both = [attacked(0.1), attacked(0.4, attack="fgsm")]
    assert of("Attack proven", *both, proofs=(weak, proof())).state == "passed"


@pytest.mark.parametrize(
    "changes",
    [
        {"attack": "fgsm"},
        {"defense": "jpeg"},
        {"eps": 8 / 255},
        {"norm": "l2"},
        {"size": 96},
        {"classifier": "other"},
        {"access": "static"},
        {"eot": 1},
        {"dataset": "csv:elsewhere"},
        {"complete": False},
        {"images": 0, "found": 0.0},
        {"images": LEAST_FIT - 1, "found": 1.0},
        {"random_found": 0.6},
    ],
)
def test_a_proof_of_something_else_or_of_nothing(changes: dict[str, Any]) -> None:
    assert of("Attack proven", attacked(0.1), proofs=(proof(**changes),)).state == "not run"


def test_of_several_proofs_the_worst_counts() -> None:
    # As many images as a claim needs are enough of one of them; a miss counts on few images, too.
    small = proof(seed=1, images=5, found=1.0)
    assert of("Attack proven", attacked(0.1), proofs=(small, proof())).state == "passed"
    lucky = proof(seed=1, found=1.0)
    verdict = of("Attack proven", attacked(0.1), proofs=(lucky, proof()))
    assert verdict.figure.startswith("98.0 % found on 50")
    for missing in (proof(seed=2, found=0.9), proof(seed=2, images=5, found=0.8)):
        assert of("Attack proven", attacked(0.1), proofs=(lucky, missing, proof())).state == "failed"
    # What random points find, too, says nothing of the attack: it neither proves it nor forbids the claim.
    easy = proof(seed=3, found=0.5, random_found=0.9)
    assert of("Attack proven", attacked(0.1), proofs=(lucky, easy)).state == "passed"


def test_a_proof_is_of_the_attack_that_decides_at_its_strongest() -> None:
    both = [attacked(0.1), attacked(0.4, attack="fgsm")]
    assert of("Attack proven", *both, proofs=(proof(attack="fgsm", found=1.0),)).state == "not run"
    # But for noise both decide: what one of them misses counts.
    equal = [attacked(0.1), attacked(0.105, attack="fgsm")]
    missing = proof(attack="fgsm", found=0.2)
    assert of("Attack proven", *equal, proofs=(missing,)).state == "failed"
    assert of("Attack proven", *equal, proofs=(missing, proof())).state == "failed"
    # Of a curve over draws the point of most draws stands for the attack.
    curve = [attacked(0.1, eot=5), attacked(0.1, eot=20)]
    assert of("Attack proven", *curve, proofs=(proof(eot=5),)).state == "not run"
    assert of("Attack proven", *curve, proofs=(proof(eot=20),)).state == "passed"


@pytest.mark.parametrize(
    "fact", ["plugin_code", "attack_files", "attack_library", "data_digest", "classifier_options"]
)
def test_a_proof_is_made_with_what_the_results_were_made_with(fact: str) -> None:
    measured = with_facts(attacked(0.1), **{fact: "a"})
    for values, state in ((("a",), "passed"), (("b",), "not run"), (("a", "b"), "not run")):
        verdict = of("Attack proven", measured, proofs=(proof(made_by={fact: values}),))
        assert verdict.state == state
    assert "not of the attack that decides, as it was run" in verdict.advice


def test_who_knows_the_draw_is_no_weaker() -> None:
    others = [attacked(0.1), attacked(0.4, access="static")]
    known = attacked(0.05, access="known")
    assert of("Draw known", *others, known) == ("passed", "known 5.0 %, static 40.0 %, adaptive 10.0 %", "")
    verdict = of("Draw known", *others, attacked(0.2, access="known"))
    assert verdict.state == "failed"
    assert "adaptive" in verdict.advice
    # Two images more are noise.
    assert of("Draw known", *others, attacked(0.11, access="known")).state == "passed"
    assert of("Draw known", *others).state == "not run"
    # Another attack, of more steps, is no measure of it where the same one is there.
    longer = attacked(0.0, attack="pgd(confidence=inf, steps=80)")
    assert of("Draw known", *others, longer, known).state == "passed"
    assert of("Draw known", longer, attacked(0.2, access="known")).state == "failed"


def test_frozen_randomness() -> None:
    near, far = attacked(0.0, access="known"), attacked(0.4, access="known")
    assert of("Randomness frozen", bare(), attacked(0.1), near).state == "passed"
    assert of("Randomness frozen", bare(), attacked(0.1), far).state == "failed"
    # The network behind it may be robust: then the bare classifier, or a proof, says so.
    assert of("Randomness frozen", bare(0.4), attacked(0.4), far).state == "passed"
    few = attacked(0.0, count=5, access="known"), attacked(0.0, count=5, access="frozen")
    assert [of("Randomness frozen", attacked(0.1), one).state for one in few] == ["not run", "not run"]
    assert of("Randomness frozen", bare(), attacked(0.4), far, proofs=(proof(),)).state == "passed"


def test_an_attack_on_a_frozen_draw_that_is_judged_on_fresh_ones() -> None:
    assert of("Randomness frozen", attacked(0.1), attacked(0.0, access="frozen")).state == "passed"
    verdict = of("Randomness frozen", attacked(0.1), attacked(0.6, access="frozen"))
    assert verdict[:2] == ("not run", "60.0 % on fresh draws")
    assert "known" in verdict.advice


def test_many_steps_against_one() -> None:
    name = "Many steps against one"
    assert of(name, attacked(0.1), attacked(0.4, attack="fgsm")).state == "passed"
    assert of(name, attacked(0.4), attacked(0.1, attack="fgsm")).state == "failed"
    # One step of another access is not compared.
    assert of(name, attacked(0.4), attacked(0.1, attack="fgsm", access="static")).state == "not run"
    worse = [attacked(0.4, access="static"), attacked(0.1, attack="fgsm", access="static")]
    assert of(name, attacked(0.0), attacked(0.4, attack="fgsm"), *worse).state == "failed"


def test_gradients_against_queries() -> None:
    name = "White box against black"
    square = attacked(0.5, attack="square", access="query")
    assert of(name, attacked(0.1), square).state == "passed"
    assert of(name, attacked(0.7), square).state == "failed"
    assert of(name, attacked(0.51), square).state == "passed"
    assert of(name, attacked(0.6), attacked(0.9, attack="rays", access="query"), square).state == "failed"
    assert of(name, attacked(0.4), square, attacked(0.1, access="transfer")).state == "failed"
    # Noise is no attack that follows the model.
    assert of(name, attacked(0.7), attacked(0.5, attack="noise", access="query")).state == "not run"


def test_random_noise() -> None:
    noise = attacked(0.5, attack="noise", access="query")
    assert of("Random noise", attacked(0.1), noise).state == "passed"
    assert of("Random noise", attacked(0.7), noise).state == "failed"
    few = attacked(0.5, attack="noise(tries=10)", access="query")
    assert of("Random noise", attacked(0.1), few).state == "not run"
    assert of("Random noise", attacked(0.7), few).state == "failed"


def test_scores_and_labels() -> None:
    both = [attacked(0.5, attack="square", access="query"), attacked(0.6, attack="rays", access="query")]
    assert of("Scores only", attacked(0.1), *both).figure == "50.0 % left of 200 images"
    assert of("Labels only", attacked(0.1), *both).figure == "60.0 % left of 200 images"
    assert of("Labels only", attacked(0.1), both[0]).state == "not run"
    assert of("Scores only", attacked(0.1), attacked(0.5, attack="noise", access="query")).state == "not run"


def test_transfer_from_two_classifiers() -> None:
    own, other = (
        attacked(0.6, access="transfer", attack=attack)
        for attack in (PGD, "ensemble(classifiers='torchvision/resnet18')")
    )
    assert of("Transfer", attacked(0.1), own).state == "not run"
    assert of("Transfer", attacked(0.1), own, other).figure == "60.0 % left of 200 images, 2 classifiers"
    two = attacked(0.6, access="transfer", attack="ensemble(classifiers='torchvision/resnet18+timm/x')")
    assert of("Transfer", attacked(0.1), two).state == "passed"


def test_gradients_that_are_0() -> None:
    def flat(one: Result, images: int) -> Result:
        outcomes = [replace(outcome, flat=outcome.index < images) for outcome in one.outcomes]
        return replace(one, outcomes=tuple(outcomes))

    assert of("Gradients", attacked(0.5)).state == "passed"
    assert of("Gradients", flat(attacked(0.5), 30)).state == "failed"
    # Another attack, which has a gradient, is enough.
    assert of("Gradients", flat(attacked(0.5), 30), attacked(0.5, attack="bim")).state == "passed"
    assert of("Gradients", attacked(0.5, attack="square")).state == "not run"


def test_gradients_that_nobody_observed() -> None:
    def unseen(one: Result, images: int) -> Result:
        outcomes = [
            replace(outcome, flat=None if outcome.index < images else outcome.flat)
            for outcome in one.outcomes
        ]
        return replace(one, outcomes=tuple(outcomes))

    masked = replace(
        attacked(0.5), outcomes=tuple(replace(outcome, flat=True) for outcome in attacked(0.5).outcomes)
    )
    other = attacked(0.5, attack="bim")
    assert of("Gradients", unseen(other, 200)).state == "not run"
    # It does not make up for one that was observed, and failed.
    assert of("Gradients", masked, unseen(other, 200)).state == "failed"
    # The first 100 hold: too many of them go unseen. Those that were wrong are not attacked at all.
    assert of("Gradients", masked, unseen(other, 30)).state == "failed"
    assert of("Gradients", masked, unseen(other, 10)).state == "passed"


def test_one_class_and_any() -> None:
    targeted = attacked(0.4, attack="targeted(attack=pgd)")
    assert of("Targets", attacked(0.1), targeted) == ("passed", "targeted 40.0 %, any 10.0 %", "")
    assert of("Targets", attacked(0.1)).state == "not run"


def test_a_gate() -> None:
    gated = {"defense": "gated(defense=rain, share=0.02)"}
    assert of("Gate or alarm", attacked(0.1)).state == "does not apply"
    assert of("Gate or alarm", attacked(0.1, **gated)).state == "not run"
    around = attacked(0.1, attack="ungated(attack=pgd)", **gated)
    assert of("Gate or alarm", attacked(0.1, **gated), around).state == "passed"
    # Files of before say it by the name only.
    before = with_facts(around, attack_traits="traits")
    assert of("Gate or alarm", attacked(0.1, **gated), before).state == "passed"
    alarm = {"defense": "squeezing"}
    close = attacked(0.1, attack="gate(aim=close)", **alarm)
    assert of("Gate or alarm", attacked(0.1, **alarm)).state == "not run"
    assert of("Gate or alarm", close).state == "passed"


def test_right_on_all_beside_the_mean() -> None:
    half = result(cell(draws=4), [(0, 0, 0, 1)] * 100)
    assert of("Submitted again", half) == ("passed", "mean 75.0 %, on all of 4: 0.0 %", "")
    assert of("Submitted again", attacked(0.1, draws=1)).state == "not run"


def test_of_a_curve_over_draws_the_strongest_point_is_submitted_again() -> None:
    """The smallest of several noisy points is below each of them, by luck alone."""

    def point(eot: int, first: int) -> Result:
        answers = [(0, 0) if (index + first) % 100 < 50 else (1, 1) for index in range(100)]
        return result(cell(draws=2, eot=eot), answers)

    curve = [point(eot, first) for eot, first in ((1, 0), (5, 25), (20, 50))]
    assert of("Submitted again", *curve).figure == "mean 50.0 %, on all of 2: 50.0 %"
    # Fewer draws of a weaker point do not shorten what is told of the strongest.
    short = [attacked(0.5, draws=1, eot=1), attacked(0.5, draws=8, eot=20)]
    assert of("Submitted again", *short).figure == "mean 50.0 %, on all of 8: 50.0 %"


def test_what_is_about_draws_does_not_apply_to_what_is_not_random() -> None:
    one = deterministic(attacked(0.1, defense="jpeg", draws=1, eot=1))
    states = {point.name: verdict.state for point, verdict in zip(POINTS, only(one).verdicts, strict=True)}
    of_draws = {name for name, state in states.items() if state == "does not apply"}
    assert of_draws >= {"Draw known", "Randomness frozen", "Draws (EOT) grow", "Submitted again"}


def test_what_a_claim_needs() -> None:
    assert only(attacked(0.1), proofs=(proof(),)).refusals == []
    assert only(attacked(0.1)).refusals == ["Attack proven was not run"]
    hoping = attacked(0.6, access="transfer", defense="jpeg", draws=1)
    missing = ["Adaptive attack", "Steps doubled", "No budget", "Gradients"]
    assert only(deterministic(hoping)).refusals == [f"{name} was not run" for name in missing]
    weak = attacked(0.5, attack="square", access="query")
    assert only(attacked(0.7), weak, proofs=(proof(),)).refusals == ["White box against black failed"]


def test_what_a_claim_of_a_deterministic_defence_needs() -> None:
    def on_jpeg(left: float, attack: str = "pgd(steps=20)", **changes: Any) -> Result:
        return deterministic(attacked(left, defense="jpeg", draws=1, eot=1, attack=attack, **changes))

    few, twice = on_jpeg(0.1), on_jpeg(0.1, "pgd(steps=40)")
    unlimited = on_jpeg(0.0, eps=1.0)
    assert only(few, twice, unlimited).refusals == []
    assert only(few, unlimited).refusals == ["Steps doubled was not run"]
    assert only(few, twice).refusals == ["No budget was not run"]
    assert only(few, on_jpeg(0.05, "pgd(steps=40)"), unlimited).refusals == ["Steps doubled failed"]
    assert only(few, twice, on_jpeg(0.3, eps=1.0)).refusals == ["No budget failed"]
    by_labels = on_jpeg(0.1, "rays", access="query")
    assert "Gradients was not run" in only(by_labels, unlimited).refusals
    # A few steps may be as weak as half of them.
    weak = on_jpeg(0.4, "pgd(steps=2)"), on_jpeg(0.4, "pgd(steps=4)")
    assert only(*weak, unlimited).refusals == ["Steps doubled was not run"]
    # The proof is for random defences only, and the rest for the others only.
    assert only(attacked(0.1), proofs=(proof(),)).refusals == []


def test_a_claim_needs_a_hundred_images() -> None:
    assert only(attacked(0.1, 99), proofs=(proof(),)).refusals == ["only 99 images of at least 100"]
    assert only(attacked(0.1, 100), proofs=(proof(),)).refusals == []
    # Images are counted where the claim is, and not where an attack hopes.
    many = attacked(0.5, access="transfer")
    assert only(attacked(0.1, 50), many, proofs=(proof(),)).refusals == ["only 50 images of at least 100"]


def test_nothing_to_check() -> None:
    assert checklist([]) == []
    assert checklist([bare(), result(unattacked(draws=4), share(0.8))]) == []
    assert checklist([attacked(0.0, eps=100.0, norm="l2", attack="deepfool")]) == []


def test_an_unfinished_result_without_images_is_passed_over() -> None:
    empty = replace(attacked(0.1, attack="bim"), outcomes=(), complete=False)
    assert of("Adaptive attack", attacked(0.1), empty).state == "passed"
    assert checklist([empty]) == []


def test_rows_for_a_file() -> None:
    rows = checklist_rows(checklist([attacked(0.1)]))
    assert len(rows) == len(POINTS)
    assert rows[0] == {
        "dataset": "samples",
        "size": 224,
        "classifier": "small",
        "defense": "rain",
        "norm": "linf",
        "eps": 4 / 255,
        "control": False,
        "point": "Adaptive attack",
        "source": POINTS[0].source,
        "needed": True,
        "state": "passed",
        "figure": "10.0 % left of 200 images",
        "advice": "",
    }
    json.dumps(rows, allow_nan=False)


def test_the_guide_names_every_point() -> None:
    text = (Path(__file__).parents[2] / "docs" / "guide" / "honest.md").read_text()
    for point in POINTS:
        assert f"| {point.name} | {point.question} | {point.source} |" in text


def test_a_proof_of_other_weights_proves_nothing_here() -> None:
    """Weights may have been replaced between the run and the proof, or a folder put together."""
    measured = with_facts(attacked(0.3), classifier_weights="a", defense_weights="d")
    for name, state in (("a", "passed"), ("b", "not run")):
        proven = proof(made_by={"classifier_weights": (name,)})
        verdicts = only(measured, proofs=(proven,)).verdicts
        states = {point.name: verdict.state for point, verdict in zip(POINTS, verdicts, strict=True)}
        assert states["Attack proven"] == state
