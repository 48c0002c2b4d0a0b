"""What ``rain explain`` finds out about one picture: numbers, arrays and names. Never imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

Pixels = NDArray[Any]
"""(H, W, 3), float32: a picture, in [0, 1], or the difference of two."""

CLEAN = "clean"
"""The kind of the version that nobody attacked; that of another is what its attacker knew."""

FINE = 0.5
"""From this radius on frequencies are called fine: a picture of half the size holds none of them."""


@dataclass(frozen=True)
class Guess:
    """One answer to a version of the picture.

    Args:
        label, name: the likeliest class.
        probability: of it.
        held: the probability of the class that is attacked.
    """

    label: int
    name: str
    probability: float
    held: float


@dataclass(frozen=True)
class Curve:
    """A radial spectrum.

    Args:
        radii: (bins,), the middles of the rings, as fractions of the picture's Nyquist frequency.
        decibels: (bins,), the mean power in them.
    """

    radii: NDArray[Any]
    decibels: NDArray[Any]


@dataclass(frozen=True)
class Change:
    """What an attack changed.

    Args:
        fine: the share of its energy above ``FINE``.
        left: its energy behind the defence, with the draw that is shown, as a share of that before it.
        curve: the spectrum of the change.
        left_curve: of what is left of it.
    """

    fine: float
    left: float
    curve: Curve
    left_curve: Curve


@dataclass(frozen=True)
class Version:
    """The picture, clean or attacked, with what the defence made of it and what was answered.

    Args:
        kind: ``CLEAN``, or the access of the attacker (``rain.bench.cells.ACCESSES``).
        pixels: as it reaches the defence.
        randomized: after SRd, smaller; None where a defence has no such stage.
        defended: as it reaches the classifier. All versions are shown with the same draw.
        bare: what the classifier says without the defence.
        draws: what it says behind the defence, on fresh draws; all versions get the same ones.
        mean: by their averaged probabilities.
        change: None for the clean version.
        suspicion: the gate's score of each draw; empty without a gate.
    """

    kind: str
    pixels: Pixels
    randomized: Pixels | None
    defended: Pixels
    bare: Guess
    draws: tuple[Guess, ...]
    mean: Guess
    change: Change | None = None
    suspicion: tuple[float, ...] = ()


@dataclass(frozen=True)
class Gate:
    """A gate, which lets the defence overrule the classifier only where their answers differ too much.

    Args:
        score: how they are compared (``rain.gate.SCORES``).
        share: of the clean images that may be overruled; None where the threshold was given.
        threshold: of the score; a draw is flagged where its score is above.
        is_used: whether the defence that is explained has it; otherwise it is what a gate would say.
        overrules: whether the defence answers what is flagged; else that is an alarm alone.
    """

    score: str
    share: float | None
    threshold: float
    is_used: bool
    overrules: bool = True

    @property
    def title(self) -> str:
        """What the page calls it."""
        if not self.is_used:
            return "What a gate would say"
        return "The gate" if self.overrules else "The detector"


@dataclass(frozen=True)
class Detail:
    """What becomes of the clean picture's fine detail.

    Args:
        clean, randomized, defended: the spectra; None without the stage.
        fine: the share of the clean picture's energy above ``FINE``.
        lost: by how many decibels the defended picture has less power there, averaged over the rings.
        true: how much of what is there is the clean picture's own detail: the squared correlation, in
            [0, 1]; None where a defence does not say what it should give.
        missing: the defended picture minus what a perfect defence would give; None likewise.
    """

    clean: Curve
    randomized: Curve | None
    defended: Curve
    fine: float
    lost: float
    true: float | None
    missing: Pixels | None


@dataclass(frozen=True)
class Setting:
    """What was asked for, in full.

    Args:
        picture: the path, as it was written.
        classifier, defense: canonical specs.
        attack: with all its options; "none" for none.
        norm, eps: the attackers' budget.
        eot: draws that an adaptive attacker averages over at each step.
        draws: that answer.
        seed: of everything random.
        size: side in pixels at which the picture enters.
        random: whether the defence is.
        follows: whether the attack follows the model that it is to fool.
    """

    picture: str
    classifier: str
    defense: str
    attack: str
    norm: str
    eps: float
    eot: int
    draws: int
    seed: int
    size: int
    random: bool
    follows: bool


@dataclass(frozen=True)
class Explanation:
    """One picture, explained.

    Args:
        setting: what was asked for.
        held, held_name: the class that the attackers drive the picture away from.
        held_is_own: whether it is the classifier's own answer; otherwise somebody gave it.
        versions: the clean one first.
        detail: of the clean one.
        gate: of the defence; else the one that is shipped for it; None where there is neither.
        made_by: versions and digests, by the names of ``rain.bench.provenance.FACTS``.
    """

    setting: Setting
    held: int
    held_name: str
    held_is_own: bool
    versions: tuple[Version, ...]
    detail: Detail
    gate: Gate | None = None
    made_by: Mapping[str, str] = field(default_factory=dict)

    @property
    def clean(self) -> Version:
        """The version that nobody attacked."""
        return self.versions[0]

    @property
    def attacked(self) -> tuple[Version, ...]:
        """The others: those who know least first."""
        return self.versions[1:]
