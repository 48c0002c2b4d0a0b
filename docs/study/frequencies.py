"""Points 1 and 2 of the study: where accuracy and perturbations live, and what SRd and DG do to them."""

from collections.abc import Mapping, Sequence
from statistics import correlation
from typing import Any

import drawing
from drawing import BLUE, GREEN, INK, ORANGE, PALE, PINK, RED, SKY
from readings import (
    CLASSIFIERS,
    KEYS,
    LITE0,
    SMALL,
    SQUEEZENET,
    has_spectrum,
    only,
    points_lost,
    rate,
    results,
    select,
    spectrum,
)

from rain.bench.cells import Result

Facts = dict[str, str]

PLACES = {LITE0: "224", SQUEEZENET: "224s", SMALL: "96"}
RADII = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0)
BANDS = ((0.0, 0.125), (0.125, 0.25), (0.25, 0.375), (0.375, 0.5), (0.5, 0.75), (0.75, 1.0), (1.0, 1.415))
TRANSFERRED = "pgd(steps=20, step=1/255, confidence=inf)"
RADIUS = "radius, 1 is Nyquist's frequency"

ATTACKS = {
    "fgsm": ("FGSM", BLUE),
    "mifgsm": ("MI-FGSM", SKY),
    "pgd": ("PGD", RED),
    "deepfool": ("DeepFool, L2", GREEN),
    "square": ("Square", PINK),
    "through-rain": ("PGD through RAIN", ORANGE),
}

STAGES = {
    "picked": ("SRd, each pixel repeated", PALE),
    "picked-bicubic": ("SRd, bicubic", ORANGE),
    "picked-dg": ("SRd, DG", BLUE),
    "bicubic": ("bicubic, bicubic", PINK),
    "bicubic-dg": ("bicubic, DG", GREEN),
}

PARTS = {
    "bicubic": ("bicubic, bicubic", "rain(down=bicubic, shift=0.0, enhancer=bicubic)"),
    "bicubic-dg": ("bicubic, DG", "rain(down=bicubic, shift=0.0, enhancer=compact(weights=sr))"),
    "bicubic-dg-blind": (
        "bicubic, blind DG",
        "rain(down=bicubic, shift=0.0, enhancer=compact(weights=blind))",
    ),
    "picked-bicubic": ("SRd, bicubic", "rain(shift=0.0, enhancer=bicubic)"),
    "picked-dg": ("SRd, DG", "rain(shift=0.0)"),
    "picked-dg-blind": ("SRd, blind DG", "rain(shift=0.0, enhancer=compact(weights=blind))"),
    "picked-dg-large": ("SRd, large DG", "rain(shift=0.0, enhancer=compact(weights=large))"),
    "picked-dg-adversarial224": (
        "SRd, adversarial DG",
        "rain(shift=0.0, enhancer=compact(weights=adversarial224))",
    ),
    "jpeg": ("JPEG", "jpeg"),
    "resize-pad": ("resize and pad", "resize_pad"),
    "low-pass-375": ("low-pass 0.375", "low_pass(radius=0.375)"),
    "low-pass-500": ("0.5", "low_pass(radius=0.5)"),
    "low-pass-625": ("0.625", "low_pass(radius=0.625)"),
    "low-pass-750": ("0.75; band-stop 0.75 to 1", "low_pass(radius=0.75)"),
    "low-pass-1000": ("1", "low_pass(radius=1.0)"),
    "band-stop-500-750": ("band-stop 0.5 to 0.75", "band_stop(low=0.5, high=0.75)"),
    "band-stop-750-1000": ("", "band_stop(low=0.75, high=1.0)"),
}
"""The points of the paper's argument, by the name of their spectrum: how they are called, and the defence.

What has no name lies on another point.
"""

BELOW = {"band-stop-500-750", "picked-dg", "low-pass-500"}
BESIDE = {"bicubic-dg", "bicubic-dg-blind"}
LEFT = {"low-pass-375"}
"""Points whose names stand not above them to the right, where others are."""


