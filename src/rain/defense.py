"""Defense, the only abstract class, and ``harden``, which puts one before a classifier."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Generator, Tensor, nn

from rain.answers import logits_of, refuse_broken, warn_if_probabilities
from rain.errors import ImageError, OptionError, RainError
from rain.foreign import guard
from rain.images import Images, check_images
from rain.lattice import LatticeNoise
from rain.plans import Plan
from rain.prediction import GatedPrediction, Prediction, average, group_by_size, in_order, warn_of_size
from rain.registry import load_defense
from rain.seeding import Generators, check_seed, draw_each, generators_of, is_integer, seeds_of

if TYPE_CHECKING:
    from rain.calibration import Calibration
    from rain.certificates import Certificates

Draw = Mapping[str, Tensor]
"""All randomness of one call, as tensors by name.

Where a tensor belongs to single images, its first axis is the batch.
"""

Classify = Callable[[Images], Tensor]
"""A bare classifier: from images (N, 3, H, W) in [0, 1] to logits (N, classes)."""


NO_MEMORY = "can't allocate memory"
"""What torch says where a CPU's memory does not suffice."""


class Defense(nn.Module, ABC):
    """Images to images, in the same range, in two steps.

    ``draw`` draws all that is random, then ``transform``, which is pure, computes. ``eval()`` does not
    switch the randomness off: it is the defence.

    Attributes:
        random: False when ``draw`` draws nothing.
        independent: True when each image of a batch has its own draw, so that EOT may put many draws into one
            batch.
        turn: how many of an image's copies, one after the other, ``spread`` draws together.
        differentiable: False when ``transform`` has no useful gradient; an adaptive attacker then wraps it in
            ``StraightThrough``.
    """

    random: bool = True
    independent: bool = True
    turn: int = 1
    differentiable: bool = True

    def __init_subclass__(cls, **options: Any) -> None:
        """See that a class of another package can be foreseen by nobody, and spoils no images."""
        super().__init_subclass__(**options)
        if cls.__module__.partition(".")[0] != "rain":  # ours see to it themselves
            guard(cls)

    @property
    def answers_itself(self) -> bool:
        """Whether it answers otherwise than by the classifier's answer to what ``transform`` makes."""
        return type(self).answer is not Defense.answer

    @property
    def smoothing(self) -> LatticeNoise | None:
        """The Gaussian noise that comes before everything else; None where none does.

        All else must depend on the images through the noisy ones only: ``Hardened.certify`` rests on it.
        """
        return None

    @property
    def ablating(self) -> int | None:
        """Side, in pixels, of the square cells of which only one pixel each is looked at; None without such.

        That pixel must be drawn evenly, and for each cell apart: ``rain.ablation`` rests on it.
        """
        return None

    @abstractmethod
    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw what ``transform`` needs for a batch of this shape, on the images' device."""

    @abstractmethod
    def transform(self, images: Images, draw: Draw) -> Images:
        """Apply the defence: same images and same draw give the same output, bit for bit."""

    def spread(self, images: Images, copies: int, generator: Generator | None = None) -> Draw:
        """Draw for a batch that is ``copies`` repetitions of one: EOT gets the most out of few draws.

        The draws of any one copy must be distributed as ``draw``'s; those of an image's copies may depend on
        one another, so that the mean over them is nearer to the expectation. By default they do not.

        Args:
            images: (copies * N, 3, H, W), one copy of the batch after the other.
            copies: at least 1.
            generator: of the draw; by default, one that nobody can foresee.
        """
        return self.draw(images, generator)

    def plan(self) -> dict[str, Plan]:
        """Say how ``draw`` draws, so that an exported model can do it without torch (``rain.plans``).

        Returns: the plan of each tensor of a draw, by its name and in its place.

        Raises:
            OptionError: the defence does not say it.
        """
        if not self.random:
            return {}
        advice = "give it a method plan() that returns rain.plans by the names of draw"
        raise OptionError(f"{type(self).__name__} does not say how it draws: {advice}")

    def stages(self, images: Images, draw: Draw) -> dict[str, Images]:
        """Name the pictures on the way, for the report; the last one is what ``transform`` returns."""
        return {"enhanced": self.transform(images, draw)}

    def meet(self, classifier: nn.Module) -> None:
        """See the classifier before which this defence is put, once. By default there is nothing to see."""

    def answer(self, classify: Classify, images: Images, draw: Draw, *, copies: int = 1) -> Tensor:
        """Answer images with a draw: by default, what the classifier says to what ``transform`` makes.

        Args:
            classify: the classifier, from images to logits.
            images: (N, 3, H, W), not empty.
            draw: for them.
            copies: above 1, the images are so many repetitions of one batch.

        Shape: returns logits (N, classes).
        """
        return classify(self.transform(images, draw))

    def predict(
        self, model: "Hardened", images: Images, draws: int, generator: Generators
    ) -> Prediction | GatedPrediction:
        """Answer images with several fresh draws: by default, by the mean of their probabilities.

        Args:
            model: this defence before a classifier.
            images: (N, 3, H, W) in [0, 1].
            draws: at least 1; a defence without randomness needs one.
            generator: of the draws, or a list of one for each image; by default, one that nobody can foresee.
        """
        count = draws if self.random else 1
        each = [probabilities_of(model(images, generator=generator), model) for _ in range(count)]
        return average(torch.stack(each))

    def calibrate(
        self,
        model: "Hardened",
        images: Images | Sequence[Tensor],
        origin: str = "",
        generator: Generator | None = None,
    ) -> Any:
        """Learn from clean images what is usual; by default there is nothing to learn (``rain.detector``).

        Raises:
            OptionError: there is nothing to learn.
        """
        what = f"{type(self).__name__} has nothing to calibrate"
        raise OptionError(f"{what}: a gate has, rain.harden(classifier, defense, gate=0.02)")

    def forward(self, images: Images, *, generator: Generators = None, copies: int = 1) -> Images:
        """Defend a batch with a fresh draw.

        Args:
            images: (N, 3, H, W) in [0, 1].
            generator: of the draw, or a list of one for each image; by default, one that nobody can foresee.
            copies: above 1, the batch is so many repetitions of one, and ``spread`` draws.

        Shape: returns (N, 3, H, W).

        Raises:
            ImageError: the batch breaks the convention, or its type or device is not that of the weights.
            OptionError: there are generators for each image, and the images share a draw, or are copies.
        """
        try:
            check_images(images)
            return self.transform(images, self.fresh_draw(images, generator, copies))
        except RuntimeError as error:
            explain(images, self, "the defence", error)
            raise

    def fresh_draw(self, images: Images, generator: Generators = None, copies: int = 1) -> Draw:
        """Draw for images; ``generator`` and ``copies`` as for ``forward``.

        Raises:
            OptionError: there are generators for each image, and the images share a draw, or are copies.
        """
        if generator is None or isinstance(generator, Generator):
            return self.spread(images, copies, generator) if copies > 1 else self.draw(images, generator)
        if copies > 1:
            raise OptionError("copies are drawn together: give one generator for all of them")
        if not self.random:
            return self.draw(images)
        if not self.independent:
            what = f"{type(self).__name__} has a draw that the images of a batch share"
            raise OptionError(f"{what}: give one seed or generator for all of them, or one image at a time")
        return draw_each(self.draw, images, generator)


