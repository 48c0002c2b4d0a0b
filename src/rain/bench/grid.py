"""Grids: a TOML file to cells. Never imports torch.

A grid says what is measured::

    dataset = "samples"       # a spec, see: rain list datasets
    size = 224                # side at which images enter, in pixels; by default what the classifier sees
    classifier = "efficientnet_lite0"
    defenses = ["none", "jpeg", "rain", "rain(enhancer=bicubic)"]
    examples = 20             # images, the first ones of the dataset
    chunk = 10                # images in one unit of work
    draws = 8                 # fresh draws on which a random defence is scored
    seed = 0
    gallery = 3               # pictures kept for the report, for each transferred and adaptive attack

    [[attacks]]
    attack = "none"           # clean images

    [[attacks]]
    attack = "pgd(steps=10)"
    access = ["transfer", "static", "adaptive"]
    eps = ["2/255", "4/255"]
    norm = "linf"
    eot = 20                  # draws that an adaptive attacker averages over at each step

``dataset``, ``size``, ``classifier``, ``eps``, ``access`` and ``attack`` take one value or a list. An attack
may have its own ``defenses``, ``examples``, ``chunk`` and ``draws``. A list among the defences is a chain of
them: ``defenses = ["none", ["jpeg", "rain"]]`` asks for two.

``size = "classifier"`` is as good as none: each classifier gets images of the size that it sees. Before one
that does not say what it sees they enter at ``default_size``, or else at their own size. ``size = "native"``
leaves each image at its own size, whatever the classifier sees.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

from rain import specs
from rain.bench.cells import ACCESSES, OWN_SIZE, Cell
from rain.errors import GridError, OptionError, did_you_mean
from rain.files import not_utf8, read_text, to_path

TOP = {
    "dataset",
    "size",
    "default_size",
    "classifier",
    "defenses",
    "examples",
    "chunk",
    "draws",
    "seed",
    "gallery",
    "attacks",
}
ATTACK = {"attack", "access", "eps", "norm", "eot", "defenses", "examples", "chunk", "draws"}


@dataclass(frozen=True)
class Grid:
    """What a grid file asks for.

    Args:
        cells: in the file's order, each once.
        gallery: pictures to keep of the first chunk of each transferred and adaptive cell at its largest eps;
            a chunk that is finished makes none.
        default_size: side in pixels at which images enter before a classifier that does not say what it sees,
            where ``size`` is left to it; None for their own size.
    """

    cells: tuple[Cell, ...]
    gallery: int
    default_size: int | None = None


def shipped() -> dict[str, Path]:
    """The grids inside the package, by name."""
    folder = Path(str(files("rain.bench") / "grids"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read(path: Path | str, **changes: Any) -> Grid:
    """Read a grid file, or a shipped grid by name.

    Args:
        path: the file, or a name of ``shipped()``.
        changes: top-level keys that replace the file's; None leaves the file's.

    Raises:
        GridError: the file is missing, is not TOML, or does not say what to run.
    """
    path = shipped().get(str(path), to_path(path))
    try:
        table = tomllib.loads(read_text(path))
    except OSError as error:
        names = ", ".join(shipped()) or "none"
        raise GridError(f"{path}: {error.strerror}; shipped grids: {names}") from None
    except UnicodeDecodeError as error:
        raise GridError(f"{path}: {not_utf8(error)}") from None
    except tomllib.TOMLDecodeError as error:
        raise GridError(f"{path}: not TOML: {error}") from None
    try:
        return expand(_changed(table, {key: value for key, value in changes.items() if value is not None}))
    except (GridError, OptionError) as error:
        raise GridError(f"{path}: {error}") from None


def _changed(table: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Replace top-level keys; a smaller number of examples also holds where an attack has its own."""
    entries, examples = table.get("attacks"), changes.get("examples")
    if examples is not None and isinstance(entries, list):
        table = table | {"attacks": [_with_at_most(entry, examples) for entry in entries]}
    return table | changes


def _with_at_most(entry: Any, examples: int) -> Any:
    if isinstance(entry, dict) and entry.get("examples", 0) > examples:
        return entry | {"examples": examples}
    return entry


def expand(table: dict[str, Any]) -> Grid:
    """Turn a grid's table into cells.

    Raises:
        GridError: a key is unknown, missing or of the wrong kind.
    """
    _check_keys(table, TOP, "grid", ATTACK, "belongs to an [[attacks]]")
    for key in ("dataset", "classifier", "defenses", "attacks", "examples"):
        if not table.get(key):
            raise GridError(f"needs {key!r}")
    cells: list[Cell] = []
    for entry in _list(table["attacks"]):
        if not isinstance(entry, dict):
            raise GridError(f'each [[attacks]] needs attack = "name", got {entry!r}')
        _check_keys(entry, ATTACK, "[[attacks]]", TOP, "stands at the top, above the first [[attacks]]")
        if "attack" not in entry:
            raise GridError('each [[attacks]] needs attack = "name"')
        cells += _cells(table | entry)
    gallery = _integer(table, "gallery", 0, least=0)
    default_size = _integer(table, "default_size", 2, least=2) if "default_size" in table else None
    return Grid(tuple(dict.fromkeys(cells)), gallery, default_size)


