"""Tables in files that somebody else may have written: TOML and JSON, of a usual size and depth.

Never imports torch.
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from rain.files import not_utf8, read_foreign
from rain.specs import LARGEST, LONGEST

TOML_BYTES = 2**20
"""Of a grid or a recipe, at most."""

KEY_PARTS = 16
"""Parts of a dotted key, at most: reading one takes the square of their number."""

_TEXT = re.compile(r'"(?:[^"\\\n]|\\.)*+"|' + r"'[^'\n]*+'")
_LONG_KEY = re.compile(rf"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{KEY_PARTS}}}")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        OSError: with the reason: it is missing, no regular file, or too large.
        ValueError: says why it is no TOML, or what in it no table of ours has.
    """
    content = read_foreign(path, TOML_BYTES)
    try:
        return parse_toml(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(not_utf8(error)) from None


def parse_toml(text: str) -> dict[str, Any]:
    """Read a table out of TOML.

    Raises:
        ValueError: as ``read_toml``.
    """
    if _LONG_KEY.search(_TEXT.sub("_", text)):
        raise ValueError(f"a key of more than {KEY_PARTS} parts")
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise ValueError("not TOML: too many brackets within one another") from None
    except ValueError as error:  # among them Python's own, of an integer of too many digits
        raise ValueError(f"not TOML: {error}") from None
    _check_values(table)
    return table


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """Read JSON.

    Args:
        text: of the file.
        finite: whether NaN and Infinity are refused, which are no JSON. Logs of training hold them.

    Raises:
        ValueError: it is none, or holds too many brackets within one another.
    """
    try:
        return json.loads(text, parse_constant=_refuse if finite else None)
    except RecursionError:
        raise ValueError("too many brackets within one another") from None


def parse_json_table(text: str | bytes, *, finite: bool = True) -> dict[str, Any]:
    """Read a table out of JSON.

    Raises:
        ValueError: as ``parse_json``, or it is something else.
    """
    table = parse_json(text, finite=finite)
    if not isinstance(table, dict):
        raise ValueError(f"it holds a {type(table).__name__}, and no table")
    return table


def _check_values(value: Any, name: str = "") -> None:
    """Raise ``ValueError`` for an integer or a text that no key takes, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_values(inner, key)
    elif isinstance(value, list):
        for inner in value:
            _check_values(inner, name)
    elif isinstance(value, int) and not -LARGEST <= value < LARGEST:
        raise ValueError(f"{name} is an integer of more than 64 bits")
    elif isinstance(value, str) and len(value) > LONGEST:
        raise ValueError(f"{name} is a text of {len(value)} characters, and at most {LONGEST} are taken")


def _refuse(constant: str) -> None:
    """Raise ``ValueError``: NaN and Infinity are no JSON."""
    raise ValueError(f"{constant} is no number")
