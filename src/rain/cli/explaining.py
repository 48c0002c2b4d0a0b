"""``rain explain``: one picture, attacked and defended, as a page that says what happens."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rain.cli.announcing import announce
from rain.cli.errors import clean_errors
from rain.cli.options import MOST_DRAWS, MOST_SIDE, Device
from rain.errors import ResultError
from rain.files import encode, is_folder, to_path, try_to_write, write_named

HTML_HELP = "Write the page here: one file, which loads nothing."
ATTACK_HELP = "See: rain list attacks. none leaves the picture alone."
EPS_HELP = "Budget of the attackers, for values in [0, 1]: 4/255, 0.5."
NORM_HELP = "How the budget is measured: linf or l2."
EOT_HELP = "Draws over which the adaptive attacker averages at each step."
LABEL_HELP = "The right class, by number or name; by default what the classifier says alone."
SIZE_HELP = "Side of the picture in pixels; by default what the classifier sees."


def explain(
    picture: Annotated[Path, typer.Argument(help="A picture file.", metavar="PICTURE")],
    html: Annotated[Path, typer.Option(help=HTML_HELP)],
    classifier: Annotated[str, typer.Option(help="See: rain list classifiers.")] = "efficientnet_lite0",
    defense: Annotated[str, typer.Option(help="See: rain list defenses.")] = "rain",
    attack: Annotated[str | None, typer.Option(help=ATTACK_HELP, show_default="pgd, of 20 steps")] = None,
    eps: Annotated[str, typer.Option(help=EPS_HELP)] = "4/255",
    norm: Annotated[str, typer.Option(help=NORM_HELP)] = "linf",
    eot: Annotated[int, typer.Option(min=1, max=MOST_DRAWS, help=EOT_HELP)] = 12,
    draws: Annotated[int, typer.Option(min=1, max=MOST_DRAWS, help="Fresh draws that answer.")] = 16,
    label: Annotated[str | None, typer.Option(help=LABEL_HELP)] = None,
    size: Annotated[int | None, typer.Option(min=8, max=MOST_SIDE, help=SIZE_HELP)] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same page.")] = 0,
    device: Device = None,
) -> None:
    """Explain on a page what a defence does to a picture of yours.

    The picture is attacked twice: by who knows only the classifier, and by who knows the defence, too. It
    takes less than half a minute on two cores, with what is the default. A slow defence says how long it
    takes.
    """
    with clean_errors():
        path = to_path(html)
        _check_writable(path)
        from rain.bench.explainer import ATTACK
        from rain.bench.explainer import explain as explain_picture
        from rain.report.explanation_page import explanation_html
        from rain.report.explanation_texts import in_short, outcomes
        from rain.report.plots import library
        from rain.runtime.memory import keep_freed_memory
        from rain.specs import fraction

        for name in ("jinja2", "matplotlib"):
            library(name)  # what is missing is said before the work
        keep_freed_memory()
        about = explain_picture(
            picture,
            classifier,
            defense,
            attack=ATTACK if attack is None else attack,
            norm=norm,
            eps=fraction(eps),
            eot=eot,
            draws=draws,
            seed=seed,
            size=size,
            label=label,
            device=device,
            progress=True,
            tell=partial(announce, defense),
        )
        page = encode(explanation_html(about))
        try:
            write_named(path, page)
        except OSError as error:
            raise _unwritable(path, error) from None
        print(in_short(about))
        for outcome in outcomes(about):
            print(f"- {outcome.kind}: {outcome.text}")
        print(f"\npage: {path.resolve().as_uri()}")


def _check_writable(path: Path) -> None:
    """See before the work whether the page can be written.

    Raises:
        ResultError: it cannot; with the system's reason.
    """
    if str(path) == "-":
        raise ResultError("the page goes into a file, not to standard output: give its name by --html")
    if is_folder(path):
        raise ResultError(f"{path}: is a folder; give the name of a file, such as {path / 'page.html'}")
    try:
        try_to_write(path)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> ResultError:
    reason = error.strerror or error
    return ResultError(f"{path}: cannot be written ({reason}); give another file by --html")
