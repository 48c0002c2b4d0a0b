"""BIM, the basic iterative method, also called I-FGSM: PGD that begins at the image."""

from torch import Tensor

from rain.adaptive import Model
from rain.attacks import check_counts
from rain.attacks.pgd import pgd
from rain.images import Images
from rain.registry import ATTACKS, Traits


@ATTACKS.register(traits=Traits(stops="fooled"))
def bim(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    steps: int = 10,
    step: float | None = None,
    loss: str = "cross_entropy",
    confidence: float = 0.0,
) -> Images:
    """Ascend the loss from the image itself, in small steps, each brought back into the budget.

    Args:
        steps: gradient steps.
        step: length of a step, in the unit of eps; None is 1.25 eps / steps.
        loss: "cross_entropy" or "margin".
        confidence: as in ``pgd``.

    Source: Kurakin, Goodfellow, Bengio (arXiv 1607.02533), section 2.2. Their steps are 1/255 long, and about
        1.25 eps * 255 of them are made: the same path of 1.25 eps, in any number of steps.

    Differs: from the paper, which has "linf" only: as ``pgd`` does, fooled images stop, and without a
        confidence the best one visited is returned.
    """
    check_counts(steps=steps)
    length = 1.25 * eps / steps if step is None else step
    return pgd(
        model,
        images,
        labels,
        eps=eps,
        norm=norm,
        steps=steps,
        step=length,
        random_start=False,
        loss=loss,
        confidence=confidence,
    )
