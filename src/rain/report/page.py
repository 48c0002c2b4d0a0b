"""The report as one HTML page: pictures, plots and words, in one file that loads nothing.

It runs one script of ours, which sorts tables and copies texts. Its digest stands in the policy of the page,
so that a browser runs no other, whatever a name holds.

Never imports torch.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from hashlib import sha256
from typing import Any, NamedTuple

from rain.bench.cells import Cell, Result, dump
from rain.bench.certificates import CertifiedResult
from rain.bench.checks import check
from rain.bench.columns import grouped, without_corruptions
from rain.bench.metrics import eps_text, percent_text, place_text, reading_order, rows, unbounded
from rain.bench.proofs import Proof
from rain.report.certificate_plot import certificate_plots
from rain.report.certificates import ABOUT as CERTIFIED
from rain.report.certificates import certificate_sections
from rain.report.citing import bibtex
from rain.report.cost_lines import cost_lines
from rain.report.costs import UNATTACKED, costs
from rain.report.detector import BESIDE, CORRUPTIONS, SUSPICION, WHO, corruption_sections, detectors
from rain.report.detector_plot import roc_plots
from rain.report.effort_plot import efforts
from rain.report.grid_text import grid_texts
from rain.report.labels import FACTS, defense_labels, fact_text, is_replayed, meanings_of, spec_text
from rain.report.panel import NEEDS, SIGNS, controls_text, panels, unlimited
from rain.report.pictures import Gallery, shown_galleries
from rain.report.plots import curves, distances, library
from rain.report.rivals import ABOUT as RIVALS
from rain.report.rivals import sentences
from rain.report.sentences import overall
from rain.report.stream_plot import Drawing, drawing
from rain.report.streams import (
    ABOUT,
    ALARMS,
    HONEST,
    PAYS,
    AttackLine,
    Section,
    attack_lines,
    count_text,
    precision_text,
    rate_text,
    sections,
)
from rain.report.streams import (
    overall as mixed_overall,
)
from rain.report.submissions import SUBMISSIONS, submission_sections
from rain.report.verdict import Headline, at_largest_budgets, summary

PANEL_TEXTS = {
    "needs": NEEDS,
    "controls": controls_text,
    "signs": SIGNS,
    "classes": {"passed": "gain", "failed": "word weaker", "not run": "soft", "does not apply": "soft"},
}
"""What the panel of the checklist says, and how its states look."""

LONGEST = 20
"""Letters of a name that stand in one line, come what may."""

WORDS = {
    "weaker": "Weaker",
    "none": "No gain",
    "unclaimed": "Not a claim",
    "unknown": "Gain unknown",
    "noise": "May be noise",
    "gain": "Gain",
}


class Line(NamedTuple):
    """A line of the table: a cell, its row for single draws and, where it has one, for averaged draws."""

    cell: Cell
    single: Mapping[str, Any]
    averaged: Mapping[str, Any] | None


class Entry(NamedTuple):
    """What is said of a defence in one norm: at the largest budget, and at the others."""

    largest: Headline
    others: list[Headline]


class Block(NamedTuple):
    """The lines of one defence in a table."""

    label: str
    spec: str
    lines: list[Line]


class Table(NamedTuple):
    """The blocks of one place: with the largest budgets, and with the others, which are folded away."""

    largest: list[Block]
    others: list[Block]


class Mixed(NamedTuple):
    """What is said of mixed traffic at one budget: with plots at the largest, folded away at the others."""

    section: Section
    drawing: Drawing | None
    attacks: list[AttackLine]


def html(
    results: Sequence[Result],
    galleries: Mapping[str, Gallery],
    certified: Sequence[CertifiedResult] = (),
    proofs: Sequence[Proof] = (),
    missing: Sequence[Cell] = (),
) -> str:
    """Make the report: one HTML page that loads nothing, and runs no script but ours.

    The same results give the same page.

    Args:
        results: from ``rain.bench.cells.load``.
        galleries: by the key of the cell, from ``rain.report.exports.read_galleries``.
        certified: from ``rain.bench.certificates.load_certified``.
        proofs: from ``rain.bench.proofs.load``.
        missing: from ``rain.bench.planned.never_begun``.

    Raises:
        RainError: jinja2 or matplotlib is not installed.
    """
    # What was corrupted was not attacked: it has a section of its own.
    every, results = results, without_corruptions(results)
    headlines = summary(results)
    defenses = _in_order(every, headlines)
    of_certified = {result.cell.defense for result in certified} - set(defenses)
    labels = defense_labels([*defenses, *sorted(of_certified)])
    traffic = enumerate(sections(results, labels))
    templates = environment()
    script = script_of(templates)
    page: str = templates.get_template("report.html").render(
        script=library("markupsafe").Markup(script),
        script_digest=digest_of(script),
        clean_costs=cost_lines(results),
        grids=grid_texts(every),
        bibtex=bibtex(),
        overall=overall(at_largest_budgets(headlines)),
        verdicts=_verdicts(headlines),
        rivals={"about": RIVALS, "sentences": sentences(results, labels)},
        costs=grouped(costs(every), place_text),
        unattacked=UNATTACKED,
        unlimited=unlimited(results, labels),
        words=WORDS,
        labels=labels,
        panels=panels(every, proofs, labels),
        panel_texts=PANEL_TEXTS,
        findings=check(every, missing),
        tables=_tables(results, labels),
        curves=curves(results, labels),
        distances=distances(results, labels),
        efforts=efforts(results, labels),
        mixed=[_mixed(section, results, labels, place) for place, section in traffic],
        mixed_texts={"about": ABOUT, "honest": HONEST, "pays": PAYS, "alarms": ALARMS},
        submissions=submission_sections(results, labels),
        submissions_text=SUBMISSIONS,
        detectors=detectors(results, labels),
        rocs=roc_plots(results, labels),
        corruptions=corruption_sections(every, labels),
        detector_texts={"about": SUSPICION, "who": WHO, "beside": BESIDE, "corruptions": CORRUPTIONS},
        certificates={
            "about": CERTIFIED,
            "sections": certificate_sections(certified, every, labels),
            "plots": certificate_plots(certified, every, labels),
        },
        galleries=shown_galleries(results, galleries, defenses),
        made_by=_made_by([*every, *certified]),
        cells=[_cell_entry(result) for result in every],
        attacks=sorted({result.cell.attack for result in every} - {"none"}),
        meanings=meanings_of(
            (result.cell.access for result in results),
            replayed=any(is_replayed(result.cell.attack) for result in results),
        ),
        unfinished=sum(not result.complete for result in every),
    )
    return page


def _mixed(section: Section, results: Sequence[Result], labels: Mapping[str, str], number: int) -> Mixed:
    plot = drawing(section, labels, number) if section.largest else None
    return Mixed(section, plot, attack_lines(results, section, labels))


def environment() -> Any:
    """Make what renders the templates: names are escaped, and nothing that is missing passes.

    Raises:
        RainError: jinja2 is not installed.
    """
    jinja2 = library("jinja2")
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("rain.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(
        percent=percent_text,
        eps=eps_text,
        place=place_text,
        spec=spec_text,
        tight=_tight,
        breakable=_breakable,
        count=count_text,
        counted=rate_text,
        precision=precision_text,
        said=mixed_overall,
    )
    return templates


def script_of(templates: Any) -> str:
    """Read the script of the page."""
    source: str = templates.loader.get_source(templates, "report.js")[0]
    return source


def digest_of(script: str) -> str:
    """Name a script as a page's policy does: by its SHA-256, in base 64."""
    return f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}"


