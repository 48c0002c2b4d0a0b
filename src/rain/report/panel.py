"""The checklist as a panel: a row for each point, a column for each defence. Never imports torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rain.bench.cases import Case, State, Verdict, without_budget
from rain.bench.cells import Result
from rain.bench.checklist import POINTS, Checked, Point, checklist, is_needed
from rain.bench.checks import LEAST_IMAGES
from rain.bench.columns import grouped
from rain.bench.metrics import eps_text, place_order, place_text
from rain.bench.proofs import Proof

SIGNS: Mapping[State, str] = {
    "passed": "\N{CHECK MARK}",
    "failed": "\N{BALLOT X}",
    "not run": "\N{EN DASH}",
    "does not apply": "\N{MIDDLE DOT}",
}

NEEDS = (
    "A claim says: this figure is robustness, however low it is. It needs an adaptive attack on at least "
    f"{LEAST_IMAGES} images, and no point that failed; of a random defence a proof that such an attack finds "
    "what is there (rain prove); of any other that the attack has gradients, that its figure is flat where "
    "its steps are doubled, and that it leaves nothing without a budget. What else was not run is named, and "
    "does not forbid it. Each column is at the budget at which most was tried."
)


class Head(NamedTuple):
    """What a column is of.

    Args:
        label: the short name of the defence.
        budget: in words.
        refusals: why no claim is allowed; empty where one is.
    """

    label: str
    budget: str
    refusals: list[str]

    @property
    def claim(self) -> str:
        """Whether a claim is allowed, and why not."""
        if not self.refusals:
            return "a claim is allowed"
        return f"no claim is allowed: {', '.join(self.refusals)}"


class PointRow(NamedTuple):
    """A point, with what it says of each column."""

    point: Point
    verdicts: list[Verdict]


class Missing(NamedTuple):
    """A point that was run nowhere in the place.

    Args:
        advice: what to do.
        needed: whether a claim of one of the defences rests on it.
    """

    point: Point
    advice: str
    needed: bool


class Panel(NamedTuple):
    """The checklist of one place.

    Args:
        rows: of the points that say something of a defence.
        missing: the other ones, but for those that apply to none.
        controls: the short names of the defences of which no claim is asked; they have no column.
    """

    place: str
    heads: list[Head]
    rows: list[PointRow]
    missing: list[Missing]
    controls: list[str]


def panels(results: Iterable[Result], proofs: Sequence[Proof], labels: Mapping[str, str]) -> list[Panel]:
    """Make the panels, one for each place in which a defence was attacked.

    Args:
        labels: short names of the defences.
    """
    places = grouped(checklist(results, proofs), lambda checked: checked.case.place)
    return [_panel(place, checked, labels) for place, checked in places.items()]


def unlimited(results: Iterable[Result], labels: Mapping[str, str]) -> list[str]:
    """Name the defences that were attacked without a budget only, each in a sentence.

    Args:
        labels: short names of the defences.
    """
    columns = without_budget(results)
    several = len({place_order(column.results[0].cell) for column in columns}) > 1
    lines = []
    for column in columns:
        where = f"{place_text(column.results[0].cell)}: " if several else ""
        what = f"{where}{labels[column.defense]} was attacked without a budget only"
        lines.append(f"{what}, and no claim can rest on that: attack at a budget, for example 4/255.")
    return lines


def controls_text(controls: Sequence[str]) -> str:
    """Say which defences are here for *Each part alone* of others."""
    names = ", ".join(dict.fromkeys(controls))
    return f"No claim is asked of {names}: ablations on few images, beside the defence that they are of."


def budget_text(case: Case) -> str:
    """Write the budget of a case: ``4/255``, or ``0.5 in l2``."""
    norm, eps = case.budget
    return eps_text(eps, norm) if norm == "linf" else f"{eps_text(eps, norm)} in {norm}"


def verdict_text(verdict: Verdict) -> str:
    """Write what a point says in one line: its sign, its state and its figure."""
    text = f"{SIGNS[verdict.state]} {verdict.state}"
    return f"{text}: {verdict.figure}" if verdict.figure else text


def missing_text(missing: Iterable[Missing]) -> str:
    """Name the points that were not run in one line."""
    names = [f"{one.point.name} (a claim needs it)" if one.needed else one.point.name for one in missing]
    return ", ".join(names)


def _panel(place: str, every: Sequence[Checked], labels: Mapping[str, str]) -> Panel:
    checked = [one for one in every if not one.control]
    heads = [Head(labels[one.case.defense], budget_text(one.case), one.refusals) for one in checked]
    rows, missing = [], []
    for number, point in enumerate(POINTS):
        verdicts = [one.verdicts[number] for one in checked]
        absent = [
            (one.case, verdict)
            for one, verdict in zip(checked, verdicts, strict=True)
            if verdict.state == "not run"
        ]
        if any(verdict.state in ("passed", "failed") or _is_told(verdict) for verdict in verdicts):
            rows.append(PointRow(point, verdicts))
        elif absent:
            needed = any(is_needed(point, case) for case, _ in absent)
            missing.append(Missing(point, absent[0][1].advice, needed))
    controls = [labels[one.case.defense] for one in every if one.control]
    return Panel(place, heads, rows, missing, controls)


def _is_told(verdict: Verdict) -> bool:
    """Whether something was run, though it was not enough."""
    return verdict.state == "not run" and verdict.figure != ""
