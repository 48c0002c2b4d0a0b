"""What random defences keep of an image that is submitted several times, as a table. Never imports torch."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from rain.bench.cells import Result
from rain.bench.columns import access_of, grouped
from rain.bench.counted import Counted, counted
from rain.bench.metrics import (
    access_order,
    eps_text,
    interval,
    percent_text,
    place_text,
    strongest,
    unbounded,
)
from rain.bench.submissions import counts_of, rate_of, right_on_all, worst_on_all
from rain.report.detector import Section

EMPTY = "-"

SUBMISSIONS = (
    "A random defence answers anew each time, so that an attacker who may submit one image n times needs one "
    "draw that is wrong. Right on all of n: the share of images that n draws answer rightly, each of them, "
    "in %, with its 95 % interval and the number of images; under an access it is that of the worst attack "
    "on each image. A deterministic defence has one figure for every n."
)


def submission_sections(results: Iterable[Result], labels: Mapping[str, str]) -> list[Section]:
    """Say what defences keep after several submissions, one section for each place and norm.

    The attacks are those at the largest budget. Where no defence has several draws there is nothing to say.

    Args:
        labels: short names of the defences.
    """
    measured = strongest(one for one in results if one.outcomes and not unbounded(one.cell))
    sections = []
    for place, setting in grouped(measured, lambda one: place_text(one.cell)).items():
        attacked = [one for one in setting if one.cell.attack != "none"]
        for norm, same in sorted(grouped(attacked, lambda one: one.cell.norm).items()):
            eps = max(one.cell.eps for one in same)
            largest = [one for one in same if one.cell.eps == eps]
            title = f"{place}, at {eps_text(eps, norm)}{'' if norm == 'linf' else f' in {norm}'}"
            section = _section(title, setting, largest, labels)
            if any(line[1] != "any" for line in section.body):
                sections.append(section)
    return sections


def _section(
    title: str, setting: Sequence[Result], largest: Sequence[Result], labels: Mapping[str, str]
) -> Section:
    accesses = sorted({access_of(one) for one in largest} - {"", "known"}, key=access_order)
    body, sentences = [], []
    attacked = {one.cell.defense for one in largest}
    defenses = sorted(attacked, key=lambda defense: (defense != "none", labels[defense]))
    for defense in defenses:
        own = [one for one in setting if one.cell.defense == defense]
        by_access = {access: _of_access(largest, defense, access) for access in accesses}
        cleanest = _cleanest(own)
        attacks = chain.from_iterable(figure.attacks for figure in by_access.values())
        counts = counts_of([cleanest, *attacks])
        is_random = any("yes" in one.made_by.get("defense_random", ()) for one in own) or counts[-1] > 1
        for count in counts:
            clean = right_on_all(cleanest, count, attacked=False)
            scores = [clean, *(worst_on_all(same, count) for same in by_access.values())]
            body.append([labels[defense], str(count) if is_random else "any", *map(_rate, scores)])
        if counts[-1] > 1:
            sentences.append(_sentence(labels[defense], by_access, counts[-1]))
    header = ["Defence", "Submissions", "Clean", *accesses]
    return Section(title, sentences, header, body, names=1)


def _of_access(largest: Iterable[Result], defense: str, access: str) -> Counted:
    return counted([one for one in largest if (one.cell.defense, access_of(one)) == (defense, access)])


def _cleanest(own: Sequence[Result]) -> Result:
    """The result that tells most of clean images."""
    return max(own, key=lambda one: (one.cell.attack == "none", len(one.outcomes)))


def _sentence(label: str, by_access: Mapping[str, Counted], count: int) -> str:
    """Say what the strongest kind of attacker leaves, for one submission and for many."""
    for access, same in reversed(list(by_access.items())):
        once, often = worst_on_all(same, 1), worst_on_all(same, count)
        if once:
            pair = f"{percent_text(rate_of(once))} % of images on one draw"
            many = f"{percent_text(rate_of(often))} % on each of {count}"
            return f"{label}, {access}: right on {pair}, and on {many}."
    return f"{label} was not attacked at this budget."


def _rate(scores: Mapping[int, float]) -> str:
    if not scores:
        return EMPTY
    rate = rate_of(scores)
    low, high = interval(rate, len(scores))
    return f"{percent_text(rate)} ({percent_text(low)} to {percent_text(high)}; {len(scores)})"
