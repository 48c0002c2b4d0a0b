"""What defences are worth in streams of clean and adversarial images, in words. Never imports torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rain.bench.alarms import Alarms, Rate, alarms, most_clean
from rain.bench.cells import Cell, Result
from rain.bench.columns import Budget, budget_of, grouped
from rain.bench.metrics import access_order, eps_text, place_order, place_text
from rain.bench.streams import Level, Stream, levels, streams, streams_of_attacks
from rain.bench.worth import Worth, worth
from rain.report.labels import attack_labels

ABOUT = (
    "Of a stream a share p is adversarial. Its accuracy is (1 - p) times the accuracy on clean images plus p "
    "times that on attacked ones, on single draws."
)
HONEST = (
    "The adaptive line is the honest one: its attacker knows the defence. The others are of attackers who "
    "do not know that it is there, or do not act on it."
)
PAYS = (
    "Pays from: the share of adversarial images from which on a defence is at least as accurate as the bare "
    "classifier under attacks of the same access, its 95 % interval, and how many images were attacked."
)
ALARMS = (
    "An alarm is a draw that the gate flags. Expected numbers with their 95 % intervals; an adversarial "
    "image counts whether or not it fools."
)
UNKNOWN = "unknown"
NOT_COMPARED = "-"

SHARES = (0.0, 0.01, 0.1, 0.5, 1.0)
"""Of adversarial images, at which accuracies are printed."""


class Line(NamedTuple):
    """What is said of a defence: by access, from which share on it pays."""

    defense: str
    label: str
    pays: Mapping[str, str]


class AlarmLine(NamedTuple):
    """What is said of a gate under one attack."""

    label: str
    attacker: str
    alarms: Alarms


class AttackLine(NamedTuple):
    """What is said of a stream whose attacker has one attack.

    Args:
        levels: its accuracy at ``SHARES``, with intervals.
    """

    attacker: str
    label: str
    pays: str
    levels: Sequence[Level]


class Section(NamedTuple):
    """Mixed traffic in one place, at one budget.

    Args:
        budget: of the attackers.
        largest: whether no budget of its norm is larger there.
        accesses: of the defences' attackers, the honest one first.
        streams: of the bare classifier and of the defences, by access, against the worst on each image.
        lines: one a defence.
        alarms: one for each gate and attack.
    """

    place: str
    budget: Budget
    largest: bool
    accesses: tuple[str, ...]
    streams: Mapping[str, Sequence[Stream]]
    lines: Sequence[Line]
    alarms: Sequence[AlarmLine]

    @property
    def where(self) -> str:
        """The budget in words: ``4/255``."""
        text = eps_text(self.budget.eps, self.budget.norm)
        return text if self.budget.norm == "linf" else f"{text} in {self.budget.norm}"


def sections(results: Sequence[Result], labels: Mapping[str, str]) -> list[Section]:
    """Say what defences are worth in mixed traffic: for each place and budget, large budgets first.

    Args:
        labels: short names of the defences, in the order of the lines.

    Returns: nothing of places and budgets where no defence was attacked.
    """
    every: list[Section] = []
    for group in grouped(streams(results), place_order).values():
        by_budget = grouped(group, lambda stream: stream.budget)
        largest = {budget.norm: budget for budget in sorted(by_budget)}
        for budget in sorted(by_budget, key=lambda budget: (budget.norm != "linf", budget.norm, -budget.eps)):
            same = by_budget[budget]
            if any(stream.defense != "none" for stream in same):
                gates = _alarm_lines(results, same[0], labels)
                every.append(_section(same, labels, gates, budget == largest[budget.norm]))
    return every


def _section(
    same: Sequence[Stream], labels: Mapping[str, str], gates: Sequence[AlarmLine], largest: bool
) -> Section:
    by_access = grouped(same, lambda stream: stream.access)
    accesses = tuple(sorted(by_access, key=honest_first))
    defenses = {stream.defense for stream in same} - {"none"}
    lines = []
    for spec in [spec for spec in labels if spec in defenses]:
        own = {stream.access: stream for stream in same if stream.defense == spec}
        pays = {access: pays_of(own[access]) for access in accesses if access in own}
        lines.append(Line(spec, labels[spec], pays))
    return Section(place_text(same[0]), same[0].budget, largest, accesses, by_access, lines, gates)


def attack_lines(results: Iterable[Result], section: Section, labels: Mapping[str, str]) -> list[AttackLine]:
    """Say what each defence is worth in a stream against each attack of a section alone."""
    place = [result for result in results if place_text(result.cell) == section.place]
    pairs = [pair for pair in streams_of_attacks(place) if pair[1].budget == section.budget]
    pairs.sort(key=lambda pair: (honest_first(pair[1].access), pair[1].attacks))
    names = attack_labels(result.cell.attack for result, _ in pairs)
    lines = []
    for result, stream in pairs:
        pays = NOT_COMPARED if stream.defense == "none" else pays_of(stream)
        attacker = _attacker(result.cell, names)
        lines.append(AttackLine(attacker, labels[stream.defense], pays, levels(stream, SHARES)))
    return lines


def _attacker(cell: Cell, names: Mapping[str, str]) -> str:
    eot = f", eot {cell.eot}" if cell.eot > 1 else ""
    return f"{cell.access}, {names[cell.attack]}{eot}"


def honest_first(access: str) -> tuple[bool, int]:
    """Rank an access for this part of the report: the adaptive one first."""
    return access != "adaptive", access_order(access)


def _alarm_lines(results: Sequence[Result], about: Stream, labels: Mapping[str, str]) -> list[AlarmLine]:
    """The alarms of each gate in a place, at a budget."""
    attacked = [result for result in results if result.outcomes and result.cell.attack != "none"]
    here = [result for result in attacked if place_order(result.cell) == place_order(about)]
    same = [result for result in here if budget_of(result.cell) == about.budget]
    same.sort(key=lambda one: (one.cell.defense, honest_first(one.cell.access), one.cell.attack))
    names = attack_labels(result.cell.attack for result in same)
    lines = []
    for result in same:
        counts = alarms(result, clean=most_clean(results, result))
        if counts:
            lines.append(AlarmLine(labels[result.cell.defense], _attacker(result.cell, names), counts))
    return lines


def pays_of(stream: Stream) -> str:
    """Say from which share of adversarial images on a defence pays, and of how many images that is."""
    value = worth(stream)
    return f"{pays_text(value)}; {value.images}" if value else UNKNOWN


def pays_text(value: Worth) -> str:
    """Say from which share of adversarial images on a defence pays for itself, and what bounds it."""
    if value.until is not None:
        return f"up to {share_text(value.until)} only"
    if value.share is None:
        return _never_text(value.low)
    if value.cost == value.gain == 0:
        return "no difference"
    if value.high == 0:
        return "always"
    # Where a share exists nobody is ahead there, so that the bare classifier is not ahead everywhere.
    low = share_text(value.low or 0.0).removesuffix(" %")
    return f"from {share_text(value.share)} ({low} {_to_text(value.high)})"


def _never_text(low: float | None) -> str:
    if low is None:
        return "never"
    return f"never, at best from {share_text(low)}" if low else "never, which may be noise"


def _to_text(high: float | None) -> str:
    return "% to never" if high is None else f"to {share_text(high)}"


def share_text(share: float) -> str:
    """Write a share of a stream; small ones with two digits that count."""
    text = f"{100 * share:.1f}"
    if share and 100 * share < 0.95:
        text = f"{100 * share:.2g}"
    return f"{text} %"


def overall(section: Section) -> str:
    """Say in one sentence what defences are worth in mixed traffic: first against who knows them."""
    clauses = ["no adaptive attack was run, so that nothing is claimed"]
    if "adaptive" in section.accesses:
        clauses = [_clause(section, "adaptive", "an attacker who knows it")]
    others = [access for access in ("transfer", *section.accesses) if access in section.accesses]
    blind = next((access for access in others if access != "adaptive"), "")
    if blind:
        attacker = "transferred attacks" if blind == "transfer" else f"{blind} attacks"
        clauses.append(_clause(section, blind, attacker))
    what = "from which share of adversarial images on a defence pays for itself"
    return f"Mixed traffic at {section.where}, {what}: {'; '.join(clauses)}."


def _clause(section: Section, access: str, attacker: str) -> str:
    """Say which defence is the first that is shown to pay against these attacks."""
    labels = {line.defense: line.label for line in section.lines}
    values = []
    for stream in section.streams[access]:
        value = worth(stream)
        if value:
            values.append((value, labels[stream.defense]))
    if not values:
        return f"against {attacker} unknown, without the bare classifier"
    shown = [pair for pair in values if pair[0].shown]
    count = len(values)
    if not shown:
        who = ", it is not shown to" if count == 1 else f" none of {count} is shown to"
        return f"against {attacker}{who}, at any share"
    value, label = min(shown, key=lambda pair: (pair[0].share, pair[1]))
    first = f" {label} is the first of {count}, " if count > 1 else ", "
    return f"against {attacker}{first}{pays_text(value)}, on {value.images} images"


def _true_share(line: AlarmLine) -> float:
    return line.alarms.precision.rate if line.alarms.precision else 0.0


def alarms_text(section: Section) -> str:
    """Say in one sentence how many alarms are false: of the best gate, under what it sees least; or ""."""
    lines = worst_alarms(section)
    if not lines:
        return ""
    best = max(lines, key=_true_share)
    counts = best.alarms
    stream = f"Of {count_text(counts.stream)} images with {count_text(counts.attacks)} adversarial ones"
    raised = count_text(counts.true.rate + counts.false.rate)
    false, misses = count_text(counts.false.rate), count_text(counts.misses.rate)
    who = best.label if len(lines) == 1 else f"the best of {len(lines)} gates, {best.label},"
    return f"{stream} {who} raises {raised} alarms ({best.attacker}): {false} are false. It misses {misses}."


def count_text(count: float) -> str:
    """Write a number of images, in groups of three digits; a few with one decimal."""
    if 0 < count < 9.95:
        return f"{count:.1f}".removesuffix(".0")
    return f"{count:,.0f}".replace(",", " ")


def rate_text(rate: Rate) -> str:
    """Write a number of images with its interval."""
    return f"{count_text(rate.rate)} ({count_text(rate.low)} to {count_text(rate.high)})"


def precision_text(counts: Alarms) -> str:
    """Write the share of alarms that are true, with its interval."""
    if counts.precision is None:
        return "no alarm"
    rate, low, high = (share_text(value) for value in counts.precision)
    return f"{rate} ({low.removesuffix(' %')} to {high})"


def worst_alarms(section: Section) -> list[AlarmLine]:
    """Choose for each gate the attack that it finds least."""
    by_label = grouped(section.alarms, lambda line: line.label)
    return [min(lines, key=lambda line: line.alarms.detection.rate) for lines in by_label.values()]


def largest_sections(every: Iterable[Section]) -> list[Section]:
    """Choose of each place and norm the section at the largest budget."""
    return [section for section in every if section.largest]
