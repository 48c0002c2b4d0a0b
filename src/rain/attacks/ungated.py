"""Any attack on the defence behind a gate, as if there were no gate."""

from functools import partial

from torch import Generator, Tensor

from rain.adaptive import Model
from rain.attacks import check_arguments
from rain.images import Images
from rain.registry import ATTACKS, Traits, load_attack
from rain.seeding import keyword_for


@ATTACKS.register(traits=Traits(gate="around"))
def ungated(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    attack: str = "pgd",
    generator: Generator | None = None,
) -> Images:
    """Attack the defence behind a gate; what that makes is then judged with the gate.

    In a grid the images are those that the same attack makes on the defence alone, and are made once.

    Args:
        model: the defence alone.
        attack: spec of the attack, with its options.
        generator: of the attack.

    Raises:
        OptionError: what the attack raises.
    """
    check_arguments(norm, eps)
    inner = partial(load_attack(attack), eps=eps, norm=norm)
    return inner(model, images, labels, **keyword_for(inner, generator))
