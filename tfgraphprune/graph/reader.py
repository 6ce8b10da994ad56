"""The only place that knows how Keras stores a functional model: its layer calls, in order."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf
import tf_keras as keras
from tf_keras.src.engine.functional import Functional
from tf_keras.src.engine.keras_tensor import KerasTensor

from tfgraphprune.graph.labels import Shape


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer on symbolic tensors.

    Attributes:
        key: unique name: the layer's, after the names of what is around it, with `#2` for the
            layer's second call and so on.
        path: names that lead from the outer model to the layer.
        label: the layer's name in the model, or composite layer, that it is directly in.
        layer: the Keras layer.
        args: positional arguments, with symbolic tensors as leaves.
        kwargs: keyword arguments likewise.
        outputs: symbolic output tensors, flat.
        shapes: shapes of the outputs without the batch, where they are not those of `outputs`.
    """

    key: str
    path: tuple[str, ...]
    label: str
    layer: Any
    args: tuple
    kwargs: dict
    outputs: tuple
    shapes: tuple[Shape, ...] | None = None

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

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """One argument, wherever it stands."""
        if len(self.args) > position:
            return self.args[position]
        return self.kwargs.get(name, default)

    def with_argument(self, position: int, name: str, value: Any) -> tuple[tuple, dict]:
        """All arguments, with another value for one of them."""
        args = list(self.args)
        if len(args) > position:
            args[position] = value
            return tuple(args), self.kwargs
        return self.args, {**self.kwargs, name: value}

    def model_inputs(self, args: tuple, kwargs: dict) -> list:
        """Of the arguments of a nested model's call, a value for each of the model's inputs."""
        given = args[0] if args else kwargs["inputs"]
        return self.layer._flatten_to_reference_inputs(given)

    def substitute(self, values: dict[int, Any]) -> tuple[tuple, dict]:
        """The arguments with each symbolic tensor `t` replaced by `values[id(t)]`."""
        return tf.nest.map_structure(
            lambda leaf: values[id(leaf)] if is_tensor(leaf) else leaf, (self.args, self.kwargs)
        )


@dataclass(frozen=True, eq=False)
class Program:
    """A model, or the inside of a composite layer, as layer calls in topological order.

    Attributes:
        inputs: symbolic tensors.
        calls: nested models and composite layers are single calls.
        outputs: symbolic tensors, flat.
        nested_inputs: the inputs as they are handed over.
        nested_outputs: the outputs as they are returned.
    """

    inputs: tuple
    calls: tuple[Call, ...]
    outputs: tuple
    nested_inputs: Any
    nested_outputs: Any

    def interpret(self, inputs: Sequence, visit: Callable[[Call, tuple, dict], Any]) -> list:
        """Run call by call on values of any kind.

        Args:
            inputs: a value for each of `self.inputs`.
            visit: given a call and its arguments with values for tensors, returns its outputs.

        Returns:
            A value for each of `self.outputs`.
        """
        values = {id(t): value for t, value in zip(self.inputs, inputs, strict=True)}
        for call in self.calls:
            args, kwargs = call.substitute(values)
            results = tf.nest.flatten(visit(call, args, kwargs))
            values.update({id(t): value for t, value in zip(call.outputs, results, strict=True)})
        return [values[id(t)] for t in self.outputs]


def is_tensor(leaf: Any) -> bool:
    """Whether `leaf` is one of Keras' symbolic tensors."""
    return isinstance(leaf, KerasTensor)


def has_layer_graph(layer: Any) -> bool:
    """Whether a layer is a model that computes what its layer graph says."""
    own_call = type(layer).call if isinstance(layer, keras.Model) else None
    return own_call in (Functional.call, keras.Sequential.call) and bool(layer.inputs)


def program_of(model: Functional, within: Call | None = None) -> Program:
    """The layer calls of a functional model.

    Args:
        model: a functional model.
        within: the call of `model` in the model around it, if any.
    """
    return Program(
        tuple(model.inputs),
        tuple(_calls(model, within)),
        tuple(model.outputs),
        model._nested_inputs,
        model._nested_outputs,
    )


def program_at(model: Functional, within: Call, shapes: Sequence[Shape]) -> Program:
    """`program_of` a nested model, with the shapes that it has when called on inputs of `shapes`.

    Args:
        model: a functional model.
        within: its call in the model around it.
        shapes: of its inputs, without the batch.
    """
    program = program_of(model, within)
    if all(tuple(t.shape[1:]) == s for t, s in zip(program.inputs, shapes, strict=True)):
        return program
    calls: list[Call] = []

    def visit(call: Call, args: tuple, kwargs: dict) -> Any:
        results = call.layer(*args, **kwargs)
        found = tuple(shape_of(tensor) for tensor in tf.nest.flatten(results))
        calls.append(replace(call, shapes=found))
        return results

    specs = [
        tf.TensorSpec((t.shape[0], *s), t.dtype)
        for t, s in zip(program.inputs, shapes, strict=True)
    ]
    run = tf.function(lambda *x: program.interpret(x, visit), autograph=False)
    try:
        run.get_concrete_function(*specs)
    except (ValueError, TypeError, tf.errors.OpError):  # an op that wants its own sizes
        return program
    return replace(program, calls=tuple(calls))


def _calls(model: Functional, within: Call | None) -> Iterator[Call]:
    scope, outer = (within.key + "/", within.path) if within else ("", ())
    seen: dict[int, int] = {}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if not node.is_input:
                yield call_of(node, scope, outer, node.layer.name, seen)


def call_of(node: Any, scope: str, outer: tuple[str, ...], label: str, seen: dict) -> Call:
    """One of Keras' nodes as a call.

    Args:
        node: the node.
        scope: what its key begins with.
        outer: the path of what it is in.
        label: the layer's name there.
        seen: calls so far of each layer, by `id(layer)`; counts on.
    """
    layer = node.layer
    count = seen[id(layer)] = seen.get(id(layer), 0) + 1
    return Call(
        scope + label + (f"#{count}" if count > 1 else ""),
        (*outer, label),
        label,
        layer,
        tuple(node.call_args),
        dict(node.call_kwargs),
        tuple(tf.nest.flatten(node.outputs)),
    )


def shape_of(tensor: Any) -> Shape:
    """A tensor's shape without the batch; of unknown rank, as of rank 2."""
    return (None,) if tensor.shape.rank is None else tuple(tensor.shape[1:])


def output_shapes(call: Call) -> list[Shape]:
    """The shape of each output, without the batch; of unknown rank, as of rank 2."""
    return list(call.shapes) if call.shapes else [shape_of(t) for t in call.outputs]
