"""The page of one picture: one HTML file that loads nothing and runs nothing. Never imports torch."""

from collections.abc import Iterable
from pathlib import PurePath
from typing import NamedTuple

import numpy as np

from rain.bench.explanation import CLEAN, Explanation, Pixels, Version
from rain.report import explanation_texts as texts
from rain.report.gate_texts import Scale, Scores, gate_scores, gate_text
from rain.report.labels import fact_text
from rain.report.page import environment
from rain.report.pictures import png
from rain.report.spectrum_plot import change_spectra, picture_spectra

LOUDEST = 0.995
"""So large a share of a difference's values stays within the range of its picture; the others are cut."""


class Shown(NamedTuple):
    """A picture of the page.

    Args:
        name: above it.
        source: a data URI.
        text: below it.
    """

    name: str
    source: str
    text: str


class Row(NamedTuple):
    """One version of the picture.

    Args:
        kind, title: of the version.
        text: what stands above its pictures.
        before: the picture, and what was changed.
        behind: what the defence made of it.
        version: the numbers.
        answers: what the draws say, in a sentence.
    """

    kind: str
    title: str
    text: str
    before: list[Shown]
    behind: list[Shown]
    version: Version
    answers: str


class GateShown(NamedTuple):
    """What the page shows of a gate: a text, its axis, and the scores of each version."""

    text: str
    scale: Scale
    rows: list[Scores]


def explanation_html(about: Explanation) -> str:
    """Make the page of one picture. The same explanation gives the same page.

    Raises:
        RainError: jinja2 or matplotlib is not installed.
    """
    defense = texts.defense_text(about)
    factor = _factor(version.pixels - about.clean.pixels for version in about.attacked)
    page: str = (
        environment()
        .get_template("explanation.html")
        .render(
            about=about,
            setting=about.setting,
            name=PurePath(about.setting.picture).name,
            defense=defense,
            in_short=texts.in_short(about),
            outcomes=texts.outcomes(about),
            titles=texts.TITLES,
            held=texts.held_text(about),
            budget=texts.budget_text(about) if about.attacked else "",
            rows=[_row(about, version, factor) for version in about.versions],
            missing=_missing(about),
            fine=list(texts.fine_texts(about)),
            picture_spectra=picture_spectra(about, defense),
            change_spectra=change_spectra(about, defense) if about.attacked else None,
            changes=texts.change_curves_text(about) if about.attacked else "",
            gate=_gate(about, defense),
            attackers=[(version, texts.meaning_text(about, version)) for version in about.attacked],
            made_by={fact_text(fact): value for fact, value in about.made_by.items()},
        )
    )
    return page


def _row(about: Explanation, version: Version, factor: int) -> Row:
    """One version, with its pictures; differences are ``factor`` times as strong."""
    title, defense = texts.TITLES[version.kind], texts.defense_text(about)
    before = [Shown(title, _picture(version.pixels), texts.bare_text(version))]
    behind: list[Shown] = []
    if version.randomized is not None:
        height, width = version.randomized.shape[:2]
        text = f"One draw: {width} x {height} pixels are left."
        behind.append(Shown("After SRd", _picture(version.randomized), text))
    name = "After DG" if version.randomized is not None else f"Behind {defense}"
    behind.append(Shown(name, _picture(version.defended), "Behind the defence the classifier sees this."))
    if version.kind != CLEAN:
        change = version.pixels - about.clean.pixels
        left = version.defended - about.clean.defended
        before.append(
            Shown("The change", _amplified(change, factor), texts.change_text(version, factor)),
        )
        behind.append(
            Shown("What is left", _amplified(left, factor), texts.left_text(about, version, factor)),
        )
    text = texts.meaning_text(about, version) if version.kind != CLEAN else ""
    return Row(version.kind, title, text, before, behind, version, texts.answers_text(about, version))


def _gate(about: Explanation, defense: str) -> GateShown | None:
    """The scores of the gate, if there is one."""
    gate = about.gate
    if gate is None:
        return None
    scale, rows = gate_scores(about, gate)
    return GateShown(gate_text(about, gate, defense), scale, rows)


def _missing(about: Explanation) -> Shown | None:
    """What the defence did not give back of the clean picture."""
    missing = about.detail.missing
    if missing is None:
        return None
    factor = _factor([missing])
    text = (
        f"What {texts.defense_text(about)} did not give back of the clean picture, {factor} times as strong: "
        "edges and fine detail."
    )
    return Shown("What is lost", _amplified(missing, factor), text)


def _factor(differences: Iterable[Pixels]) -> int:
    """How strongly differences can be shown without cutting much of them."""
    loudest = 0.0
    for difference in differences:
        loudest = max(loudest, float(np.quantile(np.abs(difference), LOUDEST)))
    return max(1, int(0.5 / max(loudest, 1e-6))) if loudest else 1


def _picture(pixels: Pixels) -> str:
    return png(np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8))


def _amplified(difference: Pixels, factor: int) -> str:
    return _picture(0.5 + factor * difference)
