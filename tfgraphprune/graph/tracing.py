"""Reads a whole model on channel ids: each layer call by its rule, shared layers alike."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.errors import UserError, first_line
from tfgraphprune.graph.composites import is_composite, opened, read_model, reads_variable
from tfgraphprune.graph.constraints import settle
from tfgraphprune.graph.labels import Labels, per_channel
from tfgraphprune.graph.reader import Call, Program, is_tensor, output_shapes, program_at
from tfgraphprune.graph.rules import is_known, rule_for
from tfgraphprune.graph.rules.base import LayerRule, product
from tfgraphprune.graph.shuffles import fused
from tfgraphprune.graph.trace import Trace
from tfgraphprune.graph.tracer import CallTracer


def trace_model(model: Any) -> tuple[Trace, Program, list[Call]]:
    """Follow every channel of a model, call by call.

    Returns:
        What was found, the model's own layer calls, and all layer calls in topological order,
        those in nested models and composite layers included.
    """
    tracing = _Tracing()
    program = fused(read_model(model))
    starts = [
        tracing.start(tensor, program.dialect.input_name(tensor)) for tensor in program.inputs
    ]
    tracing.trace.outputs[""] = starts
    trace = tracing.trace
    outputs = program.interpret(starts, tracing.visit)
    # Of several reasons the first one counts, and this is the one that can't be helped.
    trace.frozen[:0] = [(np.unique(labels.ids), "output of the model") for labels in outputs]
    readers = [call for call in tracing.found if reads_variable(call)]
    _freeze_read(trace, readers)
    alien = [call.key for call in readers]
    if alien and not trace.weights:
        raise UserError(
            f"{model.name!r} has no weights that Keras knows of: its ops compute with variables "
            f"that no layer of it holds (first {alien[0]}), as where layers of Keras 3 are called "
            "on tensors of tf_keras: build it where tf.keras is Keras 3."
        )
    settle(trace.constraints, trace.union)
    for labels, axis, index, reason in trace.picks:
        if axis in labels.varying(trace.union):
            trace.frozen.append((labels.ids.take([index], axis).ravel(), reason))
    return trace, program, tracing.found


def _freeze_read(trace: Trace, readers: Sequence[Call]) -> None:
    """A weight that an op reads beside its layer stays whole, as with tied embeddings."""
    for call in readers:
        read = {id(leaf) for leaf in tf.nest.flatten((call.args, call.kwargs))}
        for axis in trace.axes.values():
            weights = trace.layers[axis.path].weights if axis.weight >= 0 else ()
            if weights and id(weights[axis.weight]) in read:
                trace.frozen.append((np.unique(axis.ids), f"{call.key}: reads this weight"))


def _unfollowed(call: Call, rule: LayerRule) -> str:
    """Why a call that its rule knows can't be followed all the same, or an empty string."""
    if reads_variable(call):
        return "computes with a variable"
    for value in (*call.args, *call.kwargs.values()):
        leaves = tf.nest.flatten(value)
        followed = rule.takes_constants and not any(map(is_tensor, leaves))
        if not followed and any(map(_is_array, leaves)):
            return "combines channels with constants"
    return ""


def _is_array(value: Any) -> bool:
    """Whether this is a constant tensor, rather than a setting such as sizes or an order."""
    if not isinstance(value, np.ndarray | tf.Tensor | tf.Variable) or np.size(value) < 2:
        return False
    kind = tf.as_dtype(value.dtype)
    return kind.is_floating or kind.is_complex or kind.is_bool


