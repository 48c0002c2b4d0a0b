"""What the checklist and the verdict ask of results. Never imports torch.

A *column* is all results of one defence in one place: one dataset at one size, before one classifier.
"""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple, TypeVar

from rain.bench.cells import Cell, Result
from rain.bench.metrics import eps_text, per_image, place_order, unbounded
from rain.entries import Traits
from rain.errors import OptionError, ResultError
from rain.specs import innermost, parse

Item = TypeVar("Item")
Key = TypeVar("Key")


class Budget(NamedTuple):
    """What an attack may change; as text ``eps 4/255 (linf)``.

    Args:
        norm: "linf" or "l2".
        eps: infinite where it is no budget, so that all of these are one.
    """

    norm: str
    eps: float

    def __str__(self) -> str:
        return f"eps {eps_text(self.eps, self.norm)} ({self.norm})"


@dataclass(frozen=True)
class Column:
    """All results of one defence in one place.

    Args:
        defense: its spec; "none" is the bare classifier.
        results: at least one.
    """

    defense: str
    results: tuple[Result, ...]

    @property
    def random(self) -> bool:
        """Whether the defence is random."""
        return any("yes" in result.made_by.get("defense_random", ()) for result in self.results)

    @property
    def attacked(self) -> list[Result]:
        """The results with an attack; a corruption is none."""
        return [result for result in self.results if is_attacked(result)]

    @property
    def adaptive(self) -> list[Result]:
        """The results whose attack counts as adaptive."""
        return [result for result in self.results if is_adaptive(result)]

    @property
    def bounded_adaptive(self) -> list[Result]:
        """Those of them with a budget."""
        return [result for result in self.adaptive if not unbounded(result.cell)]

    @property
    def budgets(self) -> set[Budget]:
        """At which it was attacked."""
        return {budget_of(result.cell) for result in self.attacked}


def settings(results: Iterable[Result]) -> list[list[Column]]:
    """Sort results into places, and each place into columns."""
    ordered = sorted(results, key=lambda result: (*place_order(result.cell), result.cell.defense))
    places = grouped(ordered, lambda result: place_order(result.cell))
    return [_columns(setting) for setting in places.values()]


def _columns(setting: Iterable[Result]) -> list[Column]:
    by_defense = grouped(setting, lambda result: result.cell.defense)
    return [Column(defense, tuple(results)) for defense, results in by_defense.items()]


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Collect items by a key, in the order in which the keys come."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def by_budget(results: Iterable[Result]) -> dict[Budget, list[Result]]:
    """Collect results by their budgets, in ascending order."""
    groups = grouped(results, lambda result: budget_of(result.cell))
    return {budget: groups[budget] for budget in sorted(groups)}


def covering(results: Sequence[Result], images: AbstractSet[int]) -> Sequence[Result]:
    """Choose the results that are of all these images; all of the results where none is."""
    whole = [result for result in results if images <= {outcome.index for outcome in result.outcomes}]
    return whole or results


def widest(results: Sequence[Result]) -> Sequence[Result]:
    """Of these results those that are of all images that the one of most has: a few images hide nothing."""
    largest = max(results, key=lambda result: len(result.outcomes), default=None)
    return covering(results, set(per_image(largest))) if largest else results


def clean_scores(setting: Iterable[Result], defense: str) -> dict[int, float]:
    """The clean score of each image that any result of a defence measured; of several that of most draws."""
    scores: dict[int, float] = {}
    for result in sorted(setting, key=lambda result: result.cell.draws):
        if result.cell.defense == defense:
            scores |= per_image(result, attacked=False)
    return scores


def budget_of(cell: Cell) -> Budget:
    """The budget of a cell's attack."""
    return Budget(cell.norm, inf if unbounded(cell) else cell.eps)


def listed(budgets: Iterable[Budget]) -> str:
    """Name several budgets."""
    return ", ".join(map(str, budgets))


def is_adaptive(result: Result) -> bool:
    """Whether an attack counts as adaptive: it averages over draws, and follows the model that it is to fool.

    It does with access "adaptive"; and with "static", if it averages by itself.
    """
    declared = traits(result)
    averages = result.cell.access == "static" and declared.averages > 1
    return (result.cell.access == "adaptive" or averages) and declared.follows


def access_of(result: Result) -> str:
    """Name the access that an attack counts for.

    Returns: "adaptive" of one with access "static" that averages by itself; "" of one with access "adaptive"
        that does not follow the model; else its access.
    """
    if is_adaptive(result):
        return "adaptive"
    return "" if result.cell.access == "adaptive" else result.cell.access


def is_random(result: Result) -> bool:
    """Whether the defence is random, or may be: files of before do not say it."""
    return result.cell.defense != "none" and "no" not in result.made_by.get("defense_random", ())


def is_corruption(result: Result) -> bool:
    """Whether the images were corrupted, and not attacked."""
    return result.cell.attack != "none" and traits(result).corrupts


def is_attacked(result: Result) -> bool:
    """Whether the images were attacked; a corruption is no attack."""
    return result.cell.attack != "none" and not traits(result).corrupts


def without_corruptions(results: Iterable[Result]) -> list[Result]:
    """The results that the verdict and the figures are of: clean images and attacked ones."""
    return [result for result in results if not is_corruption(result)]


def says_its_traits(result: Result) -> bool:
    """Whether a result says what its attack does; files of before version 0.2 do not."""
    return "attack_traits" in result.made_by


def traits(result: Result) -> Traits:
    """What the attack declared of itself; the defaults where the result does not say it.

    Raises:
        ResultError: what stands there is no declaration.
    """
    text, *_ = result.made_by.get("attack_traits", ("traits",))
    try:
        declared = Traits(**parse(text)[1])
        if type(declared.steps) is not int:
            raise OptionError(f"steps must be a whole number, got {declared.steps!r}")
        return declared
    except (TypeError, OptionError) as error:
        what = f"{result.cell.key}: its attack_traits cannot be read ({error})"
        raise ResultError(f"{what}; delete it and run the grid again") from None


def option(result: Result, *names: str) -> float:
    """Read an option of the attack that does the work: the first of these names that it has.

    Returns: 0 where it has none of them, or leaves it open.
    """
    spec, *_ = result.made_by.get("attack", (result.cell.attack,))
    _, options = innermost(spec)
    value: Any = next((options[name] for name in names if name in options), None)
    return float(value) if isinstance(value, int | float) else 0.0


def steps(result: Result) -> float:
    """How many steps the attack makes; infinite where nothing says it."""
    return option(result, "steps") or traits(result).steps or inf


def most_steps(results: Sequence[Result]) -> float:
    """The steps of the longest attack."""
    return max(map(steps, results))


def most_draws(results: Sequence[Result]) -> int:
    """The draws a step of the attack that averages over most of them: by its access (eot), or by itself."""
    return max(result.cell.eot * traits(result).averages for result in results)


def ends_at_success(result: Result) -> bool:
    """Whether the attack lets an image go at its first success."""
    return traits(result).stops == "fooled" and option(result, "confidence") <= 0


def ends_at_boundary(result: Result) -> bool:
    """Whether the attack ends where the model is fooled, just."""
    return traits(result).stops == "boundary" and option(result, "confidence") <= 0
