"""Gaussian noise on a lattice, whose law is known exactly: what a certificate can be built on.

A certificate of randomised smoothing is about a Gaussian of real numbers. Noise in floating point is another
law: ``image + sigma * randn`` lands on other numbers for other images, so that a network could read the image
off the last bits, and its certificate would be false. Three steps make the proof hold for what is computed:

1. Images are rounded to the multiples of ``step``, a power of two. Two images come nearer to one another, or
   farther apart, by at most ``slack``.
2. The noise is a Gaussian, rounded to the same lattice. Rounding after the noise is a part of the classifier,
   and cannot hurt; and between lattice points, rounding before and after are the same.
3. Its values are drawn with the probabilities of that law from uniform integers, by comparing integers: no
   logarithm, no cosine, no rounding. What is left of a difference is in the table, and below ``SHORTFALL``.

Image plus noise is then exact in float32: both are multiples of ``step``, and not too many.

Source: Voracek and Hein, "Sound randomized smoothing in floating-point arithmetic" (arXiv 2207.07209): the
    false certificates, and noise on the lattice of the images from a fair coin. Walker (1977) and Vose
    (1991): the alias method, which draws from a table.

Differs: the paper's images have 256 levels. Ours may lie between them, so that the lattice is finer, and the
    radius is made smaller by what rounding can do.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Generator, Tensor

from rain.images import Images
from rain.seeding import drawing_from

CELLS = 18
"""The table has 2**18 lattice points."""

RANDOM = 62
"""Bits of the uniform integer behind each value of the noise."""

REACH = 8.0
"""The table reaches so many standard deviations, at least; beyond lies less than 2e-15 of a Gaussian."""

SHORTFALL = 1e-13
"""The total variation distance between one value's law and the rounded Gaussian is smaller.

Of it 2.8e-14 is the rounding of probabilities to multiples of 2**-62, 1.3e-15 the tails, and the rest an
allowance for the last bits of the probabilities.
"""


class LatticeNoise:
    """Gaussian noise, rounded to a lattice.

    Args:
        sigma: standard deviation, in the unit of the images, above 0.

    Attributes:
        step: between two points of the lattice, a power of two: from 1/16384 to 1/8192 of ``sigma``.
    """

    def __init__(self, sigma: float):
        self.sigma = sigma
        self.step = 2.0 ** math.ceil(math.log2(2 * REACH * sigma / 2**CELLS))
        self._table = alias_table(self.step / sigma)
        self._copies: dict[torch.device, Tensor] = {}

    def slack(self, values: int) -> float:
        """By how much, in l2, rounding to the lattice changes the distance of two images at most.

        Args:
            values: of an image, 3 H W.
        """
        return self.step * math.sqrt(values)

    def shortfall(self, values: int) -> float:
        """How far the probability of any event can be from that under the rounded Gaussian.

        Args:
            values: of an image, 3 H W, each with its own noise.
        """
        return SHORTFALL * values

    def round(self, images: Images) -> Images:
        """Round to the lattice, exactly; gradients pass as if nothing was done."""
        rounded = (images / self.step).round() * self.step
        return images + (rounded - images).detach()

    def draw(self, shape: tuple[int, ...], device: torch.device, generator: Generator | None) -> Tensor:
        """Draw noise, float32: multiples of ``step``; on the generator's device, or else on this one."""
        uniform = torch.randint(0, 2**RANDOM, shape, **drawing_from(generator, device)).flatten()
        column = uniform & (2**CELLS - 1)
        entry = self._on(uniform.device).index_select(0, column)
        # An entry is a threshold and a way to the alias in one number: one look into the table, not two.
        way = entry & (2**CELLS - 1)
        leaves = uniform >= entry.sub_(way)
        # Minus 1 is all ones. This takes half the time of torch.where.
        point = way.bitwise_and_(leaves.long().neg_()).bitwise_xor_(column)
        return point.float().sub_(2 ** (CELLS - 1)).mul_(self.step).view(shape)

    def _on(self, device: torch.device) -> Tensor:
        """The table on a device, copied there once."""
        if device not in self._copies:
            self._copies[device] = self._table.to(device)
        return self._copies[device]


def rounded_gaussian(spacing: float) -> np.ndarray:
    """The law of a rounded Gaussian of standard deviation 1, in units of 2**-62.

    Args:
        spacing: of the lattice, in standard deviations: at least 2 * 8 / 2**18.

    Shape: (2**18,), int64: the probabilities of the points -2**17 to 2**17 - 1, whose sum is 2**62.

    Convention: the mass of a cell is the density's mean over it, by three terms of its series in ``spacing``.
        That has a relative error of a few units of the last place, which a difference of two values of the
        distribution function has not.
    """
    points = np.arange(-(2 ** (CELLS - 1)), 2 ** (CELLS - 1))
    x2 = (points * spacing) ** 2
    density = np.exp(-x2 / 2) / math.sqrt(2 * math.pi)
    mean = 1 + spacing**2 * (x2 - 1) / 24 + spacing**4 * (x2**2 - 6 * x2 + 3) / 1920
    masses = np.rint(density * mean * spacing * 2.0**RANDOM).astype(np.int64)
    masses[2 ** (CELLS - 1)] += 2**RANDOM - int(masses.sum())
    return masses


@lru_cache(maxsize=8)
def alias_table(spacing: float) -> Tensor:
    """Make the table from which ``LatticeNoise`` draws: the alias method, in whole numbers.

    Args:
        spacing: of the lattice, in standard deviations.

    Shape: (2**18,), int64. A column is hit by one in 2**18 of the uniform integers. Those of them that are
        below ``threshold`` give the column's own point, the others that of the alias. An entry is
        ``threshold * 2**18 + (column xor alias)``, and the column is the last 18 bits of the integer.
    """
    room = 2 ** (RANDOM - CELLS)
    left = rounded_gaussian(spacing).tolist()
    thresholds = [room] * len(left)
    aliases = list(range(len(left)))
    low = [place for place, mass in enumerate(left) if mass < room]
    high = [place for place, mass in enumerate(left) if mass >= room]
    while low:
        place, giver = low.pop(), high[-1]
        thresholds[place], aliases[place] = left[place], giver
        left[giver] -= room - left[place]
        if left[giver] < room:
            low.append(high.pop())
    columns = torch.arange(len(left))
    return torch.tensor(thresholds) * 2**CELLS + (columns ^ torch.tensor(aliases))
