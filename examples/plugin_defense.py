"""A defence of your own: a ``rain.Defense``. All that is random is drawn in ``draw``; ``transform`` is pure.

    python examples/plugin_defense.py

Grids and ``rain list`` know it once your package has the entry point
``[project.entry-points."rain.defenses"]`` with the line ``my_noise = "plugin_defense:Noise"``.
"""

import torch

import rain


class Noise(rain.Defense):
    """Add Gaussian noise."""

    def __init__(self, sigma: float = 0.05):
        super().__init__()
        self.sigma = sigma

    def draw(self, images, generator=None):
        """Draw on the generator's device: the same draw for images on a GPU."""
        noise = torch.randn(images.shape, generator=generator)
        return {"noise": noise.to(images.device)}

    def transform(self, images, draw):
        """Add the noise, and keep to [0, 1]."""
        return (images + self.sigma * draw["noise"]).clamp(0, 1)


if __name__ == "__main__":
    dataset = rain.load_dataset("samples")
    picture, label = dataset[0]
    hardened = rain.harden(rain.load_classifier("efficientnet_lite0"), Noise(sigma=0.1))
    answer = hardened.predict(picture[None], draws=8, seed=0)
    print(f"it is {dataset.categories[label]}; the answer is {dataset.categories[int(answer.labels[0])]}")
    print(f"{answer.agreement[0]:.0%} of 8 draws agree")
