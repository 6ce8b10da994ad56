"""Which TensorFlow operation of a Keras model stands behind each tensor of a TFLite file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfgraphprune.tflite.runtime import Runner
from tfgraphprune.tflite.saved_model import frozen_function
from tfgraphprune.tflite.signature import ModelInput

_EQUAL = 1e-3
_PASSED_ON = ("Identity", "IdentityN", "StopGradient")


@dataclass(frozen=True)
class Match:
    """A tensor of the traced Keras model.

    Attributes:
        tensor: its symbol in the traced graph.
        layer: the path of the layer that makes it.
    """

    tensor: Any
    layer: str


class Reference:
    """A Keras model traced once, whose inner values can be read.

    Args:
        model: a tf_keras model.
        inputs: its inputs.
        batch_size: the batch of the TFLite file.
    """

    def __init__(self, model: keras.Model, inputs: list[ModelInput], batch_size: int):
        self._frozen = frozen_function(model, inputs, batch_size)
        self._dtypes = [each.dtype for each in inputs]
        self._names = LayerNames(model)
        self._functions: dict[tuple[str, ...], Any] = {}

    def match(self, runner: Runner, arrays: Sequence[np.ndarray]) -> dict[int, Match]:
        """The tensors of a file that can be compared, by index.

        Args:
            runner: an interpreter of the file that keeps its tensors, after a run on `arrays`.
            arrays: the inputs of that run.
        """
        details, nodes = runner.tensors(), runner.nodes()
        made = [int(output) for node in nodes for output in node["outputs"]]
        outputs = dict(zip(runner.output_indices, self._frozen.outputs, strict=True))
        for node in nodes:
            # The file's own output may be the float copy of the tensor that holds the result.
            source, target = int(node["inputs"][0]), int(node["outputs"][0])
            if node["op_name"] == "DEQUANTIZE" and target in outputs:
                outputs[source] = outputs[target]
        candidates = {
            index: [outputs[index]] if index in outputs else self._candidates(details[index])
            for index in made
        }
        wanted = list({t.name: t for found in candidates.values() for t in found}.values())
        values = self._run(wanted, arrays)
        matches = {}
        for index, found in candidates.items():
            if found:
                received = runner.tensor(details[index])
                chosen = _choose(found, [values[each.name] for each in found], received)
                matches[index] = Match(chosen, self._names.of(_source(chosen).op.name))
        return matches

    def values(
        self, matches: dict[int, Match], arrays: Sequence[np.ndarray]
    ) -> dict[int, np.ndarray]:
        """What Keras gives for each matched tensor."""
        wanted = list({each.tensor.name: each.tensor for each in matches.values()}.values())
        values = self._run(wanted, arrays)
        return {index: values[each.tensor.name] for index, each in matches.items()}

    def _candidates(self, details: dict[str, Any]) -> list[Any]:
        shape = tuple(int(size) for size in details["shape"])
        found = []
        for name in graph_names(details["name"]):
            try:
                tensor = self._frozen.graph.get_tensor_by_name(f"{name}:0")
            except (KeyError, ValueError):
                continue
            if tensor.dtype == tf.float32 and tuple(tensor.shape) == shape:
                found.append(tensor)
        return found

    def _run(self, tensors: list[Any], arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        key = tuple(each.name for each in tensors)
        if key not in self._functions:
            self._functions[key] = self._frozen.prune(list(self._frozen.inputs), tensors)
        given = [tf.constant(a, d) for a, d in zip(arrays, self._dtypes, strict=True)]
        results = self._functions[key](*given)
        return {name: np.asarray(each) for name, each in zip(key, results, strict=True)}


class LayerNames:
    """The layers of a model by the name scopes of their operations.

    Attributes:
        paths: of all layers, those inside nested models too.
    """

    def __init__(self, model: keras.Model):
        self._model = model.name
        self.paths = frozenset(_paths(model))

    def of(self, operation: str) -> str:
        """The path of the layer that an operation belongs to, or the operation's own name."""
        parts = operation.split("/")
        if parts[0] == self._model:
            parts = parts[1:]
        for length in range(len(parts), 0, -1):
            path = "/".join(parts[:length])
            # A layer that is called again works in a scope with a number at its end.
            for candidate in (path, re.sub(r"_\d+$", "", path)):
                if candidate in self.paths:
                    return candidate
        return operation


def graph_names(tensor: str) -> Iterator[str]:
    """Names of operations of the traced graph that the name of a tensor in a file may hold.

    The converter joins the names of what it has fused by semicolons, and appends digits where the
    result is taken already.
    """
    for part in tensor.split(";"):
        name = re.sub(r"(_int\d+)?$", "", part.split(":")[0])
        yield name
        if (shorter := re.sub(r"\d+$", "", name)) != name:
            yield shorter


def _paths(model: keras.Model, prefix: str = "") -> Iterator[str]:
    for layer in model.layers:
        yield f"{prefix}{layer.name}"
        if isinstance(layer, keras.Model):
            yield from _paths(layer, f"{prefix}{layer.name}/")


def _choose(tensors: list[Any], values: list[np.ndarray], received: np.ndarray) -> Any:
    """The tensor that a file's tensor stands for: the one of equal values, else the first.

    The converter names the last of the operations that it has fused first.
    """
    distances = [float(np.abs(each - received).mean()) for each in values]
    nearest = int(np.argmin(distances))
    return tensors[nearest if distances[nearest] < _EQUAL * float(values[nearest].std()) else 0]


def _source(tensor: Any) -> Any:
    while tensor.op.type in _PASSED_ON:
        tensor = tensor.op.inputs[0]
    return tensor
