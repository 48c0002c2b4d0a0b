"""Weights as safetensors with metadata.

Nothing is ever unpickled: a pickle can run code when it is opened.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor, nn

from rain import specs
from rain.errors import LONGEST_SHOWN, OptionError, WeightsError, did_you_mean, shown
from rain.files import is_file, is_text, to_path, write_atomically

PICKLE_MARKS = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""What pickles begin with: zip files, as torch writes them, and the protocols 2 to 5."""


TENSORS = 20_000
"""In a file, at most: a network of a thousand layers has fewer, and each is looked at several times."""

NAME = 500
"""Characters of a tensor's name, at most."""

HINTED = 5000
"""Of more tensors than these, nobody is told which part would fit: that takes the square of their number."""


def shipped(architecture: str) -> dict[str, Path]:
    """The weight files that the package ships for an architecture, by name."""
    folder = Path(str(files("rain") / "weights"))
    return {
        path.stem.removeprefix(f"{architecture}-"): path
        for path in sorted(folder.glob(f"{architecture}-*.safetensors"))
    }


def find(architecture: str, weights: str | Path) -> Path:
    """Find shipped weights by name, or a safetensors file by path.

    Raises:
        WeightsError: no such name or file.
    """
    named = shipped(architecture)
    if str(weights) in named:
        return named[str(weights)]
    path = to_path(weights)
    if is_file(path):
        return path
    near, name = did_you_mean(str(weights), list(named)), shown(str(weights))
    raise WeightsError(f"{architecture!r} ships no weights {name}, and there is no such file; {near}")


def is_pickle(content: bytes) -> bool:
    """Say whether a file begins as pickles do; its first 64 bytes are enough."""
    # A safetensors file begins with the length of its header, which may look like a pickle's mark (640 bytes
    # do); then comes a brace.
    return content[:2] in PICKLE_MARKS and content[8:9] != b"{"


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file.

    Returns: the tensors by name, on the CPU, and the metadata that the file carries (its weight card; empty
        if it has none).

    Raises:
        OptionError: it is no path.
        WeightsError: the file is missing, a pickle (.pt, .pth, .ckpt, .bin), truncated, or not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    if not isinstance(path, str | os.PathLike):
        raise OptionError(f"weights are the path of a safetensors file, got {shown(path)}")
    path = Path(path)
    if not is_file(path):
        raise WeightsError(f"{path}: no such weight file")
    with path.open("rb") as file:
        start = file.read(64)
    if is_pickle(start):
        what = "this is a pickle, which can run code when it is opened, and is refused"
        code = 'safetensors.torch.save_file(torch.load(path, weights_only=True), "weights.safetensors")'
        nested = 'A checkpoint of a training holds more: take its part "state_dict" or "model"'
        raise WeightsError(f"{path}: {what}. Convert it where you trust it: {code}. {nested}")
    try:
        if not is_text(path):
            return _read_whole(path.read_bytes())
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            check_names(names, str(path))
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except WeightsError:
        raise
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, KeyError, MemoryError) as error:
        raise WeightsError(
            f"{path}: not a readable safetensors file, truncated or damaged ({str(error)[:LONGEST_SHOWN]})"
        ) from None


def check_names(names: Collection[str], source: str) -> None:
    """Raise ``WeightsError`` for more names, or longer ones, than weights have; ``source`` is the file."""
    if len(names) > TENSORS:
        raise WeightsError(f"{source}: {len(names)} tensors, and no more than {TENSORS} are read")
    longest = max(map(len, names), default=0)
    if longest > NAME:
        raise WeightsError(f"{source}: the name of a tensor has {longest} characters, more than {NAME}")


@contextmanager
def promised(source: str) -> Iterator[None]:
    """Build a network of the sizes that a file's names and shapes say; ``source`` is the file.

    Raises:
        WeightsError: no network has such sizes.
    """
    try:
        yield
    except OptionError as error:
        raise WeightsError(
            f"{source}: not weights of a network of ours: by its names and shapes, {error}"
        ) from None