class _Tracing:
    def __init__(self) -> None:
        self.trace = Trace()
        self.found: list[Call] = []
        self._firsts: dict[int, Call] = {}
        self._times: dict[int, Fraction] = {}

    def start(self, tensor: Any, name: str) -> Labels:
        """Labels of an input of the model."""
        shape = tuple(tensor.shape[1:])
        ids = self.trace.union.new(shape[-1] if shape and shape[-1] else 1)
        self.trace.frozen.append((ids, "input of the model"))
        labels = per_channel(ids, shape) if shape else Labels(ids.reshape(()), ())
        return labels.made_by(name)

    def visit(self, call: Call, args: tuple, kwargs: dict) -> Any:
        """Follow one call, given labels for its tensors."""
        first = self._firsts.setdefault(id(call.layer), call)
        if call.is_model:
            inputs = call.model_inputs(args, kwargs)
            shapes = [labels.shape for labels in inputs]
            results = self._enter(call, inputs, fused(program_at(call, shapes)))
            if first is not call:
                self._couple_models(first, call)
            return results
        inputs = [leaf for leaf in tf.nest.flatten((args, kwargs)) if isinstance(leaf, Labels)]
        reason = ""
        if is_composite(call):
            try:
                inside = fused(opened(call, [labels.shape for labels in inputs]))
            except Exception as error:  # whatever a user's code may raise
                reason = f"can't be followed inside: {first_line(error)}"
            else:
                return self._enter(call, inputs, inside)
        return self._follow(call, inputs, first, reason)

    def _enter(self, call: Call, inputs: Sequence[Labels], inside: Program) -> list[Labels]:
        self.trace.inputs[call.key] = list(inputs)
        self.trace.insides[call.key] = inside
        self.trace.opened.setdefault(id(call.layer), []).append(call.key)
        times = self._times_of(call)
        self._times.update((id(tensor), times) for tensor in inside.inputs)
        results = inside.interpret(inputs, self.visit)
        for outer, inner in zip(call.outputs, inside.outputs, strict=True):
            self._times[id(outer)] = self._times.get(id(inner), Fraction(1))
        return results

    def _times_of(self, call: Call) -> Fraction:
        """How many entries of the call's batch one example makes, as where an image is windowed."""
        one = Fraction(1)  # also for sizes, which reshapes to computed shapes take as inputs
        times = (one if t.shape == () else self._times.get(id(t), one) for t in call.inputs)
        return max(times, default=one)

    def _follow(self, call: Call, inputs: list[Labels], first: Call, reason: str) -> list[Labels]:
        trace = self.trace
        trace.inputs[call.key] = inputs
        times = self._times_of(call)
        tracer = CallTracer(trace, call, times=int(times) if times.denominator == 1 else None)
        rule = rule_for(call.layer)
        if is_known(call.layer):
            reason = reason or _unfollowed(call, rule)
        outputs = tracer.opaque(inputs, reason) if reason else rule.trace(tracer, inputs)
        tracer.other_weights()
        sized = zip(outputs, output_shapes(call), strict=True)
        outputs = [Labels(labels.ids, shape, call.key) for labels, shape in sized]
        trace.outputs[call.key] = outputs
        if getattr(call.layer, "symbol", "") == "reshape":
            values, made = product(inputs[0].shape), product(outputs[0].shape)
            times = times * values / made if values and made else Fraction(1)
        self._times.update((id(tensor), times) for tensor in call.outputs)
        self.found.append(call)
        if first is not call and rule.has_settings:
            self._couple(first.key, call.key)
        return outputs

    def _couple_models(self, first: Call, again: Call) -> None:
        """A nested model is rebuilt once: its calls must be cut alike, also where no weight is."""
        self._couple(first.key, again.key)
        scope = again.key + "/"
        for key in [key for key in self.trace.inputs if key.startswith(scope)]:
            self._couple(f"{first.key}/{key.removeprefix(scope)}", key)

    def _couple(self, first: str, again: str) -> None:
        """Unite the channels of two calls position by position."""
        trace = self.trace
        tensors = [trace.inputs[key] + trace.outputs.get(key, []) for key in (first, again)]
        for left, right in zip(*tensors, strict=True):
            if left.rank == right.rank and all(
                a == b or 1 in (a, b) for a, b in zip(left.ids.shape, right.ids.shape, strict=True)
            ):
                trace.union.unite(left.ids, right.ids)
            else:
                reason = f"{again}: shares a layer with {first}, but is called on another size"
                trace.frozen += [(np.unique(labels.ids), reason) for labels in (left, right)]
