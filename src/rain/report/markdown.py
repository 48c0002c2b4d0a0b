"""The report as Markdown. Never imports torch.

It holds tables, comparisons, sentences, the checklist, and what may mislead.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rain.bench.cells import Result
from rain.bench.certificates import CertifiedResult
from rain.bench.checks import check
from rain.bench.columns import grouped, without_corruptions
from rain.bench.metrics import (
    Paired,
    access_order,
    eps_text,
    interval,
    percent_text,
    place_order,
    place_text,
    rows,
    unbounded,
)
from rain.bench.proofs import Proof
from rain.report.certificates import ABOUT as CERTIFIED
from rain.report.certificates import certificate_sections
from rain.report.comparisons import compare_attacked, compare_clean, pairs_to_compare
from rain.report.costs import costs
from rain.report.detector import BESIDE, CORRUPTIONS, SUSPICION, WHO, Section, corruption_sections, detectors
from rain.report.labels import attack_labels, defense_labels, spec_text
from rain.report.panel import NEEDS, missing_text, panels, verdict_text
from rain.report.rivals import ABOUT as BARE_ONES
from rain.report.rivals import sentences
from rain.report.sentences import overall
from rain.report.streams import (
    ABOUT,
    ALARMS,
    HONEST,
    PAYS,
    AlarmLine,
    count_text,
    largest_sections,
    precision_text,
    rate_text,
    sections,
    worst_alarms,
)
from rain.report.streams import overall as mixed_overall
from rain.report.submissions import SUBMISSIONS, submission_sections
from rain.report.verdict import Headline, at_largest_budgets, summary

WIDEST = 6
"""Of more attacks each has a row of its own, and each defence a column."""

EMPTY = "-"

COMPARED = (
    "Image by image, on single draws: by how many points the first is better, on how many images it is "
    "better and worse, and the p-value of no difference (exact sign test). Under an access each image meets "
    "the worst of the attacks that both met."
)


class Line(NamedTuple):
    """One defence, scored on so many draws: a line of the table."""

    defense: str
    draws: int


class Attack(NamedTuple):
    """One attack with one access. What averages over draws says over how many (eot), else that is 0."""

    access: str
    spec: str
    eot: int


def markdown(
    results: Sequence[Result],
    certified: Sequence[CertifiedResult] = (),
    proofs: Sequence[Proof] = (),
) -> str:
    """Write what results say as Markdown, without a heading: the same results give the same text.

    Args:
        results: from ``rain.bench.cells.load``.
        certified: from ``rain.bench.certificates.load_certified``.
        proofs: from ``rain.bench.proofs.load``.
    """
    # What was corrupted was not attacked: it has a table of its own.
    every, results = results, without_corruptions(results)
    headlines = summary(results)
    largest = at_largest_budgets(headlines)
    defenses = {result.cell.defense for result in every} | {result.cell.defense for result in certified}
    labels = defense_labels(sorted(defenses))
    parts = [f"**{_escaped(overall(largest))}**" if largest else ""]
    parts += rival_parts(results, labels)
    parts += panel_parts(every, proofs, labels)
    for setting in grouped(results, lambda result: place_order(result.cell)).values():
        parts += _setting(setting, labels, [one for one in largest if _is_of(one, setting)])
    parts += submission_parts(results, labels)
    parts += detector_parts(every, labels)
    proven = certificate_sections(certified, every, labels)
    parts += ["What is proven:", CERTIFIED] if proven else []
    for section in proven:
        parts += _section(section)
    parts.append(_misleading(every, labels))
    return "\n\n".join(filter(None, parts)) + "\n"


def rival_parts(results: Sequence[Result], labels: Mapping[str, str]) -> list[str]:
    """Hold defended classifiers against others that stand alone; nothing where there is one classifier."""
    lines = [f"- {_escaped(sentence)}" for sentence in sentences(results, labels)]
    return [BARE_ONES, "\n".join(lines)] if lines else []


def panel_parts(results: Sequence[Result], proofs: Sequence[Proof], labels: Mapping[str, str]) -> list[str]:
    """Say what was done of the evaluation checklist; nothing where no defence was attacked."""
    parts: list[str] = []
    for panel in panels(results, proofs, labels):
        header = ["Point", *(f"{_escaped(head.label)}, {head.budget}" for head in panel.heads)]
        body = [["A claim", *("allowed" if not head.refusals else "not allowed" for head in panel.heads)]]
        for row in panel.rows:
            name = f"{row.point.name} ({row.point.source})"
            body.append([name, *(_escaped(verdict_text(verdict)) for verdict in row.verdicts)])
        missing = f"Not run: {missing_text(panel.missing)}." if panel.missing else ""
        parts += [f"*{_escaped(panel.place)}*", _table([header, *body]), missing]
    return ["The evaluation checklist:", NEEDS, *parts] if parts else []


def submission_parts(results: Sequence[Result], labels: Mapping[str, str]) -> list[str]:
    """Say what is left of an image that is submitted several times; nothing without a random defence."""
    parts: list[str] = []
    for section in submission_sections(results, labels):
        parts += _section(section._replace(sentences=[]))  # the table says them
    return ["Submitted again:", SUBMISSIONS, *parts] if parts else []


def detector_parts(results: Sequence[Result], labels: Mapping[str, str]) -> list[str]:
    """Say how well gates detect attacks, and what corruptions do; nothing without a gate and corruptions."""
    parts: list[str] = []
    gates = detectors(results, labels)
    if gates:
        parts += ["As a detector:", f"{SUSPICION} {WHO} {BESIDE}"]
    for section in gates:
        parts += _section(section)
    corrupted = corruption_sections(results, labels)
    if corrupted:
        parts += ["Corruptions (no attack):", CORRUPTIONS]
    for section in corrupted:
        parts += _section(section)
    return parts


def _section(section: Section) -> list[str]:
    sentences = "\n".join(f"- {_escaped(sentence)}" for sentence in section.sentences)
    lines = [[_escaped(text) for text in line] for line in [section.header, *section.body]]
    return [f"*{_escaped(section.place)}*", sentences, _table(lines)]


def _is_of(headline: Headline, setting: Sequence[Result]) -> bool:
    return place_order(headline) == place_order(setting[0].cell)


def _setting(
    setting: Sequence[Result], labels: Mapping[str, str], headlines: Sequence[Headline]
) -> list[str]:
    """What is said of one place: sentences, a table for each budget, comparisons at the largest ones."""
    measured = [result for result in setting if result.outcomes]
    own = {spec: label for spec, label in labels.items() if spec in {one.cell.defense for one in measured}}
    clean = [result for result in measured if result.cell.attack == "none"]
    texts = [headline.sentence for headline in headlines] or [cost.sentence for cost in costs(setting)]
    sentences = "\n".join(f"- {_escaped(text)}" for text in texts)
    parts = [f"*{_escaped(place_text(setting[0].cell))}*", sentences, _legend(own)]
    by_budget = _by_budget(measured)
    for number, (title, column) in enumerate(by_budget.items()):
        attacked = {result.cell.defense for result in column}
        # What was not attacked stands in the first table only.
        beside = [result for result in clean if number == 0 or result.cell.defense in attacked]
        parts += _budget(beside, column, own, title)
    if not by_budget:
        parts += _budget(clean, [], own, "Clean images")
    comparisons = []
    for norm, eps in sorted({(headline.norm, headline.eps) for headline in headlines}):
        title = f"At {_budget_text(norm, eps)}"
        comparisons.append(_comparisons(measured, by_budget[title], own, title))
    mixed = mixed_traffic(measured, own)
    return [*parts, COMPARED if any(comparisons) else "", *comparisons, *mixed]


def mixed_traffic(setting: Sequence[Result], labels: Mapping[str, str]) -> list[str]:
    """Say what defences are worth in streams of clean and adversarial images, at the largest budgets.

    Args:
        setting: results of one place.
        labels: short names of its defences.
    """
    parts: list[str] = []
    for section in largest_sections(sections(setting, labels)):
        header = ["Mixed traffic", *(f"{access}: pays from" for access in section.accesses)]
        body = []
        for line in section.lines:
            pays = [line.pays.get(access, EMPTY) for access in section.accesses]
            body.append([_escaped(line.label), *pays])
        parts += [_escaped(mixed_overall(section)), _table([header, *body])]
        parts += _alarms(worst_alarms(section))
    return [f"{HONEST} {ABOUT} {PAYS}", *parts] if parts else []


def _alarms(lines: Sequence[AlarmLine]) -> list[str]:
    """The alarms of gates under the attack that each sees least, as a table with its title."""
    if not lines:
        return []
    header = ["Alarms", "Attack", "True", "False", "Missed", "True of all alarms", "Images, clean"]
    body = []
    for line in lines:
        counts = line.alarms
        figures = [rate_text(counts.true), rate_text(counts.false), rate_text(counts.misses)]
        names = [_escaped(line.label), _escaped(line.attacker)]
        images = f"{counts.images}, {counts.clean_images}"
        body.append([*names, *figures, precision_text(counts), images])
    counts = lines[0].alarms
    stream = f"{count_text(counts.stream)} images, {count_text(counts.attacks)} of them adversarial"
    about = f"Alarms in a stream of {stream}, under the attack that each gate sees least."
    return [f"{about} {ALARMS}", _table([header, *body])]


def _by_budget(measured: Iterable[Result]) -> dict[str, list[Result]]:
    """The attacked results by their budget, as a title: linf first, large budgets first, none at last."""
    attacked = [result for result in measured if result.cell.attack != "none"]
    bounded = [result for result in attacked if not unbounded(result.cell)]
    bounded.sort(key=lambda one: (one.cell.norm != "linf", -one.cell.eps))
    by_budget = grouped(bounded, lambda one: f"At {_budget_text(one.cell.norm, one.cell.eps)}")
    free = [result for result in attacked if unbounded(result.cell)]
    return by_budget | grouped(
        free, lambda one: f"Without a budget, the smallest perturbation in {one.cell.norm}"
    )


def _budget_text(norm: str, eps: float) -> str:
    return eps_text(eps, norm) if norm == "linf" else f"{eps_text(eps, norm)} in {norm}"


def _legend(labels: Mapping[str, str]) -> str:
    """Say what the short names of defences stand for."""
    entries = [
        f"{_escaped(label)} is {_code(spec)}" for spec, label in labels.items() if spec not in (label, "none")
    ]
    return f"Here {'; '.join(entries)}." if entries else ""


def _budget(
    clean: Sequence[Result], column: Sequence[Result], labels: Mapping[str, str], title: str
) -> list[str]:
    """The table of one budget, with its title and a legend of the attacks."""
    attacks = _attacks(column)
    is_turned = len(attacks) > WIDEST
    names = _full_names(attacks) if is_turned else _short_names(attacks)
    header = ["Defence", "Draws", "Clean", *names.values()]
    body = []
    for line in _lines([*clean, *column]):
        draws = "single" if line.draws == 1 else f"{line.draws} averaged"
        figures = [_figure(line, attack, column) for attack in names]
        body.append([_escaped(labels[line.defense]), draws, _clean_figure(line, clean, column), *figures])
    if is_turned:
        return [f"{title}:", _table(_turned([header, *body]))]
    legend = [f"{name} is {_code(spec_text(one.spec))}{_eot_text(one)}" for one, name in names.items()]
    return [f"{title}:", _table([header, *body]), f"Attacks: {'; '.join(legend)}." if legend else ""]


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
        eots = {one.cell.eot for one in same if access == "adaptive" and _is_random(one)}
        attacks |= {Attack(access, spec, eot) for eot in eots or {0}}
    return sorted(attacks, key=lambda attack: (access_order(attack.access), attack.spec, attack.eot))


def _is_of_attack(result: Result, attack: Attack) -> bool:
    cell = result.cell
    same_eot = not _is_random(result) or attack.eot in (0, cell.eot)
    return (cell.access, cell.attack) == (attack.access, attack.spec) and same_eot


def _is_random(result: Result) -> bool:
    return "no" not in result.made_by.get("defense_random", ())


def _short_names(attacks: Sequence[Attack]) -> dict[Attack, str]:
    """Name each attack by its access, and by what sets it apart from the others of this access."""
    names = {}
    for access, same in grouped(attacks, lambda attack: attack.access).items():
        labels = attack_labels(attack.spec for attack in same)
        eots = {attack.eot for attack in same}
        for attack in same:
            own = [labels[attack.spec]] if len(labels) > 1 else []
            own += [f"eot {attack.eot}"] if len(eots) > 1 else []
            names[attack] = _escaped(f"{access}: {', '.join(own)}" if own else access)
    return names


def _full_names(attacks: Iterable[Attack]) -> dict[Attack, str]:
    return {one: f"{one.access}: {_code(spec_text(one.spec))}{_eot_text(one)}" for one in attacks}


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
    """Accuracy under one attack, its interval, and of how many images it is."""
    for result in column:
        if result.cell.defense == line.defense and _is_of_attack(result, attack):
            row = _row(result, line.draws)
            if row:
                return _with_interval(row["robust"], row["images"], row["complete"])
    return EMPTY


def _with_interval(rate: float, images: int, complete: bool = True) -> str:
    low, high = interval(rate, images)
    unfinished = "" if complete else ", not finished"
    return f"{percent_text(rate)} ({percent_text(low)} to {percent_text(high)}; {images}{unfinished})"


def _row(result: Result, draws: int) -> dict[str, Any] | None:
    """The row of a result that is scored on so many draws."""
    return next((row for row in rows([result]) if row["draws"] == draws), None)


def _comparisons(
    setting: Sequence[Result], column: Sequence[Result], labels: Mapping[str, str], title: str
) -> str:
    """Compare each defence with the bare classifier, and defences that differ in one option."""
    accesses = sorted({result.cell.access for result in column}, key=access_order)
    body = []
    for first, second in pairs_to_compare(result.cell.defense for result in [*setting, *column]):
        if first not in {result.cell.defense for result in column}:
            continue
        figures = [compare_clean(setting, first, second)]
        figures += [compare_attacked(column, access, first, second) for access in accesses]
        names = f"{_escaped(labels[first])} against {_escaped(labels[second])}"
        body.append([names, *map(_comparison_text, figures)])
    if not body:
        return ""
    return f"{title}, compared:\n\n{_table([['Compared', 'Clean', *accesses], *body])}"


def _comparison_text(comparison: Paired | None) -> str:
    if comparison is None:
        return EMPTY
    points = f"{100 * comparison.difference:+.1f}"
    points = "0.0" if points in ("+0.0", "-0.0") else points
    p = "p < 0.001" if comparison.p < 0.001 else f"p = {comparison.p:.2g}"
    return f"{points} ({comparison.better} / {comparison.worse}, {p})"


def _misleading(results: Sequence[Result], labels: Mapping[str, str]) -> str:
    findings = check(results)
    if not findings:
        return "Nothing is seen that may mislead."
    lines = []
    for finding in findings:
        defense = f"{_escaped(labels[finding.defense])}: " if finding.defense else ""
        lines.append(f"- {finding.level}: {defense}{_escaped(finding.text)}.")
    return "\n".join(["What may mislead:", "", *lines])


def _table(lines: Iterable[Sequence[str]]) -> str:
    header, *body = lines
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, rule, *body])


def _escaped(text: str) -> str:
    """Text that is to be read as text: result files may name things as they like."""
    one_line = " ".join(text.split())
    return re.sub(r"([\\`*\[\]|~])", r"\\\1", one_line.replace("&", "&amp;").replace("<", "&lt;"))


def _code(text: str) -> str:
    """A spec as code, where nothing in it could end the code."""
    return _escaped(text) if re.search(r"[`|<&\n]", text) else f"`{text}`"
