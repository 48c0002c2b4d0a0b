"""What is said of defences, in plain English: of each one, and of all of them. Never imports torch."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rain.bench.checks import LEAST_IMAGES
from rain.bench.columns import grouped
from rain.bench.metrics import eps_text, percent_text, place_text
from rain.bench.significance import NOISE, Paired

if TYPE_CHECKING:
    from rain.report.verdict import Figure, Headline, Verdict

SMALLEST = 0.0005
"""What is less than this is 0.0 in print."""

STOPS = 0.9
"""A defence stops an attacker if it holds at least this share of what he would have taken without it."""

ATTACKER = "an attacker who knows it"


def overall(headlines: Sequence["Headline"]) -> str:
    """Say in one sentence what all defences come to, in each place; "" where none was attacked.

    Args:
        headlines: of ``rain.report.verdict.at_largest_budgets``.
    """
    places = grouped(headlines, place_text)
    if len(places) == 1:
        return _overall_text(headlines)
    return " ".join(f"{place}: {_overall_text(same)}" for place, same in places.items())


def _overall_text(headlines: Sequence["Headline"]) -> str:
    """The same for the defences of one place."""
    tried = [headline for headline in headlines if headline.verdict != "unclaimed"]
    count, count_tried = len(_defenses(headlines)), len(_defenses(tried))
    if not tried:
        who = "This defence was not" if count == 1 else "None of these defences was"
        return f"{who} attacked by someone who knows it, so nothing is claimed here."
    text = _tried_text(_weakest_of_each(tried))
    if count > count_tried:
        text += f"; {count - count_tried} more met no attacker who knows them"
    return f"{text}."


def _tried_text(tried: Sequence["Headline"]) -> str:
    """Say what defences that were attacked adaptively come to, each by its one headline."""
    if any(headline.verdict == "unknown" for headline in tried):
        who = "this defence gains" if len(tried) == 1 else "these defences gain"
        return f"What {who} is unknown, because the bare classifier was not attacked"
    best = max(tried, key=lambda headline: headline.worst.rate)
    holding = sum(map(_holds, tried))
    bare = f", the bare classifier {_percent(best.bare)}" if best.bare is not None else ""
    numbers = f"{_where(best)} {{}} keeps {_percent(best.worst.rate)}{bare}"
    if len(tried) == 1:
        verb = "stops" if holding else "does not stop"
        return f"This defence {verb} {ATTACKER}: {numbers.format('it')}"
    name = "" if best.worst.rate < SMALLEST else f", {best.label},"
    numbers = numbers.format(f"the best of them{name}")
    if not holding:
        return f"None of these {len(tried)} defences stops {ATTACKER}: {numbers}"
    others = len(tried) - holding
    if not others:
        return f"All of these {len(tried)} defences stop {ATTACKER}: {numbers}"
    do = "does" if others == 1 else "do"
    return f"{others} of these {len(tried)} defences {do} not stop {ATTACKER}: {numbers}"


def _holds(headline: "Headline") -> bool:
    """Whether a defence may be said to stop its attacker.

    What a robust classifier holds alone is no work of the defence.
    """
    bare = headline.bare or 0.0
    held = headline.worst.rate - bare
    return headline.verdict == "gain" and held >= STOPS * (headline.clean.rate - bare)


def _weakest_of_each(headlines: Iterable["Headline"]) -> list["Headline"]:
    """Of each defence the headline, over the norms, in which it keeps least."""
    groups = grouped(headlines, lambda headline: headline.defense)
    return [min(same, key=lambda headline: headline.worst.rate) for same in groups.values()]


def _defenses(headlines: Iterable["Headline"]) -> set[str]:
    """The defences that headlines are about."""
    return {headline.defense for headline in headlines}


def say(headline: "Headline") -> str:
    """Say what a defence is worth: the verdict first, then what it holds, what it costs, and the rest."""
    sentences = [
        f"{headline.label} {_verdict_text(headline)}",
        _holds_text(headline),
        _cost_text(headline),
        _others_text(headline),
        _bound_text(headline),
        "" if headline.complete else _unfinished_text(headline),
    ]
    return " ".join(f"{sentence}." for sentence in sentences if sentence)


def _verdict_text(headline: "Headline") -> str:
    points = _points(headline.gain) if headline.gain else ""
    texts: dict[Verdict, str] = {
        "weaker": f"makes the classifier weaker, by {points}, against {ATTACKER}",
        "none": f"adds no robustness against {ATTACKER}",
        "unclaimed": f"was not attacked adaptively {_where(headline)}, so nothing here is a robustness claim",
        "unknown": f"gains an unknown amount: the bare classifier was not attacked {_where(headline)}",
        "noise": f"gains {points} against {ATTACKER}, which may be noise",
        "gain": f"gains {points} against {ATTACKER}",
    }
    return texts[headline.verdict]


def _holds_text(headline: "Headline") -> str:
    adaptive = headline.adaptive
    if adaptive is None:
        return ""
    level, worst = _percent(adaptive.rate), _percent(headline.worst.rate)
    few = adaptive.images < max(headline.most_images, LEAST_IMAGES)
    remarks = [_images(adaptive.images) if few else ""]
    if worst != level:
        on = f" on {_images(headline.worst.images)}" if headline.worst.images < adaptive.images else ""
        remarks.append(f"{worst}{on} when each image meets the worst of all attacks")
    if headline.resubmitted is not None and _percent(headline.resubmitted) != level:
        again = f"where each image may be submitted {headline.submissions} times"
        remarks.append(f"{_percent(headline.resubmitted)} {again}")
    if headline.bare is not None:
        remarks.append(f"the bare classifier {_percent(headline.bare)}")
    attack = "an adaptive attack"
    if adaptive.attacks > 1:
        attack = f"the worst on each image of {adaptive.attacks} adaptive attacks"
    where = _where(headline)
    return f"{where[0].upper()}{where[1:]} {attack} leaves {level}{_in_brackets(remarks, '; ')}"


def _cost_text(headline: "Headline") -> str:
    cost, level = headline.cost, _percent(headline.clean.rate)
    few = _in_brackets([_few(headline.clean, headline)], "")
    if cost is None:
        unknown = "what that costs is unknown, without the bare classifier"
        return f"On clean images it is right on {level}{few}; {unknown}"
    if abs(cost.difference) < SMALLEST:
        return f"On {cost.images} images it costs no clean accuracy: that stays at {level}"
    verb = "costs" if cost.difference > 0 else "adds"
    chance = "" if cost.p < NOISE else ", which may be noise,"
    joint = chance or ","
    return f"It {verb} {_points(cost)} of clean accuracy{joint} and leaves {level}{few}"


def _others_text(headline: "Headline") -> str:
    """Say what is left under attackers who know less."""
    others = []
    for access, figure in headline.under.items():
        if access in ("adaptive", "known"):
            continue
        several = f"the worst of {figure.attacks}" if figure.attacks > 1 else ""
        remarks = _in_brackets([several, _few(figure, headline)], ", ")
        others.append(f"{access} {_percent(figure.rate)}{remarks}")
    return f"Attackers who know less leave: {', '.join(others)}" if others else ""


def _bound_text(headline: "Headline") -> str:
    """Say what is left where the attacker sees the draw that judges him."""
    bound = headline.under.get("known")
    if bound is None:
        return ""
    few = _in_brackets([_few(bound, headline)], "")
    return (
        f"A bound, not an attacker: who saw the draw that judges him would leave {_percent(bound.rate)}{few}"
    )


def _unfinished_text(headline: "Headline") -> str:
    few = _few(headline.worst, headline)
    return f"Not finished: {few} so far" if few else "Not finished: attacks met a part of their images so far"


def _where(headline: "Headline") -> str:
    where = f"at {eps_text(headline.eps, headline.norm)}"
    return where if headline.norm == "linf" else f"{where} in {headline.norm}"


def _few(figure: "Figure", headline: "Headline") -> str:
    """Say of how many images a figure is, where others of the same headline are of more."""
    return _images(figure.images) if figure.images < headline.most_images else ""


def _images(number: int) -> str:
    return f"{number} {'image' if number == 1 else 'images'}"


def _in_brackets(remarks: Iterable[str], separator: str) -> str:
    text = separator.join(filter(None, remarks))
    return f" ({text})" if text else ""


def _percent(rate: float) -> str:
    return f"{percent_text(rate)} %"


def _points(comparison: Paired) -> str:
    return f"{100 * abs(comparison.difference):.1f} points"
