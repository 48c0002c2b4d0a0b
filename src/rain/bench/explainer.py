"""One picture, explained: attacked, defended, taken apart into frequencies, and asked about on many draws."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rain import checkpoints
from rain.answers import probabilities_of
from rain.bench.access import attack_each, attack_in_pieces, attacker_view, in_full, try_options
from rain.bench.assets import Assets, device_name
from rain.bench.cells import Cell
from rain.bench.explanation import CLEAN, Explanation, Gate, Guess, Setting, Version
from rain.bench.frequencies import measure_change, measure_detail, pixels
from rain.bench.workload import passes, passes_to_explain
from rain.calibration import identity, look_up
from rain.defense import Defense, Draw
from rain.detector import Detector
from rain.errors import LabelError, OptionError, did_you_mean
from rain.gate import Gated
from rain.hardened import Hardened
from rain.images import Images, enter
from rain.networks import own_size
from rain.pictures import read_image
from rain.presets import spelled_out
from rain.promises import check_promises
from rain.registry import own_traits, traits_of
from rain.runtime.forecast import Piece
from rain.runtime.memory import pick_device
from rain.runtime.progress import Tick, bar
from rain.runtime.rehearsal import seconds_for
from rain.seeding import check_seed, generator_for
from rain.specs import canonical
from rain.version import __version__

ATTACK = "pgd(confidence=inf, steps=20)"
EOT = 12
"""Draws a step. With ``ATTACK`` they are just more than what ``rain report`` calls weak, and fit in 30 s."""

LEAST_SIDE = 8
"""Pixels of the smallest picture that has a spectrum worth showing."""


@dataclass(frozen=True)
class Subject:
    """What is looked at.

    Args:
        cell: all that was asked for; its access is that of the attacker who knows most.
        assets: the models.
        image: (1, 3, H, W), as it enters.
        held: the class that is attacked.
        names: of the classes; empty if they are not known.
        gate: that compares the answers; None without one.
    """

    cell: Cell
    assets: Assets
    image: Images
    held: int
    names: Sequence[str]
    gate: Detector | None

    @property
    def bare(self) -> Hardened:
        """The classifier without the defence."""
        return self.assets.hardened(self.cell.classifier, "none")

    @property
    def hardened(self) -> Hardened:
        """The classifier behind the defence."""
        return self.assets.hardened(self.cell.classifier, self.cell.defense)


def explain(
    picture: str | os.PathLike[str],
    classifier: str = "efficientnet_lite0",
    defense: str = "rain",
    *,
    attack: str = ATTACK,
    norm: str = "linf",
    eps: float = 4 / 255,
    eot: int = EOT,
    draws: int = 16,
    seed: int = 0,
    size: int | None = None,
    label: str | None = None,
    device: str | None = None,
    progress: bool = False,
    tell: Callable[[float, float], object] = lambda seconds, passes: None,
) -> Explanation:
    """Attack one picture, and look at each step of what a defence does about it.

    Args:
        picture: the path of a picture file.
        classifier, defense: specs.
        attack: the spec of an attack; "none" for none.
        norm, eps: its budget, for values in [0, 1].
        eot: draws over which the adaptive attacker averages at each step.
        draws: fresh draws that answer; a defence without randomness gets one.
        seed: of everything random: the same one gives the same explanation.
        size: side in pixels at which the picture enters; None for what the classifier sees.
        label: the right class, by its number or its name; None for the classifier's own answer.
        device: where to compute; by default a GPU if there is one.
        progress: show a progress bar.
        tell: told, before it begins, how many seconds the defence takes for an image and a draw, and about
            how many of these there will be.

    Raises:
        ImageError: the picture cannot be read, or is too large.
        OptionError: an option that is none, or a classifier that does not say what size it sees.
        LabelError: there is no such class.
        UnknownNameError, WeightsError: something is not there, or cannot be used.
        GateError: the defence has a gate that is not calibrated, or for another size.
        AttackError, ClassifierError: the attack or the classifier broke its promise.
    """
    image = read_image(picture)
    cell = _cell(classifier, defense, attack, norm, eps, eot, draws, check_seed(seed))
    assets = Assets(pick_device(device))
    hardened = assets.hardened(cell.classifier, cell.defense)
    cell = replace(cell, size=_side(size, hardened, cell.classifier))
    if not hardened.defense.random:
        cell = replace(cell, draws=1)
    entered = enter(image, cell.size)[None].to(assets.device)
    each = seconds_for(hardened.defense, (entered.shape[2], entered.shape[3]), assets.device)
    tell(each, passes_to_explain(cell, random=hardened.defense.random))
    check_promises(hardened.defense, entered)
    bare = assets.hardened(cell.classifier, "none")
    probabilities = probabilities_of(bare(entered), bare)[0]
    names: Sequence[str] = getattr(hardened.classifier, "categories", ())
    own = int(probabilities.argmax())
    held = own if label is None else _label(label, names, len(probabilities))
    subject = Subject(cell, assets, entered, held, names, _gate(hardened, cell.size))
    versions = _versions(subject, progress)
    return Explanation(
        setting=_setting(picture, subject),
        held=held,
        held_name=_name(names, held),
        held_is_own=label is None,
        versions=versions,
        detail=measure_detail(entered, _behind_gate(hardened.defense), _shown_draw(subject)),
        gate=_gate_facts(subject),
        made_by=_made_by(subject),
    )


def _cell(
    classifier: str, defense: str, attack: str, norm: str, eps: float, eot: int, draws: int, seed: int
) -> Cell:
    """Put together what was asked for, and see whether an attack can take it.

    Raises:
        UnknownNameError, OptionError: it cannot; or there is nothing to explain.
    """
    if canonical(defense) == "none":
        raise OptionError("defense none leaves a picture as it is: give one of rain list defenses")
    if draws < 1 or eot < 1:
        raise OptionError(f"draws and eot must be at least 1, got {draws} and {eot}")
    attack = canonical(spelled_out(attack))
    access = "none"
    if attack != "none":
        access = "adaptive" if traits_of(attack).sees == "gradients" else "query"
    cell = Cell(
        dataset="picture",
        size=None,
        classifier=canonical(classifier),
        defense=canonical(defense),
        attack=attack,
        norm=norm,
        eps=eps if attack != "none" else 0.0,
        access=access,
        # One that averages by itself needs no other average.
        eot=eot if access == "adaptive" and traits_of(attack).averages == 1 else 1,
        draws=draws,
        seed=seed,
        examples=1,
        chunk=1,
    )
    if attack != "none":
        if not eps > 0:
            raise OptionError(f"eps must be positive, got {eps!r}; attack none leaves the picture alone")
        if own_traits(attack).gate:
            what = f"attack {attack!r} needs a gate, and is made on the bare classifier here, too"
            raise OptionError(f"{what}: give one that needs none, such as {ATTACK}")
        try_options(cell)
    return cell


def _side(size: int | None, hardened: Hardened, classifier: str) -> int:
    """The side at which the picture enters.

    Raises:
        OptionError: nobody says it, or it is too small.
    """
    side = own_size(hardened.classifier) if size is None else size
    if side is None:
        raise OptionError(f"{classifier} does not say what size it sees: give the side by --size, in pixels")
    if side < LEAST_SIDE:
        raise OptionError(f"size must be at least {LEAST_SIDE} pixels, got {side}")
    return side


def _gate(hardened: Hardened, side: int | None) -> Detector | None:
    """The detector that a defence is; else the gate that is shipped for it, if there is one for this side.

    Raises:
        GateError: the defence has one that is not calibrated, or for another size.
    """
    defense, classifier = hardened.defense, hardened.classifier
    if isinstance(defense, Detector):
        defense.check_calibrated()
        return defense
    calibration = look_up(identity(classifier), identity(defense))
    if calibration is None or (calibration.sizes and (side, side) not in calibration.sizes):
        return None
    gate = Gated(defense, calibration=calibration)
    gate.meet(classifier)
    return gate


def _behind_gate(defense: Defense) -> Defense:
    """The defence itself, which knows what it should give."""
    return defense.defense if isinstance(defense, Gated) else defense


def _gate_facts(subject: Subject) -> Gate | None:
    gate = subject.gate
    if gate is None:
        return None
    share = None if gate.is_fixed else gate.share
    is_used = gate is subject.hardened.defense
    return Gate(gate.score, share, gate.threshold, is_used, gate.overrules)


def _label(text: str, names: Sequence[str], classes: int) -> int:
    """Find a class by its number or its name.

    Raises:
        LabelError: there is none.
    """
    if text.strip().isdecimal():
        label = int(text)
        if label < classes:
            return label
        raise LabelError(f"label {label} is none of the classifier's classes, 0 to {classes - 1}")
    if text in names:
        return list(names).index(text)
    if not names:
        raise LabelError(
            f"the classifier does not name its classes: give label {text!r} by its number, from 0"
        )
    raise LabelError(f"no class {text!r}; {_nearest(text, names)}")


def _nearest(text: str, names: Sequence[str]) -> str:
    """The nearest name; a list of a thousand helps nobody."""
    near = did_you_mean(text, names)
    return near if near.startswith("did you mean") else f"a number from 0 to {len(names) - 1} does as well"


def _name(names: Sequence[str], label: int) -> str:
    """What a class is called: "class 7" where it has no name."""
    return names[label] if label < len(names) else f"class {label}"


def _versions(subject: Subject, progress: bool) -> tuple[Version, ...]:
    """Attack the picture, and ask about all its versions."""
    cell = subject.cell
    crafted: list[tuple[str, Callable[[Tick], Images]]] = []
    crafted.append((CLEAN, lambda tick: subject.image))
    if cell.attack != "none":
        for access in ("transfer", cell.access):
            crafted.append((access, _attacker(subject, access)))
    asking = float(2 * (1 + cell.draws))
    # The bare classifier is asked at another pace than what stands behind the defence.
    work = [
        Piece(_words(kind), asking + _passes(subject, kind), model="bare" if kind == "transfer" else "")
        for kind, _ in crafted
    ]
    versions: list[Version] = []
    with bar(work, progress) as ticks:
        for (kind, craft), tick in zip(crafted, ticks, strict=True):
            images = craft(tick)
            versions.append(_version(subject, kind, images))
    return tuple(versions)


def _words(kind: str) -> str:
    return "the picture itself" if kind == CLEAN else f"the {kind} attack"


def _passes(subject: Subject, kind: str) -> float:
    """The work of an attack, in image passes."""
    if kind == CLEAN:
        return 0.0
    averages = kind == "adaptive" and subject.hardened.defense.random
    return passes(subject.cell.attack, subject.cell.eot if averages else 1)


def _attacker(subject: Subject, access: str) -> Callable[[Tick], Images]:
    """What makes the attacked picture of one attacker."""
    defense = "none" if access == "transfer" else subject.cell.defense
    cell = replace(subject.cell, access=access, defense=defense)
    cell = replace(cell, eot=cell.eot if access == "adaptive" else 1)

    def craft(tick: Tick) -> Images:
        assets, images = subject.assets, subject.image
        twin = assets.twin(cell.classifier, defense, (images.shape[2], images.shape[3]))
        draws = generator_for(cell.seed, "explain", access, "attack draws")
        view = attacker_view(twin, cell, draws, tick, batch=assets.batches.eot)
        start = generator_for(cell.seed, "explain", access, "attack")
        labels = torch.tensor([subject.held], device=images.device)
        if access == "query":
            together = assets.batches.attack if twin.independent else 0
            return attack_each(view, images, labels, cell, start, batch=together).images
        return attack_in_pieces(view, images, labels, cell, start, batch=assets.batches.attack).images

    return craft


@torch.no_grad()
def _version(subject: Subject, kind: str, images: Images) -> Version:
    """Defend one version with the draw that is shown, and ask about it on fresh ones."""
    hardened = subject.hardened
    stages = hardened.defense.stages(images, _shown_draw(subject))
    defended = list(stages.values())[-1]
    bare = subject.bare.classify(images)
    judged = generator_for(subject.cell.seed, "explain", "answers")
    each: list[Tensor] = []
    suspicion: list[float] = []
    for _ in range(subject.cell.draws):
        draw = hardened.defense.fresh_draw(images, judged)
        each.append(probabilities_of(hardened.answer(images, draw), hardened)[0])
        if subject.gate is not None:
            suspicion.append(float(subject.gate.score_of(hardened.classify, images, draw)[0]))
    change = None
    if kind != CLEAN:
        change = measure_change(images - subject.image, defended - _defended_clean(subject))
    randomized = stages.get("randomized")
    return Version(
        kind=kind,
        pixels=pixels(images),
        randomized=None if randomized is None else pixels(randomized),
        defended=pixels(defended),
        bare=_guess(subject, probabilities_of(bare, subject.bare)[0]),
        draws=tuple(_guess(subject, probabilities) for probabilities in each),
        mean=_guess(subject, torch.stack(each).mean(0)),
        change=change,
        suspicion=tuple(suspicion),
    )


def _shown_draw(subject: Subject) -> Draw:
    generator = generator_for(subject.cell.seed, "explain", "shown")
    return subject.hardened.defense.draw(subject.image, generator)


def _defended_clean(subject: Subject) -> Images:
    return subject.hardened.defense.transform(subject.image, _shown_draw(subject))


def _guess(subject: Subject, probabilities: Tensor) -> Guess:
    label = int(probabilities.argmax())
    held = float(probabilities[subject.held])
    return Guess(label, _name(subject.names, label), float(probabilities[label]), held)


def _setting(picture: str | os.PathLike[str], subject: Subject) -> Setting:
    cell = subject.cell
    attack = cell.attack
    return Setting(
        picture=os.fspath(picture),
        classifier=cell.classifier,
        defense=cell.defense,
        attack=attack if attack == "none" else in_full(attack),
        norm=cell.norm,
        eps=cell.eps,
        eot=cell.eot,
        draws=cell.draws,
        seed=cell.seed,
        size=int(cell.size or 0),
        random=subject.hardened.defense.random,
        follows=attack == "none" or traits_of(attack).follows,
    )


def _made_by(subject: Subject) -> dict[str, str]:
    """What reproduces it, by the names of ``rain.bench.provenance.FACTS``."""
    module = subject.hardened.defense
    return {
        "rain": __version__,
        "torch": torch.__version__,
        "device": device_name(subject.assets.device),
        "classifier_weights": checkpoints.digest(subject.bare.classifier),
        "defense_weights": checkpoints.digest(module) if module.state_dict() else "none",
    }
