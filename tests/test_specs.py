"""Specs in one line."""

from rain.specs import parse


def test_who_changes_an_option_changes_it_for_himself() -> None:
    parse("a(x=[1])")[1]["x"].append(2)
    assert parse("a(x=[1])") == ("a", {"x": [1]})
