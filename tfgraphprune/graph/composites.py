"""Layers made of layers: they are followed by calling them on symbolic inputs.

What comes out is read like a functional model. A layer is opened only if it has no weights of
its own beside those of the layers in it, and does the same in training as in inference (its
layers may differ, such as dropout).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfgraphprune.errors import UserError
from tfgraphprune.graph.labels import Shape
from tfgraphprune.graph.reader import Call, Program, call_of, has_layer_graph, is_tensor, program_of
from tfgraphprune.graph.rules import is_known


def is_composite(layer: Any) -> bool:
    """Whether a layer has no rule, but can be opened."""
    if is_known(layer) or not isinstance(layer, keras.layers.Layer):
        return False
    if layer._trainable_weights or layer._non_trainable_weights:
        return False
    own_kind = type(layer).__module__.split(".")[0] in ("tf_keras", "keras")
    return not own_kind or type(layer).__name__ == "Lambda"


def opened(call: Call, shapes: Sequence[Shape]) -> Program:
    """The inside of a composite layer's call.

    Args:
        call: the call.
        shapes: of its inputs, without the batch.

    Raises:
        Exception: of any kind, where the layer can't be called on symbolic inputs.
        ValueError: it acts differently in training.
    """
    program = _traced(call, shapes, {})
    accepts = inspect.signature(call.layer.call).parameters
    if "training" in accepts:
        training = _traced(call, shapes, {"training": True})
        inner = {id(layer) for layer in call.layer._flatten_layers()}
        if _steps(program, inner) != _steps(training, inner):
            raise ValueError("does other things in training than in inference")
    return program


def read_model(model: Any) -> Program:
    """The layer calls of a model: of a functional one as it is stored, of another by calling it.

    Raises:
        UserError: not a tf_keras model, not built, or a subclassed one that can't be traced.
    """
    if not isinstance(model, keras.Model):
        raise UserError(
            "the model must be a tf_keras model, "
            f"not {type(model).__module__}.{type(model).__name__}: load or build it with tf_keras."
        )
    if isinstance(model, keras.Sequential) and not model.built:
        raise UserError(
            f"the Sequential model {model.name!r} has no input shape yet: "
            "call model.build(input_shape) or start it with an Input."
        )
    if has_layer_graph(model):
        return program_of(model)
    spec = model.save_spec(dynamic_batch=True)
    if spec is None:
        raise UserError(
            f"the subclassed model {model.name!r} has not been called yet, so its inputs are "
            "unknown: call it once on a batch of data."
        )
    (args, kwargs) = tf.nest.map_structure(
        lambda s: keras.Input(s.shape[1:], dtype=s.dtype) if isinstance(s, tf.TypeSpec) else s, spec
    )
    kwargs.pop("training", None)
    call = Call("", (), "", model, tuple(args), kwargs, ())
    try:
        return opened(call, [tuple(t.shape[1:]) for t in call.inputs])
    except Exception as error:
        detail = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"the subclassed model {model.name!r} can't be traced on symbolic inputs ({detail}): "
            "express it with the functional API."
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
    inputs = [
        keras.Input(batch_shape=(t.shape[0], *shape), dtype=t.dtype)
        for t, shape in zip(call.inputs, shapes, strict=True)
    ]
    args, kwargs = call.substitute({id(t): x for t, x in zip(call.inputs, inputs, strict=True)})
    inner = list(call.layer._flatten_layers(include_self=False))
    nodes = [len(layer._inbound_nodes) for layer in inner]
    try:
        nested = call.layer.call(*args, **{**kwargs, **extra})
        outputs = tf.nest.flatten(nested)
        if not all(map(is_tensor, outputs)):
            raise ValueError("returns something else than tensors")
        calls = tuple(_calls(call, inputs, outputs))
    finally:
        for layer, count in zip(inner, nodes, strict=True):
            del layer._inbound_nodes[count:]
    given = args[0] if len(args) == 1 and not any(map(is_tensor, kwargs.values())) else inputs
    return Program(tuple(inputs), calls, tuple(outputs), given, nested)


def _calls(call: Call, inputs: list, outputs: list) -> Iterator[Call]:
    names = dict(_names(call.layer))
    scope = call.key + "/" if call.key else ""
    numbers: dict[str, int] = {}
    seen: dict[int, int] = {}
    for node in _ordered(inputs, outputs):
        layer = node.layer
        if id(layer) not in names:
            base = getattr(layer, "symbol", None) or layer.name
            numbers[base] = count = numbers.get(base, 0) + 1
            names[id(layer)] = base + (f"_{count}" if count > 1 else "")
        yield call_of(node, scope, call.path, names[id(layer)], seen)


def _names(composite: Any) -> Iterator[tuple[int, str]]:
    """Each layer that an attribute holds, with the attribute's name: the same in every session."""
    for attribute, value in vars(composite).items():
        if attribute.startswith("_self_") or attribute in ("_layers", "_obj_reference_counts_dict"):
            continue
        if isinstance(value, keras.layers.Layer):
            yield id(value), attribute
        elif isinstance(value, list | tuple):
            for number, layer in enumerate(value):
                if isinstance(layer, keras.layers.Layer):
                    yield id(layer), f"{attribute}_{number}"
        elif isinstance(value, dict):
            for name, layer in value.items():
                if isinstance(layer, keras.layers.Layer):
                    yield id(layer), f"{attribute}_{name}"


def _ordered(inputs: list, outputs: list) -> list:
    """The nodes between inputs and outputs, each after those that it reads."""
    done, order = {id(t.node) for t in inputs}, list[Any]()
    stack = [(t.node, False) for t in reversed(outputs)]
    while stack:
        node, ready = stack.pop()
        if id(node) in done:
            continue
        if node.is_input:
            raise ValueError("reads a tensor from outside")
        if ready:
            done.add(id(node))
            order.append(node)
            continue
        stack.append((node, True))
        read = [t for t in tf.nest.flatten((node.call_args, node.call_kwargs)) if is_tensor(t)]
        stack += [(t.node, False) for t in reversed(read)]
    return order
