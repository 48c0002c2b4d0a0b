"""Judge kept images again: by other defences, other classifiers, and on other draws.

Nobody attacks anything here. A replayed cell has access "transfer", and an attack that no grid can name: it
says what the images were made against. It is never adaptive, whatever the attack was that made them.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rain import specs
from rain.bench.access import Attacked
from rain.bench.assets import Assets
from rain.bench.cells import Cell, Result, load, make_folder, path_of, save
from rain.bench.kept import read_kept
from rain.bench.kept_lists import FOLDER, Kept, find_kept
from rain.bench.measure import Bench
from rain.bench.outcomes import Batch
from rain.bench.plan import CHANGED, check_defenses, check_examples, settle_gate, warn_of_damage
from rain.bench.provenance import refused_fact
from rain.bench.sharing import shared_out
from rain.errors import OptionError, ResultError, shown
from rain.images import Images
from rain.options import check_integer
from rain.registry import CLASSIFIERS
from rain.runtime.forecast import Piece
from rain.runtime.memory import pick_device
from rain.runtime.progress import Tick
from rain.seeds import check_seed

DRAWS = 8
"""Fresh draws on which each image is judged, by default."""

MOST_DRAWS = 10_000

NAME = "kept"
"""What the attack of a replayed cell is called."""

Place = tuple[str, int]
"""The attack of a replayed cell, and a chunk of it."""


@dataclass(frozen=True)
class Replay:
    """Work that can be done.

    Args:
        assets: what the cells name.
        folder: of the new results.
        lists: what is said of the images, by attack and chunk.
        facts: what makes the numbers of each cell.
        work: the chunks that have no file yet.
    """

    assets: Assets
    folder: Path
    lists: Mapping[Place, Kept]
    facts: Mapping[Cell, Mapping[str, str]]
    work: tuple[tuple[Cell, int], ...]


def prepare(
    folder: str | Path,
    out: str | Path,
    *,
    defenses: Sequence[str],
    classifiers: Sequence[str] = (),
    draws: int = DRAWS,
    seed: int | None = None,
    dataset: str | None = None,
    device: str | torch.device | None = None,
    skip_damaged: bool = False,
) -> Replay:
    """See that kept images can be judged again, and what of it is left to do.

    Args:
        folder: of the results in which images are kept.
        out: folder of the new results.
        defenses: that judge the images; "none" is the bare classifier.
        classifiers: that judge them; by default the one that they were made on.
        draws: fresh draws on which each image is judged.
        seed: of the draws; by default that of the run that made the images.
        dataset: where the clean images lie now, if that is another place.
        device: where to compute; by default a GPU if there is one.
        skip_damaged: as for ``rain.bench.runners.run``.

    Raises:
        ResultError: no images are kept there, or they are not what is said of them; or the dataset is
            another one than they were made of.
        OptionError: an argument is out of range; or the results name a classifier that only you may name.
        GridError, UnknownNameError, DatasetError, WeightsError, GateError: as ``rain.bench.plan.prepare``.
    """
    check_integer(draws, "draws", 1, MOST_DRAWS)
    if not defenses:
        raise OptionError("no defence to judge the images: give --defense, none for the bare classifier")
    lists = find_kept(Path(folder))
    assets = Assets(pick_device(device), skip_damaged=skip_damaged)
    settled: dict[tuple[Cell, int], Kept] = {}
    for kept in lists:
        for classifier in classifiers or [_own_classifier(kept)]:
            for defense in defenses:
                cell = replayed(kept, classifier, defense, draws, seed, dataset)
                settled[_settled(assets, cell), kept.chunk] = kept
                check_data(assets, cell, kept)
    first = {cell: kept for (cell, _), kept in settled.items()}
    warn_of_damage(assets, first)
    check_defenses(assets, first)
    facts = {cell: _facts(assets, cell, kept) for cell, kept in first.items()}
    place = Path(out)
    make_folder(place)
    _refuse_others(place, facts)
    left = [(cell, chunk) for cell, chunk in settled if not path_of(place, cell, chunk).is_file()]
    by_place = {(cell.attack, chunk): kept for (cell, chunk), kept in settled.items()}
    return Replay(assets, place, by_place, facts, tuple(sorted(left, key=lambda item: item[1])))


def run(plan: Replay, progress: bool = False) -> list[Result]:
    """Judge what has no result file yet, and write one for each chunk.

    Other processes may be at work on the same folder: each chunk is judged by one of them.

    Args:
        plan: from ``prepare``.
        progress: show a progress bar with the time left.

    Returns: the results, in the order in which the judges were named.

    Raises:
        ResultError: an image is not what is said of it; or a file cannot be written.
        ImageError, DatasetError, ClassifierError: as ``rain.bench.measure.Bench.measure``.
    """
    bench = Judge(plan.assets, plan.lists)
    pieces = [_piece(cell, chunk) for cell, chunk in plan.work]
    with shared_out(plan.folder, plan.work, path_of, pieces, progress) as share:
        for cell, chunk, tick in share:
            outcomes, _ = bench.measure(cell, chunk, tick=tick)
            save(plan.folder, cell, chunk, outcomes, plan.facts[cell])
    results = {result.cell: result for result in load(plan.folder)}
    return [results[cell] for cell in plan.facts if cell in results]


def _piece(cell: Cell, chunk: int) -> Piece:
    """What a chunk costs: its clean and its attacked images, on every draw."""
    name = f"{cell.defense} before {cell.classifier}"
    return Piece(name, float(2 * cell.draws * len(cell.indices(chunk))), (name,), f"{name}, {cell.size}")


class Judge(Bench):
    """Measures chunks whose attacked images are read, and not made.

    Args:
        assets: what the cells name.
        lists: what is said of the images, by attack and chunk.
    """

    def __init__(self, assets: Assets, lists: Mapping[Place, Kept]):
        super().__init__(assets)
        self.lists = lists

    def source(self, cell: Cell) -> Cell:
        """The same for all defences: their draws are seeded alike, as for images that are transferred."""
        return replace(cell, defense="none", draws=1)

    def _attack(self, cell: Cell, chunk: int, batch: Batch, tick: Tick) -> Attacked:
        kept = self.lists[cell.attack, chunk]
        images: list[Images] = []
        for row, index in enumerate(batch.indices):
            label = kept.labels.get(index)
            if label is None:
                raise ResultError(f"{kept.path}: image {index} is not kept: it was damaged, or left out")
            if label != int(batch.labels[row]):
                what = (
                    f"image {index} has label {label} there, and {int(batch.labels[row])} in {cell.dataset}"
                )
                raise ResultError(f"{kept.path}: {what}: they were made of other images; give --dataset")
            images.append(read_kept(kept, index, batch.images[row].cpu()))
        attacked = torch.stack(images).to(batch.images)
        return Attacked(attacked, None, [None] * len(images))


def replayed(
    kept: Kept, classifier: str, defense: str, draws: int, seed: int | None, dataset: str | None
) -> Cell:
    """The cell that judges kept images; args as for ``prepare``.

    Raises:
        OptionError: a name that the file holds cannot stand in a spec.
    """
    source = kept.source
    attack = specs.write(NAME, _made(kept, source.attack))
    specs.check_size(attack)
    return replace(
        source,
        dataset=specs.canonical(dataset) if dataset else source.dataset,
        classifier=specs.canonical(classifier),
        defense=specs.canonical(defense),
        attack=attack,
        access="transfer",
        eot=1,
        draws=draws,
        seed=source.seed if seed is None else check_seed(seed),
    )


def _made(kept: Kept, attack: str) -> dict[str, str]:
    """How the images were made, as options."""
    source = kept.source
    # Kept images of two numbers of draws a step have nothing else in their names that tells them apart.
    eot = {"eot": str(source.eot)} if source.access == "adaptive" and source.eot > 1 else {}
    return {
        "access": source.access,
        "attack": attack,
        "classifier": source.classifier,
        "defense": source.defense,
        **eot,
        "form": kept.form,
        "source": f"{FOLDER}/{source.key}",
    }


def _own_classifier(kept: Kept) -> str:
    """The classifier that the images were made on.

    Raises:
        OptionError: it is none of ours. Whoever sends results may have named any code in them.
    """
    spec = kept.source.classifier
    name, separator, _ = specs.split(spec)
    is_ours = name == spec and name in CLASSIFIERS.names()
    is_torchvisions = name == "torchvision" and separator == "/" and "(" not in spec
    if is_ours or is_torchvisions:
        return spec
    what = f"{kept.path}: its images were made on the classifier {shown(spec)}"
    why = "what a file names is not loaded unless you name it, too"
    raise OptionError(f"{what}, and {why}: if you trust it, give --classifier {shlex.quote(spec)}")


def _settled(assets: Assets, cell: Cell) -> Cell:
    """Build what a cell names; args and errors as for ``rain.bench.plan.settle``."""
    check_examples(assets, cell)
    defense = assets.hardened(cell.classifier, cell.defense).defense
    settle_gate(assets, replace(cell, attack="none"))
    return cell if defense.random else replace(cell, draws=1)


def check_data(assets: Assets, cell: Cell, kept: Kept) -> None:
    """Raise ``ResultError`` if the clean images are others than those of which the kept ones were made."""
    before = kept.made_by.get("data_digest")
    if before and before != assets.dataset(cell.dataset).digest():
        what = f"{kept.path}: made of other images than {cell.dataset} has now"
        raise ResultError(f"{what}; if they lie elsewhere, give --dataset")


def _facts(assets: Assets, cell: Cell, kept: Kept) -> dict[str, str]:
    """What reproduces a cell's numbers, and what the images were made against."""
    facts = dict(assets.made_by(replace(cell, attack="none", access="none", norm="linf", eps=0.0)))
    in_full = kept.made_by.get("attack", "")
    attack = in_full if in_full and specs.can_be_written(in_full) else kept.source.attack
    facts["attack"] = specs.write(NAME, _made(kept, attack))
    facts["attack_traits"] = specs.write("traits", _traits(kept))
    facts["images_against"] = _against_text(kept)
    return facts


