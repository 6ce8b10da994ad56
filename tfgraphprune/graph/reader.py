"""The only place that knows how Keras stores a functional model: its layer calls, in order."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras as keras
from tf_keras.src.engine.functional import Functional
from tf_keras.src.engine.keras_tensor import KerasTensor

from tfgraphprune.errors import UserError


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer on symbolic tensors.

    Attributes:
        key: unique name: the layer's, after the names of the nested models around it, with `#2`
            for the layer's second call and so on.
        path: names that lead from the outer model to the layer.
        layer: the Keras layer.
        args: positional arguments, with symbolic tensors as leaves.
        kwargs: keyword arguments likewise.
        outputs: symbolic output tensors, flat.
    """

    key: str
    path: tuple[str, ...]
    layer: Any
    args: tuple
    kwargs: dict
    outputs: tuple

    @property
    def inputs(self) -> tuple:
        """The symbolic input tensors, flat."""
        return tuple(leaf for leaf in tf.nest.flatten((self.args, self.kwargs)) if is_tensor(leaf))

    @property
    def is_model(self) -> bool:
        """Whether the layer is itself a functional model, to be read in turn."""
        return has_layer_graph(self.layer)

    def named_arguments(self) -> dict:
        """The arguments by name, defaults included.

        A loaded model gives ops by name what the model that was saved gave by position.
        """
        function = getattr(self.layer, "function", None) or self.layer.call
        try:
            bound = inspect.signature(function).bind(*self.args, **self.kwargs)
        except (TypeError, ValueError):
            return {"args": self.args, "kwargs": self.kwargs}
        bound.apply_defaults()
        return dict(bound.arguments)

    def model_inputs(self, args: tuple, kwargs: dict) -> list:
        """Of the arguments of a nested model's call, a value for each of the model's inputs."""
        given = args[0] if args else kwargs["inputs"]
        return self.layer._flatten_to_reference_inputs(given)

    def substitute(self, values: dict[int, Any]) -> tuple[tuple, dict]:
        """The arguments with each symbolic tensor `t` replaced by `values[id(t)]`."""
        return tf.nest.map_structure(
            lambda leaf: values[id(leaf)] if is_tensor(leaf) else leaf, (self.args, self.kwargs)
        )


def is_tensor(leaf: Any) -> bool:
    """Whether `leaf` is one of Keras' symbolic tensors."""
    return isinstance(leaf, KerasTensor)


def has_layer_graph(layer: Any) -> bool:
    """Whether a layer is a model that computes what its layer graph says."""
    own_call = type(layer).call if isinstance(layer, keras.Model) else None
    return own_call in (Functional.call, keras.Sequential.call) and bool(layer.inputs)


def check_readable(model: Any) -> None:
    """Refuse what has no graph of layer calls.

    Raises:
        UserError: not a tf_keras model, a subclassed one, or a Sequential without input shape.
    """
    if not isinstance(model, keras.Model):
        raise UserError(
            "the model must be a functional or Sequential tf_keras model, "
            f"not {type(model).__module__}.{type(model).__name__}: load or build it with tf_keras."
        )
    if isinstance(model, keras.Sequential) and not model.built:
        raise UserError(
            f"the Sequential model {model.name!r} has no input shape yet: "
            "call model.build(input_shape) or start it with an Input."
        )
    if not has_layer_graph(model):
        raise UserError(
            f"the model {model.name!r} is a subclassed keras.Model or overrides its call method, "
            "and so has no layer graph: express it with the functional API."
        )


def calls(model: Functional, within: Call | None = None) -> Iterator[Call]:
    """The layer calls of `model` in topological order; nested models are single calls.

    Args:
        model: a functional model.
        within: the call of `model` in the model around it, if any.
    """
    scope, outer = (within.key + "/", within.path) if within else ("", ())
    seen: dict[int, int] = {}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            layer = node.layer
            count = seen[id(layer)] = seen.get(id(layer), 0) + 1
            key = scope + layer.name + (f"#{count}" if count > 1 else "")
            outputs = tuple(tf.nest.flatten(node.outputs))
            yield Call(
                key,
                (*outer, layer.name),
                layer,
                tuple(node.call_args),
                dict(node.call_kwargs),
                outputs,
            )


def interpret(
    model: Functional,
    inputs: list,
    visit: Callable[[Call, tuple, dict], Any],
    within: Call | None = None,
) -> list:
    """Run a model call by call on values of any kind.

    Args:
        model: a functional model.
        inputs: a value for each of `model.inputs`.
        visit: given a call and its arguments with values for tensors, returns its outputs.
        within: the call of `model` in the model around it, if any.

    Returns:
        A value for each of `model.outputs`.
    """
    values = {id(t): value for t, value in zip(model.inputs, inputs, strict=True)}
    for call in calls(model, within):
        args, kwargs = call.substitute(values)
        results = tf.nest.flatten(visit(call, args, kwargs))
        values.update({id(t): value for t, value in zip(call.outputs, results, strict=True)})
    return [values[id(t)] for t in model.outputs]


def conformed(model: Functional, x: Any) -> list:
    """Tensors as users hand them over, in the order, rank and dtype of `model.inputs`."""
    tensors = model._flatten_to_reference_inputs(x)
    return [
        model._conform_to_reference_input(tensor, reference)
        for tensor, reference in zip(tensors, model.inputs, strict=True)
    ]


def execute(
    model: Functional,
    inputs: list,
    visit: Callable[[Call, tuple, dict], Any],
    within: Call | None = None,
) -> list:
    """Like `interpret`, with nested models entered, so that `visit` sees plain layers only."""

    def enter(call: Call, args: tuple, kwargs: dict) -> Any:
        if call.is_model:
            return execute(call.layer, call.model_inputs(args, kwargs), visit, call)
        return visit(call, args, kwargs)

    return interpret(model, inputs, enter, within)


def output_shapes(call: Call) -> list[tuple[int | None, ...]]:
    """The shape of each output, without the batch; of unknown rank, as of rank 2."""
    return [(None,) if t.shape.rank is None else tuple(t.shape[1:]) for t in call.outputs]
