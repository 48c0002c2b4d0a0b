"""Any attack on a random model, on the mean of several draws (EOT), whatever the access says."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Generator, Tensor

from rain.adaptive import Expectation, Model
from rain.attacks import averages_of, check_arguments, check_counts
from rain.images import Images
from rain.registry import ATTACKS, Traits, load_attack
from rain.seeding import keyword_for


def _traits(options: Mapping[str, Any]) -> Traits:
    return Traits(averages=averages_of(options["draws"]))


@ATTACKS.register(traits=_traits)
def eot(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    attack: str = "pgd",
    draws: int = 20,
    average: str = "logits",
    batch: int = 40,
    generator: Generator | None = None,
) -> Images:
    """Attack the mean of several draws of a random model, by any attack.

    With access "static" it is what the same attack is with access "adaptive" and as many draws (``eot``). A
    model without randomness gives the same answer to each draw, so that it only costs more there.

    Args:
        model: a random one, as it is.
        attack: spec of the attack, with its options; one by gradients.
        draws: answers that each step averages over.
        average: "logits" or "probabilities", as for ``rain.Expectation``.
        batch: images in one forward pass.
        generator: of the attack.

    Raises:
        OptionError: an argument out of range, and what the attack raises.

    Source: Athalye et al. (arXiv 1802.00420), section 4.2.
    """
    check_arguments(norm, eps)
    check_counts(draws=draws, batch=batch)
    inner = partial(load_attack(attack), eps=eps, norm=norm)
    averaged = Expectation(model, draws, average=average, batch=batch)
    result: Images = inner(averaged, images, labels, **keyword_for(inner, generator))
    return result
