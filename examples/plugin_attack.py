"""An attack of your own: a function. Here: the signs of one gradient that is averaged over draws.

    python examples/plugin_attack.py

Grids and ``rain list`` know it once your package has the entry point
``[project.entry-points."rain.attacks"]`` with the line ``one_step = "plugin_attack:one_step"``.
"""

import torch

import rain
from rain.images import enter
from rain.registry import ATTACKS, Traits


@ATTACKS.register(traits=Traits(steps=1))
def one_step(model, images, labels, *, eps, norm="linf"):
    """Move every value by eps along the sign of the margin's gradient."""
    images = images.detach().requires_grad_()
    logits = model(images)
    right = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    (gradient,) = torch.autograd.grad((others - right).sum(), images)
    return (images + eps * gradient.sign()).clamp(0, 1).detach()


if __name__ == "__main__":
    dataset = rain.load_dataset("samples")
    images = torch.stack([enter(dataset[index][0], 224) for index in range(2)])
    labels = torch.tensor([dataset[index][1] for index in range(2)])
    hardened = rain.harden(rain.load_classifier("efficientnet_lite0"), "rain")
    adversarial = one_step(rain.Expectation(hardened, draws=4), images, labels, eps=8 / 255)
    for name, batch in (("clean", images), ("attacked by who knows RAIN", adversarial)):
        right = hardened.predict(batch, draws=8).labels == labels
        print(f"{name}: {right.sum()} of {len(right)} right")