class Hardened(nn.Module):
    """A classifier behind a defence: images (N, 3, H, W) in [0, 1] to logits. Made by ``harden``.

    The classifier in here is a copy of the given one, always in eval mode: whatever is done to this module
    (moved, halved, trained, other weights loaded) leaves the given one alone.
    """

    _told_of_size = False

    def __init__(self, classifier: nn.Module, defense: Defense):
        super().__init__()
        self.classifier = duplicate(classifier)
        self.defense = defense
        self.eval()
        defense.meet(self.classifier)

    @property
    def independent(self) -> bool:
        """Whether each image of a batch has its own draw."""
        return self.defense.independent

    @property
    def turn(self) -> int:
        """How many copies of an image are drawn together (``Defense.spread``)."""
        return self.defense.turn

    def train(self, mode: bool = True) -> Self:
        """Set the defence's training flag.

        The classifier stays in eval mode, so that its batch-norm statistics stay as given.
        """
        super().train(mode)
        self.classifier.eval()
        return self

    def forward(self, images: Images, *, generator: Generators = None, copies: int = 1) -> Tensor:
        """Classify with one fresh draw; ``generator`` and ``copies`` as for ``Defense.forward``.

        Shape: (N, 3, H, W) in [0, 1] to logits (N, classes).

        Raises:
            ImageError: the batch breaks the convention, or its type or device is not that of the weights.
            ClassifierError: the answer is no tensor of logits.
        """
        return self._answer(images, self._fresh_draw(images, generator, copies), copies)

    def classify(self, images: Images) -> Tensor:
        """Classify without the defence: (N, 3, H, W) in [0, 1] to logits (N, classes).

        Raises:
            ImageError: type or device of the images is not that of the weights.
            ClassifierError: the answer is no tensor of logits.
        """
        try:
            # A copy: a network may work in place, and others are asked about the same images.
            return logits_of(self.classifier(images.clone()), images.shape[0])
        except RuntimeError as error:
            explain(images, self.classifier, "the classifier", error)
            raise

    def answer(self, images: Images, draw: Draw) -> Tensor:
        """Classify with a draw that was made before: pure, the same logits for the same draw.

        ``Pure`` is this as a module, for ``torch.export``.

        Args:
            images: (N, 3, H, W) in [0, 1], whose values are not looked at.
            draw: for them, by ``defense.draw``.

        Shape: returns logits (N, classes).

        Raises:
            ImageError: the images do not fit the draw, or their type or device is not that of the weights.
            ClassifierError: the answer is no tensor of logits.
        """
        return self._answer(images, draw)

    def _answer(self, images: Images, draw: Draw, copies: int = 1) -> Tensor:
        if not images.shape[0]:
            # Not every network takes an empty batch; one blank image tells how many classes there are.
            return self.classify(images.new_zeros((1, *images.shape[1:])))[:0]
        try:
            return self.defense.answer(self.classify, images, draw, copies=copies)
        except RuntimeError as error:
            self._explain(images, error)
            raise

    def _fresh_draw(self, images: Images, generator: Generators, copies: int) -> Draw:
        try:
            check_images(images)
            return self.defense.fresh_draw(images, generator, copies)
        except RuntimeError as error:
            self._explain(images, error)
            raise

    def _explain(self, images: Images, error: RuntimeError) -> None:
        explain(images, self.defense, "the defence", error)
        explain(images, self.classifier, "the classifier", error)

    def calibrate(
        self, images: Images | Sequence[Tensor], origin: str = "", seed: int | None = None
    ) -> "Calibration":
        """Set the gate's threshold by clean images, whose labels nobody needs.

        Args:
            images: (N, 3, H, W) in [0, 1], or a list of pictures (3, H, W): at least 5 / gate of them, of the
                kind and size that will be classified, and none that an attacker could have made.
            origin: what pictures they are, in words, for the file.
            seed: of the draws, for the same threshold every time.

        Returns: the calibration, whose ``save(path)`` writes it.

        Raises:
            OptionError: there is no gate, or the seed is no integer of 64 bits.
            GateError: the images are too few, hardly differ, or look attacked.
        """
        generator = None if seed is None else Generator().manual_seed(check_seed(seed))
        calibration: Calibration = self.defense.calibrate(self, images, origin, generator)
        return calibration

    def certify(
        self,
        images: Images,
        n0: int = 100,
        n: int = 1000,
        alpha: float = 0.001,
        seed: int | Sequence[int] | None = None,
        batch: int = 50,
    ) -> "Certificates":
        """Say within which l2 radius no attack whatever can change the majority's answer.

        The defence must begin with Gaussian noise: ``smooth``, or a chain that begins with it.

        Args:
            images: (N, 3, H, W) in [0, 1].
            n0: draws by which the class is chosen.
            n: further draws by which it is certified. More of them certify larger radii, up to a point.
            alpha: the chance, at most, that the certificate of an image is wrong.
            seed: for the same counts every time, on one kind of device; or a list of one for each image.
            batch: draws in one forward pass. On a GPU another number gives other draws.

        Returns: labels, -1 where it abstains; radii, in the unit of the images; and the counts.

        Raises:
            CertificateError: nothing can be proven of this defence: noise does not come first, there is a
                gate, or the images of a batch share a draw.
            ImageError: the batch breaks the convention.
            OptionError: a number is out of range, or the seed is no integer of 64 bits.
            RainError: scipy is not installed.
        """
        from rain.certificates import certify

        return certify(self, images, n0, n, alpha, seed, batch)

    @torch.no_grad()
    def predict(
        self,
        images: Images | list[Tensor] | tuple[Tensor, ...],
        draws: int = 8,
        seed: int | Sequence[int] | Tensor | None = None,
    ) -> Prediction | GatedPrediction:
        """Classify with the probabilities averaged over several draws.

        With a gate, one draw is compared with the classifier's own answer, and further draws are asked only
        of the images that are flagged; the answer is a ``GatedPrediction``.

        Args:
            images: (N, 3, H, W) in [0, 1]; or a list of pictures (3, H, W), of any sizes: those of one size
                are answered as one batch, and the answers come in the order of the list.
            draws: fresh draws to average over; a defence without randomness needs one, and gets one.
            seed: for the same answer every time, on any device. Do not use one where an attacker could learn
                it. None, the default, draws what nobody can foresee, whatever ``torch.manual_seed`` was
                given. An integer seeds the batch as a whole: what an image draws depends on how many stand
                before it, so that a batch and its images one by one differ. With a list, one integer for
                each image, what an image draws depends on its own seed and size alone: a batch of one with
                that integer draws the same. Its logits then differ by no more than the network's rounding,
                which may depend on the batch. Of a list of pictures, an integer seeds the batch of each size.

        Raises:
            ImageError: the batch breaks the convention, or a picture of the list does.
            OptionError: draws is not a positive integer; or seed holds no integers of 64 bits, or not one for
                each image, or is a list and the images share a draw.
            ClassifierError: an answer is no number, or not one logit for each of at least two classes.
            GateError: the gate is not calibrated, or for another size.
        """
        if not is_integer(draws) or draws < 1:
            raise OptionError(f"draws must be a positive integer, got {draws!r}")
        if isinstance(images, list | tuple):
            return self._predict_pictures(images, draws, seed)
        check_images(images)
        self._warn_of_size(images)
        generator = generators_of(seed, images.shape[0])
        return self.defense.predict(self, images, int(draws), generator)

    def _predict_pictures(
        self, pictures: Sequence[Tensor], draws: int, seed: Any
    ) -> Prediction | GatedPrediction:
        """Answer pictures of several sizes, in their order."""
        groups = group_by_size(pictures)
        seeds = seeds_of(seed, len(pictures))
        predictions = []
        for group in groups:
            own = seed if seeds is None else [seeds[place] for place in group.places]
            predictions.append(self.predict(group.images, draws, own))
        return in_order(groups, predictions)

    def _warn_of_size(self, images: Images) -> None:
        """Warn, once, of images that are much larger than what the classifier says it sees."""
        side = own_size(self.classifier)
        if side is not None and not self._told_of_size:
            self._told_of_size = warn_of_size(images, side)


