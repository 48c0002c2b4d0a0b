"""Measure what a defence is worth: the bare classifier beside it, and an attacker who knows it.

    python examples/evaluate.py [FOLDER] [IMAGES]

Stop it when you like; the same command goes on from there.
"""

import sys

import rain
from rain.report.verdict import summary

folder = sys.argv[1] if len(sys.argv) > 1 else "runs/example"
images = int(sys.argv[2]) if len(sys.argv) > 2 else 20

grid = rain.grid.expand(
    {
        "dataset": "samples",
        "size": 224,
        "classifier": "efficientnet_lite0",
        "defenses": ["none", "rain"],
        "examples": images,
        "attacks": [
            {"attack": "none"},
            {"attack": "pgd(steps=10, confidence=inf)", "access": "transfer", "eps": "4/255"},
            {"attack": "pgd(steps=10, confidence=3.0)", "access": "adaptive", "eps": "4/255", "eot": 8},
        ],
    }
)
results = rain.run(grid, folder, progress=True)
for headline in summary(results):
    print(headline.sentence)