def _in_order(results: Iterable[Result], headlines: Iterable[Headline]) -> list[str]:
    """The defences: the bare classifier, then those that lose most, then those that were not attacked."""
    present = {result.cell.defense for result in results}
    ranked = ["none", *(headline.defense for headline in headlines), *sorted(present)]
    return [defense for defense in dict.fromkeys(ranked) if defense in present]


def _verdicts(headlines: Iterable[Headline]) -> dict[str, list[Entry]]:
    """What is said of each defence, by place."""
    verdicts = {}
    for place, group in grouped(headlines, place_text).items():
        columns = grouped(group, lambda headline: (headline.defense, headline.norm))
        verdicts[place] = [Entry(largest, others) for largest, *others in columns.values()]
    return verdicts


def _tables(results: Iterable[Result], labels: Mapping[str, str]) -> dict[str, Table]:
    """The tables, by place; their blocks are in the order of the labels."""
    lines = []
    for result in results:
        pair = rows([result])
        if pair:
            lines.append(Line(result.cell, pair[0], pair[1] if len(pair) > 1 else None))
    lines.sort(key=lambda line: reading_order(line.single))
    tables = {}
    for place, group in grouped(lines, lambda line: place_text(line.cell)).items():
        largest = _largest_budgets(line.cell for line in group)
        main = [line for line in group if _is_main(line.cell, largest)]
        rest = [line for line in group if not _is_main(line.cell, largest)]
        tables[place] = Table(_blocks(main, labels), _blocks(rest, labels))
    return tables


def _largest_budgets(cells: Iterable[Cell]) -> set[tuple[str, float]]:
    """The norms, with the largest eps of each defence in it."""
    bounded = [cell for cell in cells if cell.attack != "none" and not unbounded(cell)]
    by_column = grouped(bounded, lambda cell: (cell.defense, cell.norm))
    return {(norm, max(cell.eps for cell in same)) for (_, norm), same in by_column.items()}


def _is_main(cell: Cell, largest: AbstractSet[tuple[str, float]]) -> bool:
    return cell.attack == "none" or unbounded(cell) or (cell.norm, cell.eps) in largest


def _blocks(lines: Iterable[Line], labels: Mapping[str, str]) -> list[Block]:
    by_defense = grouped(lines, lambda line: line.cell.defense)
    return [Block(label, spec, by_defense[spec]) for spec, label in labels.items() if spec in by_defense]


def _made_by(results: Iterable[Result | CertifiedResult]) -> dict[str, list[str]]:
    """What made the results: by name, in words, every value that occurs."""
    values: dict[str, set[str]] = {}
    for result in results:
        for name, several in result.made_by.items():
            values.setdefault(name, set()).update(several)
    in_order = [*(name for name in FACTS if name in values), *sorted(values.keys() - FACTS.keys())]
    return {fact_text(name): sorted(values[name]) for name in in_order}


def _cell_entry(result: Result) -> dict[str, Any]:
    cell = result.cell
    return {"cell": cell, "json": dump(asdict(cell)), "measured": len(result.outcomes)}


def _tight(text: str) -> str:
    """Keep a figure and its % sign on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _breakable(text: str) -> Any:
    """Let a spec go on in the next line behind its signs; within a name only where that is very long."""
    markup = library("markupsafe")
    parts = []
    for part in re.split(r"(?<=[(,:])|(?<=/)(?!\d)", text):
        parts += re.split(r"(?<=[=_])", part) if len(part) > LONGEST else [part]
    return markup.Markup("<wbr>").join(markup.escape(part) for part in parts)
