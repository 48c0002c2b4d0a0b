"""The marks of Markdown: tables, code, and text that is not to be read as marks. Never imports torch."""

import re
from collections.abc import Iterable, Sequence


def table_of(lines: Iterable[Sequence[str]]) -> str:
    """Write lines as a table; the first is its header, and the first column names the line."""
    header, *body = lines
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, rule, *body])


def escaped(text: str) -> str:
    """Write text that is to be read as text: result files may name things as they like."""
    one_line = " ".join(text.split())
    return re.sub(r"([\\`*\[\]|~])", r"\\\1", one_line.replace("&", "&amp;").replace("<", "&lt;"))


def code(text: str) -> str:
    """Write a spec as code, where nothing in it could end the code."""
    return escaped(text) if re.search(r"[`|<&\n]", text) else f"`{text}`"
