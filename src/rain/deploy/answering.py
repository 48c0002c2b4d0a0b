"""What a service asks, whatever it runs on. Never imports torch."""

import heapq
import re
import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from rain import specs
from rain.deploy.settings import Settings
from rain.errors import ImageError, OptionError
from rain.registry import WITHIN


@dataclass(frozen=True)
class Question:
    """One picture to classify.

    Args:
        image: (3, H, W) in [0, 1], a tensor or an array.
        seed: of its draws; one of the operating system's where nobody says it.
        top: how many classes are told.
    """

    image: Any
    seed: int
    top: int


class Answerer(ABC):
    """A hardened classifier, as a service asks it.

    Attributes:
        settings: of the service.
        digest: of classifier, defence and gate.
        draws: that are averaged for an image.
        side: at which images enter, in pixels; None for their own size.
        names: of the classes; none where the classifier does not say them.
        independent: whether each image of a batch has its own draw.
    """

    settings: Settings
    digest: str
    draws: int
    side: int | None
    names: tuple[str, ...]
    independent: bool

    @abstractmethod
    def decode(self, content: bytes) -> Any:
        """Decode a picture, and bring it to the size at which it enters: (3, H, W) in [0, 1].

        Raises:
            ImageError: it is none, damaged, or too large.
        """

    @abstractmethod
    def grey(self, side: int) -> Any:
        """A grey picture of so many pixels, (3, side, side)."""

    @abstractmethod
    def predict(self, images: list[Any], seed: int | list[int]) -> Any:
        """Classify pictures: a prediction, with a gate a gated one."""

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """Say what is served, without a path of this machine."""

    def warm_up(self) -> None:
        """Answer a grey picture, so that the first stranger does not wait for what is done once."""
        self.answer([Question(self.grey(self.side or 64), 0, 1)])

    def read(self, content: bytes, seed: int | None, top: int) -> Question:
        """Make a question of a picture.

        Raises:
            ImageError: it is none, damaged, or too large.
        """
        try:
            image = self.decode(content)
        except MemoryError:
            raise ImageError("there is not enough memory for it: send a smaller picture") from None
        return Question(image, secrets.randbits(62) if seed is None else seed, top)

    def answer(self, questions: list[Question]) -> list[dict[str, Any] | Exception]:
        """Classify pictures together, where the defence draws for each apart; else one after the other.

        Returns: an answer for each, as JSON has it, or what went wrong.
        """
        if not self.independent:
            return [self._one(question) for question in questions]
        try:
            return self._together(questions)
        except Exception:  # of one of them, perhaps: the others get their answers
            return [self._one(question) for question in questions]

    def _one(self, question: Question) -> dict[str, Any] | Exception:
        try:
            (answer,) = self._together([question])
        except Exception as error:
            return error
        return answer

    def _together(self, questions: list[Question]) -> list[dict[str, Any] | Exception]:
        seeds = [question.seed for question in questions]
        images = [question.image for question in questions]
        prediction = self.predict(images, seeds if self.independent else seeds[0])
        return [self._fields(prediction, row, question.top) for row, question in enumerate(questions)]

    def _fields(self, prediction: Any, row: int, top: int) -> dict[str, Any]:
        probabilities: list[float] = prediction.probabilities[row].tolist()
        best = heapq.nlargest(top, range(len(probabilities)), key=probabilities.__getitem__)
        label = int(prediction.labels[row])
        fields: dict[str, Any] = {
            **self.class_of(label),
            "probability": round(probabilities[label], 6),
            "agreement": round(float(prediction.agreement[row]), 6),
            "top": [self.class_of(one) | {"probability": round(probabilities[one], 6)} for one in best],
        }
        if hasattr(prediction, "flagged"):
            fields["flagged"] = bool(prediction.flagged[row])
            fields["suspicion"] = round(float(prediction.suspicion[row]), 6)
            fields["bare"] = self.class_of(int(prediction.bare[row]))
        return fields

    def class_of(self, label: int) -> dict[str, Any]:
        """A class by its number, with its name where the classifier has one."""
        return {"label": label, "name": self.names[label] if label < len(self.names) else None}


def without_paths(spec: str) -> str:
    """A spec in which paths are only the names of their files; one with a path comes in its canonical form.

    The name of a maker stays, as in ``torchvision/resnet50`` and ``spandrel:x.pth``. Of a text that is no
    spec, what follows the last slash is left.
    """
    try:
        head, options = specs.parse(spec)
        own_head = _head_without_folders(head)
        own_options = {key: _without_folders(key, value) for key, value in options.items()}
        if (own_head, own_options) == (head, options):
            return spec
        return specs.write(own_head, own_options)
    except OptionError:
        return _file_name(spec)


def _without_folders(option: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if option in WITHIN:
        return "+".join(without_paths(part) for part in specs.apart(value))
    # An option of somebody's own plug-in may hold a spec, too.
    return without_paths(value) if value.endswith(")") else _path_without_folders(value)


def _head_without_folders(head: str) -> str:
    maker, separator, argument = specs.split(head)
    if separator == "/" and maker.isidentifier():
        return f"{maker}/{_path_without_folders(argument)}"
    return _path_without_folders(head)


def _path_without_folders(path: str) -> str:
    """A path, perhaps with a maker and a colon before it; one letter before a colon is a drive."""
    maker, separator, argument = specs.split(path)
    if separator == ":" and len(maker) > 1:
        return f"{maker}:{_file_name(argument)}"
    return _file_name(path)


def _file_name(path: str) -> str:
    return re.split(r"[/\\]", path)[-1]
