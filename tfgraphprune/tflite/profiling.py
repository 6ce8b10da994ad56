"""How long each operation of a TFLite file takes on this machine, and in which Keras layer."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

from tfgraphprune.errors import UserError
from tfgraphprune.keras3 import is_keras3_model, twin
from tfgraphprune.tflite.kernels import align
from tfgraphprune.tflite.matching import LayerNames, graph_names
from tfgraphprune.tflite.runtime import Runner
from tfgraphprune.tflite.signature import model_outputs

_OPERATION, _DELEGATED, _DELEGATED_NODE = 2, 4, 8
_RUN = "Invoke"
_TIMEOUT = 300


@dataclass(frozen=True)
class KernelTime:
    """One kernel of a run.

    Attributes:
        kernel: its name, as XNNPACK or TFLite call it.
        milliseconds: its mean over the runs.
        operation: the operation of the file that it belongs to; empty where that is not known.
        layer: the last Keras layer whose work that operation does; likewise.
    """

    kernel: str
    milliseconds: float
    operation: str = ""
    layer: str = ""


@dataclass(frozen=True)
class Profile:
    """The kernels of a file in the order in which they run.

    Attributes:
        kernels: one entry a kernel; empty where the runtime has no profiler that works.
        reason: why `kernels` is empty, or why operations and layers are not known.
    """

    kernels: tuple[KernelTime, ...]
    reason: str = ""

    def by_layer(self) -> dict[str, float]:
        """Milliseconds of each layer, the slowest first."""
        sums: dict[str, float] = {}
        for each in self.kernels:
            sums[each.layer] = sums.get(each.layer, 0.0) + each.milliseconds
        return dict(sorted(sums.items(), key=lambda item: -item[1]))


def profile_operations(
    path: str | os.PathLike[str], model: keras.Model | None = None, *, runs: int = 50
) -> Profile:
    """Time each operation of a TFLite file by LiteRT's profiler, one thread, one example a run.

    The profiler is reached in a process of its own. Times are whole microseconds before the mean
    is taken. XNNPACK does not say which operation a kernel came from: kernels and operations are
    matched by kind, in their order.

    Args:
        path: the TFLite file.
        model: the model that it was made from, whose layers then stand beside the operations.
        runs: timed runs.

    Returns:
        The times; without any, but with a reason, where this LiteRT has no such profiler.

    Raises:
        UserError: a file that is missing, broken or of another model, or a count out of range.
    """
    if runs < 1:
        raise UserError(f"runs must be at least 1, not {runs!r}.")
    model = twin(model) if model is not None and is_keras3_model(model) else model
    outputs = [] if model is None else model_outputs(model)
    runner = Runner(path, outputs=outputs)
    if model is not None and len(runner.output_indices) != len(outputs):
        raise UserError(
            f"The file {os.fspath(path)!r} has {len(runner.output_indices)} outputs, but the model "
            f"has {len(outputs)}: give the model it was made from."
        )
    events, reason = _events(Path(path), runs)
    if not events:
        return Profile((), reason)
    names, times = _mean_of_runs(events)
    if not names:
        return Profile((), "the runs of LiteRT's profile differ from each other")
    nodes = runner.nodes()
    owners = align(names, [each["op_name"] for each in nodes])
    if owners is None:
        kernels = tuple(KernelTime(*each) for each in zip(names, times, strict=True))
        return Profile(kernels, "the kernels could not be matched to the file's operations")
    layers = _layers(runner, nodes, model)
    return Profile(
        tuple(
            KernelTime(name, each, nodes[owner]["op_name"], layers[owner])
            for name, each, owner in zip(names, times, owners, strict=True)
        )
    )


def _events(path: Path, runs: int) -> tuple[list[list[Any]], str]:
    """The profiler's events, or none and the reason."""
    package = importlib.util.find_spec("ai_edge_litert")
    folders = (package and package.submodule_search_locations) or []
    found = [Path(each) / "libLiteRt.so" for each in folders]
    if not found or not found[0].is_file():
        return [], "this ai-edge-litert has no libLiteRt.so"
    child = Path(__file__).with_name("profiler_child.py")
    command = [sys.executable, "-I", str(child), str(found[0]), str(path), str(runs)]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return [], f"LiteRT's profiler was not done after {_TIMEOUT} s"
    if ended.returncode:
        said = ended.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        return [], f"LiteRT's profiler ended with {ended.returncode}: {said[0]}"
    return json.loads(ended.stdout.splitlines()[-1]), ""


def _mean_of_runs(events: Sequence[list[Any]]) -> tuple[list[str], list[float]]:
    """The kernels of a run and their mean milliseconds; none where runs differ."""
    runs: list[list[tuple[str, float]]] = []
    for name, kind, microseconds, _ in events:
        if name == _RUN and kind == 1:
            runs.append([])
        elif kind in (_OPERATION, _DELEGATED, _DELEGATED_NODE) and runs:
            runs[-1].append((name, microseconds / 1e3))
    orders = {tuple(name for name, _ in run) for run in runs}
    if len(orders) != 1:
        return [], []
    return list(orders.pop()), np.mean([[t for _, t in run] for run in runs], axis=0).tolist()


def _layers(runner: Runner, nodes: list[dict[str, Any]], model: keras.Model | None) -> list[str]:
    """The Keras layer of each operation, by the name of the tensor that it makes."""
    if model is None:
        return [""] * len(nodes)
    names, details = LayerNames(model), runner.tensors()
    outputs = dict(zip(runner.output_indices, model.output_names, strict=True))
    for node in nodes:
        # The file's own output may be the float copy of the tensor that holds the result.
        if node["op_name"] == "DEQUANTIZE" and int(node["outputs"][0]) in outputs:
            outputs[int(node["inputs"][0])] = outputs[int(node["outputs"][0])]
    found = []
    for node in nodes:
        output = int(node["outputs"][0])
        if output in outputs:
            found.append(outputs[output])
            continue
        operation = next(iter(graph_names(details[output]["name"])))
        layer = names.of(operation)
        found.append("" if layer == operation else layer)
    return found
