"""What ``rain list recipes NAME`` says of the fields."""

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from rain.training.explanation import explain, meanings
from rain.training.recipe import Config, shipped


def test_every_field_is_explained() -> None:
    texts = meanings()
    for field in fields(Config):
        assert len(texts[field.name]) > 10, field.name
    assert texts["eps"] == texts["norm"]


@pytest.mark.parametrize("path", shipped().values(), ids=lambda path: path.stem)
def test_what_is_printed_is_the_recipe_still(path: Path) -> None:
    text = explain(path)
    assert tomllib.loads(text) == tomllib.loads(path.read_text())
    own, _, others = text.partition("# What it leaves out")
    for name in tomllib.loads(text):
        assert f"#   {name} = " in own
        assert f"#   {name} = " not in others
    assert "#   seed = 0: " in others
