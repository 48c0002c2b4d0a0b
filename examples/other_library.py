"""Attack a hardened classifier with another library (here foolbox), adaptively.

    python examples/other_library.py

Any attack that takes a model is adaptive if the model is: ``Expectation`` averages over the draws of the
defence. It is a module, as foolbox, torchattacks and ART ask for.
"""

import foolbox
import torch

import rain
from rain.images import enter

dataset = rain.load_dataset("samples")
images = torch.stack([enter(dataset[index][0], 224) for index in range(2)])
labels = torch.tensor([dataset[index][1] for index in range(2)])
hardened = rain.harden(rain.load_classifier("efficientnet_lite0"), "rain")

attack = foolbox.attacks.LinfPGD(steps=4, abs_stepsize=2 / 255)
model = foolbox.PyTorchModel(rain.Expectation(hardened, draws=4), bounds=(0, 1), device="cpu")
_, adversarial, _ = attack(model, images, labels, epsilons=8 / 255)
print("clean:", (hardened.predict(images).labels == labels).tolist())
print("attacked:", (hardened.predict(adversarial).labels == labels).tolist())
