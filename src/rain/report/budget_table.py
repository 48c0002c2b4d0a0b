"""The figures of one budget as a table in Markdown: defences against attacks. Never imports torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rain.bench.cells import Result
from rain.bench.columns import grouped, is_random, widest
from rain.bench.metrics import access_order, interval, percent_text, rows, strongest
from rain.report.labels import attack_labels, spec_text
from rain.report.markup import code, escaped, table_of

WIDEST = 6
"""Of more attacks each has a row of its own, and each defence a column."""

EMPTY = "-"


class Line(NamedTuple):
    """One defence, scored on so many draws: a line of the table."""

    defense: str
    draws: int


class Attack(NamedTuple):
    """One attack with one access. What averages over draws says over how many (eot), else that is 0."""

    access: str
    spec: str
    eot: int


def budget_table(
    clean: Sequence[Result], column: Sequence[Result], labels: Mapping[str, str], title: str
) -> list[str]:
    """Write the table of one budget, with its title and a legend of the attacks."""
    attacks = _attacks(column)
    is_turned = len(attacks) > WIDEST
    names = _full_names(attacks) if is_turned else _short_names(attacks)
    header = ["Defence", "Draws", "Clean", *names.values()]
    body = []
    for line in _lines([*clean, *column]):
        draws = "single" if line.draws == 1 else f"{line.draws} averaged"
        figures = [_figure(line, attack, column) for attack in names]
        body.append([escaped(labels[line.defense]), draws, _clean_figure(line, clean, column), *figures])
    if is_turned:
        return [f"{title}:", table_of(_turned([header, *body]))]
    legend = [f"{name} is {code(spec_text(one.spec))}{_eot_text(one)}" for one, name in names.items()]
    return [f"{title}:", table_of([header, *body]), f"Attacks: {'; '.join(legend)}." if legend else ""]


def _lines(results: Iterable[Result]) -> list[Line]:
    """The lines of a table: each defence on single draws, and on the draws that it is averaged over."""
    lines = {Line(row["defense"], row["draws"]) for row in rows(results)}
    return sorted(lines, key=lambda line: (line.defense != "none", line))


def _turned(table: Sequence[Sequence[str]]) -> list[list[str]]:
    """Turn rows into columns; the names of a line, and its draws, are one heading."""
    headings = ["Attack", *(f"{label}, {draws}" for label, draws, *_ in table[1:])]
    columns = zip(*(line[2:] for line in table), strict=True)
    return [headings, *(list(column) for column in columns)]


def _attacks(column: Iterable[Result]) -> list[Attack]:
    """The attacks of a budget. Deterministic defences, where nothing is averaged, join those of others."""
    attacks: set[Attack] = set()
    for (access, spec), same in grouped(column, lambda one: (one.cell.access, one.cell.attack)).items():
        eots = {one.cell.eot for one in same if access == "adaptive" and is_random(one)}
        attacks |= {Attack(access, spec, eot) for eot in eots or {0}}
    return sorted(attacks, key=lambda attack: (access_order(attack.access), attack.spec, attack.eot))


def _is_of_attack(result: Result, attack: Attack) -> bool:
    cell = result.cell
    same_eot = not is_random(result) or attack.eot in (0, cell.eot)
    return (cell.access, cell.attack) == (attack.access, attack.spec) and same_eot


def _short_names(attacks: Sequence[Attack]) -> dict[Attack, str]:
    """Name each attack by its access, and by what sets it apart from the others of this access."""
    names = {}
    for access, same in grouped(attacks, lambda attack: attack.access).items():
        labels = attack_labels(attack.spec for attack in same)
        eots = {attack.eot for attack in same if attack.eot}
        for attack in same:
            own = [labels[attack.spec]] if len(labels) > 1 else []
            own += [f"eot {attack.eot}"] if attack.eot and len(eots) > 1 else []
            names[attack] = escaped(f"{access}: {', '.join(own)}" if own else access)
    return names


def _full_names(attacks: Iterable[Attack]) -> dict[Attack, str]:
    return {one: f"{one.access}: {code(spec_text(one.spec))}{_eot_text(one)}" for one in attacks}


def _eot_text(attack: Attack) -> str:
    return f", averaged over {attack.eot} draws a step" if attack.eot else ""


def _clean_figure(line: Line, clean: Sequence[Result], column: Sequence[Result]) -> str:
    """Clean accuracy: of the cell without an attack, or else of the attacked one with most images."""
    for results in (clean, column):
        own = [result for result in results if result.cell.defense == line.defense]
        if own:
            row = _row(max(own, key=lambda result: len(result.outcomes)), line.draws)
            return _with_interval(row["clean"], row["images"]) if row else EMPTY
    return EMPTY


def _figure(line: Line, attack: Attack, column: Sequence[Result]) -> str:
    """Accuracy under one attack, its interval, and of how many images it is.

    Of repetitions with several seeds it is the worst; few images hide nothing that more say.
    """
    own = [one for one in column if one.cell.defense == line.defense and _is_of_attack(one, attack)]
    seeds = strongest(one for one in own if _row(one, line.draws))
    judges = widest(seeds)
    figures = [row for row in (_row(result, line.draws) for result in judges) if row]
    if not figures:
        return EMPTY
    row = min(figures, key=lambda row: row["robust"])
    several = f"worst of {len(judges)} seeds" if len(judges) > 1 else f"one of {len(seeds)} seeds"
    return _with_interval(row["robust"], row["images"], row["complete"], several if len(seeds) > 1 else "")


def _with_interval(rate: float, images: int, complete: bool = True, several: str = "") -> str:
    low, high = interval(rate, images)
    remarks = ", ".join(filter(None, [str(images), several, "" if complete else "not finished"]))
    return f"{percent_text(rate)} ({percent_text(low)} to {percent_text(high)}; {remarks})"


def _row(result: Result, draws: int) -> dict[str, Any] | None:
    """The row of a result that is scored on so many draws."""
    return next((row for row in rows([result]) if row["draws"] == draws), None)
