"""What the attacks of the study of certificates say of its certificates."""

from collections import Counter
from pathlib import Path

from rain.bench.cells import load
from rain.bench.certificates import load_certified

ROOT = Path(__file__).parent.parent


def test_no_attack_turned_a_certified_answer_and_the_notebook_counts_them() -> None:
    study = ROOT / "studies" / "certified96"
    certificates = {
        one.cell.defense: {image.index: image for image in one.images} for one in load_certified(study)
    }
    pairs = 0
    for result in load(study):
        if result.cell.attack == "none" or result.cell.defense not in certificates:
            continue
        images = certificates[result.cell.defense]
        for outcome in result.outcomes:
            image = images[outcome.index]
            if image.is_right and image.radius >= result.cell.eps:
                pairs += 1
                assert Counter(outcome.robust).most_common(1)[0][0] == image.label
    assert f"Of {pairs} pairs" in (ROOT / "docs" / "notebook" / "43-certificates.md").read_text()
