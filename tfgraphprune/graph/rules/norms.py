"""Rules of normalizations and of layers with a factor for each channel."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfgraphprune.graph.labels import Kept, Labels, per_channel
from tfgraphprune.graph.reader import Call
from tfgraphprune.graph.rules.base import LayerRule, layer_rule
from tfgraphprune.graph.tracer import CallTracer


class BatchNorm(LayerRule):
    """Batch normalization: passes each channel on."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Four vectors along the channels."""
        layer, labels = tracer.call.layer, inputs[0]
        axes = _axes(layer, labels)
        if len(axes) != 1:
            return tracer.opaque(inputs, f"normalises the axes {layer.axis}")
        ids = tracer.channels(labels, axes[0])
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            tracer.weight(getattr(layer, name), {0: ("through", ids)})
        return [per_channel(ids, labels.shape, axes[0])]


class LayerNorm(LayerRule):
    """Layer normalization: each channel is passed on, normalised by the statistics of all.

    The smaller network normalises over the channels that it keeps, and so does the reference
    that it is tested against.
    """

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Scale and offset lie along the normalised axes."""
        layer, labels = tracer.call.layer, inputs[0]
        axes = _axes(layer, labels)
        varying = set(labels.varying(tracer.union))
        if not varying & set(axes):
            tracer.other_weights()
            return [labels]
        if labels.rank - 1 not in axes:
            return tracer.opaque(inputs, f"normalises the axes {layer.axis} over the channels")
        if axes != sorted(axes) or getattr(layer, "rms_scaling", False) or tracer.wrapped:
            return tracer.opaque(inputs, "normalises the channels in a way that is not followed")
        ids = tracer.channels(labels)
        place = axes.index(labels.rank - 1)
        for variable in (layer.gamma, layer.beta):
            tracer.weight(variable, {place: ("through", ids)})
        tracer.normalises(ids)
        return [per_channel(ids, labels.shape)]


class GroupNorm(LayerRule):
    """Group normalization: equally many channels stay in each block, each normalised by itself."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Scale and offset lie along the channels."""
        layer, labels = tracer.call.layer, inputs[0]
        axis = _axes(layer, labels)[0]
        if axis != labels.rank - 1:
            return tracer.opaque(inputs, f"normalises axis {layer.axis}, not the last one")
        if tracer.wrapped:
            return tracer.opaque(inputs, "normalises the channels in a wrapper")
        ids = tracer.channels(labels)
        blocks = layer.groups
        if blocks == len(ids):
            tracer.setting("groups", ids)
        else:
            tracer.balance(ids.reshape(blocks, -1))
            tracer.normalises(ids)
        for variable in (layer.gamma, layer.beta):
            tracer.weight(variable, {0: ("through", ids)})
        return [per_channel(ids, labels.shape)]


class PerChannelWeight(LayerRule):
    """A layer whose weights have the channels on their last axis, such as PReLU.

    Args:
        size: the setting that holds the number of channels, where there is one.
    """

    def __init__(self, size: str = ""):
        self._size = size

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Every weight with more than one value on its last axis."""
        ids = tracer.channels(inputs[0])
        for variable in tracer.call.layer.weights:
            if len(variable.shape) and variable.shape[-1] == len(ids):
                tracer.weight(variable, {len(variable.shape) - 1: ("through", ids)})
            elif np.prod(variable.shape) > 1 and variable.shape[-1] != 1:
                tracer.freeze(inputs[0], "has a weight of another size than the channels")
        if self._size:
            tracer.setting(self._size, ids)
        return [per_channel(ids, inputs[0].shape)]


class Constants(LayerRule):
    """Rescaling and Normalization: elementwise, with constants that may differ by channel."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Constants for each channel lie in the configuration, learned ones in weights."""
        layer, labels = tracer.call.layer, inputs[0]
        values = [getattr(layer, name, None) for name in _CONSTANTS]
        shapes = {np.shape(value) for value in values if value is not None and np.size(value) > 1}
        if not shapes:
            tracer.other_weights()
            return [labels]
        size = labels.shape[-1]
        if any(shape[-1] != size or np.prod(shape) != size for shape in shapes):
            return tracer.opaque(inputs, "has constants of another size than the channels")
        ids = tracer.channels(labels)
        for variable in layer.weights:
            if tuple(variable.shape) == (size,):
                tracer.weight(variable, {0: ("through", ids)})
        return [per_channel(ids, labels.shape)]

    def config(self, call: Call, outputs: list[Labels], kept: Kept) -> dict[str, Any]:
        """The constants of the channels that stay."""
        config = call.layer.get_config()
        stays = kept.positions(outputs[0].along(outputs[0].rank - 1))
        return {
            name: np.ravel(config[name])[stays].tolist()
            for name in _CONSTANTS
            if config.get(name) is not None and np.size(config[name]) > 1
        }


_CONSTANTS = ("scale", "offset", "mean", "variance")


def _axes(layer: Any, labels: Labels) -> list[int]:
    """The axes that a normalization is over, without the batch."""
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    return [axis % (labels.rank + 1) - 1 for axis in axes]


layer_rule(["BatchNormalization", "SyncBatchNormalization"], BatchNorm())
layer_rule(["LayerNormalization"], LayerNorm())
layer_rule(["GroupNormalization"], GroupNorm())
layer_rule(["PReLU"], PerChannelWeight())
layer_rule(["LayerScale"], PerChannelWeight("projection_dim"))
layer_rule(["Rescaling", "Normalization"], Constants())
