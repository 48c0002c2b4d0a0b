"""Curves over what an attacker spends: one line a defence, on the same images, and nothing folded away."""

from dataclasses import replace
from typing import Any

from synthetic import cell, result, share, three_columns

from rain.bench.cells import Result
from rain.report.effort_plot import efforts
from rain.report.labels import defense_labels
from rain.report.page import html
from rain.report.plots import Plot


def plots(*results: Result) -> list[Plot]:
    return efforts(results, defense_labels(sorted({one.cell.defense for one in results})))


def pgd(steps: int, rate: float, **changes: Any) -> Result:
    return result(cell(attack=f"pgd(confidence=3.0, steps={steps})", **changes), share(rate, 20))


def test_draws_make_a_curve() -> None:
    curve = [result(cell(eot=eot), share(rate, 20)) for eot, rate in ((20, 0.1), (1, 0.5), (5, 0.2))]
    ((panel,),) = [plot.panels for plot in plots(*curve)]
    assert panel.title == "adaptive, 4/255: pgd(confidence=inf)"
    assert panel.text.endswith("rain: 50.0 % at 1, 20.0 % at 5, 10.0 % at 20.")


def test_steps_make_a_curve_with_the_bare_classifier_beside_it() -> None:
    bare = [pgd(steps, 0.0, defense="none", eot=1) for steps in (20, 40)]
    ((panel,),) = [plot.panels for plot in plots(pgd(20, 0.4), pgd(40, 0.3), *bare)]
    assert panel.title == "adaptive, 4/255: pgd(confidence=3.0), eot 20"
    assert "no defence: 0.0 % at 20, 0.0 % at 40; rain: 40.0 % at 20, 30.0 % at 40." in panel.text


def test_queries_make_a_curve() -> None:
    curve = [
        result(cell(attack=f"square(queries={queries})", access="query", eot=1), share(rate, 20))
        for queries, rate in ((100, 0.5), (1000, 0.2))
    ]
    ((panel,),) = [plot.panels for plot in plots(*curve)]
    assert panel.text == "Accuracy against queries. rain: 50.0 % at 100, 20.0 % at 1000."


def test_a_line_is_of_the_images_that_all_its_points_have() -> None:
    few = result(cell(eot=20), [0, 1])
    many = result(cell(eot=1), [1, 1, 0, 0, 0, 0])
    ((panel,),) = [plot.panels for plot in plots(few, many)]
    assert panel.text.endswith("rain: 100.0 % at 1, 50.0 % at 20.")


def test_another_seed_is_a_curve_of_its_own() -> None:
    """A single repetition of one of its points is none."""
    curve = [pgd(steps, rate, seed=seed) for seed, rate in ((0, 0.4), (1, 0.1)) for steps in (20, 40)]
    (plot,) = plots(*curve)
    assert [panel.title[-6:] for panel in plot.panels] == ["seed 0", "seed 1"]
    assert "40.0 % at 20" in plot.panels[0].text
    assert "10.0 % at 20" in plot.panels[1].text
    (plot,) = plots(*curve[:3])
    assert [panel.title for panel in plot.panels] == ["adaptive, 4/255: pgd(confidence=3.0), eot 20"]


def test_what_differs_in_more_than_effort_is_no_curve() -> None:
    assert plots(*three_columns()) == []
    assert plots(pgd(20, 0.1), pgd(40, 0.1, eot=5)) == []
    assert plots(pgd(20, 0.1), pgd(40, 0.1, eps=1 / 255)) == []
    assert plots(pgd(20, 0.1), result(cell(attack="pgd(confidence=1.0, steps=40)"), share(0.1, 20))) == []
    assert plots(result(cell(eot=1), [1, 0]), result(cell(eot=5, attack="none", access="none"), [1, 0])) == []


def test_amounts_that_are_none_and_names_that_are_no_spec_are_passed_over() -> None:
    specs = [f"pgd(steps={steps})" for steps in ("text", "-1", "0.5", "true")]
    one = result(cell(), [1])
    specs += ["pgd(steps=1, steps=2)", "pgd(", "<script>(steps=1)"]
    assert plots(*(replace(one, cell=cell(attack=spec)) for spec in specs)) == []


def test_the_page_draws_them_and_says_what_counts() -> None:
    curve = [result(cell(eot=eot), share(0.1, 20)) for eot in (1, 20)]
    text = html(curve, {})
    assert "Accuracy against effort" in text
    assert "only the last point counts for the worst attack" in text
    assert "Accuracy against effort" not in html(three_columns(), {})
