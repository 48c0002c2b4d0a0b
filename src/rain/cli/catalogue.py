"""``rain list``: what there is, and what it takes."""

import inspect
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any

import typer

from rain import specs
from rain.cli.errors import clean_errors, print_error
from rain.errors import PluginError, UnknownNameError, did_you_mean
from rain.files import read_text
from rain.presets import PRESETS

Kind = StrEnum("Kind", ["attacks", "defenses", "enhancers", "classifiers", "datasets", "recipes", "grids"])
OF_THE_CALL = ("eps", "norm", "generator")
"""What an attack is given by the grid or with the call: no options of its spec."""

WITH_CARDS = ("enhancers", "classifiers")
"""Kinds that may ship weight files."""

OTHER_GRIDS = (
    "The grids of this project's own studies are in the folder grids of its repository: they name pictures "
    "that may not be shipped. Give a grid file's path in place of a name."
)


def list_names(
    kind: Annotated[
        str | None,
        typer.Argument(help=f"What to list: {', '.join(Kind)}; everything if left out.", metavar="KIND"),
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(help="One of them: all that it takes, with its defaults.", metavar="NAME"),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Add what each is, and the cards of the weights that it ships."),
    ] = False,
) -> None:
    """List what there is by name; a NAME prints all of it.

    Grids and options take these names. Where one is followed by /NAME or :PATH, you write what is meant in
    its place.
    """
    with clean_errors():
        if kind and kind not in set(Kind):
            _print_without_kind(kind, name)
            return
        if kind and name:
            print(_text(kind, name))
            return
        _list_entries(kind, verbose)
        if kind in (None, "attacks"):
            _list_presets(kind, verbose)
        for group, files in _files().items():
            if kind in (None, group):
                _list_files(group, files, kind, verbose)
        if kind == "grids":
            print(OTHER_GRIDS, file=sys.stderr)


def _print_without_kind(name: str, rest: str | None) -> None:
    """Print all of a name that was given without its kind.

    Args:
        rest: what was given after it, as if it were a kind.

    Raises:
        UnknownNameError: there is no such name, or there are several, or it is no kind.
    """
    if rest:
        raise UnknownNameError(f"no kind {name!r}; {_nearest(name, list(map(str, Kind)))}")
    kinds = _kinds_of(name)
    if not kinds:
        every = [*map(str, Kind), *(entry for kind in Kind for entry in _names(kind))]
        raise UnknownNameError(f"nothing is called {name!r}; {_nearest(name, every)}")
    commands = [f"rain list {kind} {name}" for kind in kinds]
    if len(kinds) > 1:
        raise UnknownNameError(f"{name!r} is several things: {', or '.join(commands)}")
    print(f"{commands[0]}:", file=sys.stderr)
    print(_text(kinds[0], name))


def _kinds_of(name: str) -> list[str]:
    """The kinds that have such a name, which may go on with what is meant: torchvision/resnet50."""
    head, _ = specs.parse(name)
    start, separator, _ = specs.split(head)
    return [kind for kind in Kind if head in _names(kind) or (separator and start in _names(kind))]


def _names(kind: str) -> list[str]:
    """All names of a kind."""
    from rain.registry import REGISTRIES

    if kind in _files():
        return list(_files()[kind])
    return [*REGISTRIES[kind].names_and_makers(), *REGISTRIES[kind].presets]


def _nearest(name: str, names: list[str]) -> str:
    """End an error about an unknown name: with the nearest one, or with the kinds, since all are too many."""
    near = did_you_mean(name, names)
    return near if near.startswith("did you mean") else f"there are the kinds {', '.join(Kind)}"


def _text(kind: str, name: str) -> str:
    """All that is said of a name."""
    return _file_text(kind, name) if kind in _files() else _entry_text(kind, name)


def _list_entries(kind: str | None, verbose: bool) -> None:
    from rain.registry import REGISTRIES

    for group, registry in REGISTRIES.items():
        if kind not in (None, group):
            continue
        for entry in registry.names_and_makers():
            try:
                registry.get(entry)
            except PluginError as error:
                print_error(str(error))
                continue
            _print_line(registry.usage(entry), group, kind, registry.summary(entry) if verbose else None)
            if verbose and group in WITH_CARDS:
                _print_cards(group, entry)


