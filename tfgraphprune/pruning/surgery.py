"""Surgery: a plain Keras model from which the cut channels are really gone."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfgraphprune.errors import UserError
from tfgraphprune.graph.labels import Kept, Labels, Shape
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.graph.reader import Call, interpret, is_tensor
from tfgraphprune.graph.rules import rule_for
from tfgraphprune.pruning.plan import PruningPlan


def prune(model: Any, plan: PruningPlan) -> Any:
    """A smaller model that computes what `masked(model, plan)` computes.

    Args:
        model: the model that the plan was made for; it is not changed.
        plan: what stays.

    Returns:
        A functional tf_keras model with the same layer names, nested models and outputs, whose
        weights are copies. A compiled model comes back compiled alike, with a fresh optimizer,
        if its loss and metrics can be made anew from their configuration.

    Raises:
        UserError: the plan was made for another model, or a layer has no configuration.
    """
    graph = LayerGraph.from_model(model)
    plan.check(graph)
    kept = graph.kept(plan.kept)
    small = _Surgeon(graph, kept).rebuild(model, graph.input_labels(), None)
    _compile_alike(small, model)
    return small


class _Surgeon:
    """Rebuilds a model call by call; shared layers and shared nested models are rebuilt once."""

    def __init__(self, graph: LayerGraph, kept: Kept):
        self._graph = graph
        self._kept = kept
        self._rebuilt: dict[int, Any] = {}
        self._axes: dict[tuple, list[tuple[int, np.ndarray]]] = {}
        for axis in graph.weight_axes():
            positions = kept.positions(axis.ids)
            self._axes.setdefault((axis.path, axis.weight), []).append((axis.axis, positions))

    def rebuild(self, model: Any, inputs: list[Labels], within: Call | None) -> Any:
        """The smaller twin of a model, given the labels of its inputs."""
        starts = [
            keras.Input(
                _cut_shape(tensor.shape[1:], labels.shape, self._kept.shape(labels)),
                batch_size=tensor.shape[0],
                name=tensor._keras_history.layer.name,
                dtype=tensor.dtype,
            )
            for tensor, labels in zip(model.inputs, inputs, strict=True)
        ]
        outputs = interpret(model, starts, self._visit, within)
        return _assemble(model, starts, outputs)

    def _visit(self, call: Call, args: tuple, kwargs: dict) -> Any:
        if call.is_model:
            if id(call.layer) not in self._rebuilt:
                inputs = self._graph.inputs_of(call.key)
                self._rebuilt[id(call.layer)] = self.rebuild(call.layer, inputs, call)
            return self._rebuilt[id(call.layer)](*args, **kwargs)
        rule = rule_for(call.layer)
        inputs, outputs = self._graph.labels(call.key)
        tensors = dict(zip(map(id, call.inputs), _tensors((args, kwargs)), strict=True))
        whole = self._kept.all_of([*inputs, *outputs])
        if not whole:
            args, kwargs = rule.arguments(call, inputs, outputs, self._kept)
            args, kwargs = tf.nest.map_structure(
                lambda leaf: tensors.get(id(leaf), leaf), (args, kwargs)
            )
        layer = self._rebuilt.get(id(call.layer))
        if layer is not None:
            return layer(*args, **kwargs)
        same_size = self._kept.all_of(outputs)
        changed = {} if same_size else rule.config(call, outputs, self._kept)
        layer = self._rebuilt[id(call.layer)] = _remade(call, whole, changed)
        result = layer(*args, **kwargs)
        self._copy_weights(call, layer)
        return result

    def _copy_weights(self, call: Call, layer: Any) -> None:
        path = self._graph.path_of(call.layer)
        values = call.layer.get_weights()
        for index, value in enumerate(values):
            for axis, positions in self._axes.get((path, index), ()):
                value = np.take(value, positions, axis)
            values[index] = value
        layer.set_weights(values)


def _cut_shape(own: Sequence, dense: Shape, cut: Shape) -> Shape:
    """An input's shape; sizes that are not cut stay as they are, unknown ones too."""
    return tuple(o if d == c else c for o, d, c in zip(own, dense, cut, strict=True))


def _compile_alike(small: Any, model: Any) -> None:
    """Compile as another model is, where that can be told from its configuration."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a loss that can't be saved is no news here
        config = model.get_compile_config()
    if config is not None:
        # A loss that is a bare function can't be looked up again: the user compiles.
        with contextlib.suppress(ValueError, TypeError):
            small.compile_from_config(config)


def _assemble(model: Any, inputs: list, outputs: list) -> Any:
    """A functional model with the input and output structure, and the name, of another."""
    return keras.Model(
        tf.nest.pack_sequence_as(model._nested_inputs, inputs),
        tf.nest.pack_sequence_as(model._nested_outputs, outputs),
        name=model.name,
    )


def _remade(call: Call, whole: bool, changed: dict) -> Any:
    """The call's layer made anew from its configuration, with some entries changed."""
    try:
        config = call.layer.get_config()
        if not whole:
            config = {**_without_array_initializers(config), **changed}
        return type(call.layer).from_config(config)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise UserError(
            f"the layer {call.key!r} ({type(call.layer).__name__}) can't be made anew from its "
            "configuration: give it a get_config that returns the arguments of its __init__, and "
            "register custom functions with keras.saving.register_keras_serializable."
        ) from error


def _without_array_initializers(config: dict) -> dict:
    """Initial values of the dense size would not fit; the weights are copied anyway."""
    return {
        name: "zeros" if name.endswith("_initializer") and _holds_array(value) else value
        for name, value in config.items()
    }


def _holds_array(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_array, value.values()))
    return isinstance(value, list | tuple | np.ndarray)


def _tensors(nest: Any) -> list:
    return [leaf for leaf in tf.nest.flatten(nest) if is_tensor(leaf)]
