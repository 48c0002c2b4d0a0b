"""Accuracy of mixed streams against the share that is adversarial, for the page and as a file.

Never imports torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rain.bench.cells import Result
from rain.bench.columns import grouped
from rain.bench.metrics import percent_text
from rain.bench.streams import Level, Stream, levels, streams
from rain.bench.worth import Lead, leads, worth
from rain.report.plots import (
    PAPER,
    TEXT,
    TEXTS,
    Entry,
    Panel,
    file_text,
    inline,
    legend_of,
    library,
    own_style,
    styles_of,
)
from rain.report.streams import Section

LINES = {
    "none": ("no defence", "#808080"),
    "jpeg": ("JPEG", "#56b4e9"),
    "resize_pad": ("resize and pad", "#e69f00"),
    "rain": ("RAIN", "#0072b2"),
    "rain(enhancer=compact(weights=imagenette))": ("RAIN", "#0072b2"),
    "rain(enhancer=compact(weights=adversarial))": ("RAIN, adversarial DG", "#d55e00"),
    "rain(enhancer=compact(weights=adversarial224))": ("RAIN, adversarial DG", "#d55e00"),
    "gated(defense=rain, share=0.02)": ("RAIN with a gate", "#009e73"),
    "gated(defense=rain(enhancer=compact(weights=adversarial)), score=gain, share=0.02)": (
        "adversarial DG with a gate",
        "#cc79a7",
    ),
}
"""The defences of the plot that is a file, with what they are called and their colours (Okabe and Ito's)."""

SHOWN = {
    "adaptive": "adaptive: the attacker knows the defence",
    "transfer": "transfer: he does not know that it is there",
}
"""The accesses that are drawn, the honest one first, where there are such."""

SMALL = 0.25
"""Up to this share the second panel of an access goes: there most streams are, and most lines cross."""

POINTS = 25
"""Of a band. Lines are straight, but bands are not."""

INK, LINE = "#24292f", "#d0d7de"


class Look(NamedTuple):
    """How a line looks: its colour, and matplotlib's name of its mark."""

    ink: str
    mark: str


Looks = Mapping[str, Look]


class Drawing(NamedTuple):
    """The panels of one section, with their legend."""

    legend: list[Entry]
    panels: list[Panel]


def drawing(section: Section, labels: Mapping[str, str], number: int) -> Drawing:
    """Draw a section for the page: for each access the accuracy, and what defences are ahead of none.

    Args:
        labels: short names of the defences, in the order of the legend.
        number: of the section, from which the names within its drawings are made.
    """
    present = [stream.defense for same in section.streams.values() for stream in same]
    styles = styles_of(present, labels)
    looks = {name: Look(style.ink, style.mark) for name, style in styles.items()}
    panels: list[Panel] = []
    for access in _shown(section.accesses):
        lines = sorted(section.streams[access], key=lambda stream: list(styles).index(stream.defense))
        for draw, title, speak in PANELS:
            svg = _panel(draw, lines, looks, f"stream{number}-{len(panels)}")
            panels.append(Panel(f"{SHOWN.get(access, access)}; {title}", svg, speak(lines, labels)))
    return Drawing(legend_of(styles, labels), panels)


def stream_plot(results: Iterable[Result], eps: float) -> str:
    """Draw the streams of one place as an SVG file, with 95 % intervals; the same results, the same bytes.

    The paper is white, so that it can be read on any page.

    Args:
        results: of one place; the defences are those of ``LINES``.
        eps: the budget, in linf.
    """
    every = [stream for stream in streams(results) if (stream.norm, stream.eps) == ("linf", eps)]
    by_access = grouped([one for one in every if one.defense in LINES], lambda stream: stream.access)
    accesses = _shown(by_access)
    looks = {name: Look(ink, "") for name, (_, ink) in LINES.items()}
    figures = library("matplotlib.figure")
    with own_style("streams"):
        figure = figures.Figure(figsize=(7.2, 0.7 + 3.0 * len(accesses)), layout="constrained")
        figure.set_facecolor(PAPER)
        rows = figure.subplots(len(accesses), len(PANELS), squeeze=False)
        for access, row in zip(accesses, rows, strict=True):
            for (draw, _, _), axes in zip(PANELS, row, strict=True):
                draw(axes, by_access[access], looks)
                _dress(axes, INK, LINE)
            row[0].set_title(SHOWN.get(access, access), loc="left", fontsize=11, color=INK)
        _draw_legend(figure, rows[0][0], _names(by_access))
        return file_text(figure)


def _shown(accesses: Iterable[str]) -> list[str]:
    """The accesses that are drawn; all of them where there are none of these."""
    present = list(accesses)
    return [access for access in SHOWN if access in present] or present


def _names(by_access: Mapping[str, Sequence[Stream]]) -> dict[str, str]:
    present = {stream.defense for same in by_access.values() for stream in same}
    return {spec: name for spec, (name, _) in LINES.items() if spec in present}


def _panel(draw: Any, lines: Sequence[Stream], looks: Looks, prefix: str) -> str:
    figures = library("matplotlib.figure")
    with own_style(prefix, **dict.fromkeys(TEXTS, TEXT)):
        figure = figures.Figure(figsize=(4.6, 3.3), layout="constrained")
        axes = figure.add_subplot()
        draw(axes, lines, looks)
        _dress(axes, TEXT, TEXT, alpha=0.15)
        return inline(figure, prefix)


def _draw_accuracy(axes: Any, lines: Iterable[Stream], looks: Looks) -> None:
    """Draw the accuracy of each stream with its band, and a ring where a defence is shown to pay."""
    for stream in lines:
        look = looks[stream.defense]
        _draw_line(axes, levels(stream, _shares(1.0)), look, stream.defense)
        _draw_ring(axes, stream, look)
    axes.set(xlim=(0, 100), ylim=(0, 100), ylabel="accuracy, %")


def _draw_lead(axes: Any, lines: Iterable[Stream], looks: Looks) -> None:
    """Draw by how much each defence is ahead of the bare classifier, with its band."""
    bare = looks.get("none")
    if bare:
        axes.axhline(0, color=bare.ink, linewidth=1.8)
    for stream in lines:
        points = leads(stream, _shares(SMALL))
        if points:
            _draw_line(axes, points, looks[stream.defense], stream.defense)
    axes.set(xlim=(0, 100 * SMALL), ylabel="ahead of no defence, points")


def _draw_line(axes: Any, points: Sequence[Level | Lead], look: Look, name: str) -> None:
    shares, middle, low, high = ([100 * value for value in values] for values in zip(*points, strict=True))
    axes.fill_between(shares, low, high, color=look.ink, alpha=0.12, linewidth=0)
    ends = slice(None, None, (POINTS - 1) // 4)
    style = {"color": look.ink, "linewidth": 1.8, "clip_on": False, "zorder": 3, "label": name}
    axes.plot(shares[ends], middle[ends], marker=look.mark, markersize=6, **style)


def _draw_ring(axes: Any, stream: Stream, look: Look) -> None:
    value = worth(stream)
    if value and value.shown and value.share:
        (point,) = levels(stream, [value.share])
        ring = {"markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.6, "zorder": 4}
        axes.plot([100 * point.share], [100 * point.rate], "o", color=look.ink, **ring)


def _shares(upto: float) -> list[float]:
    return [upto * place / (POINTS - 1) for place in range(POINTS)]


def _dress(axes: Any, ink: str, line: str, alpha: float = 1.0) -> None:
    """Name the axes, and leave nothing in the drawing that says nothing."""
    axes.set_xlabel("adversarial, % of the stream", color=ink)
    axes.yaxis.label.set_color(ink)
    axes.tick_params(colors=ink)
    axes.grid(axis="y", color=line, alpha=alpha, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(ink)


def _draw_legend(figure: Any, axes: Any, names: Mapping[str, str]) -> None:
    lines = {line.get_label(): line for line in axes.get_lines()}
    present = [spec for spec in names if spec in lines]
    look = {"facecolor": PAPER, "edgecolor": PAPER, "labelcolor": INK}
    handles, texts = [lines[spec] for spec in present], [names[spec] for spec in present]
    figure.legend(handles, texts, loc="outside upper left", ncols=3, **look)


def _speak_accuracy(lines: Iterable[Stream], labels: Mapping[str, str]) -> str:
    """Say what a panel of accuracies shows."""
    parts = []
    for stream in lines:
        start, end = (percent_text(level.rate) for level in levels(stream, (0, 1)))
        parts.append(f"{labels[stream.defense]}: {start} % without adversarial images, {end} % of them alone")
    return f"Accuracy of a mixed stream. {'; '.join(parts)}."


def _speak_lead(lines: Iterable[Stream], labels: Mapping[str, str]) -> str:
    """Say what a panel of leads shows."""
    parts = []
    for stream in lines:
        points = leads(stream, (0, SMALL))
        if points:
            start, end = (f"{100 * point.difference:+.1f}" for point in points)
            parts.append(f"{labels[stream.defense]}: {start} points at 0, {end} at {100 * SMALL:.0f} %")
    what = "; ".join(parts) or "the bare classifier was not attacked"
    return f"Ahead of no defence, by the share that is adversarial. {what}."


PANELS = (
    (_draw_accuracy, "accuracy", _speak_accuracy),
    (_draw_lead, "ahead of no defence", _speak_lead),
)
"""The panels of an access: how it is drawn, its title, and what it shows in words."""
