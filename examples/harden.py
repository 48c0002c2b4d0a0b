"""Put RAIN in front of a classifier, and see what it says to pictures.

python examples/harden.py [PICTURE ...]
"""

import sys

import rain

# Yours: any nn.Module from images in [0, 1] to logits.
classifier = rain.load_classifier("efficientnet_lite0")
hardened = rain.harden(classifier, "rain")

samples = rain.load_dataset("samples")
pictures = [rain.read_image(path) for path in sys.argv[1:]] or [samples[0][0]]
for picture in pictures:
    labels, probabilities, agreement = hardened.predict(picture[None], draws=8)
    name = samples.categories[int(labels[0])]
    print(f"{name}: {probabilities.max():.0%} sure, {agreement[0]:.0%} of 8 draws agree")
