"""``rain predict``: classify image files behind a defence."""

import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rain.cli.announcing import announce
from rain.cli.errors import clean_errors, print_error
from rain.cli.options import MOST_AT_ONCE, MOST_DRAWS, MOST_SIDE, Device
from rain.errors import DatasetError, RainError, visible

if TYPE_CHECKING:
    import torch

    from rain.hardened import Hardened
    from rain.runtime.progress import Tick

IMAGES_HELP = "Image files, or folders: all pictures within, one line each."
SIZE_HELP = "Side of the images in pixels; by default what the classifier sees, 0 for their own size."
SEED_HELP = "For the same answer every time. Not where an attacker could learn it."
TOP_HELP = "Classes shown for each image; by default 3 of a file, and 1 of a picture in a folder."
JSON_HELP = "One JSON object a line for each image: file, label, name, probability, agreement, error."
GATE_HELP = "Share of clean images that the defence may overrule, such as 0.02; by default it always answers."
CALIBRATION_HELP = "Of gate or detector, by rain calibrate; by default the shipped one, if there is one."

TOP = 3
"""Classes shown of an image that was named."""


@dataclass(frozen=True)
class Item:
    """One image file to classify.

    Args:
        path: of it.
        within: whether it was named by its folder.
        fault: why there is nothing to classify; "" where there is.
    """

    path: Path
    within: bool = False
    fault: str = ""


@dataclass(frozen=True)
class Guess:
    """One class that an image may be.

    Args:
        label: its number.
        name: None where the classifier does not name it.
        probability: averaged over the draws.
    """

    label: int
    name: str | None
    probability: float

    @property
    def title(self) -> str:
        """Its name, or else its number."""
        return self.name or str(self.label)


@dataclass(frozen=True)
class Answer:
    """What is said of one image.

    Args:
        guesses: the likeliest first; none where it could not be classified.
        agreement: the share of draws that alone say the likeliest.
        gate: what it did; None without one.
        error: why it could not be classified; "" where it was.
        overrules: whether the defence answers what is flagged; else that is an alarm alone.
    """

    guesses: tuple[Guess, ...] = ()
    agreement: float = 0.0
    gate: "Gating | None" = None
    error: str = ""
    overrules: bool = True


@dataclass(frozen=True)
class Gating:
    """What the gate did with one image.

    Args:
        flagged: whether the defence overruled the classifier.
        suspicion: its score.
        bare: what the classifier alone says.
    """

    flagged: bool
    suspicion: float
    bare: str


