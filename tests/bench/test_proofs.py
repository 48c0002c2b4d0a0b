"""Files of proofs: what is written comes back, and what others send is checked."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from synthetic import proof_cell

from rain.bench import proofs
from rain.bench.proofs import ProvenImage
from rain.errors import ResultError

CELL = proof_cell()
FOUND = ProvenImage(0, fit=True, found=True, random_found=False)
MISSED = ProvenImage(1, fit=True, found=False, random_found=False)


def test_a_proof_comes_back_as_shares(tmp_path: Path) -> None:
    """Shares are of the images on which the test could be made, over all chunks."""
    proofs.save(tmp_path, CELL, 0, [FOUND, MISSED], {"torch": "2"})
    (proof,) = proofs.load(tmp_path)
    assert (proof.images, proof.found, proof.random_found, proof.complete) == (2, 0.5, 0.0, False)
    third = ProvenImage(2, fit=True, found=True, random_found=True)
    fourth = ProvenImage(3, fit=False, found=False, random_found=False)
    proofs.save(tmp_path, CELL, 1, [third, fourth], {"torch": "2"})
    (proof,) = proofs.load(tmp_path)
    assert (proof.images, proof.unfit, proof.complete) == (3, 1, True)
    assert proof.found == pytest.approx(2 / 3)
    assert (proof.attack, proof.access, proof.eot) == ("pgd(steps=2)", "adaptive", 2)
    assert not proof.passed
    assert replace(proof, found=0.95).passed
    assert not replace(proof, images=0, found=1.0).passed
    assert not proofs.pending(tmp_path, [CELL])


def test_a_folder_without_proofs_has_none(tmp_path: Path) -> None:
    """A report of a folder of before reads it as ever."""
    assert proofs.load(tmp_path) == []
    assert len(proofs.pending(tmp_path, [CELL])) == 2


HOSTILE = [
    ({"format": 2}, "its format is 2"),
    ({"chunk": 7}, "a chunk that the cell does not have"),
    ({"images": 3}, "images is 3, not a list"),
    ({"images": [asdict(FOUND)]}, "not those of the chunk"),
    ({"images": [asdict(FOUND), asdict(MISSED) | {"found": 1}]}, "found is 1, not true or false"),
    ({"images": [asdict(FOUND), asdict(MISSED) | {"fit": False, "found": True}]}, "nothing could be planted"),
    ({"proof": asdict(CELL) | {"eps": float("nan")}}, "NaN"),
    ({"proof": asdict(CELL) | {"access": "<script>"}}, "access is '<script>'"),
    ({"proof": asdict(CELL) | {"examples": 10**30}}, "examples"),
    ({"proof": asdict(CELL) | {"planted": 3}}, "does not hold what its name says"),
    ({"proof": asdict(CELL) | {"more": 1}}, "'more', which is no field"),
]


@pytest.mark.parametrize(("change", "words"), HOSTILE)
def test_files_of_others_are_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    """Whatever a file holds that is not a proof's, the error names it."""
    proofs.save(tmp_path, CELL, 0, [FOUND, MISSED], {})
    path = proofs.path_of(tmp_path, CELL, 0)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ResultError, match=r"rain prove again|install the version") as caught:
        proofs.load(tmp_path)
    assert words in str(caught.value)
