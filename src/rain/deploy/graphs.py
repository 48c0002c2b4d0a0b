"""Hardened classifiers as graphs: traced by ``torch.export``, written for ONNX, OpenVINO or torch."""

import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from rain.defense import Defense, Draw
from rain.deploy.engines import import_runtime
from rain.errors import ExportError, RainError
from rain.hardened import Hardened, Pure
from rain.images import Images
from rain.plans import Plan

EXAMPLES = 2
"""Images of the batch that is traced: a batch of one would be taken for the only size there is."""

MULTIPLE = 4
"""Sides of a free size are multiples of this: SRd halves a picture, and DG halves what it gets."""

PARTS = {"hardened": "classifier and defence", "classifier": "classifier", "defense": "defence"}
"""What each graph is called in errors."""

Samples = Sequence[Mapping[str, Any]]
"""Inputs of a graph, by name, as arrays, for one image each."""

OUTPUTS = {"hardened": "logits", "classifier": "logits", "defense": "defended"}

LOGGERS = ("nncf", "torch.export", "torch.fx.experimental.symbolic_shapes", "torch.onnx")

MOST_BYTES = 2 * 10**9
"""What fits into one ONNX file."""


class Bare(nn.Module):
    """The classifier of a hardened one, alone.

    Args:
        hardened: is used, not copied.
    """

    def __init__(self, hardened: Hardened):
        super().__init__()
        self.hardened = hardened

    def forward(self, images: Images) -> Tensor:
        """Classify (N, 3, H, W) in [0, 1] without the defence; logits (N, classes)."""
        return self.hardened.classify(images)


class Transform(nn.Module):
    """A defence as a function of images and draw.

    Args:
        defense: is used, not copied.
    """

    def __init__(self, defense: Defense):
        super().__init__()
        self.defense = defense

    def forward(self, images: Images, draw: Draw) -> Images:
        """Apply the defence to (N, 3, H, W) in [0, 1]."""
        transformed = self.defense.transform(images, draw)
        if transformed is images:
            return images.clone()  # of a graph that gives its very input, ONNX's exporter renames that
        return transformed


def modules_of(hardened: Hardened, *, apart: bool) -> dict[str, nn.Module]:
    """What is traced, by the names that ``rain.deploy.manifest.PARTS`` has.

    Args:
        hardened: is used, not copied.
        apart: the classifier and the defence as two graphs, so that a gate can ask the classifier alone, and
            its weights are there once; else one graph of the two.
    """
    if apart:
        return {"classifier": Bare(hardened), "defense": Transform(hardened.defense)}
    return {"hardened": Pure(hardened)}


def trace(
    part: str, module: nn.Module, plans: Mapping[str, Plan], size: tuple[int, int] | None, batch: int | None
) -> ExportedProgram:
    """Trace a module for batches of any length.

    Args:
        part: what it computes, one of ``PARTS``.
        module: from images, and if it is not the classifier a draw, to one tensor.
        plans: of the draw.
        size: height and width of the images; None for any that are multiples of ``MULTIPLE``.
        batch: 1 for one image at a time; None for any number.

    Raises:
        ExportError: ``torch.export`` cannot trace it.
        RainError: the defence says why it cannot be traced.
    """
    example = size or (16 * MULTIPLE, 20 * MULTIPLE)
    count = batch or EXAMPLES
    images = torch.rand((count, 3, *example), generator=torch.Generator().manual_seed(0))
    draw = {name: _example(plan, count, example) for name, plan in plans.items()}
    inputs: tuple[Any, ...] = (images,)
    shapes: tuple[Any, ...] = (_dimensions(size, batch),)
    if part != "classifier":
        inputs += (draw,)
        shapes += ({name: _of_plan(plan, size, batch) for name, plan in plans.items()},)
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
    except RainError:
        raise
    except Exception as error:  # torch.export raises whatever a module stumbles over
        if isinstance(module, Pure):
            # Which of the two it is: if it is the classifier, this raises.
            trace("classifier", Bare(module.hardened), {}, size, batch)
        raise ExportError(f"{_explain(part, size)}: {_first_line(error)}") from error


def _example(plan: Plan, count: int, size: tuple[int, int]) -> Tensor:
    """A draw of the right shape and type; its numbers do not count."""
    import numpy as np

    return torch.from_numpy(plan.sample(np.random.default_rng(0), count, size))


def _dimensions(size: tuple[int, int] | None, batch: int | None) -> dict[int, Any]:
    """Which axes of the images are free."""
    free: dict[int, Any] = {} if batch else {0: Dim("batch", min=1)}
    if size is None:
        free[2] = MULTIPLE * Dim("rows", min=2)
        free[3] = MULTIPLE * Dim("columns", min=2)
    return free