@dataclass(frozen=True)
class Oracle:
    """What is asked about each image.

    Args:
        hardened: the classifier behind the defence.
        side: in pixels, at which images enter; None for their own size.
        draws: that are averaged.
        seed: of these; None for fresh ones.
        device: where to compute.
    """

    hardened: "Hardened"
    side: int | None
    draws: int
    seed: int | None
    device: "torch.device"

    def answer(self, item: Item, count: int) -> Answer:
        """Classify one file, and give so many guesses. What goes wrong is part of the answer."""
        from rain.images import enter
        from rain.own_code import ENDINGS, describe
        from rain.pictures import read_image

        if item.fault:
            return Answer(error=item.fault)
        path = item.path
        try:
            image = enter(read_image(path), self.side)[None].to(self.device)
            prediction = self.hardened.predict(image, draws=self.draws, seed=self.seed)
        except RainError as error:
            message = str(error)
            return Answer(error=message if str(path) in message else f"{path}: {message}")
        except ENDINGS as error:
            # A network that takes some sizes only, or a picture that is too large: the others are not.
            return Answer(error=f"{path}: {describe(error)}")
        names: Sequence[str] = getattr(self.hardened.classifier, "categories", ())
        probabilities = prediction.probabilities[0]
        best = probabilities.topk(min(count, len(probabilities)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        guesses = [Guess(label, _name(names, label), probability) for label, probability in pairs]
        overrules = getattr(self.hardened.defense, "overrules", True)
        agreement = float(prediction.agreement[0])
        return Answer(tuple(guesses), agreement, _gating(prediction, names), overrules=overrules)

    @contextmanager
    def told(self, tick: "Tick") -> Iterator[None]:
        """Tell of each draw of a picture that the classifier has answered, as a part of the picture."""
        handle = self.hardened.classifier.register_forward_hook(lambda *_: tick(1 / self.draws))
        try:
            yield
        finally:
            handle.remove()


def predict(
    images: Annotated[list[Path], typer.Argument(help=IMAGES_HELP, metavar="IMAGE")],
    classifier: Annotated[str, typer.Option(help="See: rain list classifiers.")] = "efficientnet_lite0",
    defense: Annotated[str, typer.Option(help="See: rain list defenses.")] = "rain",
    gate: Annotated[float | None, typer.Option(help=GATE_HELP)] = None,
    calibration: Annotated[Path | None, typer.Option(help=CALIBRATION_HELP)] = None,
    draws: Annotated[
        int, typer.Option(min=1, max=MOST_DRAWS, help="Fresh draws whose probabilities are averaged.")
    ] = 8,
    seed: Annotated[int | None, typer.Option(help=SEED_HELP)] = None,
    size: Annotated[int | None, typer.Option(min=0, max=MOST_SIDE, help=SIZE_HELP)] = None,
    top: Annotated[int | None, typer.Option(min=1, max=MOST_AT_ONCE, help=TOP_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    device: Device = None,
) -> None:
    """Classify image files, or folders of them, behind a defence.

    It says for each image how many draws agree, or what a gate did. An image that cannot be read does not
    end the others.
    """
    with clean_errors():
        from rain.runtime.forecast import Piece
        from rain.runtime.progress import bar

        items = list(_items(images))
        oracle = _oracle(classifier, defense, gate, calibration, draws, seed, size, device)
        is_slow = _announce(oracle, items, defense)
        failures = 0
        work = [Piece(item.path.name, 1.0, ("picture",)) for item in items]
        with bar(work, visible=is_slow or len(items) > 1) as ticks:
            for item, tick in zip(items, ticks, strict=True):
                with oracle.told(tick):
                    answer = oracle.answer(item, top or (1 if item.within else TOP))
                failures += bool(answer.error)
                _print_answer(item, answer, oracle.draws, as_json=as_json, several=bool(top))
                tick(1)
        if failures:
            raise typer.Exit(1)


def _announce(oracle: Oracle, items: Sequence[Item], defense: str) -> bool:
    """Say how long a slow defence will take for all images; whether it is one."""
    from rain.gate import Gated
    from rain.pictures import read_image
    from rain.runtime.rehearsal import seconds_for

    sound = [item for item in items if not item.fault]
    if not sound:
        return False
    if oracle.side is not None:
        size = oracle.side, oracle.side
    else:
        try:
            _, height, width = read_image(sound[0].path).shape
        except RainError:
            return False  # the answers say what is wrong
        size = height, width
    each = seconds_for(oracle.hardened.defense, size, oracle.device)
    # A gate asks further draws of few images.
    draws = 1 if isinstance(oracle.hardened.defense, Gated) else oracle.draws
    return announce(defense, each, len(sound) * draws)


def _items(paths: Iterable[Path]) -> Iterator[Item]:
    """The files that paths name: each file, and of each folder all pictures within."""
    from rain.datasets.pictures import pictures
    from rain.files import is_folder, to_path

    for path in map(to_path, paths):
        if not is_folder(path):
            yield Item(path)
            continue
        try:
            folder = pictures(str(path))
        except DatasetError as error:
            yield Item(path, fault=str(error))
            continue
        for file in folder.files:
            yield Item(path / file, within=True)


def _oracle(
    classifier: str,
    defense: str,
    gate: float | None,
    calibration: Path | None,
    draws: int,
    seed: int | None,
    size: int | None,
    device: str | None,
) -> Oracle:
    """Build what is asked; warn where images enter at another size than the classifier sees."""
    from rain.checkpoints import warn_if_untrained
    from rain.detector import Detector
    from rain.hardening import harden
    from rain.networks import own_size
    from rain.registry import load_classifier
    from rain.runtime.memory import pick_device

    target = pick_device(device)
    network = load_classifier(classifier)
    warn_if_untrained(classifier, network)
    hardened = harden(network, defense, gate=gate, calibration=calibration).to(target)
    if isinstance(hardened.defense, Detector):
        hardened.defense.check_calibrated()
    own = own_size(hardened.classifier)
    if size and own and size != own:
        what = f"images enter at {size} pixels, and {classifier} sees {own}"
        warnings.warn(f"{what}: it resizes them behind the defence", stacklevel=2)
    side = own if size is None else size or None
    return Oracle(hardened, side, draws if hardened.defense.random else 1, seed, target)


def _name(names: Sequence[str], label: int) -> str | None:
    return names[label] if label < len(names) else None


def _print_answer(item: Item, answer: Answer, draws: int, *, as_json: bool, several: bool) -> None:
    """Print what is said of an image: a line, or for a file that was named a line for each class, too.

    Args:
        draws: that were averaged.
        as_json: as one JSON object.
        several: whether a number of guesses was set, all of which the object then holds.
    """
    if as_json:
        print(json.dumps(_fields(item, answer, several)), flush=True)
    elif answer.error:
        print_error(answer.error)
    elif item.within:
        guesses = ", ".join(f"{guess.title} {100 * guess.probability:.1f} %" for guess in answer.guesses)
        print(visible(f"{_name_of(item)}: {guesses} ({_how(answer, draws)})"), flush=True)
    else:
        print(visible(f"{_name_of(item)}: {_how(answer, draws)}"))
        for guess in answer.guesses:
            print(visible(f"  {100 * guess.probability:5.1f} %  {guess.title}"))


def _name_of(item: Item) -> str:
    """The path of a picture in one line: whoever named the file may have put another into its name."""
    return str(item.path).replace("\n", "\\n")


def _how(answer: Answer, draws: int) -> str:
    """How the answer came about: how many draws agree, and what the gate did."""
    agreement = f"{round(answer.agreement * draws)} of {draws} draws agree"
    if answer.gate is None:
        return agreement
    if answer.gate.flagged and not answer.overrules:
        return "flagged, to be refused: the classifier's own answer"
    if answer.gate.flagged:
        return f"flagged: the classifier alone says {answer.gate.bare}; {agreement}"
    return "not flagged: the classifier's own answer"


def _gating(prediction: Any, names: Sequence[str]) -> Gating | None:
    """What the gate did with the only image of a prediction."""
    if not hasattr(prediction, "flagged"):
        return None
    bare = int(prediction.bare[0])
    suspicion = float(prediction.suspicion[0])
    return Gating(bool(prediction.flagged[0]), suspicion, _name(names, bare) or str(bare))


def _fields(item: Item, answer: Answer, several: bool) -> dict[str, Any]:
    """What the JSON object of an image holds; null where there is nothing to say."""
    fields: dict[str, Any] = dict.fromkeys(("label", "name", "probability", "agreement"))
    if answer.guesses:
        best = answer.guesses[0]
        fields |= {"label": best.label, "name": best.name, "probability": round(best.probability, 6)}
        fields["agreement"] = round(answer.agreement, 6)
    if answer.gate is not None:
        fields |= asdict(answer.gate)
    if several:
        fields["top"] = [
            {"label": guess.label, "name": guess.name, "probability": round(guess.probability, 6)}
            for guess in answer.guesses
        ]
    return {"file": str(item.path), **fields, "error": answer.error or None}
