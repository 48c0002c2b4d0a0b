"""The marks of Markdown: tables, code, and text that is not to be read as marks. Never imports torch."""

import re
from collections.abc import Iterable, Sequence

MARKS = re.compile(r"([\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
"""What Markdown reads as marks; an underscore between letters is none."""

START = re.compile(r"^(\d*)([#+>.)-])(?=[#\s]|$)")
"""What begins a heading, a list or a quotation."""


def table_of(lines: Iterable[Sequence[str]]) -> str:
    """Write lines as a table; the first is its header, and the first column names the line."""
    header, *body = lines
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, rule, *body])


def escaped(text: str) -> str:
    """Write text that is to be read as text: result files may name things as they like."""
    one_line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return START.sub(r"\1\\\2", MARKS.sub(r"\\\1", one_line))


def code(text: str) -> str:
    """Write a spec as code, where nothing in it could end the code."""
    return escaped(text) if re.search(r"[`|<&\n]", text) else f"`{text}`"
