"""Rules of recurrent layers, and of the wrappers that call a layer at every step."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfgraphprune.graph.labels import Labels, per_channel
from tfgraphprune.graph.reader import output_shapes
from tfgraphprune.graph.rules.base import LayerRule, acts_per_channel, layer_rule, rule_for
from tfgraphprune.graph.tracer import CallTracer


class Recurrent(LayerRule):
    """LSTM, GRU and SimpleRNN: a unit goes with its place in every gate and in the state.

    Args:
        gates: number of gates; the kernels hold them one after another.
    """

    def __init__(self, gates: int):
        self._gates = gates

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """The recurrent kernel reads what the layer makes."""
        layer, labels = tracer.call.layer, inputs[0]
        if layer.stateful:
            return tracer.opaque(inputs, "keeps its state between batches")
        cell = layer.cell
        read = tracer.channels(labels)
        units = tracer.new_ids(cell.units)
        tracer.setting("units", units)
        for state in _states(tracer, inputs):
            tracer.unite(tracer.channels(state), units)
        for activation in (cell.activation, getattr(cell, "recurrent_activation", None)):
            if not acts_per_channel(activation):
                tracer.freeze(units, "its activation mixes channels or is unknown")
        gates, steps = np.tile(units, self._gates), labels.shape[0]
        tracer.weight(cell.kernel, {0: ("in", read), 1: ("out", gates)}, steps)
        tracer.weight(cell.recurrent_kernel, {0: ("in", units), 1: ("out", gates)}, steps)
        if cell.bias is not None:
            tracer.weight(cell.bias, {len(cell.bias.shape) - 1: ("out", gates)})
        return [per_channel(units, shape) for shape in output_shapes(tracer.call)]


def _states(tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
    """Of the tensors after the first, the states; a mask among them freezes."""
    mask = tracer.call.named_arguments().get("mask")
    states = []
    for tensor, labels in list(zip(tracer.call.inputs, inputs, strict=False))[1:]:
        if tensor is mask:
            tracer.freeze(labels, "is a mask")
        else:
            states.append(labels)
    return states


class TimeDistributed(LayerRule):
    """One layer, called at every step; it must treat all steps' channels alike."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """By the rule of the layer inside, on the channels of one step."""
        layer, labels = tracer.call.layer.layer, inputs[0]
        shapes = output_shapes(tracer.call)
        rule = rule_for(layer)
        others = _states(tracer, inputs)
        if rule.has_settings or others or len(shapes) != 1 or labels.rank < 2:
            return tracer.opaque(inputs, f"wraps a {type(layer).__name__}")
        first = labels.ids.take(0, 0)
        tracer.unite(labels.ids, first)
        inner = tracer.inner("layer", layer, [shapes[0][1:]], labels.shape[0])
        step = Labels(first, labels.shape[1:])
        (made,) = rule.trace(inner, [step])
        return [Labels(made.ids[None], shapes[0])]


class Bidirectional(LayerRule):
    """A recurrent layer and its twin that reads backwards, of equally many units."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Both directions by their own rule; then they are merged."""
        wrapper, shapes = tracer.call.layer, output_shapes(tracer.call)
        rule = rule_for(wrapper.forward_layer)
        mode = wrapper.merge_mode
        others = _states(tracer, inputs)
        if others or len(shapes) != 1 or not isinstance(rule, Recurrent) or mode is None:
            return tracer.opaque(inputs, "returns its states or both directions")
        if not _are_twins(wrapper.forward_layer, wrapper.backward_layer):
            return tracer.opaque(inputs, "has directions of different kinds or sizes")
        units = wrapper.forward_layer.units
        shape = (*shapes[0][:-1], units)
        both = [
            rule.trace(tracer.inner(name, layer, [shape]), inputs[:1])[0]
            for name, layer in (
                ("layer", wrapper.forward_layer),
                ("backward_layer", wrapper.backward_layer),
            )
        ]
        ids = np.stack([labels.along(labels.rank - 1) for labels in both])
        if mode != "concat":
            tracer.unite(ids[0], ids[1])
            return [per_channel(ids[0], shapes[0])]
        tracer.balance(ids)
        return [per_channel(ids.ravel(), shapes[0])]


def _are_twins(forward: Any, backward: Any) -> bool:
    return rule_for(forward) is rule_for(backward) and forward.units == backward.units


layer_rule(["LSTM"], Recurrent(4))
layer_rule(["GRU"], Recurrent(3))
layer_rule(["SimpleRNN"], Recurrent(1))
layer_rule(["TimeDistributed"], TimeDistributed())
layer_rule(["Bidirectional"], Bidirectional())
