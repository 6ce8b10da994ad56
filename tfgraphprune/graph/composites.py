"""Layers made of layers: they are followed by calling them on symbolic inputs.

What comes out is read like a functional model. A layer is opened only if it has no weights of
its own beside those of the layers in it, and does the same in training as in inference (its
layers may differ, such as dropout).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import tensorflow as tf

from tfgraphprune.errors import UserError, first_line
from tfgraphprune.graph.dialects import dialect_of
from tfgraphprune.graph.dialects.base import StoredCall
from tfgraphprune.graph.kinds import is_of_keras
from tfgraphprune.graph.labels import Shape
from tfgraphprune.graph.reader import Call, Program, call_of, is_tensor, program_of, shape_of
from tfgraphprune.graph.rules import is_known, is_op


def is_composite(call: Call) -> bool:
    """Whether a call is of a layer that has no rule, but can be opened."""
    layer = call.layer
    if is_op(layer) or is_known(layer) or call.dialect.own_weights(layer):
        return False
    return not is_of_keras(type(layer)) or type(layer).__name__ == "Lambda"


def opened(call: Call, shapes: Sequence[Shape]) -> Program:
    """The inside of a composite layer's call.

    Args:
        call: the call.
        shapes: of its inputs, without the batch.

    Raises:
        Exception: of any kind, where the layer can't be called on symbolic inputs.
        ValueError: it acts differently in training, uses weights of layers in it directly, adds
            losses, or is given a mask that Keras hands on beside its arguments.
    """
    if call.dialect.name == "tf_keras":  # Keras 3 stores the mask among the arguments
        masked = any(getattr(t, "_keras_mask", None) is not None for t in call.inputs)
        for layer in (call.layer, *call.dialect.layers_in(call.layer)) if masked else ():
            if not is_of_keras(type(layer)) and _sees_masks(layer):
                raise ValueError("is given a mask")
    program = _traced(call, shapes, {})
    if any(map(reads_variable, program.calls)):
        raise ValueError("computes with a weight outside of the layer that it is of")
    accepts = inspect.signature(call.layer.call).parameters
    if "training" in accepts:
        training = _traced(call, shapes, {"training": True})
        inner = {id(layer) for layer in call.dialect.layers_in(call.layer)}
        if _steps(program, inner) != _steps(training, inner):
            raise ValueError("does other things in training than in inference")
    return _sized(program)


def _sees_masks(layer: Any) -> bool:
    """Whether a layer takes a mask, or makes one."""
    takes = "mask" in inspect.signature(layer.call).parameters
    return takes or not getattr(layer.compute_mask, "_is_default", False)


def reads_variable(call: Call) -> bool:
    """Whether a call is of an op that has a variable among its arguments."""
    if not is_op(call.layer):
        return False
    kinds = {type(leaf) for leaf in tf.nest.flatten((call.args, call.kwargs))}
    return any("Variable" in base.__name__ for kind in kinds for base in kind.__mro__)


def read_model(model: Any) -> Program:
    """The layer calls of a model: of a functional one as it is stored, of another by calling it.

    Raises:
        UserError: not a Keras model, not built, or a subclassed one that can't be traced.
    """
    dialect = dialect_of(model)
    if isinstance(model, dialect.keras.Sequential) and not model.built:
        raise UserError(
            f"the Sequential model {model.name!r} has no input shape yet: "
            "call model.build(input_shape) or start it with an Input."
        )
    if dialect.has_layer_graph(model):
        return program_of(model, dialect)
    arguments = dialect.input_structure(model)
    if arguments is None:
        raise UserError(
            f"the subclassed model {model.name!r} has not been called yet, so its inputs are "
            "unknown: call it once on a batch of data."
        )
    args, kwargs = arguments
    kwargs = {name: value for name, value in kwargs.items() if name != "training"}
    call = Call("", (), "", model, tuple(args), kwargs, (), dialect)
    try:
        return opened(call, [tuple(t.shape[1:]) for t in call.inputs])
    except Exception as error:
        raise UserError(
            f"the subclassed model {model.name!r} can't be traced on symbolic inputs "
            f"({first_line(error)}): express it with the functional API."
        ) from error


def _steps(program: Program, inner: set[int]) -> list[int | str]:
    """What is called: the layers inside by identity, ops and layers made on the way by kind."""
    return [
        id(call.layer)
        if id(call.layer) in inner
        else str(getattr(call.layer, "symbol", type(call.layer)))
        for call in program.calls
    ]


def _traced(call: Call, shapes: Sequence[Shape], extra: dict) -> Program:
    dialect = call.dialect
    inputs = [
        dialect.keras.Input(batch_shape=(t.shape[0], *shape), dtype=t.dtype)
        for t, shape in zip(call.inputs, shapes, strict=True)
    ]
    args, kwargs = call.substitute({id(t): x for t, x in zip(call.inputs, inputs, strict=True)})
    inner = dialect.layers_in(call.layer)
    nodes = [len(layer._inbound_nodes) for layer in inner]
    losses = [(each, len(each._losses)) for each in (call.layer, *inner)]
    try:
        nested = call.layer.call(*args, **{**kwargs, **extra})
        outputs = tf.nest.flatten(nested)
        if not all(map(is_tensor, outputs)):
            raise ValueError("returns something else than tensors")
        calls = tuple(_calls(call, dialect.call_between(inputs, outputs)))
        if any(len(each._losses) > count for each, count in losses):
            raise ValueError("adds a loss to those of the training")
    finally:
        for each, count in losses:
            del each._losses[count:]
        for layer, count in zip(inner, nodes, strict=True):
            del layer._inbound_nodes[count:]
    given = args[0] if len(args) == 1 and not any(map(is_tensor, kwargs.values())) else inputs
    return Program(tuple(inputs), calls, tuple(outputs), given, nested, dialect)


def _sized(program: Program) -> Program:
    """With the sizes that are only known once the batch's is, as after `tf.reshape(x, (b, -1))`."""
    known = [None not in shape_of(t) for t in program.inputs]
    made = (shape_of(t) for call in program.calls for t in call.outputs)
    if program.dialect.name != "tf_keras" or not all(known) or not any(None in s for s in made):
        return program
    calls: list[Call] = []

    def visit(call: Call, args: tuple, kwargs: dict) -> Any:
        results = call.layer(*args, **kwargs)
        calls.append(replace(call, shapes=tuple(map(shape_of, tf.nest.flatten(results)))))
        return results

    specs = [tf.TensorSpec((t.shape[0] or 1, *shape_of(t)), t.dtype) for t in program.inputs]
    run = tf.function(lambda *x: program.interpret(x, visit), autograph=False)
    try:
        run.get_concrete_function(*specs)
    except (ValueError, TypeError, tf.errors.OpError):  # an op that wants its own sizes
        return program
    return replace(program, calls=tuple(calls))


