"""SRd's own certificate: against an attacker who changes a few pixels, by any amount.

SRd with one pick for all colours (``rain(down=pixel)``) looks at one pixel of each cell of k x k. What an
attacker changed in the others, it never sees.

Derivation. Let an image differ from another in a set of pixels, m_c of them in cell c. A pick looks at none
of them with the chance u = product over cells of (1 - m_c / k^2), since cells are drawn apart. Where it looks
at none of them, both images give the same picture, and so the same answer, whatever DG and the classifier do.
Hence the share of picks that give a class differs between the two images by at most 1 - u. Of all ways to
place r changed pixels, u is least where all stand in one cell, since (1 - a)(1 - b) >= 1 - (a + b): then it
is 1 - r / k^2. So a class that a share p of the picks gives keeps the majority while p - r / k^2 > 1/2.

It cannot be better without looking at the network: one that answers rightly on every pick, and wrongly
wherever it sees a changed pixel, loses just that much.

Source: Levine and Feizi, "Robustness certificates for sparse adversarial attacks by randomized ablation"
    (arXiv 1911.09272), theorem 1, for pixels that are drawn from the whole picture.

Differs: here one is drawn from each cell, which keeps far more of the picture and proves far less: an
    attacker who changes half of a cell is seen by half of the picks.
"""

import math
from collections.abc import Iterable, Sequence

from rain.certificates import Certificates, certify_by, check_independent, lower_bound
from rain.chain import Chain
from rain.defense import Defense
from rain.errors import CertificateError
from rain.gate import Gated
from rain.hardened import Hardened
from rain.images import Images, check_images


def unseen_chance(changed: Iterable[int], side: int) -> float:
    """The chance that a pick looks at no changed pixel.

    Args:
        changed: how many pixels of each cell are changed, from 0 to side * side; cells without may be left
            out.
        side: of a cell, in pixels.
    """
    area = side * side
    return math.prod(1 - count / area for count in changed)


def least_unseen_chance(pixels: int, side: int) -> float:
    """The least chance that a pick looks at none of so many changed pixels, wherever they are.

    Args:
        pixels: that an attacker may change, from 0.
        side: of a cell, in pixels.
    """
    return max(0.0, 1 - pixels / (side * side))


def pixel_radius(share: float, side: int) -> int | None:
    """How many pixels may be changed, by any amount, without another majority; None if that is not known.

    Args:
        share: a lower bound of the share of picks that give the class.
        side: of a cell, in pixels.
    """
    if share <= 0.5:
        return None
    pixels = 0
    while share - (1 - least_unseen_chance(pixels + 1, side)) > 0.5:
        pixels += 1
    return pixels


def certify_pixels(
    model: Hardened,
    images: Images,
    n0: int = 100,
    n: int = 1000,
    alpha: float = 0.001,
    seed: int | Sequence[int] | None = None,
    batch: int = 50,
) -> Certificates:
    """Certify the answers to images against a few changed pixels.

    Args:
        model: a classifier behind SRd with one pick for all colours, ``rain(down=pixel)``, or a chain that
            begins with it.
        images: (N, 3, H, W) in [0, 1]; H and W are multiples of the cells' side.
        n0, n, alpha, seed, batch: as for ``Hardened.certify``.

    Returns: as ``Hardened.certify``, its radii in pixels.

    Raises:
        CertificateError: SRd does not come first, or picks for each colour apart or several pixels, there is
            a gate, or the images do not consist of whole cells.
        ImageError, OptionError, RainError: as ``Hardened.certify``.
    """
    side = _check_ablating(model.defense)
    check_images(images)
    height, width = images.shape[2:]
    if height % side or width % side:
        what = f"images of {height} x {width} do not consist of whole cells of {side} x {side}"
        raise CertificateError(f"{what}, and a pixel at the edge would count twice: cut or resize them")

    def radius_of(count: int) -> float | None:
        return pixel_radius(lower_bound(count, n, alpha), side)

    return certify_by(model, images, n0, n, alpha, seed, batch, radius_of)


def _check_ablating(defense: Defense) -> int:
    """The side of a defence's cells, or ``CertificateError``."""
    if isinstance(defense, Gated):
        what = "a gate compares with the bare classifier, which sees every pixel"
        raise CertificateError(f"{what}, so that nothing can be proven: certify the defence behind the gate")
    if defense.ablating is None:
        where = (
            "in a chain, first"
            if isinstance(defense, Chain)
            else "one pick for all colours, one pixel of a cell"
        )
        what = f"{type(defense).__name__} does not leave out pixels before everything else"
        raise CertificateError(f"{what}, and nothing can be proven: take rain(down=pixel) ({where})")
    check_independent(defense)
    return defense.ablating
