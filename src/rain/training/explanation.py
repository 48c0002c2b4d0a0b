"""What the fields of a recipe mean, as comments that TOML takes. Never imports torch."""

import inspect
import re
import textwrap
import tomllib
from dataclasses import fields
from pathlib import Path

from rain.files import read_text
from rain.specs import number
from rain.training.recipe import Config

WIDTH = 110


def explain(path: Path) -> str:
    """Give the text of a recipe file, and then, as comments, what each field means.

    The text is a recipe still: it can be written into a file and changed.
    """
    text = read_text(path).rstrip()
    table = tomllib.loads(text)
    defaults = {field.name: field.default for field in fields(Config)}
    own = [_comment(name, value) for name, value in table.items()]
    others = [_comment(name, value) for name, value in defaults.items() if name not in table]
    parts = [text, "# Its fields:", *own, "# What it leaves out, with the defaults:", *others]
    return "\n".join(parts)


def meanings() -> dict[str, str]:
    """What each field means, by name, from the docstring of ``Config``; several may share a text."""
    _, _, args = inspect.cleandoc(Config.__doc__ or "").partition("Args:\n")
    args, _, _ = args.partition("\nRaises:")
    texts: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \w)", args.rstrip()):
        names, _, text = entry.strip().partition(":")
        for name in names.split(","):
            texts[name.strip()] = " ".join(text.replace("``", "").split())
    return texts


def _comment(name: str, value: object) -> str:
    text = f"{name} = {_toml(value)}: {meanings()[name]}"
    return textwrap.fill(text, WIDTH, initial_indent="#   ", subsequent_indent="#       ")


def _toml(value: object) -> str:
    """A field's value as TOML has it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, float):
        text = number(value)
        return f'"{text}"' if "/" in text else text
    return str(value)
