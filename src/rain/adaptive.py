"""What makes any attack adaptive: wrappers from model to model that the attack never hears of.

Source: Athalye, Carlini, Wagner, "Obfuscated gradients give a false sense of security" (arXiv 1802.00420):
    EOT and BPDA.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Generator, Tensor, nn

from rain.answers import finite, log_probabilities
from rain.chain import Chain
from rain.defense import Classify, Defense, Draw
from rain.detector import Detector
from rain.errors import ImageError, OptionError
from rain.hardened import Hardened
from rain.images import Images
from rain.seeding import is_integer

Model = Callable[[Images], Tensor]
"""From images (N, 3, H, W) in [0, 1] to logits (N, classes): all that an attack sees."""


class RandomModel(Protocol):
    """A random model that can be asked about several draws of an image in one batch."""

    @property
    def independent(self) -> bool:
        """Whether each image of a batch has its own draw. If not, every draw needs a call of its own."""
        ...

    @property
    def turn(self) -> int:
        """How many copies of an image are drawn together: as for ``Defense``."""
        ...

    def __call__(self, images: Images, *, copies: int = 1) -> Tensor:
        """Classify a batch that is one batch ``copies`` times; each image gets a fresh draw."""
        ...


class SeedableModel(RandomModel, Protocol):
    """A random model that draws from the generator that it is given."""

    def __call__(self, images: Images, *, generator: Generator | None = None, copies: int = 1) -> Tensor:
        """Classify with the generator's next draw; ``copies`` as for ``RandomModel``."""
        ...


class View(nn.Module):
    """A model seen through something: a module itself, as other libraries of attacks ask for.

    Its parameters are those of the model, which is used and not copied, and so are its device and whether it
    is in train mode.

    Args:
        model: from images to logits. One that is no module is asked all the same.
    """

    def __init__(self, model: Model):
        super().__init__()
        self.model: Any = model
        # A new module is in train mode, and libraries warn of that.
        self.training = bool(getattr(model, "training", False))


class Seeded(View):
    """A random model whose draws come from one generator, call after call: an attack on it can be repeated.

    Args:
        model: hardened, or any ``SeedableModel``.
        generator: of all draws.
    """

    def __init__(self, model: SeedableModel, generator: Generator):
        super().__init__(model)
        self.generator = generator
        self.independent, self.turn = model.independent, model.turn

    def forward(self, images: Images, *, copies: int = 1) -> Tensor:
        """Classify with the generator's next draw; ``copies`` as for ``Hardened``."""
        return self.model(images, generator=self.generator, copies=copies)


