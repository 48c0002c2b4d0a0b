"""The points of the evaluation checklist: each looks at one case. Never imports torch.

What grows (draws, steps, eps) stands in ``rain.bench.growing``, RAIN without a part in ``rain.bench.parts``.
A comparison fails only where it is beyond noise, image by image (``rain.bench.significance.paired``).
"""

from rain.bench.cases import (
    LEAST_OF_NONE,
    NOT_RANDOM,
    SEEING_THROUGH,
    Case,
    Verdict,
    deciding,
    is_about,
    is_above,
    is_weaker,
    left_text,
    mean_text,
    nearly_none,
    worst_text,
)
from rain.bench.cells import Result
from rain.bench.columns import option, steps, traits, widest
from rain.bench.counted import counted, left_of_each
from rain.bench.metrics import percent_text, worst_images
from rain.bench.proofs import LEAST_FIT, LEAST_SHARE, Proof
from rain.bench.submissions import counts_of, worst_on_all
from rain.bench.weak_attacks import LUCKY, flat_images, goes_around, is_observed
from rain.specs import apart, parse

TRIES = 1000
"""Random noises for each image, at least."""

LESSER = ("transfer", "static", "frozen")
"""The accesses of attackers who know less of the defence than an adaptive one."""

TOO_EASY = 0.5
"""Where random points find what is planted on so many images, a proof says nothing of an attack."""


def adaptive_attack(case: Case) -> Verdict:
    """An attacker who knows the defence was there."""
    if not case.adaptive:
        return Verdict("not run", "", "attack with access adaptive")
    return Verdict("passed", worst_text(case.adaptive))


def proven_attack(case: Case) -> Verdict:
    """An adaptive attack that decides this case finds points that were planted for it.

    Of several proofs of such attacks the worst counts.
    """
    attacks = [result for result in deciding(case.adaptive) if traits(result).sees == "gradients"]
    about = [proof for proof in case.proofs if any(is_about(proof, result) for result in attacks)]
    tested = [proof for proof in about if proof.images and proof.complete]
    if not tested:
        others = "the proofs are unfinished, or not of the attack that decides, as it was run: "
        advice = "run rain prove on this grid, into the same folder (with --all where that is not enough)"
        return Verdict("not run", "", f"{others}{advice}" if case.proofs else advice)
    hard = [proof for proof in tested if proof.random_found < TOO_EASY]
    if not hard:
        advice = "random points find them, too: plant fewer, or take a smaller eps"
        return Verdict("not run", _proof_text(tested[0]), advice)
    worst = min(hard, key=lambda proof: proof.found)
    if worst.found < LEAST_SHARE:
        advice = "the attack misses what is there: take a stronger one"
        return Verdict("failed", _proof_text(worst), advice)
    largest = max(hard, key=lambda proof: proof.images)
    if largest.images < LEAST_FIT:
        advice = f"a proof needs {LEAST_FIT} images on which it can be made: rain prove --examples"
        return Verdict("not run", _proof_text(largest), advice)
    enough = [proof for proof in hard if proof.images >= LEAST_FIT]
    return Verdict("passed", _proof_text(min(enough, key=lambda proof: (proof.found, -proof.images))))


def known_bound(case: Case) -> Verdict:
    """Who sees the draw that judges leaves no more than who does not; by the same attack, if both made it."""
    if not case.random:
        return NOT_RANDOM
    known = case.with_access("known")
    if not known:
        return Verdict("not run", "", "attack with access known")
    figure, failing = f"known {left_text(known)}", ""
    for access in ("static", "adaptive"):
        others = case.with_access(access)
        same = [result for result in others if result.cell.attack in {one.cell.attack for one in known}]
        figure += f", {access} {left_text(same or others)}" if others else ""
        failing = access if is_weaker(known, same or others) else failing
    if failing:
        return Verdict("failed", figure, f"it is above {failing}: the attack fails, give it more steps")
    return Verdict("passed", figure)