def _cells(table: dict[str, Any]) -> Iterator[Cell]:
    """The cells of one entry: every combination of what it lists."""
    norm = table.get("norm", "linf")
    if norm not in specs.NORMS:
        raise GridError(f"norm must be {' or '.join(specs.NORMS)}, got {norm!r}")
    counts = {
        "examples": _integer(table, "examples", None),
        "chunk": _integer(table, "chunk", 10),
        "seed": _integer(table, "seed", 0, least=0),
    }
    eot, draws = _integer(table, "eot", 20), _integer(table, "draws", 8)
    places = product(
        map(_text, _list(table["dataset"])),
        map(_size, _list(table.get("size", "classifier"))),
        map(canonical, _list(table["classifier"])),
        map(canonical, _list(table["attack"])),
    )
    for dataset, size, classifier, attack in places:
        for access, eps in _budgets(table, attack):
            for defense in map(_defense, _list(table["defenses"])):
                bare = defense == "none"
                yield Cell(
                    dataset=dataset,
                    size=size,
                    classifier=classifier,
                    defense=defense,
                    attack=attack,
                    norm=norm,
                    eps=eps,
                    access=access,
                    eot=eot if access == "adaptive" and not bare else 1,
                    draws=1 if bare else draws,
                    **counts,
                )


def canonical(spec: str) -> str:
    """One spelling for a spec, so that one thing has one key."""
    return specs.canonical(_text(spec))


def _defense(entry: Any) -> str:
    """The canonical spec of an entry of ``defenses``; of a list, that of the chain of what it lists."""
    if not isinstance(entry, list):
        return canonical(entry)
    if not entry:
        raise GridError('a chain among the defenses lists at least one, ["jpeg", "rain"]')
    parts = [canonical(part) for part in entry]
    return specs.write("chain", {"parts": "+".join(parts)}) if len(parts) > 1 else parts[0]


def _text(spec: Any) -> str:
    if not isinstance(spec, str):
        raise GridError(f'write names as text, "name(option=value)", got {spec!r}')
    return spec


def _budgets(table: dict[str, Any], attack: str) -> list[tuple[str, float]]:
    if attack == "none":
        return [("none", 0.0)]
    accesses, budgets = _list(table.get("access", [])), _list(table.get("eps", []))
    if not accesses or not budgets:
        raise GridError(f'attack {attack!r} needs access (of {", ".join(ACCESSES)}) and eps ("4/255")')
    for access in accesses:
        if access not in ACCESSES:
            near = did_you_mean(str(access), ACCESSES)
            raise GridError(f"access must be of {', '.join(ACCESSES)}, got {access!r}; {near}")
    values = [specs.fraction(str(eps)) for eps in budgets]
    if any(not 0 < eps < float("inf") for eps in values):
        raise GridError(f"eps must be positive, got {budgets}")
    if table.get("norm", "linf") == "linf" and max(values) > 1:
        largest = f"{max(values):g}"
        advice = f'write "{largest}/255" for grey levels, 1.0 for no budget'
        raise GridError(f"eps = {largest} is more than all of [0, 1]: {advice}")
    return [(access, eps) for eps in values for access in accesses]


def _size(value: Any) -> int | None:
    if value == "native":
        return None
    if value == "classifier":
        return OWN_SIZE
    if isinstance(value, bool) or not isinstance(value, int) or value < 2:
        raise GridError(f'size must be "classifier", "native" or a number of pixels, got {value!r}')
    return value


def _integer(table: dict[str, Any], key: str, default: int | None, least: int = 1) -> int:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise GridError(f"{key} must be an integer of at least {least}, got {value!r}")
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _check_keys(table: dict[str, Any], keys: set[str], where: str, others: set[str], advice: str) -> None:
    """Raise ``GridError`` for a key that is not there, with the nearest one, or the place where it belongs.

    Args:
        keys: that there are.
        where: what the error calls the table.
        others: the keys of the other kind of table.
        advice: what to say of one of these.
    """
    for key in sorted(table.keys() - keys, key=str):
        hint = did_you_mean(key, sorted(keys))
        if key in others and not any(isinstance(value, dict) for value in _list(table[key])):
            hint = f"it {advice}"
        raise GridError(f"{where} has no key {key!r}; {hint}")
