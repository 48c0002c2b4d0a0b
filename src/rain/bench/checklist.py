"""The evaluation checklist: for each defence at each budget, what was done and what it showed.

Never imports torch. A *claim* of robustness, of one defence at one budget, needs

- an adaptive attack, on ``LEAST_IMAGES`` images at least,
- of a random defence, a proof that such an attack finds what is there (``rain prove``),
- of any other, what shows the same without planting anything: the attack has gradients, its figure is flat
  where the steps are doubled, and without a budget it leaves nothing,
- and no point that failed.

What was not run is named. It does not forbid a claim: who reads it decides. Of *controls* none is asked: the
ablations that *Each part alone* of another defence asks for, on few images.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from rain.bench import growing, parts, points
from rain.bench.cases import Case, Verdict, cases, main_cases
from rain.bench.cells import Result
from rain.bench.checks import LEAST_IMAGES
from rain.bench.counted import left_of_each
from rain.bench.proofs import Proof


class Point(NamedTuple):
    """One point of the checklist.

    Args:
        name: of it.
        source: the paper that asks for it.
        question: what it asks, in words.
        judge: what answers it.
    """

    name: str
    source: str
    question: str
    judge: Callable[[Case], Verdict]


ATHALYE = "Athalye et al. 2018, arXiv 1802.00420"
CARLINI = "Carlini et al. 2019, arXiv 1902.06705"
TRAMER = "Tramer et al. 2020, arXiv 2002.08347"
ZIMMERMANN = "Zimmermann et al. 2022, arXiv 2206.13991"
LEE = "Lee and Kim 2023, arXiv 2303.09051"

ADAPTIVE = Point(
    "Adaptive attack",
    TRAMER,
    "Was there an attacker who knows the defence, and averages over its randomness?",
    points.adaptive_attack,
)
PROOF = Point(
    "Attack proven",
    ZIMMERMANN,
    "Does such an attack find at least 95 % of the points that were planted for it?",
    points.proven_attack,
)

STEPS = Point(
    "Steps doubled",
    CARLINI,
    "Is the figure flat at the end, where the steps are doubled?",
    growing.flat_in_steps,
)
NO_BUDGET = Point("No budget", CARLINI, "Does an attack without a budget leave nothing?", growing.no_budget)
GRADIENTS = Point(
    "Gradients", ATHALYE, "Had the attack a gradient that is not exactly 0?", points.gradients_there
)

OF_RANDOM = (ADAPTIVE, PROOF)
OF_OTHERS = (ADAPTIVE, STEPS, NO_BUDGET, GRADIENTS)
"""What no claim is allowed without, of a random defence and of any other."""

POINTS = (
    ADAPTIVE,
    PROOF,
    Point(
        "Draw known",
        ATHALYE,
        "Does an attacker who sees the very draw that judges leave no more than the others?",
        points.known_bound,
    ),
    Point(
        "Randomness frozen",
        CARLINI,
        "Does the attack succeed where nothing is random, so that nothing else stops it?",
        points.frozen_randomness,
    ),
    Point(
        "Draws (EOT) grow",
        ATHALYE,
        "Is the figure flat at the end, where the attack averages over 1, 5, 10, 20 and 40 draws a step?",
        growing.flat_in_draws,
    ),
    STEPS,
    Point(
        "eps to 0",
        CARLINI,
        "Does the accuracy go to that of clean images, and fall wherever eps grows?",
        growing.small_budget,
    ),
    NO_BUDGET,
    Point(
        "Many steps against one", ATHALYE, "Do many steps leave no more than one (FGSM)?", points.many_steps
    ),
    Point(
        "White box against black",
        ATHALYE,
        "Do gradients leave no more than queries, images of the bare classifier, and one draw?",
        points.white_box,
    ),
    Point(
        "Random noise", ATHALYE, "Does the attack leave no more than 1000 random noises?", points.random_noise
    ),
    Point("Scores only", CARLINI, "Was there an attacker who sees scores only?", points.by_scores),
    Point("Labels only", CARLINI, "Was there an attacker who sees labels only?", points.by_labels),
    Point("Transfer", CARLINI, "Were images tried that were made on two classifiers?", points.transferred),
    GRADIENTS,
    Point("Targets", CARLINI, "Were there attacks to one class, and to any?", points.both_aims),
    Point("Each part alone", CARLINI, "Were pick, shift and DG left out one by one?", parts.each_part),
    Point(
        "Gate or alarm", TRAMER, "Was a gate gone around, or an alarm kept silent?", points.around_the_gate
    ),
    Point(
        "Submitted again",
        LEE,
        "Is it said what is right on every draw, for who may try several times?",
        points.submitted_again,
    ),
)
"""The list. A point of a case that it does not fit does not apply."""


class Checked(NamedTuple):
    """A case, with what each point says of it, in their order."""

    case: Case
    verdicts: tuple[Verdict, ...]

    @property
    def control(self) -> bool:
        """Whether no claim is looked for: it serves *Each part alone* of another, and nothing failed."""
        failed = any(verdict.state == "failed" for verdict in self.verdicts)
        return not failed and parts.is_control(self.case)

    @property
    def refusals(self) -> list[str]:
        """Why no claim is allowed; empty where one is."""
        reasons = []
        for point, verdict in zip(POINTS, self.verdicts, strict=True):
            if verdict.state == "failed":
                reasons.append(f"{point.name} failed")
            elif verdict.state == "not run" and is_needed(point, self.case):
                reasons.append(f"{point.name} was not run")
        images = len(left_of_each(self.case.adaptive))
        if self.case.adaptive and images < LEAST_IMAGES:
            reasons.append(f"only {images} images of at least {LEAST_IMAGES}")
        return reasons


def is_needed(point: Point, case: Case) -> bool:
    """Whether no claim is allowed without a point."""
    return point in (OF_RANDOM if case.random else OF_OTHERS)


def checklist(results: Iterable[Result], proofs: Sequence[Proof] = (), *, main: bool = True) -> list[Checked]:
    """Hold results against the checklist.

    Args:
        results: from ``rain.bench.cells.load``.
        proofs: from ``rain.bench.proofs.load``.
        main: of each defence the budget at which most was tried, only; otherwise every budget.
    """
    every = cases(results, proofs)
    return [_checked(case) for case in (main_cases(every) if main else every)]


def checklist_rows(checked: Iterable[Checked]) -> list[dict[str, Any]]:
    """Make rows for a file: one a case and point."""
    rows = []
    for one in checked:
        case, verdicts = one
        cell = case.column.results[0].cell
        place = {"dataset": cell.dataset, "size": cell.size, "classifier": cell.classifier}
        budget = {"defense": case.defense, "norm": case.budget.norm, "eps": case.budget.eps}
        told = {**place, **budget, "control": one.control}
        for point, verdict in zip(POINTS, verdicts, strict=True):
            about = {"point": point.name, "source": point.source, "needed": is_needed(point, case)}
            rows.append({**told, **about, **verdict._asdict()})
    return rows


def _checked(case: Case) -> Checked:
    return Checked(case, tuple(point.judge(case) for point in POINTS))
