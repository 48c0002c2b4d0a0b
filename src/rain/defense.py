"""Defense, the only abstract class: images to images, in two steps."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor, nn

from rain.answers import probabilities_of
from rain.errors import OptionError
from rain.foreign import guard
from rain.images import Images, check_images
from rain.lattice import LatticeNoise
from rain.networks import explain
from rain.plans import Plan
from rain.prediction import GatedPrediction, Prediction, average, vote
from rain.seeding import Generators, draw_each

if TYPE_CHECKING:
    from rain.hardened import Hardened

Draw = Mapping[str, Tensor]
"""All randomness of one call, as tensors by name.

Where a tensor belongs to single images, its first axis is the batch.
"""

Classify = Callable[[Images], Tensor]
"""A bare classifier: from images (N, 3, H, W) in [0, 1] to logits (N, classes)."""


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
        keeps_places: True when each pixel that ``transform`` gives shows what stood at its place. Behind such
            a defence the clean image is what an enhancer is trained to restore.
    """

    random: bool = True
    independent: bool = True
    turn: int = 1
    differentiable: bool = True
    keeps_places: bool = False

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
        """Answer images with several fresh draws: by the mean of their probabilities.

        Noise that can be certified (``smoothing``) is answered by most draws, as the certificate says it.

        Args:
            model: this defence before a classifier.
            images: (N, 3, H, W) in [0, 1].
            draws: at least 1; a defence without randomness needs one.
            generator: of the draws, or a list of one for each image; by default, one that nobody can foresee.
        """
        count = draws if self.random else 1
        each = [probabilities_of(model(images, generator=generator), model) for _ in range(count)]
        of_draws = torch.stack(each)
        return average(of_draws) if self.smoothing is None else vote(of_draws)

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
