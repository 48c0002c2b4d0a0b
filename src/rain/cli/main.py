"""The command ``rain``.

What a command needs is loaded when it runs, so that ``--help`` and ``report`` stay fast.
"""

import math
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from rain import specs
from rain.errors import PluginError, RainError
from rain.version import __version__

if TYPE_CHECKING:
    from rain.bench.grid import Grid

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="RAIN: a defence to put in front of an image classifier, and the bench that says what it is worth.",
)
Kind = StrEnum("Kind", ["attacks", "defenses", "enhancers", "classifiers", "datasets", "recipes"])
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; a GPU if there is one.")]

EXAMPLES = 400
"""Images of a user's own dataset that the demo measures at most."""


def main() -> None:
    """Run the command line."""
    app()


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Options of ``rain`` itself."""
    if version:
        print(__version__)


@app.command("list")
def list_names(
    kind: Annotated[Kind | None, typer.Argument(help="What to list; everything if left out.")] = None,
    name: Annotated[
        str | None, typer.Argument(help="One of them: all that it takes, with its defaults.")
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Add what each is, and the cards of the weights that it ships."),
    ] = False,
) -> None:
    """List attacks, defenses, enhancers, classifiers, datasets and recipes by the name that grids and options take, one a line."""
    if kind and name:
        with _clean_errors():
            print(_explained(kind, name))
        return
    with _clean_errors():
        from rain.registry import REGISTRIES
        from rain.training import recipe

        for group, registry in REGISTRIES.items():
            if kind not in (None, group):
                continue
            for entry in registry.names():
                try:
                    registry.get(entry)
                except PluginError as error:
                    print(f"error: {error}", file=sys.stderr)
                    continue
                line = registry.usage(entry) if kind else f"{group}\t{registry.usage(entry)}"
                print(f"{line}\t{registry.summary(entry)}" if verbose else line)
                if verbose and group in ("enhancers", "classifiers"):
                    _print_cards(group, entry)
        if kind in (None, "recipes"):
            for entry in recipe.shipped():
                line = entry if kind else f"recipes\t{entry}"
                print(f"{line}\t{recipe.summary(entry)}" if verbose else line)


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Image files.", metavar="IMAGE")],
    classifier: Annotated[str, typer.Option(help="See: rain list classifiers.")] = "efficientnet_lite0",
    defense: Annotated[str, typer.Option(help="See: rain list defenses.")] = "rain",
    draws: Annotated[int, typer.Option(min=1, help="Fresh draws whose probabilities are averaged.")] = 8,
    seed: Annotated[
        int | None, typer.Option(help="For the same answer every time. Not where an attacker could learn it.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Side in pixels at which images enter; 0 for their own size; by default what the classifier sees.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes shown for each image.")] = 3,
    device: Device = None,
) -> None:
    """Classify image files behind a defence, and say how many draws agree."""
    with _clean_errors():
        from rain.checkpoints import warn_if_untrained
        from rain.defense import harden
        from rain.images import enter, read_image
        from rain.registry import load_classifier
        from rain.runtime.memory import pick_device

        target = pick_device(device)
        network = load_classifier(classifier)
        warn_if_untrained(classifier, network)
        hardened = harden(network, defense).to(target)
        side = getattr(hardened.classifier, "crop", None) if size is None else size or None
        names = getattr(hardened.classifier, "categories", ())
        failed = False
        for path in images:
            try:
                image = enter(read_image(path), side)
                _, probabilities, agreement = hardened.predict(image[None].to(target), draws=draws, seed=seed)
            except RainError as error:
                print(
                    f"error: {error}" if str(path) in str(error) else f"error: {path}: {error}",
                    file=sys.stderr,
                )
                failed = True
                continue
            count = draws if hardened.defense.random else 1
            print(f"{path}: {round(float(agreement[0]) * count)} of {count} draws agree")
            for probability, label in zip(
                *(values.tolist() for values in probabilities[0].topk(min(top, probabilities.shape[1]))),
                strict=True,
            ):
                print(f"  {100 * probability:5.1f} %  {names[label] if label < len(names) else label}")
        if failed:
            raise typer.Exit(1)


@app.command()
def run(
    grid: Annotated[
        str, typer.Argument(help="A grid file (TOML), or the name of a shipped grid.", metavar="GRID")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the results; a run into it again does only what is missing.")
    ],
    dataset: Annotated[
        str | None, typer.Option(help="Another dataset than the grid's, for example csv:PATH.")
    ] = None,
    examples: Annotated[
        int | None, typer.Option(min=1, help="Another number of images than the grid's.")
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option(help="Another classifier than the grid's, for example package.module:function."),
    ] = None,
    device: Device = None,
    precision: Annotated[
        str,
        typer.Option(
            help="Of attacks on random defences: 32-true; bf16-mixed, faster on GPUs and on CPUs with AMX or AVX-512 BF16; or auto."
        ),
    ] = "32-true",
) -> None:
    """Measure what a grid asks for and is not yet in the folder. Ctrl-C keeps what is finished."""
    with _clean_errors(out):
        from rain.bench.grid import read

        _measure(
            read(grid, dataset=dataset, examples=examples, classifier=classifier), out, device, precision
        )


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of the results.", metavar="DIR")],
    html: Annotated[Path | None, typer.Option(help="Write one self-contained page here.")] = None,
    json: Annotated[
        Path | None,
        typer.Option(help="Write the rows of the table here; - for standard output, and nothing else there."),
    ] = None,
) -> None:
    """Print what results say: the verdict, losses first, the table, and what the checklist misses."""
    with _clean_errors():
        from rain.bench.cells import load, write_file
        from rain.bench.metrics import rows
        from rain.report.verdict import to_json, write_html

        table = rows(load(folder))
        if json and str(json) == "-":
            print(to_json(table), end="")
        else:
            _print_report(folder)
        if json and str(json) != "-":
            write_file(json, to_json(table).encode())
            print(f"rows: {json}", file=sys.stderr)
        if html:
            write_html(folder, html)
            print(f"report: {html.resolve().as_uri()}", file=sys.stderr)


@app.command()
def demo(
    dataset: Annotated[
        str | None,
        typer.Option(
            help=f"Other images than the samples, for example csv:PATH; the first {EXAMPLES} of them."
        ),
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option(help="Another classifier than EfficientNet-Lite0, for example package.module:function."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results and the report; by default runs/demo.")
    ] = None,
    device: Device = None,
) -> None:
    """See RAIN at work: real images, a real classifier, four defences, and attackers who know ever more of them."""
    slug = re.sub(r"\W+", "-", " ".join(filter(None, (dataset, classifier)))).strip("-")
    out = out or Path("runs") / (f"demo-{slug}" if slug else "demo")
    with _clean_errors(out):
        from rain.bench.grid import read
        from rain.registry import load_dataset
        from rain.report.verdict import write_html

        examples = min(EXAMPLES, len(load_dataset(dataset))) if dataset else None
        grid = read("demo", dataset=dataset, examples=examples, classifier=classifier)
        _measure(grid, out, device)
        write_html(out, out / "report.html")
        print(f"\nreport: {(out / 'report.html').resolve().as_uri()}")


@app.command()
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A recipe file (TOML), or the name of a shipped recipe (rain list recipes).",
            metavar="RECIPE",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the run; by default runs/RECIPE.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    images: Annotated[
        list[str] | None,
        typer.Option(
            help="What to learn from: a folder of pictures, or a dataset such as folder:PATH. May be repeated."
        ),
    ] = None,
    validation: Annotated[
        list[str] | None, typer.Option(help="The same, to choose the best weights on; never the test set.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Another value for a field of the recipe. May be repeated.", metavar="FIELD=VALUE"
        ),
    ] = None,
    accelerator: Annotated[str | None, typer.Option(help="cpu, cuda, ...; a GPU if there is one.")] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine, one for each GPU.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="Machines; --out is then a folder that they share.")
    ] = None,
) -> None:
    """Train DG before a frozen classifier, or a classifier.

    Ctrl-C keeps the run; --resume goes on with it, bit for bit.
    """
    out = out or Path("runs") / Path(recipe).stem
    with _clean_errors(out, "checkpoint and log", "add --resume to the same command to go on"):
        from rain.runtime.memory import keep_freed_memory
        from rain.training.loop import attacker_text, fit, read
        from rain.training.recipe import setting

        given = {
            "images": images or None,
            "validation": validation or None,
            "accelerator": accelerator,
            "devices": devices,
            "nodes": nodes,
        }
        config = read(recipe, **given | dict(setting(text) for text in change or ()))
        keep_freed_memory()
        trained = fit(config, out, resume=resume, progress=True)
        if int(os.environ.get("LOCAL_RANK", 0)) or int(os.environ.get("NODE_RANK", 0)):
            return
        said = {"robust": f"robust ({attacker_text(config)})"}
        began = {name: f" (before {value:.4g})" for name, value in trained.began.items()}
        measured = ", ".join(
            f"{said.get(name, name)} {value:.4g}{began.get(name, '')}"
            for name, value in trained.measured.items()
        )
        print(f"best at step {trained.step}: {measured}\nweights: {trained.weights}")
        gained = trained.measured[config.choose] - trained.began.get(config.choose, -math.inf)
        if (-gained if config.choose == "kl" else gained) <= 0:
            print(
                f"warning: by {config.choose}, nothing was better than what it began with: train for longer, or at another rate",
                file=sys.stderr,
            )


def _measure(grid: "Grid", out: Path, device: str | None, precision: str = "32-true") -> None:
    from rain.bench.runners import run as measure
    from rain.runtime.memory import keep_freed_memory

    cells = grid.cells

    def said(name: str) -> str:
        return ", ".join(
            dict.fromkeys(
                str(getattr(cell, name)) for cell in cells if getattr(cell, name) not in (None, "none")
            )
        )

    eot, draws = max(cell.eot for cell in cells), max(cell.draws for cell in cells)
    keep_freed_memory()
    print(
        f"{said('classifier')} on {said('examples')} images of {said('dataset')}, at {said('size') or 'their own'} pixels; into {out}"
    )
    averaged = f"; adaptive ones average over up to {eot} draws a step" if eot > 1 else ""
    print(f"attacks: {said('attack') or 'none'}{averaged}; a random defence is scored on {draws} fresh draws")
    measure(grid, out, device=device, precision=precision, progress=True)
    _print_report(out)


def _print_report(folder: Path) -> None:
    from rain.bench.cells import load
    from rain.bench.checks import check
    from rain.bench.metrics import place_text, rows
    from rain.report.verdict import summary, table

    results = load(folder)
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print()
    lines = summary(results)
    several, said = len(set(map(place_text, lines))) > 1, ""
    for line in lines:
        where = place_text(line)
        # The page says it for every budget.
        if line.eps == max(
            other.eps
            for other in lines
            if (other.defense, other.norm, place_text(other)) == (line.defense, line.norm, where)
        ):
            if several and where != said:
                said = where
                console.print(f"{where}:", markup=False, highlight=False)
            console.print(line.sentence, markup=False, highlight=False)
    console.print()
    console.print(table(rows(results)))
    for finding in check(results):
        console.print(
            f"{finding.level}: {finding.defense + ': ' if finding.defense else ''}{finding.text}",
            markup=False,
            highlight=False,
        )


def _explained(kind: str, name: str) -> str:
    """One entry's usage, options with their defaults, and docstring; of a recipe its file."""
    import inspect

    from rain.errors import UnknownNameError, did_you_mean
    from rain.registry import REGISTRIES
    from rain.training import recipe

    if kind == "recipes":
        if name not in recipe.shipped():
            raise UnknownNameError(f"no recipe {name!r}; {did_you_mean(name, list(recipe.shipped()))}")
        return recipe.shipped()[name].read_text().rstrip()
    registry = REGISTRIES[kind]
    definition = registry.get(name)
    given = ("eps", "norm", "generator")  # by the grid or the call
    options = [
        one
        for one in inspect.signature(definition).parameters.values()
        if one.default is not one.empty and one.name not in given
    ]
    shown = ", ".join(
        f"{one.name}={specs.number(one.default) if isinstance(one.default, float) else one.default}"
        for one in options
    )
    return f"{registry.usage(name)}{f'({shown})' if shown else ''}\n\n{inspect.getdoc(definition) or ''}".rstrip()


