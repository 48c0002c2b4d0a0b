"""A gate before another defence: the classifier's own answer, unless the two differ too much."""

from pathlib import Path

from rain.calibration import Calibration
from rain.defense import Defense
from rain.gate import DEFAULT, Gated
from rain.registry import DEFENSES, load_defense


@DEFENSES.register
def gated(
    defense: str | Defense = "rain",
    share: float = 0.02,
    score: str = DEFAULT,
    calibration: str | Path | Calibration | None = None,
    threshold: float | None = None,
) -> Gated:
    """Let a defence overrule the classifier only where its answer differs too much.

    Args:
        defense: spec of the defence behind the gate, with its options, or a ``Defense``.
        share: of the clean images that may be overruled, above 0 and at most 0.5.
        score: how the two answers are compared. "evidence", the default, is what speaks for the defence's
            answer; "odds", how far the log odds between the two answers' classes move; "gain", what the
            defence's class gains in probability; "js", the Jensen-Shannon divergence; "l1", the sum of
            absolute differences.
        calibration: of the gate, or the file of one (``rain calibrate``); by default the shipped one of this
            classifier and defence.
        threshold: of the score, in the place of share and calibration.

    Raises:
        GateError: no such score, the share is out of range, or the file is no calibration.
        OptionError, UnknownNameError: as the defence's loader does.

    Source: the L1 comparison of feature squeezing (arXiv 1704.01155), with RAIN as the squeezer.

    Differs: where the answers differ too much, the defence answers; feature squeezing rejects.
    """
    inner = load_defense(defense) if isinstance(defense, str) else defense
    return Gated(inner, share, score, calibration, threshold)
