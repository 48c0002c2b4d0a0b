"""What a result file holds, as JSON Schema, for programs of others. Never imports torch.

It comes out of the tables of ``rain.bench.schema``, by which files are read, so that the two cannot differ.
"""

import json
from collections.abc import Mapping
from typing import Any

from rain.bench.cells import FORMATS
from rain.bench.certificates import FORMAT as CERTIFICATE_FORMAT
from rain.bench.schema import (
    CELL,
    CERTIFIED,
    CERTIFIED_CHUNK,
    CERTIFIED_IMAGE,
    CHUNK,
    MAY_MISS,
    OUTCOME,
    Kind,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"

BEYOND = (
    "Reading checks more, which a schema cannot say: a spec may hold brackets only so deep in one another; "
    "an integer is written without a point, and a score with one; an image has as many answers as the cell "
    "has draws; the images are those of the chunk that the file's name says, in the folder that the cell's "
    "key names."
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
    fields = _fields(CERTIFIED_CHUNK) | {
        "format": {"const": CERTIFICATE_FORMAT},
        "certified": _object(CERTIFIED),
        "images": {"type": "array", "items": _object(CERTIFIED_IMAGE)},
    }
    return _head("A chunk of certificates of rain certify") | {
        "type": "object",
        "properties": fields,
        "required": ["format", "certified", *CERTIFIED_CHUNK],
    }


def schema_files() -> dict[str, str]:
    """The files in the documentation, by name."""
    schemas = {"result": result_schema(), "certificate": certificate_schema()}
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
