"""Results that nobody measured, for the tests of what is made of results."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from rain.bench.access import in_full, traits_text
from rain.bench.cells import Cell, Outcome, Result, gathered, path_of, save
from rain.bench.proofs import ProofCell
from rain.bench.streams import Stream

Answers = Sequence[int | tuple[int, ...]]

CELL = Cell(
    dataset="samples",
    size=224,
    classifier="small",
    defense="rain",
    attack="pgd(confidence=inf)",
    norm="linf",
    eps=4 / 255,
    access="adaptive",
    eot=20,
    draws=1,
    seed=0,
    examples=4,
    chunk=4,
)
MADE_BY = {"rain": "0", "torch": "2", "revision": "abc"}


def cell(**changes: Any) -> Cell:
    return replace(CELL, **changes)


def unattacked(**changes: Any) -> Cell:
    return cell(attack="none", access="none", eps=0.0, eot=1, **changes)


def proof_cell(**changes: Any) -> ProofCell:
    """A small binarization test."""
    small = {"dataset": "samples", "size": 32, "classifier": "small_resnet", "attack": "pgd(steps=2)"}
    rest = {"eps": 0.1, "eot": 2, "draws": 2, "chunk": 2}
    return ProofCell(**{**asdict(CELL), "inside": 9, "planted": 1, **small, **rest, **changes})


def facts(about: Cell, **more: str) -> dict[str, str]:
    """What a result file says of how it was made; every defence is random."""
    random = "no" if about.defense == "none" else "yes"
    own = {**MADE_BY, "defense_random": random, "precision": "32-true"}
    if about.attack != "none":
        own |= {"attack": in_full(about.attack), "attack_traits": traits_text(about.attack)}
    return own | more


def of_cell(one: Result, **changes: Any) -> Result:
    """The same outcomes, as those of a cell that differs in these fields."""
    about = replace(one.cell, **changes)
    return replace(one, cell=about, made_by=gathered([facts(about)]))


def with_facts(one: Result, **more: str) -> Result:
    """The same result, made by something else."""
    return replace(one, made_by=gathered([facts(one.cell, **more)]))


def result(
    about: Cell,
    robust: Answers,
    clean: Answers | None = None,
    mean: Sequence[int] | None = None,
    *,
    complete: bool = True,
) -> Result:
    """Make a result.

    An answer is 1 or 0, right or wrong on every draw, or a tuple of labels, one a draw; the right label is 0.
    """
    clean = clean if clean is not None else [1] * len(robust)
    flat = None if about.attack == "none" else False
    outcomes = []
    for index, answers in enumerate(zip(clean, robust, strict=True)):
        before, after = (_on_each_draw(answer, about.draws) for answer in answers)
        robust_mean = mean[index] if mean else after[0]
        outcomes.append(Outcome(index, 0, before, before[0], after, robust_mean, about.eps, flat=flat))
    if complete:
        about = replace(about, examples=max(1, len(robust)))
    return Result(about, tuple(outcomes), complete, gathered([facts(about)]))


def stream(
    clean: Sequence[float],
    robust: Sequence[float],
    bare_clean: Sequence[float] = (),
    bare_robust: Sequence[float] = (),
) -> Stream:
    """A stream of these scores, image by image."""
    return Stream(
        dataset=CELL.dataset,
        size=CELL.size,
        classifier=CELL.classifier,
        defense=CELL.defense,
        norm=CELL.norm,
        eps=CELL.eps,
        access=CELL.access,
        attacks=(CELL.attack,),
        clean=dict(enumerate(clean)),
        robust=dict(enumerate(robust)),
        bare_clean=dict(enumerate(bare_clean)),
        bare_robust=dict(enumerate(bare_robust)),
        complete=True,
    )


def with_gate(one: Result, clean: Sequence[float], robust: Sequence[float], threshold: str = "0.5") -> Result:
    """The same answers of a gated defence: the gate's score of each image, on every draw."""
    outcomes = []
    for outcome, before, after in zip(one.outcomes, clean, robust, strict=True):
        draws = len(outcome.clean)
        scores = {
            "clean_suspicion": (float(before),) * draws,
            "robust_suspicion": (float(after),) * draws,
        }
        outcomes.append(replace(outcome, **scores))
    return replace(with_facts(one, gate_threshold=threshold), outcomes=tuple(outcomes))


def _on_each_draw(answer: int | tuple[int, ...], draws: int) -> tuple[int, ...]:
    return answer if isinstance(answer, tuple) else (1 - answer,) * draws


