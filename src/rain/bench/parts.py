"""A point of the evaluation checklist: RAIN without each of its parts. Never imports torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rain.bench.cases import Case, Verdict, attacked_at, mean_text
from rain.bench.cells import Result
from rain.bench.checks import LEAST_IMAGES
from rain.bench.columns import Column, is_adaptive
from rain.bench.counted import left_of_each
from rain.errors import OptionError
from rain.specs import parse, write


@dataclass(frozen=True)
class Part:
    """A part of ``rain`` that an ablation leaves out.

    Args:
        name: of the part.
        option, value: what leaves it out.
        preset: that leaves it out, too.
        moot: options that mean nothing without it.
        enhancer: the DG that was trained for what is there in its place, for cells of 2x2 pixels; "" where
            the DG that is there may stay.
    """

    name: str
    option: str
    value: Any
    preset: str
    moot: tuple[str, ...] = ()
    enhancer: str = ""


PARTS = (
    Part("pick", "down", "bicubic", "no_pick", ("keep", "cell"), "compact(weights=sr)"),
    Part("shift", "shift", 0.0, "no_shift", ("seam", "shared_shift")),
    Part("DG", "enhancer", "bicubic", "no_dg"),
)


def each_part(case: Case) -> Verdict:
    """The parts of the defence were left out one by one."""
    own = _missing_parts(case.defense)
    if own is None or own:
        return Verdict("does not apply", "no rain" if own is None else "an ablation itself")
    without = {}
    for column in case.setting:
        part = _left_out(case.defense, column.defense)
        attacks = _adaptive(column, case)
        if part is not None and attacks:
            without[part.name] = mean_text(left_of_each(attacks))
    figure = ", ".join(f"without {part.name} {without[part.name]}" for part in PARTS if part.name in without)
    if len(without) < len(PARTS):
        specs = ", ".join(_without(case.defense, part) for part in PARTS if part.name not in without)
        return Verdict("not run", figure, f"add {specs}, attacked adaptively")
    return Verdict("passed", figure)


def is_control(case: Case) -> bool:
    """Whether a defence is here for this point of another one, which was attacked, too: on few images."""
    if not case.adaptive or len(left_of_each(case.adaptive)) >= LEAST_IMAGES:
        return False
    return is_ablation(case.defense, [one.defense for one in case.setting if _adaptive(one, case)])


def is_ablation(defense: str, others: Iterable[str]) -> bool:
    """Whether a defence leaves a part of one of the others out, which is whole."""
    return any(_left_out(other, defense) for other in others if _missing_parts(other) == [])


def _adaptive(column: Column, case: Case) -> list[Result]:
    return [result for result in attacked_at(column, case.budget) if is_adaptive(result)]


def _left_out(defense: str, other: str) -> Part | None:
    """The one part that another defence leaves out of ``rain``, where it is like it in all else."""
    missing = _missing_parts(other)
    if missing is None or len(missing) != 1:
        return None
    (part,) = [part for part in PARTS if part.name == missing[0]]
    free = {part.option, *part.moot, *(("enhancer",) if part.enhancer else ())}
    kept = [_options_but(spec, free, part.preset) for spec in (defense, other)]
    return part if kept[0] == kept[1] else None


def _options_but(defense: str, left_out: set[str], preset: str) -> dict[str, Any]:
    options = {name: value for name, value in parse(defense)[1].items() if name not in left_out}
    if options.get("preset") in ("default", preset):
        del options["preset"]
    return options


def _without(defense: str, part: Part) -> str:
    """Write ``rain`` with one part left out, and with the DG that fits then, where there is one."""
    other = {"enhancer": part.enhancer} if part.enhancer and "cell" not in parse(defense)[1] else {}
    kept = _options_but(defense, {part.option, *part.moot, *other}, "")
    if not kept:
        return f"rain(preset={part.preset})"
    return write("rain", kept | {part.option: part.value} | other)


def _missing_parts(defense: str) -> list[str] | None:
    """The parts of ``rain`` that a defence leaves out; None of another one."""
    try:
        name, options = parse(defense)
    except OptionError:
        return None
    if name != "rain":
        return None
    preset = options.get("preset", "default")
    missing = []
    for part in PARTS:
        value = options.get(part.option)
        if value == part.value or (value is None and preset == part.preset):
            missing.append(part.name)
    return missing