def filters() -> tuple[str, Facts]:
    """Accuracy behind low-pass and band-stop filters, clean and under transferred attacks."""
    measured = results("frequencies/filters")
    facts: Facts = {}
    with drawing.look("filters"):
        figure = drawing.sheet(9.6, 5.6)
        grid: Any = figure.subplots(2, len(CLASSIFIERS), sharey=True)
        for column, (classifier, name) in enumerate(CLASSIFIERS.items()):
            own = select(measured, classifier=classifier, attack=TRANSFERRED)
            facts |= _filter_facts(own, KEYS[classifier])
            _draw_low_pass(grid[0, column], own)
            _draw_band_stop(grid[1, column], own)
            grid[0, column].set_title(name)
        for row, what in enumerate(("behind a low-pass filter", "without one band")):
            drawing.percent_axis(grid[row, 0], f"accuracy, %,\n{what}")
        drawing.legend_above(figure, grid[0, 0], 4)
        return drawing.as_svg(figure), facts


def _draw_low_pass(axes: Any, own: Sequence[Result]) -> None:
    filtered = [only(own, defense=f"low_pass(radius={radius})") for radius in RADII]
    bare = only(own, defense="none")
    for attacked, colour, name in (
        (False, drawing.CLEAN, "clean"),
        (True, drawing.TRANSFER, "transferred PGD"),
    ):
        level = 100 * rate(bare, attacked=attacked).rate
        axes.axhline(level, color=colour, linestyle=":", label=f"{name}, no filter")
        rates = [rate(one, attacked=attacked) for one in filtered]
        drawing.draw_rates(axes, RADII, rates, colour, label=name)
    axes.set(xlabel="radius that is kept", xlim=(0, 1.06), xticks=(0, 0.25, 0.5, 0.75, 1))


def _draw_band_stop(axes: Any, own: Sequence[Result]) -> None:
    bare = only(own, defense="none")
    for attacked, colour in ((False, drawing.CLEAN), (True, drawing.TRANSFER)):
        axes.axhline(100 * rate(bare, attacked=attacked).rate, color=colour, linestyle=":")
        for low, high in BANDS:
            one = rate(only(own, defense=f"band_stop(low={low}, high={high})"), attacked=attacked)
            axes.plot((low, high), (100 * one.rate,) * 2, color=colour, linewidth=3, solid_capstyle="butt")
            drawing.draw_rates(axes, [(low + high) / 2], [one], colour)
    axes.set(xlabel="band that is taken away", xlim=(0, 1.43), xticks=(0, 0.25, 0.5, 0.75, 1, 1.25))


def _filter_facts(own: Sequence[Result], key: str) -> Facts:
    bare, half = only(own, defense="none"), only(own, defense="low_pass(radius=0.5)")
    facts = {
        "images": str(len(bare.outcomes)),
        "clean": rate(bare, attacked=False).text,
        "attacked": rate(bare, attacked=True).text,
        "half.clean": rate(half, attacked=False).text,
        "half.attacked": rate(half, attacked=True).text,
        "half.lost": f"{points_lost(bare, half):.1f} points",
        "wide.attacked": rate(only(own, defense="low_pass(radius=0.75)"), attacked=True).text,
        "fine.lost": f"{points_lost(bare, only(own, defense='low_pass(radius=0.75)')):.1f} points",
    }
    by_radius = {radius: only(own, defense=f"low_pass(radius={radius})") for radius in RADII}
    best = max(RADII, key=lambda radius: rate(by_radius[radius], attacked=True).rate)
    facts |= {"best.radius": f"{best:g}", "best.attacked": rate(by_radius[best], attacked=True).text}
    facts["best.clean"] = rate(by_radius[best], attacked=False).text
    stopped = {band: only(own, defense=f"band_stop(low={band[0]}, high={band[1]})") for band in BANDS}
    most = max(BANDS, key=lambda band: rate(stopped[band], attacked=True).rate)
    facts |= {"band": _band_text(most), "band.attacked": rate(stopped[most], attacked=True).text}
    facts["low.lost"] = f"{points_lost(bare, stopped[BANDS[0]]):.1f} points"
    return {f"filters.{key}.{name}": text for name, text in facts.items()}


def _band_text(band: tuple[float, float]) -> str:
    return f"{band[0]:g} to {min(band[1], 1.414):g}"


