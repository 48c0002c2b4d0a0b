"""The checklist as a panel of the page and of the tables."""

import re
from dataclasses import replace

from synthetic import cell, result, share, three_columns, unattacked

from rain.bench.cells import Result
from rain.report.labels import defense_labels
from rain.report.markdown import markdown
from rain.report.page import html
from rain.report.panel import SIGNS, Panel, panels


def made(results: list[Result]) -> list[Panel]:
    return panels(results, [], defense_labels({one.cell.defense for one in results}))


def test_a_panel_has_a_column_for_each_defence_and_rows_for_what_was_run() -> None:
    (panel,) = made([*three_columns(), *three_columns(defense="jpeg")[1:]])
    assert [head.label for head in panel.heads] == ["jpeg", "rain"]
    assert [head.budget for head in panel.heads] == ["4/255", "4/255"]
    rows = {row.point.name: row for row in panel.rows}
    assert rows["Adaptive attack"].verdicts[0].state == "passed"
    assert "Attack proven" not in rows
    missing = {one.point.name: one for one in panel.missing}
    assert missing["Attack proven"].needed
    assert not missing["Steps doubled"].needed
    # A gate applies to neither, so that nothing is said of one.
    assert "Gate or alarm" not in rows.keys() | missing.keys()


def test_a_point_that_one_of_several_was_held_to_has_a_row() -> None:
    results = [*three_columns(), *three_columns(defense="jpeg", adaptive=None)[1:]]
    (panel,) = made(results)
    (row,) = [row for row in panel.rows if row.point.name == "Adaptive attack"]
    assert [verdict.state for verdict in row.verdicts] == ["not run", "passed"]
    assert panel.heads[0].refusals == ["Adaptive attack was not run", "Attack proven was not run"]
    assert panel.heads[0].claim.startswith("no claim is allowed: Adaptive attack")


def test_a_control_has_no_column_but_is_named() -> None:
    few = result(cell(defense="rain(shift=0.0)", examples=20), share(0.1, 20))
    results = [*three_columns(), few]
    (panel,) = made(results)
    assert [head.label for head in panel.heads] == ["rain"]
    assert panel.controls == ["rain (shift 0)"]
    said = "No claim is asked of rain (shift 0): ablations"
    assert said in markdown(results)
    assert said in html(results, {}).replace("<wbr>", "")


def test_another_norm_is_a_column_and_another_place_a_panel() -> None:
    there = [replace(one, cell=replace(one.cell, dataset="folder:there")) for one in three_columns()]
    in_l2 = result(cell(norm="l2", eps=0.5, draws=3), share(0.1))
    here, elsewhere = made([*three_columns(), in_l2, *there])
    assert {len(here.heads), len(elsewhere.heads)} == {1, 2}
    budgets = [head.budget for panel in (here, elsewhere) for head in panel.heads]
    assert sorted(budgets) == ["0.5 in l2", "4/255", "4/255"]


def test_nothing_is_said_where_no_defence_was_attacked() -> None:
    clean = [result(unattacked(defense="none"), share(0.9)), result(unattacked(draws=4), share(0.8))]
    assert made(clean) == []
    assert "Not run:" not in html(clean, {})
    assert "evaluation checklist" not in markdown(clean)


def test_the_page_says_states_by_sign_and_word() -> None:
    weak = result(cell(attack="square", access="query", eot=1, draws=3), share(0.1))
    text = html([*three_columns(adaptive=0.5), weak], {})
    assert f"{SIGNS['passed']} passed" in text
    assert f"{SIGNS['failed']} failed" in text
    assert f"{SIGNS['failed']} not allowed" in text
    assert "arXiv 1802.00420" in text
    assert "White box against black failed" in text
    # It opens the report behind the verdict.
    order = [text.index(part) for part in ('id="verdict"', 'class="figures points"', 'id="figures"')]
    assert order == sorted(order)


def test_the_tables_have_the_panel() -> None:
    text = markdown(three_columns())
    (line,) = re.findall(r"^\| Adaptive attack .*$", text, re.MULTILINE)
    assert "passed: 0.0 % left of 200 images" in line
    assert "| A claim | not allowed |" in text
    assert "Not run: Attack proven (a claim needs it), " in text


def test_names_of_others_are_escaped() -> None:
    hostile = "rain(enhancer='<b>|x')"
    results = [replace(one, cell=replace(one.cell, defense=hostile)) for one in three_columns()[1:]]
    assert "<b>" not in html(results, {})
    assert "<b>" not in markdown(results)
