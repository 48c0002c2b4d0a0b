"""The published schema says what reading says: of every file that we ship, and of every odd value."""

import json
from collections.abc import Mapping
from copy import deepcopy
from math import inf, nan
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from synthetic import cell, result, with_gate, write

from rain.bench.cells import FORMATS
from rain.bench.published import certificate_schema, proof_schema, result_schema, schema_files
from rain.bench.schema import (
    CELL,
    CERTIFIED,
    CERTIFIED_CHUNK,
    CERTIFIED_IMAGE,
    CHUNK,
    LABELS,
    MOST,
    OUTCOME,
    PROOF,
    PROOF_CHUNK,
    PROVEN_IMAGE,
    Kind,
    fault_of,
    fault_of_proof,
)

ROOT = Path(__file__).parents[2]
STUDIES = sorted(path for path in (ROOT / "studies").iterdir() if any(path.glob("*/[0-9]*.json")))
RESULT = jsonschema_rs.validator_for(result_schema())
TABLES = [CELL, OUTCOME, CHUNK, CERTIFIED, CERTIFIED_IMAGE, CERTIFIED_CHUNK]
TABLES += [PROOF, PROVEN_IMAGE, PROOF_CHUNK]
ODD = [
    *(
        None,
        True,
        False,
        -1,
        0,
        1,
        2,
        -0.5,
        0.5,
        1.5,
        1e-300,
        10**7,
        MOST,
        MOST + 1,
        LABELS + 1,
        2**63,
        -(2**64),
    ),
    *(
        "",
        "linf",
        "static",
        "none",
        "x" * 20_001,
        "x" * 1_000_001,
        [],
        [0],
        [0.5],
        [[]],
        [None],
        {},
        {"a": "b"},
    ),
    *({"a": 1}, {str(number): "" for number in range(101)}),
]


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_shipped_results_are_as_the_schema_says(study: Path) -> None:
    for path in sorted(study.glob("*/00000.json")):
        RESULT.validate(json.loads(path.read_text()))


def test_the_schemas_in_the_documents_are_those_of_the_tables() -> None:
    for name, text in schema_files().items():
        assert (ROOT / "docs" / name).read_text() == text, "run: make docs"
        jsonschema_rs.meta.validate(json.loads(text))


@pytest.mark.parametrize("fields", TABLES)
def test_a_value_is_what_both_say(fields: Mapping[str, Kind]) -> None:
    for name, kind in fields.items():
        assert kind.schema, name
        validator = jsonschema_rs.validator_for(dict(kind.schema))
        for value in ODD:
            is_score = "suspicion" in name and value == [0]  # a number for the schema, without a point
            assert validator.is_valid(value) == (kind.fits(value) or is_score), (name, value)


def test_what_only_python_has_fits_nowhere() -> None:
    """JSON has neither of these, so that no schema is asked."""
    for fields in TABLES:
        for name, kind in fields.items():
            assert not kind.fits(nan), name
            assert not kind.fits(inf), name


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    write(tmp_path, [with_gate(result(cell(draws=2), [1, 0]), [0.1, 0.2], [0.3, 0.9])])
    (path,) = tmp_path.glob("*/*.json")
    return json.loads(path.read_text())


def test_what_is_left_out_or_added_is_refused_by_both(content: dict[str, Any]) -> None:
    assert RESULT.is_valid(content)
    assert fault_of(content) == ""
    for table in ("cell", "outcomes"):
        for name in [*(content["cell"] if table == "cell" else content["outcomes"][0]), "more"]:
            other = deepcopy(content)
            row = other["cell"] if table == "cell" else other["outcomes"][0]
            if name in row:
                del row[name]
            else:
                row[name] = 1
            assert RESULT.is_valid(other) == (fault_of(other) == ""), name
    for name in ("cell", "chunk", "outcomes", "made_by"):
        other = {key: value for key, value in content.items() if key != name}
        assert not RESULT.is_valid(other)
        assert fault_of(other)


@pytest.mark.parametrize("form", [*FORMATS, 0, 99, "1", None])
def test_formats_are_those_that_are_read(content: dict[str, Any], form: Any) -> None:
    assert RESULT.is_valid({**content, "format": form}) == (form in FORMATS)
    del content["format"]
    assert RESULT.is_valid(content)


def test_certificates_have_a_schema(tmp_path: Path) -> None:
    validator = jsonschema_rs.validator_for(certificate_schema())
    image = {"index": 0, "label": 1, "answer": -1, "radius": 0.0, "guess": 1, "votes": 3}
    about = {"dataset": "d", "size": 8, "classifier": "c", "defense": "smooth", "sigma": 0.25, "n0": 1}
    about |= {"n": 2, "alpha": 0.001, "seed": 0, "examples": 1, "chunk": 1}
    content = {"format": 1, "certified": about, "chunk": 0, "images": [image], "made_by": {}}
    assert validator.is_valid(content)
    assert not validator.is_valid({**content, "images": [{**image, "radius": -1}]})
    assert not validator.is_valid({**content, "format": 2})


def test_proofs_have_a_schema() -> None:
    validator = jsonschema_rs.validator_for(proof_schema())
    image = {"index": 0, "fit": True, "found": True, "random_found": False}
    about = {
        "dataset": "d",
        "size": None,
        "classifier": "c",
        "defense": "rain",
        "attack": "pgd",
        "norm": "linf",
    }
    about |= {"eps": 0.1, "access": "adaptive", "eot": 2, "inside": 3, "planted": 1, "draws": 4, "seed": 0}
    about |= {"examples": 1, "chunk": 1}
    content = {"format": 1, "proof": about, "chunk": 0, "images": [image], "made_by": {}}
    odd = [{"images": [image | {"found": 1}]}, {"proof": about | {"access": "guess"}}, {"made_by": []}]
    for changes in ({}, *odd):
        assert validator.is_valid(content | changes) == (fault_of_proof(content | changes) == "")
    assert validator.is_valid(content)