class Pure(nn.Module):
    """A hardened classifier as a function of images and draw, for ``torch.export``, ONNX and ``torch.func``.

    They trace or transform what is computed, and know no generator: draws are inputs.

    Args:
        hardened: is used, not copied.
    """

    def __init__(self, hardened: Hardened):
        super().__init__()
        self.hardened = hardened
        self.eval()

    def forward(self, images: Images, draw: Draw) -> Tensor:
        """Classify (N, 3, H, W) in [0, 1] with a draw of ``hardened.defense``; logits (N, classes)."""
        return self.hardened.answer(images, draw)


def probabilities_of(answer: object, model: object = None) -> Tensor:
    """Softmax in float32, of logits (N, classes).

    Args:
        answer: what a classifier gave, of whatever kind.
        model: who gave it; it is warned of once if it answers with probabilities. None warns of nothing.

    Raises:
        ClassifierError: a probability is no number, the largest of which would be class 0; or these are no
            logits of several classes.
    """
    logits = logits_of(answer)
    if model is not None:
        warn_if_probabilities(logits, model)
    probabilities = logits.float().softmax(1)
    refuse_broken(torch.isfinite(probabilities).all(1), logits)
    return probabilities


def harden(
    classifier: nn.Module,
    defense: str | Defense = "rain",
    *,
    gate: float | None = None,
    calibration: "str | Path | Calibration | None" = None,
    **options: Any,
) -> Hardened:
    """Put a defence before a classifier, which is not changed in any way.

    Args:
        classifier: from images (N, 3, H, W) in [0, 1] to logits; it owns its resize, crop and normalisation
            (``rain.load_classifier`` gives such ones; ``rain.Preprocessed`` makes one of a network that wants
            normalised input).
        defense: a name (``rain list defenses``), built on the classifier's device and in its type, or a
            ``Defense``, taken as it is.
        gate: the share of clean images that the defence may overrule, such as 0.02: the answer is the
            classifier's own unless the two differ more than they do on all but this share of clean images.
            None, the default, always answers behind the defence.
        calibration: of the gate or other detector, or the file of one (``rain calibrate``). By default the
            shipped one of this classifier and defence, if there is one; else ``calibrate`` makes it.
        options: of the defence, by name.

    Raises:
        UnknownNameError: no such defence.
        OptionError: no such option, or ``classifier`` is not an ``nn.Module``, cannot be copied, or is
            hardened already; or ``defense`` is neither.
        GateError: the gate is no share, or the calibration belongs to another classifier or defence.
    """
    if not isinstance(classifier, nn.Module):
        kind = type(classifier).__name__
        raise OptionError(f"classifier must be an nn.Module from images to logits, got {kind}")
    if any(isinstance(module, Defense) for module in classifier.modules()):
        what = "its randomness would be hidden from seeds and attackers"
        raise OptionError(f"this classifier is hardened already, and {what}: give the bare one")
    if isinstance(defense, str):
        loaded, weight = load_defense(defense, **options), _first_weight(classifier)
        defense = loaded if weight is None else loaded.to(weight.device, weight.dtype)
    elif not isinstance(defense, Defense):
        needed = "a name (rain list defenses) or an instance of rain.Defense"
        raise OptionError(f"defense must be {needed}, got {kind_of(defense)}")
    elif options:
        names = ", ".join(options)
        raise OptionError(f"options {names} go with a defence's name; this one is already made")
    if gate is not None:
        defense = load_defense("gated", defense=defense, share=gate, calibration=calibration)
    elif calibration is not None:
        from rain.detector import give_calibration  # it is a defence, and imports this module

        give_calibration(defense, calibration)
    return Hardened(classifier, defense)


