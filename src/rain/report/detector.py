"""Gates as detectors, and what corruptions do to them, in words and tables. Never imports torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rain.bench.cells import Cell, Result
from rain.bench.columns import grouped
from rain.bench.corruptions import CLEAN, Corrupted, corruptions
from rain.bench.detection import Detection, Knowledge, detections
from rain.bench.metrics import eps_text, percent_text, place_text
from rain.bench.roc import ALLOWED, Quality, Rate
from rain.report.labels import attack_labels, defense_labels

EMPTY = "-"

SUSPICION = (
    "A gate gives each image a score, on each draw, and flags what is above its threshold. AUROC: the chance "
    "that an attacked image has a higher score than a clean one; 0.5 is a guess. Caught at 1 %, ...: the "
    "share of attacked images that is flagged where so many clean ones may be. These thresholds are chosen "
    "on the clean scores of the same images. Flagged: at the gate's own threshold. Each figure has its 95 % "
    "interval over images."
)

WHO = (
    "An attacker with access transfer does not know the detector, and one who goes around it attacks the "
    "defence behind it. All others attack the very thing that flags them: theirs are the figures that count. "
    "A transferred attack is successful where the bare classifier is wrong, any other where the defence is."
)

BESIDE = (
    "Draw agreement (the share of draws that do not give the commonest answer) and another label than the "
    "bare classifier's can be had without a gate."
)

CORRUPTIONS = (
    "Corruptions are no attacks: nobody means any harm. A gate should let them pass, and a defence should "
    "stay accurate. Figures in %, on single draws, of images that all these defences were shown; each has "
    "its 95 % interval over images."
)

KNOWING: Mapping[Knowledge, str] = {
    "aware": "attackers who know it",
    "around": "attackers on the defence behind it",
    "unaware": "attackers who do not know it",
}

GUESS = 0.5
"""The AUROC of a detector that knows nothing."""


class Section(NamedTuple):
    """What is said of one place: sentences, and a table of texts.

    Args:
        names: how many columns, from the left, say what a line is of; the others hold figures.
    """

    place: str
    sentences: list[str]
    header: list[str]
    body: list[list[str]]
    names: int


def detectors(results: Iterable[Result], labels: Mapping[str, str]) -> list[Section]:
    """Say how well gates detect attacks, one section a place; none without a gate.

    Args:
        labels: short names of the defences.
    """
    sections = []
    for place, same in grouped(detections(results), lambda one: place_text(one.cell)).items():
        attackers = attacker_texts(one.cell for one in same)
        shares = [f"Caught at {percent_text(allowed).removesuffix('.0')} %" for allowed in ALLOWED]
        header = ["Attack", "Detector", "Of", "AUROC", *shares, "Flagged, clean", "Flagged, attacked"]
        body: list[list[str]] = []
        for one in same:
            body += _lines(one, attackers[one.cell], detector_text(one, labels))
        sections.append(Section(place, _sentences(same, labels), header, body, names=3))
    return sections


def attacker_texts(cells: Iterable[Cell]) -> dict[Cell, str]:
    """Name the attack of each cell, by what sets it apart: ``transfer, 4/255: pgd``."""
    cells = list(cells)
    names = attack_labels(cell.attack for cell in cells)
    texts = {}
    for cell in cells:
        eot = f", eot {cell.eot}" if cell.eot > 1 else ""
        norm = f" in {cell.norm}" if cell.norm != "linf" else ""
        texts[cell] = f"{cell.access}, {eps_text(cell.eps, cell.norm)}{norm}: {names[cell.attack]}{eot}"
    return texts


def detector_text(detection: Detection, labels: Mapping[str, str]) -> str:
    """Name a detector."""
    label = labels[detection.cell.defense]
    names = {"gate": label, "agreement": f"draw agreement of {label}", "label": f"another label of {label}"}
    return names[detection.method]


def area_text(area: Rate) -> str:
    """Write an AUROC with its interval."""
    return f"{area.rate:.2f} ({area.low:.2f} to {area.high:.2f})"


def rate_text(rate: Rate | None) -> str:
    """Write a share in % with its interval."""
    if rate is None:
        return EMPTY
    return f"{percent_text(rate.rate)} ({percent_text(rate.low)} to {percent_text(rate.high)})"


def _lines(one: Detection, attacker: str, detector: str) -> list[list[str]]:
    """The line of all attacked images; of a gate that of the successful attacks, too, where these are others.

    Where attackers succeed is not the same for all detectors, and for those beside a gate all are enough.
    """
    unfinished = "" if one.complete else ", not finished"
    lines = [_line(one, one.every, attacker, detector, f"all {one.every.images}{unfinished}")]
    if one.method == "gate" and one.successful and one.successful != one.every:
        of = f"{one.successful.images} successful{unfinished}"
        lines.append(_line(one, one.successful, attacker, detector, of))
    return lines


def _line(one: Detection, quality: Quality, attacker: str, detector: str, of: str) -> list[str]:
    caught = [rate_text(level.true) for level in quality.caught]
    if one.method == "label":
        # It has one threshold, and flags as many clean images as it flags.
        caught = [EMPTY] * len(caught)
    flagged = [rate_text(one.false), rate_text(quality.flagged)]
    return [attacker, detector, of, area_text(quality.auroc), *caught, *flagged]


def _sentences(same: Sequence[Detection], labels: Mapping[str, str]) -> list[str]:
    """Of each gate one sentence; gates of which the same is said share it, as those of one score may."""
    gates = [one for one in same if one.method == "gate"]
    by_defense = grouped(gates, lambda one: one.cell.defense)
    texts = {labels[defense]: _worth_text(own) for defense, own in by_defense.items()}
    alike = grouped(texts, lambda label: texts[label])
    return [f"{'; '.join(names)} as a detector: {text}" for text, names in alike.items()]


def _worth_text(own: Sequence[Detection]) -> str:
    """Say what a gate is worth against who knows it, and against who does not."""
    parts = [_against(own, knowledge) for knowledge in KNOWING]
    text = f"AUROC of successful attacks {'; '.join(filter(None, parts))}."
    if not any(one.knowledge == "aware" for one in own):
        text += " Nobody attacked it who knows it, so nothing is claimed of it."
    return text


def _against(own: Sequence[Detection], knowledge: Knowledge) -> str:
    """Say how well a gate tells the attacks of one kind of attacker that it tells worst; "" for none."""
    attacks = [one for one in own if one.knowledge == knowledge]
    if not attacks:
        return ""
    who = KNOWING[knowledge]
    # An attack that fools nobody need not be told: where it is known what fools, only that counts.
    told = [one.successful or one.every for one in attacks if one.successful or not one.is_known]
    if not told:
        return f"unknown against {who}, of whom none succeeded"
    lowest = min(told, key=lambda quality: quality.auroc)
    several = f", at worst of {len(told)} attacks" if len(told) > 1 else ""
    of = f"{lowest.images} images"
    if not any(one.successful is lowest for one in attacks):
        of += ", successful or not"
    area = f"{area_text(lowest.auroc).removesuffix(')')}; {of})"
    return f"{area} against {who}{several}{_guess_text(lowest.auroc)}"


def _guess_text(area: Rate) -> str:
    if area.rate <= GUESS:
        return ", which is no better than a guess"
    return ", which may be a guess" if area.low <= GUESS else ""


def corruption_sections(results: Iterable[Result], labels: Mapping[str, str]) -> list[Section]:
    """Say what corruptions do, one section a place; none where nothing was corrupted.

    Args:
        labels: short names of the defences.
    """
    sections = []
    for place, same in grouped(corruptions(results), place_text).items():
        defenses = list(dict.fromkeys(name for line in same for name in line.accuracy))
        gates = list(dict.fromkeys(name for line in same for name in line.flagged))
        header = ["Corruption", "Images"]
        header += [f"Accuracy: {labels[name]}" for name in defenses]
        header += [f"Flagged: {labels[name]}" for name in gates]
        names = {CLEAN: "none"} | defense_labels(line.attack for line in same if line.attack != CLEAN)
        body = []
        for line in same:
            images = str(line.images) if line.complete else f"{line.images}, not finished"
            accuracy = [rate_text(line.accuracy.get(name)) for name in defenses]
            flagged = [rate_text(line.flagged.get(name)) for name in gates]
            body.append([names[line.attack], images, *accuracy, *flagged])
        sentences = [_corruption_sentence(same, gate, labels[gate]) for gate in gates]
        sections.append(Section(place, sentences, header, body, names=1))
    return sections


def _corruption_sentence(same: Sequence[Corrupted], gate: str, label: str) -> str:
    shares = [line.flagged[gate].rate for line in same if gate in line.flagged and line.attack != CLEAN]
    clean = [line.flagged[gate].rate for line in same if gate in line.flagged and line.attack == CLEAN]
    if not shares:
        return f"{label} met no corruption."
    least, most = percent_text(min(shares)), percent_text(max(shares))
    between = least if least == most else f"{least} to {most}"
    text = f"{label} flags {between} % of the images of a corruption"
    return f"{text}, and {percent_text(clean[0])} % of the clean ones." if clean else f"{text}."


def detection_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Make rows for machines: one for each detector and attack, then one for each corruption.

    ``kind`` is "attack" or "corruption". Rates are fractions; bounds are those of the 95 % interval.
    """
    rows = [_detection_row(one) for one in detections(results)]
    return rows + [_corruption_row(line) for line in corruptions(results)]


