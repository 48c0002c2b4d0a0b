"""An exported model made by hand, in milliseconds: its logits are those of the mean colour."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from rain.deploy.manifest import Gate, Graph, Manifest, Origin, digest_file
from rain.plans import Uniform

SIZE = (8, 12)
CLASSES = 5
WEIGHTS = np.random.default_rng(4).normal(0, 20, (3, CLASSES)).astype(np.float32)

_CLASSIFY = [
    helper.make_node("ReduceMean", ["seen", "axes"], ["colour"], keepdims=0),
    helper.make_node("MatMul", ["colour", "weights"], ["logits"]),
]
_DEFEND = [
    helper.make_node("Unsqueeze", ["draw_uniform", "axes"], ["factor"]),
    helper.make_node("Mul", ["images", "factor"], ["defended"]),
]
_SAME = {
    "hardened": helper.make_node("Identity", ["defended"], ["seen"]),
    "classifier": helper.make_node("Identity", ["images"], ["seen"]),
}


def handmade(folder: Path, threshold: float | None = None, **changes: Any) -> Path:
    """Write a model that multiplies each colour by a draw from [0, 1), then classifies the mean colour.

    Args:
        folder: gets it.
        threshold: of a gate with the score l1; None for no gate.
        changes: of the manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = ("hardened",) if threshold is None else ("classifier", "defense")
    graphs = {part: _write(folder, part) for part in parts}
    gate = None if threshold is None else Gate("l1", threshold)
    origin = Origin("mean", "fade", "0", "1", {})
    fields: dict[str, Any] = {"format": "onnx", "size": SIZE, "multiple": 1, "batch": None}
    fields |= {
        "classes": CLASSES,
        "categories": (),
        "preprocessing": "none",
        "measured": {},
        "precision": "float32",
    }
    fields |= {"random": True, "independent": True, "draws": {"uniform": Uniform((3,))}}
    Manifest(graphs=graphs, gate=gate, origin=origin, **(fields | changes)).save(folder)
    return folder


def logits_of(images: np.ndarray, uniform: np.ndarray | None = None) -> np.ndarray:
    """What the model answers with a draw; without one, the classifier."""
    seen = images if uniform is None else images * uniform[:, :, None, None]
    return seen.mean((2, 3)) @ WEIGHTS


def _write(folder: Path, part: str) -> Graph:
    nodes, inputs = [], {"images": "float32"}
    given = [_value("images", ["batch", 3, "height", "width"])]
    if part != "classifier":
        nodes += _DEFEND
        inputs["draw_uniform"] = "float32"
        given.append(_value("draw_uniform", ["batch", 3]))
    if part != "defense":
        nodes += [_SAME[part], *_CLASSIFY]
    output = _value("defended", ["batch", 3, "height", "width"])
    if part != "defense":
        output = _value("logits", ["batch", CLASSES])
    constants = [_constant("axes", np.array([2, 3])), _constant("weights", WEIGHTS)]
    graph = helper.make_graph(nodes, part, given, [output], constants)
    path = folder / f"{part}.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    return Graph({path.name: digest_file(path)}, inputs)


def _value(name: str, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _constant(name: str, array: np.ndarray) -> Any:
    return numpy_helper.from_array(array, name)
