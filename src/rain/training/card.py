"""What a weight file says about itself: where its weights come from, and what they measure."""

import json
import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from rain.files import printable
from rain.specs import apart, chain, parse, write
from rain.training.attacker import attacker_text
from rain.training.recipe import PLACES, Config
from rain.training.sources import Sources
from rain.training.state import Progress
from rain.training.validation import Measures
from rain.version import __version__, revision


def weight_card(
    config: Config,
    sources: Sources,
    progress: Progress,
    start: Mapping[str, str],
    computed: str,
    part: str,
    beside: str = "",
    through: str = "",
) -> dict[str, str]:
    """Write the card of a run's best weights.

    Args:
        config: of the run.
        sources: what it learns from.
        progress: with what the best weights measure.
        start: the card of the weights that it began with; empty if there is none.
        computed: on what device, and in which precision.
        part: whose weights they are: "enhancer" or "classifier".
        beside: what else was trained at the same time, in words; empty for nothing.
        through: which classifier an enhancer was trained through, in words; empty for none that stands still.
    """
    card: dict[str, str] = {}
    if start:
        origin = {name: start[name] for name in ("data", "command", "commit") if name in start}
        card["start"] = json.dumps(origin)
    labels = "" if sources.labelled else ", no labels"
    card["data"] = f"{sources.title()} ({len(sources)} pictures{labels})"
    card["licence"] = f"of the pictures: {', '.join(dict.fromkeys(part.licence for part in sources.parts))}"
    card["command"] = _command()
    card["recipe"] = json.dumps(_own_fields(config))
    if beside:
        card["beside"] = beside
    if through:
        card["classifier"] = through
    if part == "enhancer":
        card["behind"] = behind(config.defense)
    card["commit"] = revision()
    card["versions"] = f"rain {__version__}, torch {torch.__version__}, python {platform.python_version()}"
    card["computed"] = computed
    card["validation"] = json.dumps({"step": progress.best_step, **_rounded(progress.measured)})
    card["before"] = json.dumps(_rounded(progress.began))
    if "robust" in progress.measured:
        card["robust"] = attacker_text(config)
    if part == "classifier" and sources.categories:
        card["classes"] = ", ".join(sources.categories)
    # Names of files may hold what no file of weights can.
    return {name: printable(value) for name, value in card.items()}


def behind(defense: str) -> str:
    """What an enhancer is trained behind: the spec of its defence, without the enhancer itself."""
    name, options = parse(defense)
    if name == "chain" and "parts" in options:
        return chain([behind(part) for part in apart(options["parts"])])
    return write(name, {option: value for option, value in options.items() if option != "enhancer"})


def _command() -> str:
    """The command that trains, if it is ours."""
    is_rain = Path(sys.argv[0]).name in ("rain", "__main__.py")
    return shlex.join(["rain", *sys.argv[1:]]) if is_rain else "rain.train.fit"


def _own_fields(config: Config) -> dict[str, object]:
    """The fields that say what is learnt, and are no defaults."""
    fields = {name: value for name, value in asdict(config).items() if name not in PLACES}
    return {name: value for name, value in fields.items() if value != getattr(Config, name)}


def _rounded(measures: Measures) -> Measures:
    """The same numbers with five digits."""
    return {name: float(f"{value:.5g}") for name, value in measures.items()}