def _of_plan(plan: Plan, size: tuple[int, int] | None, batch: int | None) -> dict[int, Any]:
    """Which axes of a tensor of a draw are free: those that grow with the batch, the height or the width."""
    free: dict[int, Any] = {}
    base = plan.shape_for(2, (MULTIPLE, MULTIPLE))
    if batch is None and plan.shape_for(3, (MULTIPLE, MULTIPLE))[0] > base[0]:
        free[0] = Dim("batch", min=1)
    if size is not None:
        return free
    taller = plan.shape_for(2, (2 * MULTIPLE, MULTIPLE))
    wider = plan.shape_for(2, (MULTIPLE, 2 * MULTIPLE))
    for axis, side in enumerate(base):
        if taller[axis] > side:
            free[axis] = (taller[axis] - side) * Dim("rows", min=2)
        if wider[axis] > side:
            free[axis] = (wider[axis] - side) * Dim("columns", min=2)
    return free


def write(
    program: ExportedProgram, part: str, format: str, folder: Path, samples: Samples | None = None
) -> list[str]:
    """Write a graph into a folder.

    Args:
        program: of ``trace``.
        part: what it computes; the files are called so.
        format: "onnx", "openvino" or "torch".
        samples: inputs of it, by which its convolutions are brought to 8 bits; for "openvino" only.

    Returns: the names of the files, the one that is opened first.

    Raises:
        ExportError: a package is missing, or the format has no word for a step of the graph.
        OSError: a file cannot be written.
    """
    if format == "torch":
        _write_torch(program, part, folder / f"{part}.pt2")
        return [f"{part}.pt2"]
    name = f"{part}.onnx"
    _write_onnx(program, part, folder / name)
    if format == "onnx":
        return [name]
    openvino = import_runtime("openvino")
    model = openvino.convert_model(folder / name)
    if samples is not None:
        model = quantize(model, part, samples)
    # By default it would round the weights to half precision.
    openvino.save_model(model, folder / f"{part}.xml", compress_to_fp16=False)
    (folder / name).unlink()
    return [f"{part}.xml", f"{part}.bin"]


def _write_torch(program: ExportedProgram, part: str, path: Path) -> None:
    try:
        with quiet():
            torch.export.save(program, path)
    except OSError:
        raise
    except Exception as error:  # the writer raises whatever it stumbles over
        what = f"torch.export has no word for a step of the {PARTS[part]}"
        raise ExportError(f"{what}: {_first_line(error)}; give one size, not any") from error


def _write_onnx(program: ExportedProgram, part: str, path: Path) -> None:
    import_runtime("onnxscript")
    weights = sum(tensor.nbytes for tensor in program.state_dict.values())
    if weights > MOST_BYTES:
        what = f"{weights / 1e9:.1f} GB of weights do not fit into one ONNX file"
        raise ExportError(f'{what}: take format="torch"')
    try:
        with quiet():
            options: dict[str, Any] = {"dynamo": True, "verbose": False, "external_data": False}
            torch.onnx.export(program, (), path, output_names=[OUTPUTS[part]], **options)
    except Exception as error:  # the exporter raises whatever it stumbles over
        if isinstance(error, OSError):
            raise
        what = f"ONNX has no word for a step of the {PARTS[part]}"
        raise ExportError(f'{what}: {_cause(error)}; format="torch" takes it') from error


def quantize(model: Any, part: str, samples: Samples) -> Any:
    """Bring the convolutions of an OpenVINO graph to 8 bits, weights and activations.

    Args:
        model: of OpenVINO.
        part: what it computes. Of a defence, grouped convolutions stay: DG's interpolation is one, and what
            DG corrects has to be exact. So does the first convolution, which sees the pixels: to round them
            is most of what 8 bits cost.
        samples: inputs of it, from which the ranges of the activations come.

    Raises:
        ExportError: NNCF is not installed.
    """
    nncf = import_runtime("nncf")
    kept = None
    if part == "defense":
        first = _convolutions(model)[:1]
        kept = nncf.IgnoredScope(types=["GroupConvolution"], names=first, validate=False)
    with quiet(), redirect_stdout(io.StringIO()):
        return nncf.quantize(
            model,
            nncf.Dataset(list(samples)),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(samples),
            ignored_scope=kept,
        )


def _convolutions(model: Any) -> list[str]:
    """The names of a graph's convolutions, in the order in which they are computed."""
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]
    return [node.get_friendly_name() for node in nodes]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep from the user what the exporters tell their authors: warnings, logs, and graphs on stderr."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _explain(part: str, size: tuple[int, int] | None) -> str:
    """What cannot be traced, and what else may be tried."""
    name = "the classifier" if part == "classifier" else "the defence"
    what = f"{name} cannot be exported by torch.export"
    if size is None:
        what += " with free height and width (give a size)"
    return what


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _cause(error: BaseException) -> str:
    """The first line of what an exporter stumbled over, which it wraps in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return _first_line(error)