def frozen_randomness(case: Case) -> Verdict:
    """Without the randomness the attack succeeds, so that nothing else stops it.

    What it leaves is held against the bare classifier, too: a network behind the defence may be robust. Where
    it leaves more, a proof of the attack decides.
    """
    if not case.random:
        return NOT_RANDOM
    # Here little left is good for the defence: a few images must not take the place of many.
    known, frozen = (worst_images(widest(case.with_access(access))) for access in ("known", "frozen"))
    if not known:
        figure = f"{mean_text(frozen)} on fresh draws" if frozen else ""
        if nearly_none(frozen) and len(frozen) >= LEAST_OF_NONE:
            return Verdict("passed", figure)
        return Verdict("not run", figure, "attack with access known, which is judged by the draw it saw")
    bare = left_of_each(case.bare)
    figure = f"{mean_text(known)} left" + (f", bare {mean_text(bare)}" if bare else "")
    if nearly_none(known) and len(known) < LEAST_OF_NONE:
        return Verdict("not run", figure, f"attack {LEAST_OF_NONE} images at least")
    shared = known.keys() & bare.keys()
    is_robust_behind = bool(shared) and not is_above(known, bare)
    if is_robust_behind and not nearly_none(known) and len(shared) < LEAST_OF_NONE:
        return Verdict("not run", figure, f"attack {LEAST_OF_NONE} images at least, the bare ones, too")
    if nearly_none(known) or is_robust_behind:
        return Verdict("passed", figure)
    if proven_attack(case).state == "passed":
        return Verdict("passed", f"{figure}; the attack is proven")
    advice = "the attack fails without randomness, too: give it more steps, or prove it (rain prove)"
    return Verdict("failed", figure, advice)


def many_steps(case: Case) -> Verdict:
    """Many steps leave no more than one."""
    figure, failing = "", ""
    for access in SEEING_THROUGH:
        attacks = [result for result in case.with_access(access) if traits(result).sees == "gradients"]
        one = [result for result in attacks if steps(result) == 1]
        many = [result for result in attacks if steps(result) > 1]
        if one and many:
            figure = figure or f"{access}: many {left_text(many)}, one {left_text(one)}"
            failing = access if is_weaker(many, one) else failing
    if not figure:
        return Verdict("not run", "", "attack by fgsm with the same access, too")
    if failing:
        return Verdict("failed", figure, f"one step is stronger ({failing}): mend the step size")
    return Verdict("passed", figure)


def white_box(case: Case) -> Verdict:
    """Who knows the defence and sees gradients leaves no more than who knows less."""
    strong = case.by_gradients
    # An adaptive attack that sees no gradients is one by queries.
    blind = [result for result in case.adaptive if result not in strong]
    queries = [result for result in case.with_access("query") if traits(result).follows] + blind
    by_access = {"query": queries} | {access: case.with_access(access) for access in LESSER}
    lesser = {access: results for access, results in by_access.items() if results}
    if not strong:
        return Verdict("not run", "", "attack by gradients (adaptive) and by queries (query)")
    parts = [f"adaptive {left_text(strong)}"]
    parts += [f"{access} {left_text(results)}" for access, results in lesser.items()]
    figure = ", ".join(parts)
    stronger = [access for access, results in lesser.items() if is_weaker(strong, results)]
    if stronger:
        why = "gradients are masked, or the adaptive attack is weak"
        return Verdict("failed", figure, f"{', '.join(stronger)} leaves less: {why}")
    if not queries:
        return Verdict("not run", figure, "attack by queries (query), too")
    return Verdict("passed", figure)


def random_noise(case: Case) -> Verdict:
    """The attack leaves no more than the worst of many random noises."""
    controls = [result for result in case.with_access("query") if not traits(result).follows]
    if not case.adaptive or not controls:
        return Verdict("not run", "", "run the attack noise with access query, too")
    tries = max(option(result, "tries") for result in widest(controls))
    figure = f"adaptive {left_text(case.adaptive)}, the worst of {tries:g} noises {left_text(controls)}"
    if is_weaker(case.adaptive, controls):
        return Verdict("failed", figure, "the attack is weaker than chance")
    if tries < TRIES:
        return Verdict("not run", figure, f"take {TRIES} tries")
    return Verdict("passed", figure)


