"""Hardened: a classifier behind a defence. ``rain.harden`` makes one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Generator, Tensor, nn

from rain.answers import logits_of
from rain.defense import Defense, Draw
from rain.errors import OptionError
from rain.images import Images, check_images
from rain.networks import duplicate, explain, own_size
from rain.prediction import GatedPrediction, Prediction, group_by_size, in_order, warn_of_size
from rain.seeding import Generators, check_seed, generators_of, is_integer, seeds_of

if TYPE_CHECKING:
    from rain.calibration import Calibration
    from rain.certificates import Certificates


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

    def with_defense(self, defense: Defense) -> "Hardened":
        """The same classifier, no copy of it, behind a view or a part of its defence, which knows it."""
        other = Hardened.__new__(Hardened)
        nn.Module.__init__(other)
        other.classifier, other.defense = self.classifier, defense
        return other.eval()

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
        of the images that are flagged; the answer is a ``GatedPrediction``. Behind ``smooth`` the labels are
        those of most draws, as ``certify`` counts them.

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
