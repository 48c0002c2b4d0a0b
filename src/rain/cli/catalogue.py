"""``rain list``: what there is, and what it takes."""

import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from rain import specs
from rain.cli.errors import clean_errors, print_error
from rain.errors import PluginError, UnknownNameError, did_you_mean

Kind = StrEnum("Kind", ["attacks", "defenses", "enhancers", "classifiers", "datasets", "recipes"])
OF_THE_CALL = ("eps", "norm", "generator")
"""What an attack is given by the grid or with the call: no options of its spec."""

WITH_CARDS = ("enhancers", "classifiers")
"""Kinds that may ship weight files."""


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
    """List attacks, defenses, enhancers, classifiers, datasets and recipes by name, one a line.

    Grids and options take these names.
    """
    with clean_errors():
        if kind and name:
            print(_recipe_text(name) if kind == "recipes" else _entry_text(kind, name))
            return
        _list_entries(kind, verbose)
        if kind in (None, "recipes"):
            _list_recipes(kind, verbose)


def _list_entries(kind: str | None, verbose: bool) -> None:
    from rain.registry import REGISTRIES

    for group, registry in REGISTRIES.items():
        if kind not in (None, group):
            continue
        for entry in registry.names():
            try:
                registry.get(entry)
            except PluginError as error:
                print_error(str(error))
                continue
            _print_line(registry.usage(entry), group, kind, registry.summary(entry) if verbose else None)
            if verbose and group in WITH_CARDS:
                _print_cards(group, entry)


def _list_recipes(kind: str | None, verbose: bool) -> None:
    from rain.training import recipe

    for name in recipe.shipped():
        _print_line(name, "recipes", kind, recipe.summary(name) if verbose else None)


def _print_line(usage: str, group: str, kind: str | None, summary: str | None) -> None:
    """Print one name, after its group where all kinds are listed, before its summary if there is one."""
    columns = [usage] if kind else [group, usage]
    if summary is not None:
        columns.append(summary)
    print("\t".join(columns))


def _recipe_text(name: str) -> str:
    """The file of a shipped recipe."""
    from rain.training import recipe

    recipes = recipe.shipped()
    if name not in recipes:
        raise UnknownNameError(f"no recipe {name!r}; {did_you_mean(name, list(recipes))}")
    return recipes[name].read_text().rstrip()


def _entry_text(kind: str, name: str) -> str:
    """One entry's usage, options with their defaults, and docstring."""
    from rain.registry import REGISTRIES

    registry = REGISTRIES[kind]
    definition = registry.get(name)
    usage = registry.usage(name) + _options_text(definition)
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
    for name, value in card.items():
        print(f"\t{name}\t{f'{value:,}' if isinstance(value, int) else value}")
