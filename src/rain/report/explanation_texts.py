"""The sentences of the page of one picture. Never imports torch."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rain.bench.explanation import CLEAN, Curve, Explanation, Guess, Version
from rain.bench.metrics import eps_text
from rain.report.labels import MEANINGS, defense_labels
from rain.specs import parse

TITLES = {
    CLEAN: "Clean",
    "transfer": "Transferred attack",
    "adaptive": "Adaptive attack",
    "query": "Attack by queries",
}

ATTACKERS = {
    "transfer": "An attacker who knows the bare classifier only",
    "adaptive": "An attacker who knows the defence, too,",
    "query": "An attacker who asks the defended classifier many times",
}


@dataclass(frozen=True)
class Outcome:
    """What happened to one version, in a word and in sentences.

    Args:
        kind: of the version.
        word: what it comes to.
        tone: "good" or "bad".
        text: the sentences.
    """

    kind: str
    word: str
    tone: str
    text: str


def defense_text(about: Explanation) -> str:
    """What the page calls the defence."""
    spec = about.setting.defense
    return defense_labels([spec])[spec]


def outcomes(about: Explanation) -> list[Outcome]:
    """Say of each version who won."""
    return [_clean_outcome(about), *(_attacked_outcome(about, version) for version in about.attacked)]


def in_short(about: Explanation) -> str:
    """Say in one sentence what it all comes to."""
    name = defense_text(about)
    if not about.attacked:
        return f"{name} {'keeps' if _holds(about, about.clean) else 'changes'} the answer to this picture."
    if not _holds(about, about.clean):
        return f"{name} changes the answer to this picture before anybody attacks it."
    last = about.attacked[-1]
    stops = all(_holds(about, version) for version in about.attacked if version.kind == "transfer")
    if not _holds(about, last):
        who = "the adaptive attack" if last.kind == "adaptive" else "the attack on the defence itself"
        verb = "stops the attack that was made without it" if stops else "stops neither attack"
        return f"{name} {verb}; {who} wins."
    if not stops:
        weak = "the one that knows it failed, which shows only that it was too weak"
        return f"{name} does not stop the attack that was made without it; {weak}."
    few = "Nobody found a way past it here, which proves nothing: one picture, one attack, few steps."
    return f"{name} kept the answer to this picture against every attack of this page. {few}"


def held_text(about: Explanation) -> str:
    """Say which answer is attacked."""
    name = about.held_name
    if about.held_is_own:
        return (
            f'The attacks drive the picture away from "{name}", the classifier\'s own answer. '
            "If that answer is wrong, to keep it is no success."
        )
    own = about.clean.bare
    if own.label == about.held:
        return f'The attacks drive the picture away from "{name}", the class that was given.'
    return (
        f'The attacks drive the picture away from "{name}", the class that was given. '
        f'The classifier says "{own.name}" even before any attack: it is wrong from the start.'
    )


def budget_text(about: Explanation) -> str:
    """Say what the attackers may change."""
    setting = about.setting
    size = eps_text(setting.eps, setting.norm)
    if size == "any":
        return "The attackers may change the picture as much as they like."
    if setting.norm == "linf":
        levels = 255 * setting.eps
        return (
            f"Both attackers may move each value of each pixel by at most {size}: {levels:.3g} of the 255 "
            "steps from black to white."
        )
    return f"Both attackers may make a change of length {size} (l2, over all values of the picture)."


def meaning_text(about: Explanation, version: Version) -> str:
    """Say what an attacker knew, and how the attack was made."""
    setting = about.setting
    meaning = MEANINGS[version.kind].partition(":")[0]
    if version.kind == "adaptive" and not setting.random:
        meaning = "the attacker knows the defence, which is not random: there is nothing to average over"
    text = f"{meaning[0].upper()}{meaning[1:]}.{_effort_text(about, version)}"
    if not setting.follows:
        text += " This attack does not look at the model at all."
    return text


def _effort_text(about: Explanation, version: Version) -> str:
    """Say how many steps an attack makes, and of how many draws, as far as its options tell."""
    steps = parse(about.setting.attack)[1].get("steps")
    draws = about.setting.eot if version.kind == "adaptive" and about.setting.random else 0
    if not steps:
        return f" It averages over {draws} draws." if draws else ""
    many = "1 step" if steps == 1 else f"{steps} steps"
    return (
        f" The attack makes {many}, and averages over {draws} draws at each."
        if draws
        else f" The attack makes {many}."
    )


def answers_text(about: Explanation, version: Version) -> str:
    """Count what the draws say."""
    total = len(version.draws)
    if total == 1:
        return f"It says {_guess_text(version.mean)}. The defence is not random: one answer is all answers."
    counts = Counter(guess.name for guess in version.draws)
    parts = [f'{_say(count)} "{name}"' for name, count in counts.most_common(3)]
    others = total - sum(count for _, count in counts.most_common(3))
    if others:
        parts.append(f"{_say(others)} other classes" if others > 1 else "1 says another class")
    listed = _listed(parts)
    return f"Of {total} draws {listed}. Averaged, they say {_guess_text(version.mean)}."


def bare_text(version: Version) -> str:
    """Say what the classifier says alone."""
    return f"The classifier alone says {_guess_text(version.bare)}."


def change_text(version: Version, factor: int) -> str:
    """Describe what an attack changed."""
    change = version.change
    if change is None:
        return ""
    if _is_idle(version):
        return "Nothing was changed."
    return (
        f"What was changed, {factor} times as strong, around grey. {_percent(change.fine)} of its energy is "
        "fine detail, above half of the highest frequency."
    )


def left_text(about: Explanation, version: Version, factor: int) -> str:
    """Describe what is left of a change behind the defence."""
    change = version.change
    if change is None or _is_idle(version):
        return ""
    verb = "is left" if change.left <= 1 else "has become"
    text = (
        f"What {verb} of it behind {defense_text(about)}, {factor} times as strong: {_percent(change.left)} "
    )
    text += "of its energy."
    if about.setting.random:
        text += " The draw is that of the clean picture, so that only the attack makes a difference."
    return text


def fine_texts(about: Explanation) -> Iterator[str]:
    """Say what becomes of the clean picture's fine detail, and where attacks live."""
    detail, name = about.detail, defense_text(about)
    yield (
        f"Frequencies run from 0, the broad areas, to 1, stripes of one pixel. Of this picture's energy "
        f"{_percent(detail.fine)} lies above 0.5: that is fine detail."
    )
    if detail.randomized is not None:
        yield _smaller_text(detail.clean, detail.randomized)
    if detail.lost >= 0:
        change = f"{detail.lost:.1f} dB less power there than before"
    else:
        change = f"{-detail.lost:.1f} dB more power there than before"
    yield f"Behind {name} the picture has {change}, averaged over the fine half of the rings."
    if detail.true is not None:
        yield (
            f"Of the fine detail that is there {_percent(detail.true)} is the picture's own (squared "
            "correlation); the rest is invented, or noise."
        )


