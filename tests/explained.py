"""An explanation that nobody computed, for the tests of its page."""

from dataclasses import replace
from typing import Any

import numpy as np

from rain.bench.explanation import CLEAN, Change, Curve, Detail, Explanation, Gate, Guess, Setting, Version

SIDE, BINS, DRAWS = 16, 8, 4
NAMES = ("dog", "cat", "ship")

SETTING = Setting(
    picture="album/dog.png",
    classifier="small",
    defense="rain",
    attack="pgd(confidence=inf, steps=20)",
    norm="linf",
    eps=4 / 255,
    eot=12,
    draws=DRAWS,
    seed=0,
    size=SIDE,
    random=True,
    follows=True,
)


def guess(label: int, probability: float = 0.75) -> Guess:
    held = probability if label == 0 else (1 - probability) / 2
    return Guess(label, NAMES[label], probability, held)


def curve(first: float, last: float, until: float = 1.0) -> Curve:
    radii = until * (np.arange(BINS) + 0.5) / BINS
    return Curve(radii, np.linspace(first, last, BINS))


def version(kind: str, bare: int, draws: tuple[int, ...], mean: int, **changes: Any) -> Version:
    """One version of the picture: the label that the classifier gives alone, on each draw, and averaged."""
    random = np.random.default_rng(len(kind))
    change = None if kind == CLEAN else Change(0.6, 0.5, curve(-30, -40), curve(-33, -50))
    pixels = np.full((SIDE, SIDE, 3), 0.5)
    if kind != CLEAN:
        pixels = pixels + random.choice([-4 / 255, 4 / 255], pixels.shape)
    made = Version(
        kind=kind,
        pixels=pixels,
        randomized=pixels[::2, ::2],
        defended=0.9 * pixels,
        bare=guess(bare),
        draws=tuple(guess(label) for label in draws),
        mean=guess(mean),
        change=change,
    )
    return replace(made, **changes)


def explanation(*attacked: Version, clean: Version | None = None, **changes: Any) -> Explanation:
    """Explain a picture of a dog; keywords replace fields of the setting."""
    detail = Detail(
        clean=curve(10, -20),
        randomized=curve(10, 0, until=0.5),
        defended=curve(10, -23),
        fine=0.05,
        lost=2.0,
        true=0.3,
        missing=np.zeros((SIDE, SIDE, 3)),
    )
    return Explanation(
        setting=replace(SETTING, **changes),
        held=0,
        held_name=NAMES[0],
        held_is_own=True,
        versions=(clean or version(CLEAN, 0, (0, 0, 0, 0), 0), *attacked),
        detail=detail,
        made_by={"rain": "0", "classifier_weights": "abc"},
    )


def with_gate(about: Explanation, *scores: tuple[float, ...], is_used: bool = True) -> Explanation:
    """The same explanation with a gate whose threshold is 1.5, and the scores of each version's draws."""
    pairs = zip(about.versions, scores, strict=True)
    versions = tuple(replace(one, suspicion=row) for one, row in pairs)
    return replace(about, versions=versions, gate=Gate("evidence", 0.02, 1.5, is_used))


STOPPED = version("transfer", 1, (0, 0, 0, 1), 0)
WINS = version("adaptive", 1, (1, 1, 1, 2), 1)
