"""Train DG for your classifier, without labels; then put RAIN with it in front of the classifier.

    python examples/train.py PICTURES OTHER_PICTURES [STEPS]

PICTURES is learnt from, OTHER_PICTURES chooses the best weights. Ctrl-C keeps the run; ``rain train
--resume`` goes on.
"""

import sys

import rain

if len(sys.argv) < 3:
    sys.exit(__doc__)
pictures, others = sys.argv[1:3]
steps = int(sys.argv[3]) if len(sys.argv) > 3 else 2000
name = "efficientnet_lite0"  # yours: package.module:function

config = rain.train.read("accuracy", images=pictures, validation=others, classifier=name, steps=steps)
trained = rain.train.fit(config, "runs/my-dg", progress=True)
print(f"best at step {trained.step}: {trained.measured} (before: {trained.began})")

hardened = rain.harden(rain.load_classifier(name), f"rain(enhancer=compact(weights={trained.weights}))")
print(f"{sum(weight.numel() for weight in hardened.defense.parameters()):,} parameters before the classifier")
