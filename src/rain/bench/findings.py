"""What the checklist says. Never imports torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "note"]

LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One point of the checklist that is not met.

    Args:
        level: "error": what is printed must not be called robustness. "warning": the figures may mislead.
            "note": good to know.
        defense: its spec; "" when the whole report is concerned.
        text: what is the matter and what to do.
    """

    level: Level
    defense: str
    text: str


Findings = Iterator[Finding]
"""What one function of the checklist yields: nothing where its point is met."""