def _detection_row(one: Detection) -> dict[str, Any]:
    cell = one.cell
    return {
        "kind": "attack",
        "dataset": cell.dataset,
        "size": cell.size,
        "classifier": cell.classifier,
        "defense": cell.defense,
        "detector": one.method,
        "attack": cell.attack,
        "norm": cell.norm,
        "eps": cell.eps,
        "access": cell.access,
        "eot": cell.eot,
        "knowledge": one.knowledge,
        "clean_images": one.clean_images,
        "flagged_clean": one.false._asdict() if one.false else None,
        "all": _quality_row(one.every),
        "successful": _quality_row(one.successful) if one.successful else None,
        "complete": one.complete,
    }


def _quality_row(quality: Quality) -> dict[str, Any]:
    caught = [
        {"allowed": level.allowed, "false": level.false, "threshold": level.threshold, **level.true._asdict()}
        for level in quality.caught
    ]
    return {
        "images": quality.images,
        "auroc": quality.auroc._asdict(),
        "caught": caught,
        "flagged": quality.flagged._asdict() if quality.flagged else None,
        "roc": [list(point) for point in quality.roc],
    }


def _corruption_row(line: Corrupted) -> dict[str, Any]:
    return {
        "kind": "corruption",
        "dataset": line.dataset,
        "size": line.size,
        "classifier": line.classifier,
        "attack": line.attack,
        "images": line.images,
        "accuracy": {name: rate._asdict() for name, rate in line.accuracy.items()},
        "flagged": {name: rate._asdict() for name, rate in line.flagged.items()},
        "complete": line.complete,
    }
