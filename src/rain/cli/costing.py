"""``rain cost``: what a defence costs a classifier, in about a minute."""

import json
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from rain.cli.announcing import announce
from rain.cli.errors import clean_errors
from rain.cli.options import MOST_DRAWS, MOST_SIDE, Device

if TYPE_CHECKING:
    from rain.bench.cost import Cost, Line

IMAGES_HELP = (
    "A folder of pictures, or a dataset such as folder:PATH. Without labels (pictures, not csv or folder) "
    "agreement with the bare classifier is measured in place of accuracy."
)
EXAMPLES_HELP = "Images to classify; by default as many as take some forty seconds."
SIZE_HELP = "Side of the images in pixels; by default what the classifier sees, 0 for their own size."


def cost(
    images: Annotated[str, typer.Option(help=IMAGES_HELP)] = "samples",
    classifier: Annotated[str, typer.Option(help="See: rain list classifiers.")] = "efficientnet_lite0",
    defense: Annotated[str, typer.Option(help="See: rain list defenses.")] = "rain",
    draws: Annotated[
        int, typer.Option(min=2, max=MOST_DRAWS, help="Fresh draws whose probabilities are averaged.")
    ] = 8,
    examples: Annotated[int | None, typer.Option(min=1, metavar="N", help=EXAMPLES_HELP)] = None,
    size: Annotated[int | None, typer.Option(min=0, max=MOST_SIDE, help=SIZE_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, and nothing else.")] = False,
    device: Device = None,
) -> None:
    """Say what a defence costs a classifier: clean accuracy and time.

    It takes about a minute, and attacks nothing. A slow defence says how long it takes.
    """
    with clean_errors():
        from rain.bench.cells import OWN_SIZE
        from rain.bench.cost import measure_cost
        from rain.runtime.memory import keep_freed_memory

        keep_freed_memory()
        measured = measure_cost(
            classifier,
            images,
            defense,
            draws=draws,
            examples=examples,
            size=OWN_SIZE if size is None else size or None,
            device=device,
            progress=True,
            tell=partial(announce, defense),
        )
        print(json.dumps(_fields(measured)) if as_json else _text(measured))


def _fields(measured: "Cost") -> dict[str, object]:
    """What the JSON object holds."""
    fields = asdict(measured)
    fields["measures"] = "accuracy" if measured.labelled else "agreement"
    fields["defense_milliseconds"] = measured.defense_milliseconds
    return fields


def _text(measured: "Cost") -> str:
    """The table, with a line on what it is of, and sentences on what it means."""
    from rain.bench.metrics import size_text

    threads = f" ({measured.threads} thread{'s' if measured.threads > 1 else ''})"
    where = f"{measured.device}{threads if measured.device == 'cpu' else ''}"
    head = [
        f"{measured.classifier} behind {measured.defense}: {measured.images} images of {measured.dataset}, "
        f"at {size_text(measured.size)}, on {where}"
    ]
    what = "right on" if measured.labelled else "agrees with bare on"
    table = [f"{'':12}{what:>26}{'ms an image':>14}{'times bare':>12}"]
    table += [_line_text(line, measured.labelled) for line in measured.lines]
    return "\n".join([*head, "", *table, "", *_sentences(measured)])


def _line_text(line: "Line", labelled: bool) -> str:
    from rain.bench.cost import BARE
    from rain.bench.metrics import percent_text

    name = {BARE: "bare", 1: "1 draw"}.get(line.draws, f"{line.draws} draws")
    low, high = percent_text(line.low), percent_text(line.high)
    rate = f"{percent_text(line.rate)} % ({low} to {high})"
    if line.draws == BARE and not labelled:
        rate = "-"
    return f"{name:12}{rate:>26}{line.milliseconds:14.1f}{line.ratio:12.2f}"


def _sentences(measured: "Cost") -> list[str]:
    """What the figures mean, and what they depend on."""
    _, *defended = measured.lines
    if measured.labelled:
        losses = [_loss_text(line) for line in defended]
    else:
        losses = [
            f"changes the answer to {100 * line.lost:.1f} % of them {_draws(line)}" for line in defended
        ]
    own = f"{measured.defense_milliseconds:.1f} ms"
    draws = "" if len(defended) == 1 else " And n draws take n times as long."
    texts = [
        f"{measured.defense} {', and '.join(losses)}.",
        f"{measured.defense} itself takes about {own} for an image and a draw, whatever the classifier: its "
        f"work depends on the pixels only. So a small classifier pays more for it, in proportion, than a "
        f"large one.{draws}",
        f"Times are medians of {measured.passes} passes; in brackets are 95 % intervals.",
    ]
    if not measured.labelled:
        texts.append("The images have no labels: csv:PATH or folder:PATH would tell what accuracy is lost.")
    return texts


def _loss_text(line: "Line") -> str:
    """Say what is lost with so many draws: ``costs 5.4 points of clean accuracy with 1 draw``."""
    from rain.bench.significance import NOISE

    verb = "adds" if line.lost < 0 else "costs"
    chance = " (which may be noise)" if line.p >= NOISE else ""
    return f"{verb} {100 * abs(line.lost):.1f} points of clean accuracy {_draws(line)}{chance}"


def _draws(line: "Line") -> str:
    return f"with {line.draws} draws" if line.draws > 1 else "with 1 draw"
