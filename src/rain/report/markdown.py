"""The report as Markdown. Never imports torch.

It holds tables, comparisons, sentences, the checklist, and what may mislead.
"""

from collections.abc import Iterable, Mapping, Sequence

from rain.bench.cells import Cell, Result
from rain.bench.certificates import CertifiedResult
from rain.bench.checks import check
from rain.bench.columns import grouped, without_corruptions
from rain.bench.metrics import access_order, eps_text, place_order, place_text, unbounded
from rain.bench.proofs import Proof
from rain.bench.significance import Paired
from rain.report.budget_table import EMPTY, budget_table
from rain.report.certificates import ABOUT as CERTIFIED
from rain.report.certificates import certificate_sections
from rain.report.comparisons import compare_attacked, compare_clean, pairs_to_compare
from rain.report.costs import costs
from rain.report.detector import BESIDE, CORRUPTIONS, SUSPICION, WHO, Section, corruption_sections, detectors
from rain.report.labels import defense_labels
from rain.report.markup import code, escaped, table_of
from rain.report.panel import NEEDS, controls_text, missing_text, panels, verdict_text
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

COMPARED = (
    "Image by image, on single draws: by how many points the first is better, on how many images it is "
    "better and worse, and the p-value of no difference (exact test of the mean). Under an access each image "
    "meets the worst of the attacks that both met; an attack with another seed is another attack. Only "
    "images count that every one of these attacks was tried on: where they are fewer than elsewhere in the "
    "table, their number stands there."
)


def markdown(
    results: Sequence[Result],
    certified: Sequence[CertifiedResult] = (),
    proofs: Sequence[Proof] = (),
    missing: Sequence[Cell] = (),
) -> str:
    """Write what results say as Markdown, without a heading: the same results give the same text.

    Args:
        results: from ``rain.bench.cells.load``.
        certified: from ``rain.bench.certificates.load_certified``.
        proofs: from ``rain.bench.proofs.load``.
        missing: from ``rain.bench.planned.never_begun``.
    """
    # What was corrupted was not attacked: it has a table of its own.
    every, results = results, without_corruptions(results)
    headlines = summary(results)
    largest = at_largest_budgets(headlines)
    defenses = {result.cell.defense for result in every} | {result.cell.defense for result in certified}
    labels = defense_labels(sorted(defenses))
    parts = [f"**{escaped(overall(largest))}**" if largest else ""]
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
    parts.append(_misleading(every, labels, missing))
    return "\n\n".join(filter(None, parts)) + "\n"


def rival_parts(results: Sequence[Result], labels: Mapping[str, str]) -> list[str]:
    """Hold defended classifiers against others that stand alone; nothing where there is one classifier."""
    lines = [f"- {escaped(sentence)}" for sentence in sentences(results, labels)]
    return [BARE_ONES, "\n".join(lines)] if lines else []


def panel_parts(results: Sequence[Result], proofs: Sequence[Proof], labels: Mapping[str, str]) -> list[str]:
    """Say what was done of the evaluation checklist; nothing where no defence was attacked."""
    parts: list[str] = []
    for panel in panels(results, proofs, labels):
        header = ["Point", *(f"{escaped(head.label)}, {head.budget}" for head in panel.heads)]
        body = [["A claim", *("allowed" if not head.refusals else "not allowed" for head in panel.heads)]]
        for row in panel.rows:
            name = f"{row.point.name} ({row.point.source})"
            body.append([name, *(escaped(verdict_text(verdict)) for verdict in row.verdicts)])
        missing = f"Not run: {missing_text(panel.missing)}." if panel.missing else ""
        controls = escaped(controls_text(panel.controls)) if panel.controls else ""
        parts += [f"*{escaped(panel.place)}*", table_of([header, *body]), missing, controls]
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
    sentences = "\n".join(f"- {escaped(sentence)}" for sentence in section.sentences)
    lines = [[escaped(text) for text in line] for line in [section.header, *section.body]]
    return [f"*{escaped(section.place)}*", sentences, table_of(lines)]


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
    sentences = "\n".join(f"- {escaped(text)}" for text in texts)
    parts = [f"*{escaped(place_text(setting[0].cell))}*", sentences, _legend(own)]
    by_budget = _by_budget(measured)
    for number, (title, column) in enumerate(by_budget.items()):
        attacked = {result.cell.defense for result in column}
        # What was not attacked stands in the first table only.
        beside = [result for result in clean if number == 0 or result.cell.defense in attacked]
        parts += budget_table(beside, column, own, title)
    if not by_budget:
        parts += budget_table(clean, [], own, "Clean images")
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
            body.append([escaped(line.label), *pays])
        parts += [escaped(mixed_overall(section)), table_of([header, *body])]
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
        names = [escaped(line.label), escaped(line.attacker)]
        images = f"{counts.images}, {counts.clean_images}"
        body.append([*names, *figures, precision_text(counts), images])
    counts = lines[0].alarms
    stream = f"{count_text(counts.stream)} images, {count_text(counts.attacks)} of them adversarial"
    about = f"Alarms in a stream of {stream}, under the attack that each gate sees least."
    return [f"{about} {ALARMS}", table_of([header, *body])]


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
        f"{escaped(label)} is {code(spec)}" for spec, label in labels.items() if spec not in (label, "none")
    ]
    return f"Here {'; '.join(entries)}." if entries else ""


def _comparisons(
    setting: Sequence[Result], column: Sequence[Result], labels: Mapping[str, str], title: str
) -> str:
    """Compare each defence with the bare classifier, and defences that differ in one option."""
    accesses = sorted({result.cell.access for result in column}, key=access_order)
    lines: dict[str, list[Paired | None]] = {}
    for first, second in pairs_to_compare(result.cell.defense for result in [*setting, *column]):
        if first not in {result.cell.defense for result in column}:
            continue
        figures = [compare_clean(setting, first, second)]
        figures += [compare_attacked(column, access, first, second) for access in accesses]
        names = f"{escaped(labels[first])} against {escaped(labels[second])}"
        lines[names] = figures
    if not lines:
        return ""
    counts = [figure.images for figures in lines.values() for figure in figures if figure]
    most = max(counts, default=0)
    body = [
        [names, *(_comparison_text(figure, most) for figure in figures)] for names, figures in lines.items()
    ]
    table = table_of([["Compared", "Clean", *accesses], *body])
    return f"{title}, compared on up to {most} images:\n\n{table}"


def _comparison_text(comparison: Paired | None, most: int) -> str:
    """Say a comparison, and of how many images it is where others are of more."""
    if comparison is None:
        return EMPTY
    points = f"{100 * comparison.difference:+.1f}"
    points = "0.0" if points in ("+0.0", "-0.0") else points
    p = "p < 0.001" if comparison.p < 0.001 else f"p = {comparison.p:.2g}"
    images = f"; {comparison.images} images" if comparison.images < most else ""
    return f"{points} ({comparison.better} / {comparison.worse}, {p}{images})"


def _misleading(results: Sequence[Result], labels: Mapping[str, str], missing: Sequence[Cell]) -> str:
    findings = check(results, missing)
    if not findings:
        return "Nothing is seen that may mislead."
    lines = []
    for finding in findings:
        defense = f"{escaped(labels[finding.defense])}: " if finding.defense else ""
        lines.append(f"- {finding.level}: {defense}{escaped(finding.text)}.")
    return "\n".join(["What may mislead:", "", *lines])
