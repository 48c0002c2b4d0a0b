"""What a result file holds, as JSON Schema, for programs of others. Never imports torch.

It comes out of the tables of ``rain.bench.schema``, by which files are read, so that the two cannot differ.
"""

import json
from collections.abc import Mapping
from typing import Any

from rain.bench.cells import FORMATS
from rain.bench.certificates import FORMAT as CERTIFICATE_FORMAT
from rain.bench.proofs import FORMAT as PROOF_FORMAT
from rain.bench.schema import (
    CELL,
    CERTIFIED,
    CERTIFIED_CHUNK,
    CERTIFIED_IMAGE,
    CHUNK,
    MAY_MISS,
    OUTCOME,
    PROOF,
    PROOF_CHUNK,
    PROVEN_IMAGE,
    Kind,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"

BEYOND = (
    "Reading checks more, which a schema cannot say: a spec may hold brackets only so deep in one another, "
    "and that of a classifier, a defence or an attack is name(option=value, ...); an integer is written "
    "without a point, and a score with one; an image has as many answers as the cell has draws; the images "
    "are those of the chunk that the file's name says, in the folder that the cell's key names."
)


def result_schema() -> dict[str, Any]:
    """Describe ``DIR/<key>/<chunk>.json``, as ``rain run`` writes it."""
    fields = _fields(CHUNK) | {
        "format": {
            "enum": list(FORMATS),
            "description": "left out by rain 0.1; 2: some images are left out; 3: with a gate's scores",
        },
        "cell": _object(CELL),
        "outcomes": {"type": "array", "items": _object(OUTCOME)},
    }
    return _head("A chunk of results of rain run") | {
        "type": "object",
        "properties": fields,
        "required": ["cell", *CHUNK],
    }


def certificate_schema() -> dict[str, Any]:
    """Describe ``DIR/certificates/<key>/<chunk>.json``, as ``rain certify`` writes it."""
    tables = ("certified", CERTIFIED), CERTIFIED_CHUNK, CERTIFIED_IMAGE
    return _of_images("A chunk of certificates of rain certify", CERTIFICATE_FORMAT, *tables)


def proof_schema() -> dict[str, Any]:
    """Describe ``DIR/proofs/<key>/<chunk>.json``, as ``rain prove`` writes it."""
    tables = ("proof", PROOF), PROOF_CHUNK, PROVEN_IMAGE
    return _of_images("A chunk of the proof of an attack of rain prove", PROOF_FORMAT, *tables)


def _of_images(
    title: str,
    form: int,
    about: tuple[str, Mapping[str, Kind]],
    chunk: Mapping[str, Kind],
    image: Mapping[str, Kind],
) -> dict[str, Any]:
    """Describe a chunk of one format that says something of each of its images.

    Args:
        about: the name of what was asked, and its fields.
        chunk, image: fields of the chunk and of an image.
    """
    name, fields = about
    properties = _fields(chunk) | {
        "format": {"const": form},
        name: _object(fields),
        "images": {"type": "array", "items": _object(image)},
    }
    required = ["format", name, *chunk]
    return _head(title) | {"type": "object", "properties": properties, "required": required}


def schema_files() -> dict[str, str]:
    """The files in the documentation, by name."""
    schemas = {"result": result_schema(), "certificate": certificate_schema(), "proof": proof_schema()}
    return {f"{name}.schema.json": json.dumps(schema, indent=2) + "\n" for name, schema in schemas.items()}


def _head(title: str) -> dict[str, Any]:
    return {"$schema": DIALECT, "title": title, "description": BEYOND}


def _object(fields: Mapping[str, Kind]) -> dict[str, Any]:
    """A table with these fields and no other."""
    return {
        "type": "object",
        "properties": _fields(fields),
        "required": [name for name in fields if name not in MAY_MISS],
        "additionalProperties": False,
    }


def _fields(fields: Mapping[str, Kind]) -> dict[str, Any]:
    return {name: {"description": kind.words, **kind.schema} for name, kind in fields.items()}
