"""The terminal's table says what the attacker knew, and believes no name."""

import re
from dataclasses import replace

from rich.console import Console
from synthetic import cell, result, share, three_columns, unattacked

from rain.bench.cells import Result
from rain.bench.metrics import rows
from rain.report.table import table


def printed(results: list[Result]) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table(rows(results)))
    return capture.get()


def test_table_says_what_the_attacker_knew_and_escapes_markup() -> None:
    text = printed([*three_columns(defense="[red]x"), result(unattacked(), share(0.5), share(0.5))])
    assert re.search(r"\[red\]x .* 4/255 +adaptive +20 +3 +66\.0 +0\.0 +0\.0 to 1\.9", text)
    assert re.search(r"rain +none .* - +- +- +1 +50\.0 +- +-", text)
    assert "samples, 224 pixels, small, linf" in text


def test_an_empty_table() -> None:
    assert "access" in printed([])


def test_what_is_not_finished_has_a_star() -> None:
    *others, last = three_columns()
    half = replace(last, outcomes=last.outcomes[:50], complete=False)
    text = printed([*others, half])
    assert "rain *" in text
    assert "*: not finished; run the same grid again." in text
    assert "*" not in printed([*others, last])


def test_a_budget_that_is_none_is_any() -> None:
    free = {"attack": "carlini_wagner", "norm": "l2", "eps": 1000.0}
    assert "any" in printed([*three_columns(), result(cell(**free), share(0.0), share(0.8))])