Suspicions = Sequence[tuple[float, ...]]


def suspected(one: Result, clean: Suspicions, robust: Suspicions, threshold: float | None = 0.5) -> Result:
    """The same result, with a gate's scores of each image, one a draw."""
    outcomes = [
        replace(outcome, clean_suspicion=before, robust_suspicion=after)
        for outcome, before, after in zip(one.outcomes, clean, robust, strict=True)
    ]
    facts = {} if threshold is None else {"gate_threshold": (f"{threshold:.6g}",)}
    return replace(one, outcomes=tuple(outcomes), made_by={**one.made_by, **facts})


GATED = "gated(defense=rain, share=0.02)"


def detected(count: int = 100) -> list[Result]:
    """The bare classifier, rain on four draws, and a gate before it that some attackers know.

    The transferred attack fools the bare classifier on all images but ten, and the gate sees nine in ten.
    Who knows the gate fools it on half of them, unseen.
    """
    transfer = {"access": "transfer", "eot": 1}
    on_bare = result(cell(defense="none", **transfer), share(0.1, count), share(0.9, count))
    two, one = (0, 0, 1, 1), (0, 0, 0, 1)
    on_rain = result(cell(defense="rain", draws=4, **transfer), [two] * count, [one] * count)
    below = [(0.1 + 0.3 * index / count,) for index in range(count)]
    above = [(0.8,) if index < 0.9 * count else (0.2,) for index in range(count)]
    unaware = result(cell(defense=GATED, **transfer), share(0.7, count), share(0.9, count))
    aware = result(cell(defense=GATED), share(0.5, count), share(0.9, count))
    return [on_bare, on_rain, suspected(unaware, below, above), suspected(aware, below, below)]


CORRUPTION = "corruption(kind=noise, strength={})"


def corrupted(count: int = 10) -> list[Result]:
    """Two strengths of noise, before the bare classifier, rain, and a gate that flags the stronger one."""
    results = []
    for strength, right in ((1, 0.8), (5, 0.4)):
        about = {"attack": CORRUPTION.format(strength), "access": "transfer", "eps": 1.0, "eot": 1}
        for defense in ("none", "rain"):
            results.append(result(cell(defense=defense, **about), share(right, count), share(0.9, count)))
        gate = result(cell(defense=GATED, **about), share(right, count), share(0.9, count))
        after = [(0.1 * strength + 0.2,)] * count
        results.append(suspected(gate, [(0.1,)] * count, after))
    return results


def share(rate: float, count: int = 200) -> list[int]:
    """Answers of which the first part is right."""
    return [int(index < rate * count) for index in range(count)]


def three_columns(
    *,
    bare: float = 0.0,
    transfer: float = 0.62,
    adaptive: float | None = 0.0,
    clean: float = 0.66,
    defense: str = "rain",
) -> list[Result]:
    """The bare classifier attacked, and a defence by a transferred and, unless None, an adaptive attack."""
    results = [
        result(cell(defense="none", eot=1), share(bare), share(0.8)),
        result(cell(defense=defense, access="transfer", eot=1, draws=3), share(transfer), share(clean)),
    ]
    if adaptive is not None:
        results.append(result(cell(defense=defense, draws=3), share(adaptive), share(clean)))
    return results


def write(folder: Path, results: Sequence[Result]) -> None:
    for one in results:
        about = one.cell
        made_by = {name: values[0] for name, values in one.made_by.items()}
        for chunk in range(about.chunks):
            outcomes = [outcome for outcome in one.outcomes if outcome.index in about.indices(chunk)]
            if len(outcomes) == len(about.indices(chunk)):
                save(folder, about, chunk, outcomes, made_by)


def gallery(count: int = 2, side: int = 8, name: str = "cat", **changes: Any) -> dict[str, Any]:
    rough = np.random.default_rng(0)
    clean = rough.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return {
        "clean": clean,
        "adversarial": clean,
        "randomized": clean[:, ::2, ::2],
        "enhanced": clean,
        "perturbation": np.where(clean > 127, 4 / 255, -4 / 255).astype(np.float32),
        "index": np.arange(count),
        "says": np.array([[f"{name} (91 %)", "dog (60 %)", name, "bird (99 %)"]] * count),
        "truth": np.array([name] * count),
        **changes,
    }


def write_gallery(folder: Path, about: Cell, arrays: Mapping[str, Any]) -> Path:
    path = path_of(folder, about, 0).with_name("gallery.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path
