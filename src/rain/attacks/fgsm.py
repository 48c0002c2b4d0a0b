"""FGSM, the fast gradient sign method."""

from torch import Tensor

from rain.adaptive import Model
from rain.attacks import ascend, check_arguments, gradients
from rain.images import Images, project
from rain.registry import ATTACKS, Traits


@ATTACKS.register(traits=Traits(steps=1))
def fgsm(
    model: Model,
    images: Images,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    loss: str = "cross_entropy",
) -> Images:
    """One step of full length along the gradient.

    Args:
        norm: "linf" (the sign of the gradient) or "l2" (its direction).
        loss: "cross_entropy" or "margin".

    Source: Goodfellow, Shlens, Szegedy (arXiv 1412.6572).
    """
    check_arguments(norm, eps, loss)
    if not len(images):
        return images.clone()
    gradient, _ = gradients(model, images, labels, loss)
    return project(images + eps * ascend(gradient, norm), images, norm, eps)
