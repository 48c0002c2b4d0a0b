"""What experiment 40 says of RAIN before a robust classifier, held against its study."""

from pathlib import Path
from statistics import fmean

from rain.bench.cases import Scores
from rain.bench.cells import Result, load
from rain.bench.metrics import per_image, percent_text, worst_images
from rain.bench.proofs import load as load_proofs
from rain.bench.significance import paired

ROOT = Path(__file__).parent.parent
STUDY = ROOT / "studies" / "robust96"


def test_the_figures_of_experiment_40_are_those_of_the_study() -> None:
    results = load(STUDY)
    page = (ROOT / "docs" / "notebook" / "40-robust-baselines.md").read_text()

    def alone(name: str) -> Scores:
        return worst_images(
            [one for one in results if name in one.cell.classifier and is_adaptive(one, bare=True)]
        )

    behind = [one for one in results if "madry2" in one.cell.classifier and is_adaptive(one, bare=False)]
    wide = {one.cell.attack.partition("(")[0]: one for one in behind if one.cell.eot == 20}
    (more,) = [one for one in behind if one.cell.eot == 40]
    (known,) = [one for one in results if one.cell.access == "known"]
    few = set(per_image(more))
    assert few == set(per_image(known)) == set(range(50))

    best = paired(worst_images(behind), alone("madry4"))
    assert best.p < 0.001
    assert f"better on {best.better} of {best.images} and worse on {best.worse}" in page
    assert f"APGD leaves {text(per_image(wide['apgd']))}, PGD {text(per_image(wide['pgd']))}" in page
    less, most = text(of(few, per_image(wide["pgd"]))), text(per_image(more))
    assert f"PGD leaves {less} with 20 draws a step, and {most} with 40" in page
    every = {outcome.index: True for outcome in wide["pgd"].outcomes}
    for one in wide.values():
        for outcome in one.outcomes:
            every[outcome.index] &= set(outcome.robust) == {outcome.label}
    again = paired({index: float(right) for index, right in every.items()}, alone("madry2"))
    assert f"better on {again.better} images and worse on {again.worse}," in page
    assert f"which may be noise (p = {again.p:.2f})" in page
    assert f"alone keeps {text(alone('madry2'))}" in page
    bare = text(of(few, alone("madry2")))
    assert (
        f"leaves {text(per_image(known))} of the first 50 images, of which the classifier alone keeps {bare}"
        in page
    )
    assert {(proof.found, proof.images) for proof in load_proofs(STUDY)} == {(1.0, 19)}
    assert "plants, on 19 images" in page


def is_adaptive(one: Result, *, bare: bool) -> bool:
    return one.cell.access == "adaptive" and (one.cell.defense == "none") is bare


def of(images: set[int], scores: Scores) -> Scores:
    return {index: scores[index] for index in images}


def text(scores: Scores) -> str:
    return f"{percent_text(fmean(scores.values()))} %"
