"""Certificates: within which radius no attack whatever can change an answer.

A classifier behind ``smooth`` answers by a majority: what most draws of the noise say. If that majority is
large, no image near by can have another one, whoever made it.

Source: Cohen, Rosenfeld, Kolter, "Certified adversarial robustness via randomized smoothing"
    (arXiv 1902.02918), Certify; Voracek and Hein (arXiv 2207.07209) for floating point (``rain.lattice``).
"""

import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from rain.answers import check_logits
from rain.chain import Chain
from rain.defense import Defense
from rain.errors import CertificateError, OptionError, RainError
from rain.gate import Gated
from rain.hardened import Hardened
from rain.images import Images, check_images
from rain.lattice import LatticeNoise
from rain.seeding import as_number, check_seed, is_integer, seed_for, seeds_of

ABSTAINED = -1
"""In the place of a label: the draws do not agree well enough."""

MOST_ALPHA = 0.5
"""An error rate is below it: a bound that is wrong every other time proves nothing."""


class Certificates(NamedTuple):
    """What can be proven of the answers to a batch.

    Attributes:
        labels: (N,), int64: the majority's class; -1 where the draws do not agree well enough (abstained).
        radii: (N,), float64: within it no attack can change the label; 0 where abstained.
        counts: (N,), int64: how many of the n draws gave the class that the first n0 draws chose.
        guesses: (N,), int64: that class, where abstained, too.
    """

    labels: Tensor
    radii: Tensor
    counts: Tensor
    guesses: Tensor


class Vote(NamedTuple):
    """What the draws of one image say.

    Attributes:
        guess: the class that most of the first n0 draws gave.
        votes: how many of the n draws after them gave it, too.
    """

    guess: int
    votes: int


def certify(
    model: Hardened,
    images: Images,
    n0: int = 100,
    n: int = 1000,
    alpha: float = 0.001,
    seed: int | Sequence[int] | None = None,
    batch: int = 50,
) -> Certificates:
    """Certify the answers to images by an l2 radius. Args, Returns and Raises: as ``Hardened.certify``."""
    noise = check_certifiable(model.defense)
    check_images(images)
    values = images[0].numel() if len(images) else 0

    def radius_of(count: int) -> float | None:
        return radius(count, n, alpha, noise, values)

    return certify_by(model, images, n0, n, alpha, seed, batch, radius_of)


def certify_by(
    model: Hardened,
    images: Images,
    n0: int,
    n: int,
    alpha: float,
    seed: int | Sequence[int] | None,
    batch: int,
    radius_of: Callable[[int], float | None],
) -> Certificates:
    """Let draws vote on each image, and certify what they say.

    Args:
        model, images, n0, n, alpha, seed, batch: as for ``Hardened.certify``.
        radius_of: from a count to the radius that it proves, or None for none.
    """
    check_numbers(n0, n, alpha, batch)
    load_special()
    ballots = []
    for image, generator in zip(images, _generators(seed, images), strict=True):
        ballots.append(vote(model, image, n0, n, generator, batch))
    radii = [radius_of(one.votes) for one in ballots]
    labels = [ABSTAINED if far is None else one.guess for one, far in zip(ballots, radii, strict=True)]
    return Certificates(
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor([far or 0.0 for far in radii], dtype=torch.float64),
        torch.tensor([one.votes for one in ballots], dtype=torch.int64),
        torch.tensor([one.guess for one in ballots], dtype=torch.int64),
    )


def check_numbers(n0: object, n: object, alpha: object, batch: object = 1) -> None:
    """Raise ``OptionError`` unless n0, n and batch are positive integers, and alpha is between 0 and 0.5."""
    for name, value in (("n0", n0), ("n", n), ("batch", batch)):
        if not (isinstance(value, int) and is_integer(value) and value >= 1):
            raise OptionError(f"{name} must be a positive integer, got {value!r}")
    is_rate = isinstance(alpha, int | float) and not isinstance(alpha, bool)
    if not (isinstance(alpha, int | float) and is_rate and 0 < alpha < MOST_ALPHA):
        raise OptionError(f"alpha must be a number above 0 and below {MOST_ALPHA}, got {alpha!r}")


def check_certifiable(defense: Defense) -> LatticeNoise:
    """The noise that a certificate of a defence rests on.

    Raises:
        CertificateError: there is none that comes before everything else, or something sees more than the
            noisy image, or the images of a batch share a draw.
    """
    name = type(defense).__name__
    if isinstance(defense, Gated):
        what = "a gate compares with the bare classifier, which sees the image without noise"
        raise CertificateError(f"{what}, so that nothing can be proven: certify the defence behind the gate")
    if defense.smoothing is None:
        if isinstance(defense, Chain) and any(part.smoothing for part in defense.defenses()):
            what = "the noise of smooth does not come first: what stands before it can enlarge an attack"
            raise CertificateError(f"{what}, so that nothing can be proven; write smooth first in the chain")
        advice = 'take "smooth(sigma=0.25)", or a chain that begins with it'
        raise CertificateError(
            f"{name} does not begin with Gaussian noise, and nothing can be proven: {advice}"
        )
    check_independent(defense)
    return defense.smoothing


