"""Short names for people: of defences, of attacks, and of what an attacker knows. Never imports torch.

>>> defense_labels(["none", "rain", "rain(enhancer=compact(weights=large), preset=released)"])
{'none': 'no defence', 'rain': 'rain', 'rain(...)': 'rain (large, released)'}
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rain.bench.metrics import fraction_text
from rain.errors import OptionError
from rain.specs import apart, defense_within, parse

COUNTS = ("steps", "queries", "targets", "searches", "restarts", "draws")
"""Options that read better behind their number: ``20 steps``."""

MEANINGS = {
    "transfer": "the attacker knows the bare classifier only, attacks that, and hopes that it carries over",
    "frozen": "the attacker goes through the defence, its randomness fixed to one draw of his own",
    "static": "the attacker goes through the defence with one fresh draw a step, and does not average",
    "adaptive": "the attacker knows the defence and averages over its randomness: the figure that counts",
    "known": "the attacker goes through the very draw that judges him: nobody can, and it bounds all others",
    "query": "the attacker sees scores or labels only, and asks many times",
}
"""What the attacker knows, by access."""

REPLAYED = "; images named kept(...) were made against what stands there, and judged again here"
"""What is to be said of ``rain replay``."""

FACTS = {
    "rain": "Version of RAIN",
    "revision": "Revision of its code",
    "python": "Python",
    "torch": "PyTorch",
    "pillow": "Pillow",
    "device": "Computed on",
    "batches": "Images in one step of an attack",
    "data_digest": "Digest of the images",
    "left_out": "Damaged images, left out",
    "classifier_weights": "Digest of the classifier's weights",
    "classifier_options": "Digest of the classifier's options",
    "defense_weights": "Digest of the defence's weights",
    "defense_random": "Is a defence random?",
    "gate_threshold": "Threshold of the gate",
    "precision": "Precision of the attacks",
    "attack": "Attacks, with every option",
    "images_against": "What kept images were made against",
    "attack_library": "The packages that the attacks are taken from",
    "attack_traits": "What the attacks declare of themselves",
    "attack_files": "Digest of the files that an attack reads",
    "plugin_code": "Digest of code from other packages",
}
"""What a result remembers of how it was made (``rain.bench.provenance.FACTS``), in words."""


def fact_text(name: str) -> str:
    """Name in words what made a result."""
    return FACTS.get(name, name.replace("_", " ").capitalize())


def meanings_of(accesses: Iterable[str], *, replayed: bool = False) -> dict[str, str]:
    """What these accesses mean, those that know least first.

    Args:
        replayed: whether some images were kept, and judged again.
    """
    present = set(accesses)
    meanings = {access: meaning for access, meaning in MEANINGS.items() if access in present}
    if replayed and "transfer" in meanings:
        meanings["transfer"] += REPLAYED
    return meanings


def is_replayed(attack: str) -> bool:
    """Whether an attack is that of kept images, which were judged again (``rain replay``)."""
    return read_spec(attack)[0] == "kept"


def defense_labels(specs: Iterable[str]) -> dict[str, str]:
    """Name each defence shortly, by the values of its options; those that would share a name keep their spec.

    Returns: by spec, in the order given. The bare classifier is "no defence".
    """
    labels = {spec: "no defence" if spec == "none" else _defense_label(spec) for spec in specs}
    uses = Counter(labels.values())
    return {spec: label if uses[label] == 1 else spec for spec, label in labels.items()}


def attack_labels(specs: Iterable[str]) -> dict[str, str]:
    """Name each attack shortly, by the options in which it differs from others of the same name.

    Returns: by spec, in the order given.
    """
    specs = list(dict.fromkeys(specs))
    parsed = {spec: read_spec(spec) for spec in specs}
    labels = {}
    for spec, (name, options) in parsed.items():
        others = [rest for other, rest in parsed.values() if other == name]
        own = {key: value for key, value in options.items() if not _shared(key, value, others)}
        labels[spec] = ", ".join([name, *(_option_text(key, value) for key, value in own.items())])
    uses = Counter(labels.values())
    return {spec: label if uses[label] == 1 else spec_text(spec) for spec, label in labels.items()}


def spec_text(spec: str) -> str:
    """Write a spec with its decimals as the fractions that they are: ``step=1/1020``."""
    return re.sub(r"(?<==)0\.\d{6,}", lambda match: fraction_text(float(match[0])) or match[0], spec)


def read_spec(spec: str) -> tuple[str, Mapping[str, Any]]:
    """The name and options; of what is no spec, the text itself."""
    try:
        return parse(spec)
    except OptionError:
        return spec, {}


def _shared(key: str, value: Any, others: Iterable[Mapping[str, Any]]) -> bool:
    return all(key in options and options[key] == value for options in others)


def _defense_label(spec: str) -> str:
    name, options = read_spec(spec)
    if name == "gated":
        return _gate_label(spec, options)
    if name == "chain" and isinstance(options.get("parts"), str):
        return ", then ".join(_defense_label(part) for part in apart(options["parts"]))
    values = [_value_text(key, value) for key, value in options.items()]
    return f"{name} ({', '.join(values)})" if values else name


def _gate_label(spec: str, options: Mapping[str, Any]) -> str:
    """The defence behind a gate, and what the gate lets through: ``rain, gate 2 %``."""
    label = f"{_defense_label(defense_within(spec))}, gate"
    if "threshold" in options:
        label += f" above {_number_text(options['threshold'])}"
    elif "share" in options:
        label += f" {_number_text(options['share'], 100)} %"
    return f"{label} by {options['score']}" if "score" in options else label


def _number_text(value: Any, times: int = 1) -> str:
    """A number, as often; of a file that somebody sent, where it is none, what stands there."""
    return f"{times * value:g}" if isinstance(value, int | float) else str(value)


def _value_text(key: str, value: Any) -> str:
    """A value alone where it is a name, else with the option: ``large``, ``shift 0.1``."""
    if not isinstance(value, str):
        return _option_text(key, value)
    inner, options = read_spec(value)
    if not options:
        return inner
    return ", ".join(_value_text(*pair) for pair in options.items())


def _option_text(key: str, value: Any) -> str:
    if isinstance(value, float):
        value = fraction_text(value) if 0 < value < 1 and fraction_text(value) else f"{value:g}"
    if key in COUNTS:
        return f"{value} {key}" if value != 1 else f"1 {key.removesuffix('s')}"
    return f"{key.replace('_', ' ')} {value}"