class Expectation(View):
    """EOT: the model averaged over fresh draws of its randomness, at each call.

    It is a module with the model's parameters and device, so that foolbox, torchattacks and ART take it.

    Args:
        model: random. An independent ``RandomModel`` is asked about many draws in one batch, and spreads them
            (``Defense.spread``); any other model is asked once for each draw.
        draws: how many to average over.
        average: "logits" (the default: their mean; its gradient does not vanish where single draws are
            confident) or "probabilities" (the logarithm of the mean probability, what ``predict`` averages).
        batch: images in one forward pass, or one turn of an image's copies if that is more.

    Shape: (N, 3, H, W) to (N, classes).

    Raises:
        OptionError: an argument out of range.
    """

    def __init__(self, model: Model, draws: int = 20, *, average: str = "logits", batch: int = 40):
        if not (is_integer(draws) and is_integer(batch) and draws >= 1 and batch >= 1):
            raise OptionError(f"draws and batch must be integers of at least 1, got {draws} and {batch}")
        if average not in ("logits", "probabilities"):
            raise OptionError(f"average must be logits or probabilities, got {average!r}")
        super().__init__(model)
        self.draws, self.average, self.batch = draws, average, batch
        # Read, not asked by isinstance: torch.compile's modules delegate their attributes.
        self.independent: bool = getattr(model, "independent", False)
        self.turn = max(1, getattr(model, "turn", 1))

    def forward(self, images: Images, *, copies: int = 1) -> Tensor:
        """Average over ``draws`` fresh draws for each image; ``copies`` as for any ``RandomModel``."""
        del copies  # whoever averages this average asks as of any random model; each image has its own draws
        if self.independent:
            pieces = images.split(max(1, self.batch // self.turn))
            logits = torch.cat([self._all_draws(piece) for piece in pieces], 1)
        else:
            logits = torch.stack([self.model(images) for _ in range(self.draws)])
        if self.average == "logits":
            return logits.mean(0)
        mean = log_probabilities(logits).logsumexp(0) - math.log(self.draws)
        return mean.to(logits.dtype)

    def _all_draws(self, images: Images) -> Tensor:
        """Logits (draws, N, classes), in as few passes as ``batch`` allows."""
        model = cast(RandomModel, self.model)
        turns = max(1, self.batch // (self.turn * max(1, len(images))))
        passes = []
        for part in torch.arange(self.draws).split(self.turn * turns):
            copies = len(part)
            logits = model(images.repeat(copies, 1, 1, 1), copies=copies)
            passes.append(logits.unflatten(0, (copies, len(images))))
        return torch.cat(passes)


class StraightThrough(Defense):
    """BPDA: the defence as it is forward, the identity backward.

    Args:
        defense: its output must have the shape of its input.
    """

    def __init__(self, defense: Defense):
        super().__init__()
        self.defense = defense
        self.random, self.independent, self.turn = defense.random, defense.independent, defense.turn

    @property
    def answers_itself(self) -> bool:
        """Whether the wrapped defence does."""
        return self.defense.answers_itself

    def meet(self, classifier: nn.Module) -> None:
        """Show the classifier to the wrapped defence."""
        self.defense.meet(classifier)

    def draw(self, images: Images, generator: Generator | None = None) -> Draw:
        """Draw as the wrapped defence does."""
        return self.defense.draw(images, generator)

    def spread(self, images: Images, copies: int, generator: Generator | None = None) -> Draw:
        """Draw as the wrapped defence does."""
        return self.defense.spread(images, copies, generator)

    def transform(self, images: Images, draw: Draw) -> Images:
        """Apply the wrapped defence; gradients pass as if it had done nothing.

        Raises:
            ImageError: the wrapped defence changed the shape.
        """
        return straight_through(lambda values: self.defense.transform(values, draw), images)

    def answer(self, classify: Classify, images: Images, draw: Draw, *, copies: int = 1) -> Tensor:
        """Answer as the wrapped defence does; gradients pass as if its ``transform`` had done nothing."""
        through = classify(self.transform(images, draw))
        if not self.defense.answers_itself:
            return through
        with torch.no_grad():
            exact = self.defense.answer(classify, images, draw, copies=copies)
        slope = finite(through)
        return exact + (slope - slope.detach())


class Frozen(View):
    """The model with its randomness frozen to one draw, the same for every image and every call.

    Args:
        model: a hardened classifier.
        seed: of the draw.

    An attack on it is one on a deterministic model; what that finds carries over to other draws, or does not.
    """

    def __init__(self, model: Hardened, seed: int = 0):
        super().__init__(model)
        self.seed = seed

    def forward(self, images: Images) -> Tensor:
        """Classify with the frozen draw."""
        if not len(images):
            return self.model(images)
        draw = self.model.defense.draw(images[:1], torch.Generator().manual_seed(self.seed))
        shared = {name: repeat_draw(tensor, len(images)) for name, tensor in draw.items()}
        return self.model.answer(images, shared)


def repeat_draw(tensor: Tensor, count: int) -> Tensor:
    """Repeat what was drawn for one image; what belongs to the batch stays."""
    return tensor.expand(count, *tensor.shape[1:]) if tensor.shape[:1] == (1,) else tensor


def straight_through(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Compute ``function(values)``, exactly, with the identity as its gradient (BPDA).

    Raises:
        ImageError: the function changed the shape, so that the identity is no gradient for it.
    """
    return _StraightThrough.apply(values, function)


class _StraightThrough(torch.autograd.Function):
    # Without the context in ``forward``, so that torch.func takes it.
    @staticmethod
    def forward(values: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        output = function(values.detach())
        if output.shape != values.shape:
            shapes = f"{tuple(values.shape)}, got {tuple(output.shape)}"
            raise ImageError(f"BPDA needs an output of the input's shape {shapes}")
        return output

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def attackable(model: Hardened, *, gate: str = "soft") -> Hardened:
    """The same model, as far as gradients go through it.

    A defence that has no gradient of its own gets BPDA; a gate or another detector, another view.

    Args:
        gate: the view of a detector: "soft", without its step; or "parts", both answers and the score, for
            the attacks that take them (``rain.detector.Detector``).
    """
    defense = model.defense
    if isinstance(defense, Detector):
        stand_ins = [with_gradient(part) for part in defense.compared()]
        return model.with_defense(defense.seen_as(gate, *stand_ins))
    through = with_gradient(defense)
    return model if through is defense else model.with_defense(through)


def with_gradient(defense: Defense) -> Defense:
    """The defence itself, if a gradient goes through it; else with BPDA for what has none.

    Of a chain that is those parts only: the others keep their gradient.
    """
    if defense.differentiable:
        return defense
    if isinstance(defense, Chain):
        return defense.with_parts([with_gradient(part) for part in defense.defenses()])
    return StraightThrough(defense)