def _traits(kept: Kept) -> dict[str, bool]:
    """What is declared of kept images: they follow nobody; a corruption is none the less one."""
    _, declared = specs.parse(kept.made_by.get("attack_traits", "traits"))
    corrupts = declared.get("corrupts") is True
    return {"follows": False, "corrupts": True} if corrupts else {"follows": False}


def _against_text(kept: Kept) -> str:
    source, made = kept.source, kept.made_by
    weights = made.get("classifier_weights", "not known"), made.get("defense_weights", "none")
    what = f"{source.defense} before {source.classifier}, access {source.access}"
    return f"{what}; weights of the classifier {weights[0]}, of the defence {weights[1]}; kept as {kept.form}"


def _refuse_others(folder: Path, facts: Mapping[Cell, Mapping[str, str]]) -> None:
    """Raise ``ResultError`` if finished chunks were made with other images or weights than there are now."""
    if not any(folder.glob("*/[0-9]*.json")):
        return
    for result in load(folder):
        fact = refused_fact(result, facts)
        if fact:
            why = CHANGED.get(fact, f"another {fact} than now")
            raise ResultError(f"{folder} holds results that were made with {why}: choose a fresh folder")


def roundings(lists: Iterable[Kept]) -> str:
    """Say of kept images whether they are those that the attack made."""
    forms = {kept.form for kept in lists}
    if "png" in forms:
        return "the images are rounded to 8 bits, which moved no value by more than half a level"
    return "the images are those that the attacks made"
