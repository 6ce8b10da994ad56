"""A Keras 3 model built again in tf_keras, layer by layer, with the same names and weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tf_keras as keras

from tfgraphprune.errors import UserError, first_line
from tfgraphprune.keras3.layers import Unsupported, is_stateless, twin_layer
from tfgraphprune.keras3.models import check_functional
from tfgraphprune.keras3.operations import twin_operation

_MOST_NAMED = 8
"""How many layers an error names."""


def twin(model: Any) -> Any:
    """A tf_keras model that computes what a functional or Sequential model of Keras 3 computes.

    Layers keep their names, nested models are nested models, shared layers are shared; weights
    are copied. The model that came is not changed. Losses and optimizers are left behind.

    Args:
        model: of Keras 3, with TensorFlow below it or not.

    Raises:
        UserError: no functional model, or one with layers that can't be built in tf_keras; these
            are named.
    """
    check_functional(model)
    builder = _Builder()
    for found in _walk(model, ""):
        builder.prepare(*found)
    builder.refuse(model.name)
    made = builder.build(model)
    builder.refuse(model.name)
    copy_weights(model, made)
    return made


def copy_weights(source: Any, target: Any) -> None:
    """Copy weights from a model to its twin, or back.

    Args:
        source: a model of Keras 3 or tf_keras.
        target: the other one; layers are found by name.

    Raises:
        UserError: a layer's weights have other shapes.
    """
    for layer in source.layers:
        if is_stateless(layer) or not layer.weights:
            continue
        other = target.get_layer(layer.name)
        if hasattr(layer, "layers"):
            copy_weights(layer, other)
            continue
        shapes = [[tuple(w.shape) for w in each.weights] for each in (layer, other)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"the weights of layer {layer.name!r} have shapes {shapes[0]} in one model and "
                f"{shapes[1]} in the other: give a model and its twin."
            )
        for mine, its in zip(layer.weights, other.weights, strict=True):
            its.assign(np.asarray(mine))


def _functional(model: Any) -> Any:
    """The graph of a model; that of a Sequential is kept inside it."""
    return getattr(model, "_functional", None) or model


def _nodes(model: Any) -> Iterator[Any]:
    """The calls of a functional model, in topological order."""
    by_depth = _functional(model)._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        yield from by_depth[depth]


def _walk(model: Any, scope: str) -> Iterator[tuple[Any, str]]:
    """The layers and operations of a model, nested models entered, with their full names."""
    for node in _nodes(model):
        op = node.operation
        name = scope + op.name
        if _is_model(op):
            yield from _walk(op, name + "/")
        else:
            yield op, name


def _is_model(op: Any) -> bool:
    import keras as keras3

    if not isinstance(op, keras3.Model):
        return False
    try:
        check_functional(op)
    except UserError:
        return False
    return True


class _Builder:
    """Makes each layer once, collects what can't be made, and connects the rest."""

    def __init__(self) -> None:
        self._made: dict[int, Callable[..., Any]] = {}
        self._failed: dict[str, str] = {}

    def prepare(self, op: Any, name: str) -> None:
        """Make a layer's twin; a failure is kept for `refuse`."""
        if id(op) in self._made:
            return
        try:
            self._made[id(op)] = _make(op)
        except Unsupported as error:
            self._fail(op, name, error)
        except (TypeError, ValueError, NotImplementedError) as error:
            self._fail(op, name, Unsupported(first_line(error)))

    def refuse(self, name: str) -> None:
        """Name all layers that failed.

        Raises:
            UserError: there is one.
        """
        if not self._failed:
            return
        listed = [f"{layer!r} ({reason})" for layer, reason in self._failed.items()]
        more = f" and {len(listed) - _MOST_NAMED} more" if len(listed) > _MOST_NAMED else ""
        raise UserError(
            f"the Keras 3 model {name!r} can't be built in tf_keras because of its layers "
            f"{', '.join(listed[:_MOST_NAMED])}{more}: build the model with tf_keras."
        )

    def build(self, model: Any, scope: str = "") -> Any:
        """The twin of a model, all of whose layers are prepared."""
        from keras import tree

        functional = _functional(model)
        values: dict[int, Any] = {}

        def value(leaf: Any) -> Any:
            return values.get(id(leaf), leaf)

        for node in _nodes(model):
            op = node.operation
            if node.is_input:
                values[id(node.outputs[0])] = self._made[id(op)]()
                continue
            if _is_model(op) and id(op) not in self._made:
                self._made[id(op)] = self.build(op, scope + op.name + "/")
            args, kwargs = tree.map_structure(value, (node.arguments.args, node.arguments.kwargs))
            kwargs = {key: given for key, given in kwargs.items() if given is not None}
            try:
                results = tree.flatten(self._made[id(op)](*args, **kwargs))
            except Unsupported as error:
                self._fail(op, scope + op.name, error)
                self.refuse(model.name)
            values |= dict(zip(map(id, node.outputs), results, strict=True))
        inputs = tree.map_structure(value, functional._inputs_struct)
        outputs = tree.map_structure(value, functional._outputs_struct)
        return keras.Model(inputs, outputs, name=model.name)

    def _fail(self, op: Any, name: str, error: Unsupported) -> None:
        reason = str(error)
        self._failed[name] = type(op).__name__ + (f", {reason}" if reason else "")


def _make(op: Any) -> Callable[..., Any]:
    """A function of symbolic tensors that stands for a layer, an input or an operation."""
    import keras as keras3

    if isinstance(op, keras3.layers.InputLayer):
        if op.sparse or getattr(op, "ragged", False):
            raise Unsupported("its tensor is not dense")
        return lambda: keras.Input(batch_shape=op.batch_shape, dtype=op.dtype, name=op.name)
    if not isinstance(op, keras3.layers.Layer):
        return twin_operation(op)
    layer, afterwards = twin_layer(op)
    if afterwards is None:
        return layer
    return lambda *args, **kwargs: afterwards(layer(*args, **kwargs))
