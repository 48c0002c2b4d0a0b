"""Attacks by the names that papers and leaderboards have for them: a name stands for a spec.

Results hold the spec that was run, never the name. Never imports torch.
"""

from rain.errors import OptionError
from rain.specs import apart, parse, write

PRESETS = {
    "aa-rand": "autoattack(version=rand)",
    "aa-standard": "worst(attacks=autoattack+autoattack(version=rand))",
    "pgd200-eot20": "eot(attack=pgd(confidence=inf, loss=margin, steps=200), draws=20)",
}
"""The presets of attacks.

- aa-rand: APGD with two losses on the mean of 20 draws, judged on fresh ones.
- aa-standard: the four attacks of AutoAttack, and ``aa-rand``; of what they find the worst for each image.
- pgd200-eot20: PGD of 200 steps, each on the mean of 20 draws (Lee and Kim, arXiv 2305.15241).
"""


def spelled_out(spec: str) -> str:
    """Write a spec with what presets stand for in their place, those within another attack as well.

    A spec without a preset comes back as it is.

    Raises:
        OptionError: a preset is given options, of which it has none.
    """
    name, options = parse(spec)
    if name in PRESETS:
        if options:
            what = f"{name} is a preset and takes no options"
            raise OptionError(f"{what}: write what it stands for, {PRESETS[name]}, with others")
        return PRESETS[name]
    inner = {key: options[key] for key in ("attack", "attacks") if isinstance(options.get(key), str)}
    changes = {key: "+".join(map(spelled_out, apart(text))) for key, text in inner.items()}
    return write(name, options | changes) if changes != inner else spec
