"""One sentence over all defences, and it is the worst that can be said of them."""

from synthetic import of_cell, three_columns

from rain.bench.cells import Result
from rain.report.sentences import overall
from rain.report.verdict import at_largest_budgets, summary


def said_of(*results: Result) -> str:
    return overall(at_largest_budgets(summary(results)))


def test_none_stops_its_attacker() -> None:
    results = [*three_columns(defense="a"), *three_columns(defense="b", adaptive=0.3)[1:]]
    assert said_of(*results) == (
        "None of these 2 defences stops an attacker who knows it: "
        "at 4/255 the best of them, b, keeps 30.0 %, the bare classifier 0.0 %."
    )


def test_some_stop_it() -> None:
    results = [*three_columns(defense="a"), *three_columns(defense="b", adaptive=0.64)[1:]]
    assert said_of(*results).startswith("1 of these 2 defences does not stop an attacker who knows it: ")
    assert said_of(*three_columns(adaptive=0.64)).startswith("This defence stops an attacker who knows it: ")


def test_who_takes_more_than_a_tenth_is_not_stopped() -> None:
    assert said_of(*three_columns(adaptive=0.5)).startswith("This defence does not stop")


def test_what_holds_without_a_gain_stops_nobody() -> None:
    assert said_of(*three_columns(bare=0.6, adaptive=0.6)).startswith("This defence does not stop")


def test_what_the_classifier_holds_alone_is_no_work_of_the_defence() -> None:
    assert said_of(*three_columns(bare=0.4, adaptive=0.5)).startswith("This defence does not stop")


def test_a_defence_is_taken_by_the_norm_in_which_it_holds_less() -> None:
    in_l2 = [of_cell(one, norm="l2", eps=1.0) for one in three_columns(adaptive=0.6)]
    assert said_of(*in_l2, *three_columns()).startswith("This defence does not stop")


def test_what_met_no_adaptive_attack_is_not_counted_among_the_others() -> None:
    unclaimed = three_columns(adaptive=None, defense="b")
    assert said_of(*unclaimed) == (
        "This defence was not attacked by someone who knows it, so nothing is claimed here."
    )
    text = said_of(*three_columns(), *unclaimed[1:])
    assert text.startswith("This defence does not stop")
    assert text.endswith("; 1 more met no attacker who knows them.")


def test_without_a_bare_classifier_the_gain_is_unknown() -> None:
    assert said_of(*three_columns()[1:]).startswith("What this defence gains is unknown")
    assert said_of() == ""


def test_defences_of_two_places_are_counted_apart() -> None:
    elsewhere = [of_cell(one, size=96) for one in three_columns(adaptive=0.3)]
    text = said_of(*three_columns(), *elsewhere)
    assert text.count("This defence does not stop") == 2
    assert "96 pixels" in text
    assert "keeps 30.0 %" in text