def perturbations() -> tuple[str, Facts]:
    """The spectra of perturbations, each against its own mean; of the classifiers that are all measured."""
    facts: Facts = {}
    there = {classifier: place for classifier, place in PLACES.items() if _is_measured(place)}
    with drawing.look("perturbations"):
        figure = drawing.sheet(9.6, 4.1)
        panels: Any = figure.subplots(1, len(there), sharey=True, squeeze=False)[0]
        for axes, (classifier, place) in zip(panels, there.items(), strict=True):
            for name, (label, colour) in ATTACKS.items():
                told = spectrum(f"attack-{place}-{name}")
                drawing.draw_band(axes, told["frequencies"], told["power"], colour, label)
                facts |= _perturbation_facts(f"perturbations.{KEYS[classifier]}", name, told)
            picture, share = _relative(told["frequencies"], told["picture"]["mean"])
            axes.plot(told["frequencies"], picture, color=INK, linestyle="--", label="the pictures")
            facts[f"perturbations.{KEYS[classifier]}.picture"] = f"{share:.0f} %"
            axes.set(title=CLASSIFIERS[classifier], xlabel=RADIUS, xticks=(0, 0.25, 0.5, 0.75, 1))
            axes.set_ylim(-22, 22)
            axes.axvline(0.5, color=INK, linewidth=0.8, linestyle=":")
        panels[0].set_ylabel("power, dB from its own mean")
        drawing.legend_above(figure, panels[0], 4)
        return drawing.as_svg(figure), facts


def _is_measured(place: str) -> bool:
    return all(has_spectrum(f"attack-{place}-{name}") for name in ATTACKS)


def _perturbation_facts(key: str, name: str, told: Mapping[str, Any]) -> Facts:
    mean, half = 100 * told["fine"]["mean"], 100 * told["fine"]["half"]
    fine = [frequency for frequency in told["frequencies"] if frequency > 0.5]
    return {
        "perturbations.white": f"{100 * sum(fine) / sum(told['frequencies']):.0f} %",
        f"{key}.{name}": f"{mean:.0f} %",
        f"{key}.{name}.interval": f"{mean - half:.0f} to {mean + half:.0f} %",
        f"{key}.images": str(told["examples"]),
    }


def _relative(frequencies: Sequence[float], decibels: Sequence[float]) -> tuple[list[float], float]:
    """A mean spectrum against its own mean over frequencies, and the share of it above 0.5, in per cent."""
    from math import log10

    power = [10 ** (level / 10) for level in decibels]
    areas = [one * frequency for one, frequency in zip(power, frequencies, strict=True)]
    fine = [area for area, frequency in zip(areas, frequencies, strict=True) if frequency > 0.5]
    mean = sum(areas) / sum(frequencies)
    return [10 * log10(one / mean) for one in power], 100 * sum(fine) / sum(areas)


def stages() -> tuple[str, Facts]:
    """What SRd and DG do to a spectrum: its power, and whether it is still the picture's."""
    facts: Facts = {}
    with drawing.look("stages"):
        figure = drawing.sheet(9.6, 4.1)
        left, middle, right = figure.subplots(1, 3)
        for name, (label, colour) in STAGES.items():
            told = spectrum(f"defense-{name}")
            drawing.draw_band(left, told["frequencies"], told["change"], colour, label)
            drawing.draw_band(middle, told["frequencies"], told["coherence"], colour, label)
            if "added" in told and name.endswith("dg"):
                drawing.draw_band(right, told["frequencies"], told["added"], colour, label)
        for axes in (left, middle, right):
            axes.axvline(0.5, color=INK, linewidth=0.8, linestyle=":")
            axes.set(xlabel=RADIUS, xticks=(0, 0.25, 0.5, 0.75, 1))
        left.set(title="power, dB from the original's")
        middle.set(title="share that is the original's detail", ylim=(-0.03, 1.03))
        right.set(title="what DG adds, dB likewise")
        drawing.legend_above(figure, left, 3)
        for name in PARTS:
            told = spectrum(f"defense-{name}")
            facts |= _stage_facts(name, told)
        facts |= _stage_facts("picked", spectrum("defense-picked"))
        facts["stages.images"] = str(told["examples"])
        return drawing.as_svg(figure), facts


