"""A functional model as layer calls in order, whichever Keras it is of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from tfgraphprune.graph.dialects import Dialect
from tfgraphprune.graph.dialects.base import StoredCall
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
        dialect: the Keras that it is of.
        shapes: shapes of the outputs without the batch, where they are not those of `outputs`.
    """

    key: str
    path: tuple[str, ...]
    label: str
    layer: Any
    args: tuple
    kwargs: dict
    outputs: tuple
    dialect: Dialect
    shapes: tuple[Shape, ...] | None = None

    @property
    def inputs(self) -> tuple:
        """The symbolic input tensors, flat."""
        return tuple(leaf for leaf in tf.nest.flatten((self.args, self.kwargs)) if is_tensor(leaf))

    @property
    def is_model(self) -> bool:
        """Whether the layer is itself a functional model, to be read in turn."""
        return self.dialect.has_layer_graph(self.layer)

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

    def in_inference(self, kwargs: dict) -> dict:
        """Keyword arguments by which the layer acts as in inference; some do not by themselves."""
        try:
            accepts = "training" in inspect.signature(self.layer.call).parameters
        except (AttributeError, TypeError, ValueError):
            accepts = False
        return {**kwargs, "training": False} if accepts else kwargs

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
        return self.dialect.model_inputs(self.layer, given)

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
        dialect: the Keras that it is of.
    """

    inputs: tuple
    calls: tuple[Call, ...]
    outputs: tuple
    nested_inputs: Any
    nested_outputs: Any
    dialect: Dialect

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
    return any(kind.__name__ == "KerasTensor" for kind in type(leaf).__mro__)


def program_of(model: Any, dialect: Dialect, within: Call | None = None) -> Program:
    """The layer calls of a functional model.

    Args:
        model: a functional model.
        dialect: the Keras that it is of.
        within: the call of `model` in the model around it, if any.
    """
    scope, outer = (within.key + "/", within.path) if within else ("", ())
    seen: dict[int, int] = {}
    calls = tuple(
        call_of(stored, dialect, scope, outer, stored.layer.name, seen)
        for whole in dialect.stored_calls(model)
        for stored in dialect.split(whole)
    )
    structure = dialect.structure(model)
    return Program(tuple(model.inputs), calls, tuple(model.outputs), *structure, dialect)


def program_at(within: Call, shapes: Sequence[Shape]) -> Program:
    """A nested model, with the shapes that it has when called on inputs of `shapes`.

    Args:
        within: its call in the model around it.
        shapes: of its inputs, without the batch.
    """
    dialect = within.dialect
    program = program_of(within.layer, dialect, within)
    if all(tuple(t.shape[1:]) == s for t, s in zip(program.inputs, shapes, strict=True)):
        return program
    calls: list[Call] = []

    def visit(call: Call, args: tuple, kwargs: dict) -> Any:
        stored = StoredCall(call.layer, call.args, call.kwargs, call.outputs)
        results = dialect.shapes_of(stored, (args, kwargs))
        found = tuple(shape_of(tensor) for tensor in tf.nest.flatten(results))
        calls.append(replace(call, shapes=found))
        return results

    inputs = [
        dialect.placeholder((t.shape[0], *s), t.dtype)
        for t, s in zip(program.inputs, shapes, strict=True)
    ]
    try:
        program.interpret(inputs, visit)
    except (ValueError, TypeError, tf.errors.OpError):  # an op that wants its own sizes
        return program
    return replace(program, calls=tuple(calls))


def call_of(
    stored: StoredCall,
    dialect: Dialect,
    scope: str,
    outer: tuple[str, ...],
    label: str,
    seen: dict[int, int],
) -> Call:
    """A call as Keras stores it, with its place in the whole.

    Args:
        stored: the call.
        dialect: the Keras that it is of.
        scope: what its key begins with.
        outer: the path of what it is in.
        label: the layer's name there.
        seen: calls so far of each layer, by `id(layer)`; counts on.
    """
    layer = stored.layer
    count = seen[id(layer)] = seen.get(id(layer), 0) + 1
    key = scope + label + (f"#{count}" if count > 1 else "")
    path = (*outer, label)
    return Call(key, path, label, layer, stored.args, stored.kwargs, stored.outputs, dialect)


def shape_of(tensor: Any) -> Shape:
    """A tensor's shape without the batch; of unknown rank, as of rank 2."""
    unknown = isinstance(tensor.shape, tf.TensorShape) and tensor.shape.rank is None
    return (None,) if unknown else tuple(tensor.shape[1:])


def output_shapes(call: Call) -> list[Shape]:
    """The shape of each output, without the batch; of unknown rank, as of rank 2."""
    return list(call.shapes) if call.shapes else [shape_of(t) for t in call.outputs]
