"""Keras 3; imported only where a model of it has come."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras.src.models.functional import Functional
from keras.src.models.sequential import Sequential
from keras.src.ops.operation import Operation

from tfgraphprune.graph.dialects.base import Dialect, StoredCall
from tfgraphprune.graph.dialects.keras3_ops import KerasOp
from tfgraphprune.graph.dialects.nodes import ordered


class Keras3(Dialect):
    """Keras 3, with any backend for reading and cutting."""

    name = "Keras 3"
    keras = keras

    def has_layer_graph(self, layer: Any) -> bool:
        """A subclass must not override `call`; a Sequential must be built."""
        if not isinstance(layer, keras.Model):
            return False
        if type(layer).call is Sequential.call:
            return layer._functional is not None
        return type(layer).call is Functional.call

    def stored_calls(self, model: Any) -> Iterator[StoredCall]:
        """In the order of Keras' own depths."""
        nodes = _functional(model)._nodes_by_depth
        for depth in sorted(nodes, reverse=True):
            for node in nodes[depth]:
                if not node.is_input and node.operation is not None:
                    yield _stored(node)

    def structure(self, model: Any) -> tuple[Any, Any]:
        """As nested at the model's making."""
        functional = _functional(model)
        inputs, outputs = functional._inputs_struct, functional._outputs_struct
        if isinstance(model, Sequential) and isinstance(inputs, list) and len(inputs) == 1:
            inputs = inputs[0]
        return inputs, outputs

    def model_inputs(self, model: Any, given: Any) -> list:
        """Dictionaries go by input names."""
        if isinstance(given, dict):
            reference = _functional(model)._inputs_struct
            names = reference if isinstance(reference, dict) else [t.name for t in model.inputs]
            return [given[name] for name in (sorted(names) if isinstance(names, dict) else names)]
        return tf.nest.flatten(given)

    def call_between(self, inputs: Sequence, outputs: Sequence) -> list[StoredCall]:
        """Along the nodes of the tensors."""
        nodes = ordered(inputs, outputs, _node_of, lambda node: node.input_tensors)
        return [_stored(node) for node in nodes]

    def own_weights(self, layer: Any) -> list:
        """Those that the layer itself has added."""
        return layer._trainable_variables + layer._non_trainable_variables

    def input_structure(self, model: Any) -> tuple[tuple, dict] | None:
        """From the shapes that the model was built with."""
        shape = (model.get_build_config() or {}).get("input_shape")
        if shape is None:
            return None
        if isinstance(shape, dict):
            return ({n: keras.Input(s[1:], name=n) for n, s in shape.items()},), {}
        if shape and isinstance(shape[0], list | tuple):
            return ([keras.Input(s[1:]) for s in shape],), {}
        return (keras.Input(shape[1:]),), {}

    def shapes_of(self, call: StoredCall, values: tuple[tuple, dict]) -> Any:
        """By Keras' own inference."""
        return call.layer.compute_output_spec(*values[0], **values[1])

    def placeholder(self, shape: Sequence, dtype: Any) -> Any:
        """A tensor without a history."""
        return keras.KerasTensor(shape, dtype)

    def gather(self, tensor: Any, indices: Sequence[int], axis: int) -> Any:
        """Keras' take."""
        return keras.ops.take(tensor, list(map(int, indices)), axis=axis)

    def input_name(self, tensor: Any) -> str:
        """That of the input layer."""
        return tensor._keras_history.operation.name


def _functional(model: Any) -> Any:
    return model._functional if isinstance(model, Sequential) else model


def _node_of(tensor: Any) -> Any:
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


def _stored(node: Any) -> StoredCall:
    operation = node.operation
    args, kwargs = tuple(node.arguments.args), dict(node.arguments.kwargs)
    if isinstance(operation, Operation) and not isinstance(operation, keras.Layer):
        op = KerasOp(operation)
        args, kwargs = op.tensorflow_arguments(args, kwargs)
        if op.symbol == "reshape" and None in kwargs["shape"]:
            kwargs["shape"] = _sizes(kwargs["shape"], args[0].shape)
        return StoredCall(op, args, kwargs, tuple(node.outputs))
    return StoredCall(operation, args, kwargs, tuple(node.outputs))


def _sizes(target: Sequence, shape: Sequence) -> list[int]:
    """A target shape that can be run, for one that was traced with an unknown batch.

    Raises:
        ValueError: not the batch alone is unknown.
    """
    rest, values = list(target[1:]), shape[1:]
    if target[0] is not None or None in rest or None in values:
        raise ValueError("reshapes to several unknown sizes")
    if -1 in rest:
        known = math.prod(size for size in rest if size != -1)
        rest[rest.index(-1)] = math.prod(values) // known
    return [-1, *rest]