def _print_cards(kind: str, entry: str) -> None:
    """Print what is known of each weight file that an enhancer or a classifier ships, and of an enhancer that needs none."""
    from rain import checkpoints, registry
    from rain.enhancers import card

    files = checkpoints.shipped(entry)
    for name, path in files.items():
        spec = f"{entry}(weights={name})"
        print(f"  {spec}")
        _print_card(card(registry.load_enhancer(spec)) if kind == "enhancers" else checkpoints.read(path)[1])
    if kind == "enhancers" and not files and registry.ENHANCERS.usage(entry) == entry:
        _print_card(card(registry.load_enhancer(entry)))


def _print_card(known: Mapping[str, Any]) -> None:
    for name, value in known.items():
        print(f"\t{name}\t{f'{value:,}' if isinstance(value, int) else value}")


@contextmanager
def _clean_errors(
    kept: Path | None = None,
    what: str = "finished chunks",
    advice: str = "the same command goes on from there",
) -> Iterator[None]:
    """Say what went wrong, and what we warn of, in one line; tell after Ctrl-C where finished work is kept."""
    python = warnings.formatwarning
    warnings.formatwarning = _warning
    try:
        yield
    except RainError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print(
            f"\ninterrupted; {what} are kept in {kept}, {advice}" if kept else "\ninterrupted",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    finally:
        warnings.formatwarning = python


def _warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """One line for what a user is told; others' deprecations and the like say where they come from."""
    return (
        f"warning: {message}\n"
        if category is UserWarning
        else f"{category.__name__}: {message} ({filename}, line {lineno})\n"
    )