def _read_whole(content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the bytes of a file whose name is no text: safetensors opens no such path."""
    from safetensors.torch import load as from_bytes

    tensors = from_bytes(content)
    check_names(tensors, "the file")
    end = 8 + int.from_bytes(content[:8], "little")
    return tensors, json.loads(content[8:end]).get("__metadata__", {})


def load(module: nn.Module, path: str | Path, within: str = "", classes: int | None = None) -> dict[str, str]:
    """Load a safetensors file into ``module``.

    It must fit exactly: no missing and no surplus keys, every shape as it is, every value finite. A prefix
    that all names share is left out, with a warning, if they then fit.

    Args:
        module: gets the weights.
        path: of the file.
        within: a prefix that all names may have, and of which nobody is warned: "network." for a file of
            ``Preprocessed``, as ``rain train`` leaves it.
        classes: how many logits ``module`` has, where the caller has an option ``classes`` for it: weights of
            another number are told so.

    Returns: the file's metadata.

    Raises:
        WeightsError: the file cannot be read, or belongs to another architecture; ``module`` is then
            unchanged.
    """
    state, card = read(path)
    load_state(module, state, str(path), within, classes)
    return card


def categories(card: dict[str, str]) -> tuple[str, ...]:
    """The names of a classifier's classes, if its card says them."""
    return tuple(card["classes"].split(", ")) if card.get("classes") else ()


def without_prefix(state: dict[str, Tensor], names: Iterable[str]) -> tuple[dict[str, Tensor], str]:
    """Leave out the prefix that all names of a file share, if it then has more of the names that are needed.

    Wrappers leave such prefixes: ``module.`` (DataParallel), ``_orig_mod.`` (torch.compile), ``model.``, or
    several of them, ``module.model.``.

    Args:
        state: the tensors of the file.
        names: what is needed.

    Returns: the tensors under their own names, and the prefix; "" if none was left out.
    """
    needed = set(names)
    best, most = "", len(needed & state.keys())
    for prefix in shared_prefixes(state):
        matches = len(needed & {name.removeprefix(prefix) for name in state})
        if matches > most:
            best, most = prefix, matches
    return {name.removeprefix(best): tensor for name, tensor in state.items()}, best


def shared_prefixes(state: dict[str, Tensor]) -> list[str]:
    """The prefixes that all names share, whole parts up to a dot, the shortest first."""
    if not state:
        return []
    # What the first and the last name share, in the order of names, all between them share.
    first, last = min(state), max(state)
    prefixes = [first[: place + 1] for place in _dots(first)]
    return [prefix for prefix in prefixes if last.startswith(prefix)]


def warn_of_prefix(prefix: str, source: str) -> None:
    """Say that a prefix was left out of all names of a file; of none, say nothing."""
    if prefix:
        warnings.warn(f"{source}: all names begin with {prefix!r}, which was left out", stacklevel=3)


def check(module: nn.Module, state: dict[str, Tensor], source: str, classes: int | None = None) -> None:
    """Check that tensors by name fit ``module``.

    A module that is made as a file says should be made under ``torch.device("meta")`` first, and checked: a
    file of a few bytes can name any size.

    Args:
        module: whose names, shapes and types are needed.
        state: the tensors.
        source: where they come from, as the error calls it.
        classes: as for ``load``.

    Raises:
        WeightsError: a key is missing or surplus, a shape differs, or integers stand for real numbers.
    """
    targets, architecture = module.state_dict(), type(module).__name__
    needed = _needed(targets)
    missing, surplus = sorted(needed - state.keys()), sorted(state.keys() - targets.keys())
    if missing or surplus:
        difference = f"missing {_first_four(missing)}; surplus {_first_four(surplus)}"
        hint = _hint_of_part(state, needed)
        raise WeightsError(f"{source}: not weights of {architecture}: {difference}{hint}")
    for name, tensor in state.items():
        target = targets[name]
        if tensor.shape != target.shape:
            what = f"{name} has shape {tuple(tensor.shape)}, {architecture} needs {tuple(target.shape)}"
            raise WeightsError(f"{source}: {what}{_hint_of_classes(state, targets, classes)}")
        if tensor.is_floating_point() != target.is_floating_point():
            raise WeightsError(f"{source}: {name} is of {tensor.dtype}, {architecture} needs {target.dtype}")


def _needed(targets: dict[str, Tensor]) -> set[str]:
    """The names that a file must have."""
    # Files written before 2017 or by other frameworks lack this counter, which no inference reads.
    return {name for name in targets if not name.endswith("num_batches_tracked")}


def _hint_of_part(state: dict[str, Tensor], needed: set[str]) -> str:
    """Say which part of a larger file fits, if one does: of a hardened model, the classifier."""
    if len(state) > HINTED:
        return ""
    for prefix in sorted({name[: place + 1] for name in state for place in _dots(name)}):
        inside = {name.removeprefix(prefix) for name in state if name.startswith(prefix)}
        if needed and needed <= inside:
            return f"; what begins with {prefix!r} fits: save those tensors alone"
    return ""


def _dots(name: str) -> list[int]:
    return [place for place, letter in enumerate(name) if letter == "."]


def _hint_of_classes(state: dict[str, Tensor], targets: dict[str, Tensor], classes: int | None) -> str:
    """Say which ``classes`` the weights are of, if all but the last layer's rows fits."""
    counts = set()
    for name, tensor in state.items():
        target = targets[name]
        if tensor.shape == target.shape:
            continue
        if not tensor.ndim or tensor.shape[1:] != target.shape[1:] or target.shape[0] != classes:
            return ""
        counts.add(tensor.shape[0])
    if len(counts) != 1:
        return ""
    count = counts.pop()
    return f"; all else fits: these are weights of {count} classes, give classes={count}" if count > 1 else ""


def load_state(
    module: nn.Module, state: dict[str, Tensor], source: str, within: str = "", classes: int | None = None
) -> None:
    """Load tensors by name into ``module``, after checking names, shapes and values.

    Args:
        module: gets the weights.
        state: the tensors.
        source: where they come from, as the error calls it.
        within, classes: as for ``load``.

    Raises:
        WeightsError: a key is missing or surplus, a shape differs, or a value is NaN or infinite; ``module``
            is then unchanged.
    """
    state, prefix = without_prefix(state, _needed(module.state_dict()))
    check(module, state, source, classes)
    check_finite(state, source)
    module.load_state_dict(state, strict=False)
    if prefix != within:
        warn_of_prefix(prefix, source)


def check_finite(state: dict[str, Tensor], source: str) -> None:
    """Raise ``WeightsError`` for a NaN or infinite value; ``source`` is what the error names."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise WeightsError(f"{source}: {name} holds NaN or infinite values")


def save(what: nn.Module | dict[str, Tensor], path: str | Path, card: dict[str, str]) -> None:
    """Write a module's weights, or tensors by name, and their card.

    A reader sees the old file or the new one, never a part.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors.torch import save as to_bytes

    tensors = what.state_dict() if isinstance(what, nn.Module) else what
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(Path(path), to_bytes(state, metadata=card))


def warn_if_untrained(spec: str, classifier: nn.Module) -> None:
    """Warn of a classifier whose weights are random."""
    if getattr(classifier, "untrained", False):
        advice = "give it weights=NAME (rain list classifiers --verbose) or weights=PATH"
        warnings.warn(f"{spec} has random weights, and its answers mean nothing: {advice}", stacklevel=3)


def digest(module: nn.Module) -> str:
    """Digest all weights and buffers: the first 16 hex digits of a SHA-256.

    Convention: over names, types, shapes and bytes, in the order of the names.
    """
    total = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]


