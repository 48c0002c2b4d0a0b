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

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice, product
from pathlib import Path
from typing import Any

from rain import specs
from rain.bench.cells import ACCESSES, OWN_SIZE, Cell
from rain.bench.schema import DRAWS, FARTHEST, MOST, SEEDS, SIDE
from rain.errors import GridError, OptionError, did_you_mean, shown
from rain.files import to_path
from rain.presets import spelled_out
from rain.seeds import check_seed
from rain.tables import read_toml

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


CELLS = 100_000
"""Of a grid, at most."""

PICTURES = 1000
"""Kept of a cell, at most."""

UNATTACKED = [("none", 0.0)]
"""Access and eps without an attack."""

LISTS = ("dataset", "size", "classifier", "defenses", "attack", "eot", "draws")
"""The keys that take a list, and have no meaning as an empty one."""

RANGES = {
    "examples": (1, MOST),
    "chunk": (1, MOST),
    "draws": (1, DRAWS),
    "eot": (1, DRAWS),
    "seed": (0, SEEDS - 1),
    "gallery": (0, PICTURES),
    "default_size": (2, SIDE),
    "size": (2, SIDE),
}
"""The least and the largest value of the keys that are integers."""


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
        table = read_toml(path)
    except OSError as error:
        names = ", ".join(shipped()) or "none"
        raise GridError(f"{path}: {error.strerror}; shipped grids: {names}") from None
    except ValueError as error:
        raise GridError(f"{path}: {error}") from None
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
    own = entry.get("examples") if isinstance(entry, dict) else None
    # What is no number stays, and is refused where all keys are looked at.
    return entry | {"examples": examples} if type(own) is int and own > examples else entry


def expand(table: dict[str, Any]) -> Grid:
    """Turn a grid's table into cells.

    Raises:
        GridError: a key is unknown, missing or of the wrong kind.
    """
    _check_keys(table, TOP, "grid", ATTACK, "belongs to an [[attacks]]")
    for key in ("dataset", "classifier", "defenses", "attacks", "examples"):
        if not table.get(key):
            raise GridError(f"needs {key!r}")
    _check_lists(table)
    cells: list[Cell] = []
    for entry in _list(table["attacks"]):
        if not isinstance(entry, dict):
            raise GridError(f'each [[attacks]] needs attack = "name", got {shown(entry)}')
        _check_keys(entry, ATTACK, "[[attacks]]", TOP, "stands at the top, above the first [[attacks]]")
        if "attack" not in entry:
            raise GridError('each [[attacks]] needs attack = "name"')
        _check_lists(entry)
        cells += islice(_cells(table | entry), CELLS + 1)
        if len(cells) > CELLS:
            raise GridError(f"it asks for more than {CELLS} cells: write several grids")
    gallery = _integer(table, "gallery", 0)
    default_size = _integer(table, "default_size", 2) if "default_size" in table else None
    return Grid(tuple(dict.fromkeys(cells)), gallery, default_size)


def _check_lists(table: dict[str, Any]) -> None:
    """Raise ``GridError`` for a list of nothing: what is measured for each of its entries is nothing."""
    for key in LISTS:
        if table.get(key) == []:
            raise GridError(f"{key} is an empty list: leave it out, or give it an entry")