def _list_presets(kind: str | None, verbose: bool) -> None:
    """Print the presets of attacks; verbose, each with what it stands for."""
    for name, spec in PRESETS.items():
        _print_line(name, "attacks", kind, f"Stands for {spec}." if verbose else None)


def _files() -> dict[str, dict[str, Path]]:
    """What is shipped as files, by kind and name."""
    from rain.bench import grid
    from rain.training import recipe

    return {"recipes": recipe.shipped(), "grids": grid.shipped()}


def _list_files(group: str, files: Mapping[str, Path], kind: str | None, verbose: bool) -> None:
    for name, path in files.items():
        _print_line(name, group, kind, _first_sentence(path) if verbose else None)


def _first_sentence(path: Path) -> str:
    """What the comment at the head of a TOML file says first."""
    head = takewhile(lambda line: line.startswith("#"), read_text(path).splitlines())
    text = " ".join(line.removeprefix("#").strip() for line in head)
    sentence, _, _ = text.partition(". ")
    return f"{sentence.removesuffix('.')}."


def _print_line(usage: str, group: str, kind: str | None, summary: str | None) -> None:
    """Print one name, after its group where all kinds are listed, before its summary if there is one."""
    columns = [usage] if kind else [group, usage]
    if summary is not None:
        columns.append(summary)
    print("\t".join(columns))


def _file_text(kind: str, name: str) -> str:
    """The text of a shipped recipe, with what its fields mean, or of a shipped grid."""
    from rain.training.explanation import explain

    files = _files()[kind]
    if name not in files:
        raise UnknownNameError(f"no {kind.removesuffix('s')} {name!r}; {did_you_mean(name, files)}")
    return explain(files[name]) if kind == "recipes" else read_text(files[name]).rstrip()


def _entry_text(kind: str, name: str) -> str:
    """One entry's usage, options with their defaults, and docstring."""
    from rain.registry import REGISTRIES

    registry = REGISTRIES[kind]
    if name in registry.presets:
        return f"{name} stands for {PRESETS[name]}\n\n{_entry_text(kind, specs.parse(PRESETS[name])[0])}"
    maker, _, argument = specs.split(name)
    # As the list prints it, or without an argument: that is no attack, but how all of them are written.
    is_maker = maker in registry.makers and argument in ("", "NAME")
    entry = maker if is_maker else registry.look_up(name)[0]
    if argument and entry == maker and not registry.about(entry).argument:
        raise UnknownNameError(f"no {kind.removesuffix('s')} {name!r}; {did_you_mean(name, [maker])}")
    definition = registry.get(entry)
    usage = registry.usage(entry) + _options_text(definition)
    return f"{usage}\n\n{inspect.getdoc(definition) or ''}".rstrip()


def _options_text(definition: Callable[..., Any]) -> str:
    """The options that a spec may hold, with their defaults, in brackets; "" where there are none."""
    texts = []
    for parameter in inspect.signature(definition).parameters.values():
        default = parameter.default
        if default is parameter.empty or parameter.name in OF_THE_CALL:
            continue
        value = specs.number(default) if isinstance(default, float) else default
        texts.append(f"{parameter.name}={value}")
    return f"({', '.join(texts)})" if texts else ""


def _print_cards(kind: str, entry: str) -> None:
    """Print the card of each weight file that an entry ships, and of an enhancer that needs none."""
    from rain import checkpoints, registry
    from rain.enhancers import card

    files = checkpoints.shipped(entry)
    for name, path in files.items():
        spec = f"{entry}(weights={name})"
        print(f"  {spec}")
        _print_card(card(registry.load_enhancer(spec)) if kind == "enhancers" else _card_in(path))
    if kind == "enhancers" and not files and registry.ENHANCERS.usage(entry) == entry:
        _print_card(card(registry.load_enhancer(entry)))


def _card_in(path: Path) -> dict[str, str]:
    """What a weight file says of itself."""
    from rain import checkpoints

    _, card = checkpoints.read(path)
    return card


def _print_card(card: Mapping[str, Any]) -> None:
    """Print a card's entries by name: a weight file keeps them in no order."""
    for name, value in sorted(card.items()):
        print(f"\t{name}\t{f'{value:,}' if isinstance(value, int) else value}")