def _calls(call: Call, found: Sequence[StoredCall]) -> Iterator[Call]:
    names = dict(_names(call.layer))
    scope = call.key + "/" if call.key else ""
    numbers: dict[str, int] = {}
    seen: dict[int, int] = {}
    for stored in (part for whole in found for part in call.dialect.split(whole)):
        layer = stored.layer
        if id(layer) not in names:
            base = getattr(layer, "symbol", None) or layer.name
            numbers[base] = count = numbers.get(base, 0) + 1
            names[id(layer)] = base + (f"_{count}" if count > 1 else "")
        yield call_of(stored, call.dialect, scope, call.path, names[id(layer)], seen)


def _names(composite: Any) -> Iterator[tuple[int, str]]:
    """Each layer that an attribute holds, with the attribute's name: the same in every session."""
    for attribute, value in vars(composite).items():
        if attribute.startswith("_self_") or attribute in ("_layers", "_obj_reference_counts_dict"):
            continue
        if isinstance(value, list | tuple):
            named = {f"{attribute}_{number}": layer for number, layer in enumerate(value)}
        elif isinstance(value, dict):
            named = {f"{attribute}_{name}": layer for name, layer in value.items()}
        else:
            named = {attribute: value}
        for name, layer in named.items():
            if hasattr(layer, "_inbound_nodes"):
                yield id(layer), name
