"""What runs a graph: ONNX Runtime or OpenVINO, each loaded when it is asked for. Never imports torch."""

import threading
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rain.errors import ExportError, OptionError, did_you_mean
from rain.plans import Array

PRECISIONS = ("float32", "bfloat16")

EXTRAS = {"nncf": "int8", "onnxruntime": "onnx", "onnxscript": "export", "openvino": "openvino"}
"""Packages, and the extra of ours that brings each."""


class Engine(Protocol):
    """A graph that can be run, by several threads at a time."""

    def run(self, inputs: Mapping[str, Array]) -> Array:
        """Compute the only output, float32, of arrays by name."""
        ...


class Onnx:
    """A graph in ONNX Runtime.

    Args:
        path: of the .onnx file.
        precision: "float32".
        threads: that compute; None leaves it to the runtime.

    Raises:
        ExportError: the package is missing, or cannot read the file.
        OptionError: another precision.
    """

    def __init__(self, path: Path, precision: str = "float32", threads: int | None = None):
        if precision != "float32":
            advice = 'export with format="openvino" for bfloat16'
            raise OptionError(f"onnxruntime computes in float32 on a CPU: {advice}")
        runtime: Any = import_runtime("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors share no class but this one
            raise _cannot_open(path, error) from None

    def run(self, inputs: Mapping[str, Array]) -> Array:
        """Compute the only output."""
        (output,) = self._session.run(None, dict(inputs))
        return np.asarray(output, dtype=np.float32)


class OpenVino:
    """A graph in OpenVINO, on the CPU.

    Args:
        path: of the .xml file; the weights stand beside it.
        precision: "float32", or "bfloat16" where the CPU has instructions for it.
        threads: that compute; None leaves it to the runtime.

    Raises:
        ExportError: the package is missing, or cannot read the file.
        OptionError: this CPU does not compute in that precision.
    """

    def __init__(self, path: Path, precision: str = "float32", threads: int | None = None):
        openvino: Any = import_runtime("openvino")
        core = openvino.Core()
        if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise OptionError("this CPU has no instructions for bfloat16: leave the precision at float32")
        # Where a CPU has bfloat16, OpenVINO takes it unless it is told not to.
        short = {"float32": "f32", "bfloat16": "bf16"}[precision]
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": short, "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            self._model = core.compile_model(core.read_model(path), "CPU", options)
        except Exception as error:  # its errors share no class but this one
            raise _cannot_open(path, error) from None
        self._own = threading.local()

    def run(self, inputs: Mapping[str, Array]) -> Array:
        """Compute the only output."""
        # A request holds the tensors of one computation: each thread needs its own.
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._model.create_infer_request()
        # Where a graph hands its only input on, as the defence none does, the name of that is lost.
        is_alone = len(self._model.inputs) == 1
        by_name: dict[Any, Array] = {0: inputs["images"]} if is_alone else dict(inputs)
        request.infer(by_name, share_inputs=True)
        return np.array(request.get_output_tensor(0).data, dtype=np.float32)


def import_runtime(name: str) -> Any:
    """Import a package that runs a graph, or writes one.

    Args:
        name: one of ``EXTRAS``.

    Raises:
        ExportError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        advice = f"pip install {name}, or 'rain-defense[{EXTRAS[name]}]'"
        raise ExportError(f"the package {name} is needed, and is not here ({error}): {advice}") from None


def load(path: Path, format: str, precision: str, threads: int | None) -> Engine:
    """Open a graph.

    Raises:
        ExportError: its runtime is missing, or cannot read the file.
        OptionError: no such precision, or not here.
    """
    if precision not in PRECISIONS:
        near = did_you_mean(str(precision), PRECISIONS)
        raise OptionError(f"no precision {precision!r}; {near}")
    return Onnx(path, precision, threads) if format == "onnx" else OpenVino(path, precision, threads)


def _cannot_open(path: Path, error: Exception) -> ExportError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ExportError(f"{path}: cannot be opened here ({lines[0]}); update the runtime, or export again")