def by_scores(case: Case) -> Verdict:
    """An attacker who sees scores only was there."""
    return _ran(case, "scores", "add square or nes, with access query")


def by_labels(case: Case) -> Verdict:
    """An attacker who sees labels only was there."""
    return _ran(case, "labels", "add rays or hopskipjump, with access query")


def transferred(case: Case) -> Verdict:
    """Images made on two classifiers were tried."""
    transfers = case.with_access("transfer")
    sources = {source for result in transfers for source in _sources(result)}
    number = "1 classifier" if len(sources) == 1 else f"{len(sources)} classifiers"
    figure = f"{worst_text(transfers)}, {number}" if transfers else ""
    if len(sources) < 2:
        return Verdict("not run", figure, "add the attack ensemble, made on another classifier")
    return Verdict("passed", figure)


def gradients_there(case: Case) -> Verdict:
    """The attack had a gradient to go by."""
    if not case.by_gradients:
        return Verdict("not run", "", "attack by gradients, with access adaptive")
    observed = [result for result in case.by_gradients if is_observed(result)]
    if not observed:
        return Verdict("not run", "no gradient was observed", "attack by pgd, too, with access adaptive")
    flat, images = min(map(flat_images, observed), key=lambda pair: pair[0] / pair[1])
    figure = f"exactly 0 on {flat} of {images} images"
    if flat > LUCKY * images:
        return Verdict("failed", figure, "take loss=margin; else look for what masks the gradient")
    return Verdict("passed", figure)


def both_aims(case: Case) -> Verdict:
    """Attacks that drive to one class and such that take any were there."""
    targeted = left_of_each(result for result in case.adaptive if traits(result).targeted)
    free = left_of_each(result for result in case.adaptive if not traits(result).targeted)
    if not targeted or not free:
        return Verdict("not run", "", "add targeted(attack=pgd(...)), with access adaptive")
    return Verdict("passed", f"targeted {mean_text(targeted)}, any {mean_text(free)}")


def around_the_gate(case: Case) -> Verdict:
    """A gate was gone around, and an alarm kept silent."""
    name, _ = parse(case.defense)
    if name not in ("gated", "squeezing"):
        return Verdict("does not apply", "no gate")
    if name == "gated":
        aware = [result for result in case.adaptive if goes_around(result)]
    else:
        aware = [result for result in case.adaptive if traits(result).gate == "parts"]
    if not aware:
        attack = "ungated(attack=...)" if name == "gated" else "gate(aim=close)"
        return Verdict("not run", "", f"add {attack}, with access adaptive")
    return Verdict("passed", worst_text(aware))


def submitted_again(case: Case) -> Verdict:
    """The share that is right on every draw stands beside the mean."""
    if not case.random:
        return NOT_RANDOM
    attacks = counted(case.adaptive)
    counts = [count for count in counts_of(attacks.attacks) if count > 1]
    if not counts:
        return Verdict("not run", "", "score on more than 1 draw (draws)")
    parts = [f"mean {mean_text(worst_on_all(attacks, 1))}"]
    parts += [f"on all of {count}: {mean_text(worst_on_all(attacks, count))}" for count in counts]
    return Verdict("passed", ", ".join(parts))


def _ran(case: Case, sees: str, advice: str) -> Verdict:
    there = [result for result in case.attacked if traits(result).sees == sees and traits(result).follows]
    through = [result for result in there if result.cell.access not in ("transfer", "frozen")]
    return Verdict("passed", worst_text(through)) if through else Verdict("not run", "", advice)


def _sources(result: Result) -> set[str]:
    """The classifiers that a transferred attack was made on."""
    spec, *_ = result.made_by.get("attack", (result.cell.attack,))
    _, options = parse(spec)
    if "classifiers" in options:
        return set(apart(str(options["classifiers"])))
    return {result.cell.classifier} if traits(result).follows else set()


def _proof_text(proof: Proof) -> str:
    shares = f"{percent_text(proof.found)} % found on {proof.images} images"
    return f"{shares}; random points {percent_text(proof.random_found)} %"