def kind_of(value: object) -> str:
    """Say what was given in the place of a thing that had to be made."""
    if isinstance(value, type):
        return f"the class {value.__name__}: make one, {value.__name__}(...)"
    return f"a {type(value).__name__}"


def explain(images: Images, module: nn.Module, name: str, error: RuntimeError) -> None:
    """Raise ``ImageError`` where images and a module's weights differ in device or type, or memory ran out.

    That will be why it failed.

    Args:
        images: what was computed on.
        module: what computed.
        name: what the error calls it.
        error: how it failed. One that says itself what is wrong, or that a GPU's memory ran out, is left
            alone.
    """
    if NO_MEMORY in str(error):
        count, _, height, width = images.shape
        what = f"memory ran out in {name}, on images of {height} x {width} pixels, {count} at a time"
        advice = "bring each to the size that the classifier sees, by rain.images.enter(image, side)"
        raise ImageError(f"{what}: {advice}, or take fewer at a time") from error
    weight = _first_weight(module)
    is_clear = isinstance(error, RainError | torch.OutOfMemoryError)
    if weight is None or is_clear or (images.device, images.dtype) == (weight.device, weight.dtype):
        return
    what = f"images are {images.dtype} on {images.device}"
    needed = f"the weights of {name} {weight.dtype} on {weight.device}"
    advice = f"give images.to({str(weight.device)!r}, {weight.dtype}), or move the model by .to(...)"
    raise ImageError(f"{what}, {needed}: {advice} ({error})") from error


def own_size(classifier: nn.Module) -> int | None:
    """The side of the square that a classifier sees, in pixels; None where it does not say that.

    Convention: it is the attribute ``crop``, as ``rain.Preprocessed`` has it.
    """
    side = getattr(classifier, "crop", None)
    return int(side) if isinstance(side, Integral) and int(side) >= 2 else None


def _first_weight(module: nn.Module) -> nn.Parameter | None:
    """The first floating-point parameter, whose device and type are taken for the module's."""
    return next((weight for weight in module.parameters() if weight.is_floating_point()), None)


def duplicate(classifier: nn.Module) -> nn.Module:
    """Copy a classifier, in eval mode.

    Raises:
        OptionError: it cannot be copied.
    """
    try:
        return copy.deepcopy(classifier).eval()
    except (RuntimeError, TypeError) as error:
        advice = "weight norm and spectral norm from torch.nn.utils.parametrizations can be"
        raise OptionError(f"{type(classifier).__name__} cannot be copied ({error}); {advice}") from error
