"""Text in Markdown is read as text."""

import re

import pytest
from markdown_it import MarkdownIt

from rain.report.markup import escaped

NAMES = (
    "csv:/data/_old_/val",
    "my_pkg.__init__:fn",
    "pixel_deflection",
    "# x",
    "###",
    "- x",
    "+ x",
    "1. x",
    "12) x",
    "> x",
    "a*b* [c](d) `e` <b> &amp; \\*",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("around", ["{}", "*{}, 96 pixels*", "- {}"])
def test_a_name_stays_what_it_is(name: str, around: str) -> None:
    page = MarkdownIt().render(around.format(escaped(name)))
    text = re.sub(r"</?(p|em|ul|li)>|\n", "", page)  # what `around` itself makes
    if around == "{}":
        assert "<em>" not in page
    text = text.removesuffix(", 96 pixels")
    assert text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == name


def test_a_dollar_begins_no_formula() -> None:
    assert escaped("$a_b$ of 3$") == r"\$a_b\$ of 3\$"


def test_what_needs_no_mark_gets_none() -> None:
    assert escaped("pixel_deflection, 4/255") == "pixel_deflection, 4/255"
    assert escaped("-0.5 and 1.5") == "-0.5 and 1.5"
