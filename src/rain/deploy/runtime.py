"""An exported model, run without torch: NumPy and ONNX Runtime or OpenVINO are all that it needs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rain.deploy import engines
from rain.deploy.answers import SCORES, GatedPrediction, Prediction, average, gated, probabilities_of
from rain.deploy.arrays import Group, check_images, group_by_size
from rain.deploy.manifest import Gate, read
from rain.errors import ExportError, GateError, ImageError, OptionError
from rain.plans import Array
from rain.seeds import as_number, check_seed, is_integer, seeds_of

Generators = np.random.Generator | list[np.random.Generator]


class Runtime:
    """A hardened classifier that ``rain export`` wrote.

    Several threads may ask it at a time.

    Args:
        path: the folder of the exported model.
        precision: "float32", or "bfloat16" for one in OpenVINO's format, where the CPU has instructions for
            it: faster, and logits differ by a few tenths.
        threads: that compute; None leaves it to the runtime.

    Attributes:
        manifest: what the model is, what it takes, and what was measured of it.

    Raises:
        ExportError: there is no such model, a file of it is damaged, or its runtime is not installed.
        OptionError: no such precision, or not here; or threads is no positive integer.
    """

    def __init__(self, path: str | Path, *, precision: str = "float32", threads: int | None = None):
        if threads is not None and (not is_integer(threads) or threads < 1):
            raise OptionError(f"threads must be a positive integer, or None, got {threads!r}")
        folder, self.manifest = read(path)
        format = self.manifest.format
        if format == "torch":
            main = next(iter(self.manifest.graphs.values())).main
            how = f"torch.export.load({str(folder / main)!r}).module()"
            advice = 'export with format="onnx" or "openvino" for Runtime'
            raise ExportError(f"{folder}: a program of torch, which torch runs, by {how}; {advice}")
        gate = self.manifest.gate
        if gate is not None and gate.score not in SCORES:
            what = f"its gate has a score {gate.score!r}, which this release does not have"
            raise ExportError(f"{folder}: {what}: update rain-defense")
        self._graphs = {
            name: engines.load(folder / graph.main, format, precision, threads)
            for name, graph in self.manifest.graphs.items()
        }

    def __repr__(self) -> str:
        origin = self.manifest.origin
        return f"Runtime({origin.classifier} behind {origin.defense}, {self.manifest.format})"

    def predict(
        self,
        images: Array | list[Array] | tuple[Array, ...],
        draws: int = 8,
        seed: int | Sequence[int] | Array | None = None,
    ) -> Prediction | GatedPrediction:
        """Classify with the probabilities averaged over several draws, as ``Hardened.predict`` does.

        With a gate, one draw is compared with the classifier's own answer, and further draws are asked only
        of the images that are flagged; the answer is a ``GatedPrediction``.

        Args:
            images: (N, 3, H, W), floating point, RGB in [0, 1]; or a list of pictures (3, H, W), of any
                sizes that the model takes.
            draws: fresh draws to average over; a defence without randomness needs one, and gets one.
            seed: for the same answer every time; not where an attacker could learn it. An integer seeds the
                batch as a whole. With a list, one integer for each image, what an image draws depends on its
                own seed and size alone. The draws are not those that torch makes of the same seed.

        Raises:
            ImageError: the images break the convention, or have a size that the model does not take.
            OptionError: draws is not a positive integer; or seed holds no integers of 64 bits, or not one for
                each image, or is a list and the images share a draw.
            ClassifierError: an answer is no number.
            GateError: the gate was calibrated for another size.
        """
        if not is_integer(draws) or draws < 1:
            raise OptionError(f"draws must be a positive integer, got {draws!r}")
        if isinstance(images, list | tuple):
            return self._predict_pictures(images, draws, seed)
        batch = self._check(images)
        generators = self._generators(seed, len(batch))
        count = int(draws) if self.manifest.random else 1
        gate = self.manifest.gate
        if gate is not None:
            _check_size(gate, batch)
            return self._predict_gated(gate, batch, count, generators)
        each = [probabilities_of(self._draw_and_defend(batch, generators)) for _ in range(count)]
        return average(np.stack(each))

    def answer(self, images: Array, draw: Mapping[str, Array]) -> Array:
        """Answer with a draw that was made before, as ``Hardened.answer`` does: logits (N, classes).

        Args:
            images: as for ``predict``.
            draw: by ``draw``, or that of the defence itself, as arrays.

        Raises:
            ImageError: the images break the convention, or the draw does not fit them.
            GateError: the gate was calibrated for another size.
        """
        batch = self._check(images)
        gate = self.manifest.gate
        if gate is not None:
            _check_size(gate, batch)
        defended = self.defended(batch, draw)
        if gate is None:
            return defended
        bare = self._run("classifier", {"images": batch})
        flagged = gated(gate.score, gate.threshold, bare, [defended]).flagged
        return np.where(flagged[:, None], defended, bare)

    def defended(self, images: Array, draw: Mapping[str, Array]) -> Array:
        """Answer behind the defence, whatever a gate would say: logits (N, classes).

        Args:
            images, draw: as for ``answer``.

        Raises:
            ImageError: the images break the convention, or the draw does not fit them.
        """
        batch = self._check(images)
        return self._behind(batch, self._check_draw(batch, draw))

    def classify(self, images: Array) -> Array:
        """Classify without the defence: logits (N, classes). A model in one graph does not hold that.

        Raises:
            ImageError: the images break the convention.
            OptionError: the model was exported without a gate, in one graph.
        """
        if "classifier" not in self._graphs:
            what = "this model holds the classifier behind its defence only"
            raise OptionError(f"{what}: export it with a gate, or with the defence none")
        return self._run("classifier", {"images": self._check(images)})

    def draw(self, images: Array, seed: Any = None, copies: int = 1) -> dict[str, Array]:
        """Draw for a batch, as the defence does.

        Args:
            images: (N, 3, H, W), of which only the shape counts.
            seed: as for ``predict``.
            copies: above 1, the batch is so many repetitions of one, as for ``Defense.spread``.

        Raises:
            OptionError: as ``predict`` does for seed; or copies have a seed for each image, or do not divide
                the batch.
        """
        count, size = images.shape[0], (images.shape[2], images.shape[3])
        generators = self._generators(seed, count)
        if copies == 1:
            return self._sample(generators, count, size)
        if isinstance(generators, list):
            raise OptionError("copies are drawn together: give one seed for all of them")
        if not is_integer(copies) or copies < 1 or count % copies:
            raise OptionError(f"{count} images are no {copies!r} repetitions of a batch")
        plans = self.manifest.draws.items()
        return {name: plan.sample(generators, count, size, copies) for name, plan in plans}

    # --- with a gate

    def _predict_gated(
        self, gate: Gate, images: Array, draws: int, generators: Generators
    ) -> GatedPrediction:
        """Decide by the bare answer and one draw; ask further draws only of what is flagged."""
        bare = self._run("classifier", {"images": images})
        first = self._draw_and_defend(images, generators)
        decided = gated(gate.score, gate.threshold, bare, [first])
        rows = np.flatnonzero(decided.flagged)
        if not len(rows) or draws == 1:
            return decided
        own = [generators[row] for row in rows] if isinstance(generators, list) else generators
        each = [first]
        for _ in range(draws - 1):
            # What is not flagged keeps its first answer, which is then not looked at.
            logits = first.copy()
            logits[rows] = self._draw_and_defend(images[rows], own)
            each.append(logits)
        return gated(gate.score, gate.threshold, bare, each)

    # --- graphs

    def _draw_and_defend(self, images: Array, generators: Generators) -> Array:
        size = (images.shape[2], images.shape[3])
        return self._behind(images, self._sample(generators, len(images), size))

    def _behind(self, images: Array, draw: Mapping[str, Array]) -> Array:
        """Logits behind the defence, of images and a draw that were checked."""
        inputs = {"images": images} | {f"draw_{name}": array for name, array in draw.items()}
        if "hardened" in self._graphs:
            return self._run("hardened", inputs)
        return self._run("classifier", {"images": self._run("defense", inputs)})

    def _run(self, name: str, inputs: Mapping[str, Array]) -> Array:
        """Run a graph, image by image where it takes no batch."""
        images = inputs["images"]
        if not len(images):
            shape = images.shape[1:] if name == "defense" else (self.manifest.classes,)
            return np.zeros((0, *shape), np.float32)
        graph = self._graphs[name]
        if self.manifest.batch is None or len(images) == 1:
            return graph.run(inputs)
        return np.concatenate([graph.run(row_of(inputs, row)) for row in range(len(images))])

    # --- draws

    def _sample(self, generators: Generators, count: int, size: tuple[int, int]) -> dict[str, Array]:
        plans = self.manifest.draws.items()
        if not isinstance(generators, list):
            return {name: plan.sample(generators, count, size) for name, plan in plans}
        # In the order of the images: of one that stands alone, each draw is the next of its generator.
        each = [{name: plan.sample(own, 1, size) for name, plan in plans} for own in generators]
        return {name: np.concatenate([draw[name] for draw in each]) for name in self.manifest.draws}

    def _generators(self, seed: object, count: int) -> Generators:
        """What a batch draws from: one generator, or one for each image."""
        seeds = None if seed is None else seeds_of(seed, count)
        if seeds is None:
            return np.random.default_rng(None if seed is None else _as_seed(check_seed(as_number(seed))))
        if self.manifest.random and not self.manifest.independent:
            what = "the images of a batch share a draw of this defence"
            raise OptionError(f"{what}: give one seed for all of them, or one image at a time")
        if not count or not self.manifest.draws:
            return np.random.default_rng(0)
        return [np.random.default_rng(_as_seed(value)) for value in seeds]

    def _check_draw(self, images: Array, draw: Mapping[str, Array]) -> dict[str, Array]:
        """A draw in the types of the graph.

        Raises:
            ImageError: it is for other images, or another defence.
        """
        plans = self.manifest.draws
        if set(draw) != set(plans):
            raise ImageError(f"the draw holds {sorted(draw)}, this model needs {sorted(plans)}")
        size, arrays = (images.shape[2], images.shape[3]), {}
        for name, plan in plans.items():
            shape = plan.shape_for(len(images), size)
            if draw[name].shape != shape:
                raise ImageError(f"the draw's {name!r} must have shape {shape}, got {draw[name].shape}")
            arrays[name] = np.ascontiguousarray(draw[name], dtype=plan.type)
        return arrays

    # --- images

    def _check(self, images: Any) -> Array:
        """Check a batch and its size.

        Raises:
            ImageError: it breaks the convention, or has a size that the model does not take.
        """
        batch = check_images(images)
        size, own = (batch.shape[2], batch.shape[3]), self.manifest.size
        if own is not None and size != own:
            advice = "bring them to that size first, or export with another one (0: any size)"
            raise ImageError(f"this model takes images of {_text(own)}, got {_text(size)}; {advice}")
        multiple = self.manifest.multiple
        if any(side % multiple for side in size):
            what = f"this model takes sides that are multiples of {multiple} pixels, got {_text(size)}"
            raise ImageError(f"{what}; cut or resize them first")
        return batch

    def _predict_pictures(self, pictures: Any, draws: int, seed: Any) -> Prediction | GatedPrediction:
        """Answer pictures of several sizes, in their order."""
        groups = group_by_size(pictures)
        seeds = None if seed is None else seeds_of(seed, len(pictures))
        predictions = []
        for group in groups:
            own = seed if seeds is None else [seeds[place] for place in group.places]
            predictions.append(self.predict(group.images, draws, own))
        return _in_order(groups, predictions)


def _check_size(gate: Gate, batch: Array) -> None:
    """Raise ``GateError`` for images of a size that the gate was not calibrated on."""
    size = (batch.shape[2], batch.shape[3])
    if gate.sizes and size not in gate.sizes:
        own_sizes = ", ".join(map(_text, gate.sizes))
        what = f"this gate was calibrated on pictures of {own_sizes}, these are {_text(size)}"
        raise GateError(f"{what}: bring them to that size, or calibrate on this one")


def _in_order(
    groups: list[Group], predictions: list[Prediction | GatedPrediction]
) -> Prediction | GatedPrediction:
    """Put the answers to groups of a list in the order of the list."""
    order = np.argsort([place for group in groups for place in group.places])
    columns = [np.concatenate(parts)[order] for parts in zip(*predictions, strict=True)]
    return type(predictions[0])(*columns)


def row_of(inputs: Mapping[str, Any], row: int) -> dict[str, Any]:
    """The inputs of one image, arrays or tensors; what the batch shares stays."""
    return {name: array[row : row + 1] if len(array) > 1 else array for name, array in inputs.items()}


def _as_seed(number: int) -> int:
    """A seed as NumPy takes it, which knows no negative ones."""
    return number % 2**64


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