def _cells(table: dict[str, Any]) -> Iterator[Cell]:
    """The cells of one entry: every combination of what it lists."""
    norm = table.get("norm", "linf")
    if norm not in specs.NORMS:
        raise GridError(f"norm must be {' or '.join(specs.NORMS)}, got {shown(norm)}")
    counts = {
        "examples": _integer(table, "examples", None),
        "chunk": _integer(table, "chunk", 10),
        "seed": _integer(table, "seed", 0),
    }
    eots, draws = _integers(table, "eot", 20), _integers(table, "draws", 8)
    attacks = [canonical(spelled_out(_text(attack))) for attack in _list(table["attack"])]
    defenses = [_defense(entry) for entry in _list(table["defenses"])]
    attacked = next((attack for attack in attacks if attack != "none"), "")
    budgets = _budgets(table, attacked) if attacked else []
    places = product(
        map(_text, _list(table["dataset"])),
        map(_size, _list(table.get("size", "classifier"))),
        map(canonical, _list(table["classifier"])),
        attacks,
    )
    for dataset, size, classifier, attack in places:
        for access, eps in UNATTACKED if attack == "none" else budgets:
            for defense, eot, count in product(defenses, eots, draws):
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
                    draws=1 if bare else count,
                    **counts,
                )


def canonical(spec: str) -> str:
    """One spelling for a spec, so that one thing has one key."""
    return specs.canonical(_text(spec))


def clean_cell(
    dataset: str,
    classifier: str,
    defense: str,
    *,
    size: int | None,
    draws: int = 1,
    seed: int = 0,
    examples: int = 1,
    chunk: int = 10,
) -> Cell:
    """A cell of clean images, without a grid.

    Args:
        size: in pixels; ``rain.bench.cells.OWN_SIZE`` for what the classifier sees, None for their own.

    Raises:
        OptionError: a spec cannot be read, or the seed is no integer of 64 bits.
    """
    check_seed(seed)
    return Cell(
        dataset=dataset,
        size=size,
        classifier=canonical(classifier),
        defense=canonical(defense),
        attack="none",
        norm="linf",
        eps=0.0,
        access="none",
        eot=1,
        draws=draws,
        seed=seed,
        examples=examples,
        chunk=chunk,
    )


def _defense(entry: Any) -> str:
    """The canonical spec of an entry of ``defenses``; of a list, that of the chain of what it lists."""
    if not isinstance(entry, list):
        return canonical(entry)
    if not entry:
        raise GridError('a chain among the defenses lists at least one, ["jpeg", "rain"]')
    return specs.chain([_text(part) for part in entry])


def _text(spec: Any) -> str:
    if not isinstance(spec, str):
        raise GridError(f'write names as text, "name(option=value)", got {shown(spec)}')
    return spec


def _budgets(table: dict[str, Any], attack: str) -> list[tuple[str, float]]:
    """What an attack may do: every combination of access and eps. ``attack`` is what errors call it."""
    accesses, budgets = _list(table.get("access", [])), _list(table.get("eps", []))
    if not accesses or not budgets:
        raise GridError(f'attack {attack!r} needs access (of {", ".join(ACCESSES)}) and eps ("4/255")')
    for access in accesses:
        if access not in ACCESSES:
            near = did_you_mean(str(access), ACCESSES)
            raise GridError(f"access must be of {', '.join(ACCESSES)}, got {shown(access)}; {near}")
    values = [specs.fraction(str(eps)) for eps in budgets]
    if any(not 0 < eps < float("inf") for eps in values):
        raise GridError(f"eps must be positive, got {shown(budgets)}")
    if max(values) > FARTHEST:
        raise GridError(f"eps must be at most {FARTHEST}, got {max(values):g}")
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
    low, high = RANGES["size"]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        needed = f'"classifier", "native" or a number of pixels from {low} to {high}'
        raise GridError(f"size must be {needed}, got {shown(value)}")
    return value


def _integers(table: dict[str, Any], key: str, default: int) -> list[int]:
    """One integer, or a list: the points of a curve."""
    return [_integer({key: value}, key, None) for value in _list(table.get(key, default))]


def _integer(table: dict[str, Any], key: str, default: int | None) -> int:
    value = table.get(key, default)
    least, most = RANGES[key]
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise GridError(f"{key} must be an integer of at least {least}, got {shown(value)}")
    if value > most:
        raise GridError(f"{key} must be an integer of at most {most}, got {value}")
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
        raise GridError(f"{where} has no key {shown(key)}; {hint}")