def check_independent(defense: Defense) -> None:
    """Raise ``CertificateError`` if the images of a batch share a draw: then counts prove nothing."""
    if not defense.independent:
        what = (
            f"the images of a batch share a draw of {type(defense).__name__}, and votes must be independent"
        )
        raise CertificateError(f"{what}: give each image its own (rain: shared_shift=False, no down=scale)")


@torch.no_grad()
def vote(model: Hardened, image: Tensor, n0: int, n: int, generator: Generator, batch: int) -> Vote:
    """Let n0 draws choose a class of an image, and count how many of n further draws give it, too.

    Args:
        model: a classifier behind a random defence.
        image: (3, H, W) in [0, 1].
        n0, n: draws.
        generator: of the draws. On a CPU they do not depend on how many go through the model at once.
        batch: draws in one forward pass.

    Raises:
        ClassifierError: an answer is no number.
    """
    answers = [_answers(model, image, count, generator) for count in _portions(n0 + n, batch)]
    labels = torch.cat(answers)
    guess = int(torch.bincount(labels[:n0]).argmax())
    return Vote(guess, int((labels[n0:] == guess).sum()))


def _answers(model: Hardened, image: Tensor, count: int, generator: Generator) -> Tensor:
    """The labels (count,) that so many fresh draws give to one image, on the CPU."""
    copies = image.expand(count, *image.shape)
    # Draws are made for blank images: what depends on the image's values would not be independent of it.
    blank = image.new_zeros(copies.shape)
    # One after the other they do not depend on the batch; on a GPU that would take longer than the network.
    one_by_one = [generator] * count if generator.device.type == "cpu" else generator
    draw = model.defense.fresh_draw(blank, one_by_one)
    return check_logits(model.answer(copies, draw), count).argmax(1).cpu()


def _portions(total: int, batch: int) -> list[int]:
    """Split a number of draws into passes of about the same size, and of at most ``batch``."""
    passes = -(-total // batch)
    return [total * (place + 1) // passes - total * place // passes for place in range(passes)]


def _generators(seed: Any, images: Images) -> list[Generator]:
    """A generator for each image, on its device: where it draws fastest."""
    count = len(images)
    seeds = None if seed is None else seeds_of(seed, count)
    if seeds is None:
        first = secrets.randbits(62) if seed is None else check_seed(as_number(seed))
        seeds = [seed_for(first, "certificate", place) for place in range(count)]
    return [Generator(images.device).manual_seed(value) for value in seeds]


def radius(count: int, n: int, alpha: float, noise: LatticeNoise, values: int) -> float | None:
    """The l2 radius that a count proves; None if it proves nothing (abstain).

    The share of all draws that give the class is at least p, with confidence 1 - alpha (Clopper and Pearson).
    Then no image within sigma * Phi^-1(p) has another majority (Cohen et al., theorem 1). Both what is left
    between the noise and a Gaussian, and what rounding does to distances, are taken off (``rain.lattice``).

    Args:
        count: of the n draws that gave the class.
        n: draws.
        alpha: the chance, at most, that p is too large.
        noise: of these draws.
        values: of an image, 3 H W.
    """
    special = load_special()
    shortfall = noise.shortfall(values)
    # Once for this image's draws, and once for those of the image that an attacker shows.
    share, half = lower_bound(count, n, alpha) - shortfall, 0.5 + shortfall
    if share <= half:
        return None
    far = noise.sigma * (special.ndtri(share) - special.ndtri(half)) - noise.slack(values)
    return max(0.0, float(far))


def lower_bound(count: int, total: int, alpha: float) -> float:
    """The exact lower bound of a share (Clopper and Pearson), one-sided, with confidence 1 - alpha.

    Args:
        count: how often it happened.
        total: of so many times.
        alpha: the chance, at most, that the bound is too large.
    """
    if count == 0:
        return 0.0
    return float(load_special().betaincinv(count, total - count + 1, alpha))


def load_special() -> Any:
    """Import scipy's special functions.

    Raises:
        RainError: scipy is not installed.
    """
    try:
        from scipy import special
    except ImportError as error:
        advice = "pip install 'rain-defense[certify]'"
        raise RainError(f"certificates need scipy ({error}): {advice}") from None
    return special