def change_curves_text(about: Explanation) -> str:
    """Compare where the energy of the changes lies with where that of the picture does."""
    shares = [
        f"{_percent(version.change.fine)} of the {version.kind} attack's change"
        for version in about.attacked
        if version.change is not None
    ]
    own = f"Above 0.5 lies {_percent(about.detail.fine)} of the picture's energy"
    if not _moves_down(about):
        return f"{own}, and {_listed(shares)}."
    return (
        f"{own}, but {_listed(shares)}. Attacks hide in fine detail, where a picture has little. "
        "The attacker who knows the defence puts less of the change there."
    )


def _moves_down(about: Explanation) -> bool:
    """Whether attacks are finer than the picture, and the one that knows most is less so."""
    shares = [version.change.fine for version in about.attacked if version.change is not None]
    return len(shares) == 2 and shares[0] > shares[1] > about.detail.fine


def _smaller_text(clean: Curve, smaller: Curve) -> str:
    """Say what making a picture smaller does to its frequencies."""
    end = float(smaller.radii[-1])
    text = (
        f"SRd makes the picture smaller. What is finer than {end:.1f} has no place in it: its line ends "
        "there, and DG has to guess the rest anew."
    )
    before = float(np.interp(end, clean.radii, clean.decibels))
    if float(smaller.decibels[-1]) > before + 1:
        text += " What was finer comes back as noise below: that lifts the end of the line."
    return text


def _clean_outcome(about: Explanation) -> Outcome:
    clean = about.clean
    holds = _holds(about, clean)
    text = f"{bare_text(clean)} {_behind_text(about, clean)}"
    if clean.bare.label == about.held and not holds:
        text += " So the defence changes the answer to a picture that nobody attacked: that is its price."
    return Outcome(clean.kind, "Kept" if holds else "Changed", "good" if holds else "bad", text)


def _attacked_outcome(about: Explanation, version: Version) -> Outcome:
    holds = _holds(about, version)
    text = f"{_deed_text(about, version)} {bare_text(version)} {_behind_text(about, version)}"
    if version.kind == "transfer" and version.bare.label == about.held:
        text += " The attack does not even fool the classifier alone, so that there was nothing to stop."
        return Outcome(version.kind, "No attack", "good", text)
    if holds and version.kind != "transfer":
        text += " More steps might win: that this attack failed does not prove that none works."
    if not holds and version.kind == "adaptive":
        text += " A defence is worth what it keeps against this attacker."
    word = "Stopped" if holds else "Wins"
    return Outcome(version.kind, word, "good" if holds else "bad", text)


def _deed_text(about: Explanation, version: Version) -> str:
    """Say who changed the picture, if anybody did."""
    who = ATTACKERS[version.kind] if about.setting.follows else "An attacker who does not look at the model"
    if _is_idle(version):
        return f"{who} found nothing to change."
    return f"{who} changed the picture."


def _is_idle(version: Version) -> bool:
    """Whether an attack left the picture as it was."""
    change = version.change
    return change is not None and not change.fine and not change.left


def _behind_text(about: Explanation, version: Version) -> str:
    """Count how many draws keep the answer."""
    name, total = defense_text(about), len(version.draws)
    if total == 1:
        return f"Behind {name} it says {_guess_text(version.mean)}."
    right = sum(guess.label == about.held for guess in version.draws)
    say = "says" if right == 1 else "say"
    together = "" if _agrees(about, version, right) else f"; averaged, they say {_guess_text(version.mean)}"
    return f'Behind {name} {right} of {total} draws {say} "{about.held_name}"{together}.'


def _agrees(about: Explanation, version: Version, right: int) -> bool:
    """Whether most draws say what their average says: then the count alone tells all."""
    return _holds(about, version) and 2 * right > len(version.draws)


def _holds(about: Explanation, version: Version) -> bool:
    return version.mean.label == about.held


def _guess_text(guess: Guess) -> str:
    return f'"{guess.name}" ({100 * guess.probability:.0f} %)'


def _say(count: int) -> str:
    return "1 says" if count == 1 else f"{count} say"


def _listed(parts: list[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _percent(share: float) -> str:
    """Two digits are enough: the third differs from picture to picture."""
    percent = 100 * share
    return f"{percent:.0f} %" if percent >= 9.5 else f"{percent:.1f} %"
