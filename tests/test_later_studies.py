"""What experiments 46 and 47, and the sections of the results, say of studies, held against these."""

from pathlib import Path

import pytest

from rain.bench.cells import load
from rain.bench.checklist import checklist
from rain.bench.counted import left_of_each
from rain.bench.metrics import per_image, percent_text, worst_images
from rain.bench.proofs import load as load_proofs
from rain.bench.significance import Paired, paired

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "notebook"


def scores(study: str, defense: str, attack: str = "") -> dict[int, float]:
    """What adaptive attacks leave of each image; without an attack, the clean scores."""
    results = [one for one in load(ROOT / "studies" / study) if one.cell.defense == defense]
    if attack:
        return worst_images(
            [one for one in results if one.cell.access == "adaptive" and attack in one.cell.attack]
        )
    (clean,) = (one for one in results if one.cell.attack == "none")
    return per_image(clean, attacked=False)


def behind(weights: str) -> str:
    return f"rain(enhancer=compact(weights={weights}))"


def points(comparison: Paired) -> str:
    return percent_text(abs(comparison.difference))


@pytest.mark.parametrize("weights", ["adversarial", "imagenette"])
def test_the_gains_of_experiment_46(weights: str) -> None:
    page = (NOTEBOOK / "46-before-a-robust-classifier.md").read_text()
    gain = paired(scores("behind96", behind(weights), "pgd"), scores("behind96", "none", "pgd"))
    assert gain.p < 0.001
    assert f"{points(gain)} points, better on {gain.better} images and worse on " in page


def test_tuning_gains_nothing_in_experiment_46() -> None:
    page = (NOTEBOOK / "46-before-a-robust-classifier.md").read_text()
    tuned = behind("runs/behind/tuned/weights.safetensors")
    change = paired(scores("behind96", tuned, "pgd"), scores("behind96", behind("adversarial"), "pgd"))
    assert change.p > 0.5
    assert f"(better on {change.better}, worse on {change.worse})" in page


def test_the_figures_of_experiment_47() -> None:
    page = (NOTEBOOK / "47-known-draw-long.md").read_text()
    new, old = (
        scores(study, behind(weights), "steps=80")
        for study, weights in (("known96", "known"), ("imagenette96", "adversarial"))
    )
    left = [f"{percent_text(sum(each.values()) / len(each))}" for each in (new, old)]
    gain = paired(new, old)
    assert f"it holds {left[0]} where `adversarial` holds {left[1]}" in page
    assert f"it is better on {gain.better} and worse on {gain.worse} (p < 0.001)" in page
    cost = paired(scores("known96", behind("known")), scores("imagenette96", behind("adversarial")))
    assert f"(better on {cost.better} of {cost.images}, worse on {cost.worse}, p = {cost.p:.2f})" in page
    assert f"{left[0]} instead of {left[1]}" in (NOTEBOOK / "index.md").read_text()


def test_experiment_47_on_images_on_which_its_recipe_was_not_chosen() -> None:
    page = (NOTEBOOK / "47-known-draw-long.md").read_text()
    halves = []
    for weights in ("known", "imagenette"):
        left = scores("checklist96", behind(weights), "pgd(confidence=3.0, step=1/255, steps=20)")
        assert len(left) == 200
        both = [[left[index] for index in part] for part in (range(100), range(100, 200))]
        halves.append([percent_text(sum(part) / 100) for part in both])
    (first, second), plain = halves
    assert f"it keeps {first} of them, and {second} of the next 100" in page
    assert f"DG {plain[0]} and {plain[1]}." in page


def test_no_attack_of_the_statement_finds_two_points_more_than_that_of_the_checklist() -> None:
    results = [one for one in load(ROOT / "studies" / "statement96") if one.cell.attack != "none"]
    behind_rain = [one for one in results if one.cell.defense != "none"]
    held = {one.cell.defense: per_image(one) for one in behind_rain if one.cell.attack.startswith("pgd(")}
    others = [one for one in behind_rain if not one.cell.attack.startswith("pgd(")]
    assert len(held) == 2
    assert len(others) == 5
    for other in others:
        more = paired(held[other.cell.defense], per_image(other))
        assert more.images >= 10
        assert more.difference <= 0.02, other.cell


def test_all_attacks_of_the_statement_together_find_more_than_two_points() -> None:
    results = [
        one for one in load(ROOT / "studies" / "statement96") if one.cell.defense == behind("imagenette")
    ]
    (held,) = (per_image(one) for one in results if one.cell.attack.startswith("pgd("))
    twenty = [one for one in results if one.cell.attack != "none" and len(one.outcomes) == 20]
    more = paired({index: held[index] for index in per_image(twenty[0])}, worst_images(twenty))
    assert more.images == 20
    assert (
        f"leaves {more.difference * 100:.0f} points less of the plain DG"
        in (ROOT / "docs" / "results.md").read_text()
    )


def test_what_the_longer_attack_left_of_the_defences_at_96_pixels() -> None:
    left = scores("defenses96", "crop_ensemble", "steps=60")
    assert max(left.values()) == 0
    chain = f"chain(parts=jpeg+{behind('imagenette')})"
    longer, alone = (
        scores("defenses96", defense, attack)
        for defense, attack in ((chain, "steps=60"), (behind("imagenette"), "steps=20"))
    )
    both = scores("defenses96", chain, "steps=")
    assert sum(both[image] for image in longer) <= sum(alone[image] for image in longer) + 1
    longer, shorter = (scores("defenses96", "bart", attack) for attack in ("steps=60", "steps=20"))
    assert sum(longer.values()) > sum(shorter[image] for image in longer)


def test_before_lite2_rain_keeps_most_of_transferred_attacks_and_nothing_of_adaptive_ones() -> None:
    results = [one for one in load(ROOT / "studies" / "defenses224-lite2") if one.cell.access == "transfer"]
    left = {one.cell.defense: sum(per_image(one).values()) for one in results}
    others = [kept for defense, kept in left.items() if "rain" not in defense]
    assert all(left[defense] > max(others) for defense in left if "rain" in defense)
    assert max(scores("defenses224-lite2", "rain", "steps=20").values()) == 0


def test_every_claim_is_allowed_at_224_pixels_and_nothing_is_left() -> None:
    folder = ROOT / "studies" / "checklist224"
    checked = [one for one in checklist(load(folder), load_proofs(folder)) if not one.control]
    assert len(checked) == 5
    for one in checked:
        assert one.refusals == []
        left = left_of_each(one.case.adaptive)
        assert len(left) == 100
        assert sum(left.values()) / 100 < 0.05