def digest_options(module: nn.Module) -> str:
    """Digest what a module is besides its weights: the first 16 hex digits of a SHA-256.

    Convention: over the types of all modules in it, the plain attributes of those that are not torch's, and
    the buffers that no weight file has, such as a mean.
    """
    total = hashlib.sha256()
    for name, part in module.named_modules():
        is_torchs = type(part).__module__.partition(".")[0] == "torch"
        options = {} if is_torchs else _plain_attributes(part)
        total.update(f"{name} {type(part).__qualname__} {options}\n".encode())
    in_files = module.state_dict().keys()
    for name, buffer in sorted(module.named_buffers()):
        if name in in_files:
            continue
        total.update(f"{name} {buffer.dtype} {tuple(buffer.shape)} {buffer.flatten().tolist()}\n".encode())
    return total.hexdigest()[:16]


def digest_files(spec: str) -> str:
    """Digest the safetensors files whose paths a spec names, such as an attack's surrogate.

    Returns: the first 16 hex digits of a SHA-256; "none" where the spec names no file that is there.
    """
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in _files_in(spec) if is_file(path)]
    return hashlib.sha256(b"".join(digests)).hexdigest()[:16] if digests else "none"


def _files_in(spec: str) -> list[Path]:
    """The safetensors files in a spec and in those within it, in their order, whatever they are called."""
    name, options = specs.parse(spec)
    texts = [specs.split(name)[2], *(value for value in options.values() if isinstance(value, str))]
    paths: list[Path] = []
    for text in texts:
        if text.endswith(".safetensors"):
            paths.append(to_path(text))
        elif "(" in text:
            for part in specs.apart(text):
                paths += _files_in(part)
    return paths


def _plain_attributes(part: nn.Module) -> dict[str, object]:
    """The public attributes that are plain values, sorted by name."""
    public = {key: value for key, value in sorted(vars(part).items()) if not key.startswith("_")}
    return {key: value for key, value in public.items() if _is_plain(value)}


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return isinstance(value, bool | int | float | str | None)


def _first_four(names: list[str]) -> str:
    rest = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return (", ".join(names[:4]) + rest) or "none"
