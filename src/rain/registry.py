"""Names to definitions: one file in a plug-in folder is one entry, found by its name and built with its options checked.

A *spec* is what a user types: ``pgd``, ``rain(enhancer=bicubic, shift=0)``, ``torchvision/resnet50``, ``folder:pictures/val``.
Third parties register through the entry-point groups ``rain.attacks``, ``rain.defenses``, ``rain.enhancers``, ``rain.classifiers``
and ``rain.datasets``: the entry's name is the spec's, its value the definition.
"""

import difflib
import hashlib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from rain.errors import OptionError, PluginError, RainError, UnknownNameError
from rain.specs import parse


class Registry:
    """The entries of one kind.

    Args:
        kind: singular, as errors call it.
        folder: the plug-in package, whose files are the entries.
        fallback: the entry that takes a spec with ":" whose head is no entry (for ``module:function``).
    """

    def __init__(self, kind: str, folder: str, fallback: str | None = None):
        self.kind, self.folder, self.fallback = kind, folder, fallback
        self._entries: dict[str, Callable[..., Any]] = {}
        self._arguments: dict[str, str] = {}

    def register(self, definition: Callable[..., Any] | None = None, *, argument: str = "") -> Any:
        """Register a class or function under the name of the file that it stands in.

        Args:
            argument: what follows the name in a spec, as help shows it ("/NAME", ":PATH"); the definition gets it as first argument.
        """

        def add(target: Callable[..., Any]) -> Callable[..., Any]:
            name = target.__module__.rpartition(".")[2]
            if name in self._own() and target.__module__ != f"{self.folder}.{name}":
                raise OptionError(f"{target.__module__}: the {self.kind} {name!r} is built in; call the file otherwise")
            self._entries[name], self._arguments[name] = target, argument
            return target

        return add(definition) if definition is not None else add

    def names(self) -> list[str]:
        """All names, sorted, without importing anything."""
        return sorted(self._own() | self._others().keys())

    def usages(self) -> list[str]:
        """All names with what follows them in a spec, as help shows them."""
        return [self.usage(name) for name in self.names()]

    def usage(self, name: str) -> str:
        """One name with what follows it in a spec, as help shows it."""
        self.get(name)
        argument = self._arguments.get(name, "")
        return argument.removeprefix(":") if name == self.fallback else name + argument

    def get(self, name: str) -> Callable[..., Any]:
        """Find a definition.

        Raises:
            UnknownNameError: with the nearest name, or all names.
        """
        if name not in self._entries:
            others = self._others()
            if name in others:
                try:
                    definition = others[name].load()
                except Exception as error:  # whatever another package's import raises
                    raise PluginError(f"{self.kind} {name!r} ({others[name].value}) cannot be loaded: {type(error).__name__}: {error}") from error
                self._entries[name] = definition
                # It was registered under its file's name, which need not be the entry's.
                self._arguments.setdefault(name, self._arguments.get(definition.__module__.rpartition(".")[2], ""))
            elif name in self.names():
                importlib.import_module(f"{self.folder}.{name}")
        if name not in self._entries:
            own = f"; your own is found by an entry point in the group {self.folder!r}" if ":" in name else ""
            raise UnknownNameError(f"no {self.kind} {name!r}; {did_you_mean(name, self.names())}{own}")
        return self._entries[name]

    def summary(self, name: str) -> str:
        """The first line of a definition's docstring."""
        return (inspect.getdoc(self.get(name)) or "").partition("\n")[0]

    def split(self, spec: str) -> tuple[str, str | None, dict[str, Any]]:
        """Split a spec into name, argument and options, without building anything."""
        head, options = parse(spec)
        for separator in "/:":
            name, found, argument = head.partition(separator)
            if found and name in self.names() and self.usage(name).removeprefix(name)[:1] in (separator, ""):
                return name, argument, options
        if ":" in head and self.fallback:
            return self.fallback, head, options
        return head.partition("/")[0] if "/" in head else head, None, options

    def build(self, spec: str, **options: Any) -> Any:
        """Build what a spec names; ``options`` go over the spec's own.

        Raises:
            UnknownNameError: no such name.
            OptionError: no such option, or the argument is missing or surplus.
        """
        name, argument, own = self.split(spec)
        definition = self.get(name)
        wanted = self._arguments.get(name, "")
        if bool(wanted) != (argument is not None) or argument == "":
            raise OptionError(f"{self.kind} {spec!r}: write {self.usage(name)}")
        options = own | options
        self.check_options(name, options)
        try:
            return definition(argument, **options) if wanted else definition(**options)
        except RainError:
            raise
        except TypeError as error:
            raise OptionError(f"{self.kind} {spec!r}: {error}") from error

    def check_options(self, name: str, options: dict[str, Any]) -> None:
        """Raise ``OptionError`` for an option that the definition's signature does not have."""
        parameters = inspect.signature(self.get(name)).parameters.values()
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return
        skip = 1 if self._arguments.get(name) else 0
        known = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL][skip:]
        for option in options:
            if option not in known:
                raise OptionError(f"{self.kind} {name!r} has no option {option!r}; {did_you_mean(option, known)}")

    def _own(self) -> set[str]:
        package = importlib.import_module(self.folder)
        # A file with an underscore is what several entries share.
        return {module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")}

    def _others(self) -> dict[str, Any]:
        """The entries of other packages; none of them may take the name of a built-in, which results would then call what it is not."""
        return {entry.name: entry for entry in entry_points(group=self.folder) if entry.name not in self._own()}


def did_you_mean(name: str, names: list[str]) -> str:
    """The end of an error about an unknown name: the nearest one, or the list."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names) or 'none'}"


ATTACKS = Registry("attack", "rain.attacks")
DEFENSES = Registry("defense", "rain.defenses")
ENHANCERS = Registry("enhancer", "rain.enhancers")
CLASSIFIERS = Registry("classifier", "rain.classifiers", fallback="module")
DATASETS = Registry("dataset", "rain.datasets")
REGISTRIES = {"attacks": ATTACKS, "defenses": DEFENSES, "enhancers": ENHANCERS, "classifiers": CLASSIFIERS, "datasets": DATASETS}


def foreign_code(classifier: str, defense: str, attack: str) -> str:
    """Digest the source files in which these specs' definitions stand, where they are of other packages: 16 hex digits, "" where none is."""
    modules = []
    for registry, spec in ((CLASSIFIERS, classifier), (DEFENSES, defense), *([(ATTACKS, attack)] if attack != "none" else [])):
        name, argument, _ = registry.split(spec)
        modules.append(str(argument).partition(":")[0] if name == registry.fallback else registry.get(name).__module__)
    files = {getattr(sys.modules.get(module), "__file__", None) for module in modules if module.partition(".")[0] != "rain"}
    sources = [Path(file).read_bytes() for file in sorted(filter(None, files)) if Path(file).is_file()]
    return hashlib.sha256(b"".join(hashlib.sha256(source).digest() for source in sources)).hexdigest()[:16] if sources else ""


def load_attack(spec: str, **options: Any) -> Callable[..., Any]:
    """Bind options to an attack (``rain list attacks``): ``attack(model, images, labels, eps=..., norm=...)`` gives the attacked images.

    Raises:
        UnknownNameError: no such attack.
        OptionError: no such option.
    """
    name, argument, own = ATTACKS.split(spec)
    definition = ATTACKS.get(name)
    options = own | options
    if argument is not None:
        raise OptionError(f"attack {spec!r}: write {name}")
    ATTACKS.check_options(name, options)
    for option in options.keys() & {"model", "images", "labels", "eps", "norm", "generator"}:
        raise OptionError(f"attack {spec!r}: {option} is given with the call, or by the grid, not as an option")
    bound = partial(definition, **options)
    bound.__doc__ = definition.__doc__
    return bound


def seeding(attack: Callable[..., Any], generator: Any) -> dict[str, Any]:
    """The option that gives an attack its generator; nothing for one that takes none."""
    return {"generator": generator} if "generator" in inspect.signature(attack).parameters else {}


def load_classifier(spec: str, **options: Any) -> Any:
    """Build a classifier (``rain list classifiers``): an ``nn.Module`` from images (N, 3, H, W) in [0, 1] to logits, in eval mode.

    ``efficientnet_lite0``, ``torchvision/resnet50``, ``timm/resnet50``, or your own ``package.module:function``.

    Raises:
        UnknownNameError: no such classifier.
        OptionError: no such option.
        WeightsError: its weights are missing, or do not fit.
    """
    return CLASSIFIERS.build(spec, **options)


def load_dataset(spec: str, **options: Any) -> Any:
    """Open a dataset (``rain list datasets``): ``dataset[i]`` is (image (3, H, W) in [0, 1] at its own size, label).

    ``samples``, ``folder:PATH``, ``csv:PATH``, ``stl10:ROOT``, ``imagenet:ROOT``.

    Raises:
        UnknownNameError: no such dataset.
        OptionError: no such option.
        DatasetError: it is missing or broken.
    """
    return DATASETS.build(spec, **options)


def load_defense(spec: str, **options: Any) -> Any:
    """Build a ``Defense`` (``rain list defenses``): a module from images to images.

    Raises:
        UnknownNameError: no such defence.
        OptionError: no such option.
    """
    return DEFENSES.build(spec, **options).eval()


def load_enhancer(spec: str, **options: Any) -> Any:
    """Build a DG network (``rain list enhancers``): a module from (N, 3, h, w) to (N, 3, 2h, 2w), both in [0, 1].

    Raises:
        UnknownNameError: no such enhancer.
        OptionError: no such option.
        WeightsError: its weights are missing, or do not fit.
    """
    return ENHANCERS.build(spec, **options).eval()
