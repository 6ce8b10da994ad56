"""Reads a whole model on channel ids: each layer call by its rule, shared layers alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.graph.labels import Labels, per_channel
from tfgraphprune.graph.reader import Call, interpret
from tfgraphprune.graph.rules import rule_for
from tfgraphprune.graph.tracer import CallTracer, Trace


def trace_model(model: Any) -> tuple[Trace, list[Call]]:
    """Follow every channel of a model, call by call.

    Returns:
        What was found, and the layer calls in topological order, those in nested models included.
    """
    trace, found, firsts = Trace(), list[Call](), dict[int, Call]()

    def visit(call: Call, args: tuple, kwargs: dict) -> Any:
        first = firsts.setdefault(id(call.layer), call)
        if call.is_model:
            inputs = trace.inputs[call.key] = call.model_inputs(args, kwargs)
            results = interpret(call.layer, inputs, visit, call)
            if first is not call:
                _couple_models(trace, first, call)
            return results
        inputs = [leaf for leaf in tf.nest.flatten((args, kwargs)) if isinstance(leaf, Labels)]
        trace.inputs[call.key] = inputs
        tracer = CallTracer(trace, call)
        outputs = rule_for(call.layer).trace(tracer, inputs)
        tracer.other_weights()
        outputs = [labels.made_by(call.key) for labels in outputs]
        trace.outputs[call.key] = outputs
        found.append(call)
        if first is not call and rule_for(call.layer).has_settings:
            _couple(trace, first.key, call.key)
        return outputs

    starts = [_input(trace, tensor) for tensor in model.inputs]
    trace.outputs[""] = starts
    for labels in interpret(model, starts, visit):
        trace.frozen.append((np.unique(labels.ids), "output of the model"))
    return trace, found


def _couple_models(trace: Trace, first: Call, again: Call) -> None:
    """A nested model is rebuilt once: all its calls must be cut alike, also where no weight is."""
    _couple(trace, first.key, again.key)
    scope = again.key + "/"
    for key in [key for key in trace.inputs if key.startswith(scope)]:
        _couple(trace, f"{first.key}/{key.removeprefix(scope)}", key)


def _couple(trace: Trace, first: str, again: str) -> None:
    """Unite the channels of two calls position by position."""
    tensors = [trace.inputs[key] + trace.outputs.get(key, []) for key in (first, again)]
    for left, right in zip(*tensors, strict=True):
        if left.rank == right.rank and all(
            a == b or 1 in (a, b) for a, b in zip(left.ids.shape, right.ids.shape, strict=True)
        ):
            trace.union.unite(left.ids, right.ids)
        else:
            reason = f"{again}: shares a layer with {first}, but is called on another size"
            trace.frozen += [(np.unique(labels.ids), reason) for labels in (left, right)]


def _input(trace: Trace, tensor: Any) -> Labels:
    shape = tuple(tensor.shape[1:])
    ids = trace.union.new(shape[-1] if shape and shape[-1] else 1)
    trace.frozen.append((ids, "input of the model"))
    source = tensor._keras_history.layer.name
    return per_channel(ids, shape, source) if shape else Labels(ids.reshape(()), (), source)