def _stage_facts(name: str, told: Mapping[str, Any]) -> Facts:
    facts = {}
    for fact in ("energy", "detail"):
        mean, half = 100 * told[fact]["mean"], 100 * told[fact]["half"]
        facts[f"stages.{name}.{fact}"] = f"{mean:.0f} %"
        facts[f"stages.{name}.{fact}.interval"] = f"{mean - half:.0f} to {mean + half:.0f} %"
    coherence = zip(told["frequencies"], told["coherence"]["mean"], strict=True)
    coarser = [share for frequency, share in coherence if 0.25 < frequency <= 0.5]
    facts[f"stages.{name}.coarser"] = f"{100 * sum(coarser) / len(coarser):.0f} %"
    return facts


def argument() -> tuple[str, Facts]:
    """Points of accuracy lost against fine energy lost, and against fine detail lost."""
    measured = results("frequencies/filters")
    facts: Facts = {}
    with drawing.look("argument"):
        figure = drawing.sheet(9.6, 5.0)
        panels: Any = figure.subplots(1, 2, sharey=True)
        for axes, fact in zip(panels, ("energy", "detail"), strict=True):
            for classifier, colour in ((LITE0, BLUE), (SQUEEZENET, RED)):
                dots = _dots(select(measured, classifier=classifier), fact)
                label = CLASSIFIERS[classifier]
                axes.plot(*zip(*dots.values(), strict=True), drawing.MARKS[colour], color=colour, label=label)
                facts |= _argument_facts(dots, fact, KEYS[classifier])
                facts |= _transfer_facts(select(measured, classifier=classifier), KEYS[classifier])
                if classifier == LITE0:
                    for name, (lost, points) in dots.items():
                        _name_dot(axes, name, lost, points)
            axes.axhline(0, color=INK, linewidth=0.8)
            axes.set_xlabel(f"fine {fact} that is lost, %")
        panels[0].set_ylabel("clean accuracy that is lost, points")
        panels[0].set_xlim(-80, 130)
        panels[1].set_xlim(-5, 122)
        drawing.legend_above(figure, panels[0], 2)
        return drawing.as_svg(figure), facts


def _argument_facts(dots: Mapping[str, tuple[float, float]], fact: str, key: str) -> Facts:
    comparable = {name: dot for name, dot in dots.items() if name != "resize-pad"}  # in both panels
    others = {name: dot for name, dot in comparable.items() if name != "picked-dg-adversarial224"}
    facts = {
        f"argument.{key}.{fact}": _correlation_text(comparable),
        f"argument.{key}.{fact}.others": _correlation_text(others),
        "argument.points": str(len(comparable)),
    }
    return facts | {f"argument.{key}.{name}": f"{dot[1]:.1f} points" for name, dot in dots.items()}


def _correlation_text(dots: Mapping[str, tuple[float, float]]) -> str:
    lost, points = zip(*dots.values(), strict=True)
    return f"{correlation(lost, points):.2f}"


def _transfer_facts(own: Sequence[Result], key: str) -> Facts:
    """What transferred attacks leave of the parts that were attacked, for the text."""
    facts = {}
    for name, (_, defense) in PARTS.items():
        attacked = select(own, defense=defense, attack=TRANSFERRED)
        if attacked:
            facts[f"argument.{key}.{name}.transfer"] = rate(attacked[0], attacked=True).text
    return facts


def _name_dot(axes: Any, name: str, lost: float, points: float) -> None:
    offset = (-7 if name in LEFT else 5, -11 if name in BELOW else -3 if name in BESIDE else 3)
    side = "right" if name in LEFT else "left"
    text = {"textcoords": "offset points", "fontsize": 9, "ha": side}
    axes.annotate(PARTS[name][0], (lost, points), offset, **text)


def _dots(own: Sequence[Result], fact: str) -> dict[str, tuple[float, float]]:
    """For each defence of ``PARTS``: per cent of fine energy or detail lost, and points of accuracy lost.

    What is moved has detail of its own place: of ``resize_pad`` only the energy can be compared.
    """
    bare = select(own, defense="none")[0]
    dots = {}
    for name, (_, defense) in PARTS.items():
        if fact == "detail" and defense == "resize_pad":
            continue
        lost = 100 * (1 - spectrum(f"defense-{name}")[fact]["mean"])
        dots[name] = (lost, points_lost(bare, select(own, defense=defense)[0]))
    return dots
