"""Rules of the layers with weights: which channels their kernels read and make."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.graph.labels import Kept, Labels, per_channel
from tfgraphprune.graph.reader import Call, output_shapes
from tfgraphprune.graph.rules.base import LayerRule, acts_per_channel, layer_rule, positions_of
from tfgraphprune.graph.tracer import CallTracer


class _Weighted(LayerRule):
    """Checks that all weighted layers share; the kinds fill in `_trace`."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        layer = tracer.call.layer
        if len(inputs) != 1:
            return tracer.opaque(inputs, "takes more than one tensor")
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            return tracer.opaque(inputs, "channels first is not followed yet")
        if getattr(layer, "groups", 1) != 1:
            tracer.weight(layer.kernel, {}, positions_of(tracer.call))
            return tracer.opaque(inputs, "grouped convolutions are not followed yet")
        ids = self._trace(tracer, inputs[0])
        if not acts_per_channel(getattr(layer, "activation", None)):
            tracer.freeze(ids, "its activation mixes channels or is unknown")
        return [per_channel(ids, output_shapes(tracer.call)[0])]

    def _trace(self, tracer: CallTracer, labels: Labels) -> np.ndarray:
        """Register the weights and return the ids of the output's channels."""
        raise NotImplementedError


class Kernel(_Weighted):
    """A layer with one kernel of shape `(..., channels in, channels out)` and an optional bias.

    Args:
        size: the setting that holds the number of output channels.
    """

    def __init__(self, size: str):
        self._size = size

    def _trace(self, tracer: CallTracer, labels: Labels) -> np.ndarray:
        layer = tracer.call.layer
        read = tracer.channels(labels)
        last = len(layer.kernel.shape) - 1
        made = tracer.new_ids(int(layer.kernel.shape[last]))
        uses = positions_of(tracer.call)
        tracer.weight(layer.kernel, {last - 1: ("in", read), last: ("out", made)}, uses)
        tracer.weight(layer.bias, {0: ("out", made)})
        if not tracer.has_setting(self._size):
            tracer.freeze(made, f"its configuration does not hold {self._size}")
        return made

    def config(self, call: Call, outputs: list[Labels], kept: Kept) -> dict[str, Any]:
        """The number of output channels."""
        return {self._size: kept.shape(outputs[0])[-1]}


class Transposed(LayerRule):
    """A transposed convolution: counted, but not followed yet."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Each input position meets the whole kernel."""
        positions = tf.TensorShape(inputs[0].shape[:-1]).num_elements()
        tracer.weight(tracer.call.layer.kernel, {}, positions)
        return tracer.opaque(inputs, "transposed convolutions are not followed yet")


class Depthwise(_Weighted):
    """A depthwise convolution: each input channel makes `depth_multiplier` outputs of its own."""

    def _trace(self, tracer: CallTracer, labels: Labels) -> np.ndarray:
        layer = tracer.call.layer
        kernel = layer.depthwise_kernel
        read = tracer.channels(labels)
        made = np.repeat(read, int(kernel.shape[-1]))
        axis = len(kernel.shape) - 2
        tracer.weight(kernel, {axis: ("through", read)}, positions_of(tracer.call))
        tracer.weight(layer.bias, {0: ("through", made)})
        return made


class Separable(_Weighted):
    """A depthwise convolution followed by a pointwise one, in one layer."""

    def _trace(self, tracer: CallTracer, labels: Labels) -> np.ndarray:
        layer = tracer.call.layer
        depthwise, pointwise = layer.depthwise_kernel, layer.pointwise_kernel
        read = tracer.channels(labels)
        between = np.repeat(read, int(depthwise.shape[-1]))
        last = len(pointwise.shape) - 1
        made = tracer.new_ids(int(pointwise.shape[last]))
        uses = positions_of(tracer.call)
        tracer.weight(depthwise, {last - 1: ("through", read)}, uses)
        tracer.weight(pointwise, {last - 1: ("in", between), last: ("out", made)}, uses)
        tracer.weight(layer.bias, {0: ("out", made)})
        return made

    def config(self, call: Call, outputs: list[Labels], kept: Kept) -> dict[str, Any]:
        """The number of output channels."""
        return {"filters": kept.shape(outputs[0])[-1]}


class BatchNorm(LayerRule):
    """Batch normalization over the last axis: passes each channel on."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Four vectors along the channels."""
        layer, labels = tracer.call.layer, inputs[0]
        axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
        if [axis % (labels.rank + 1) for axis in axes] != [labels.rank]:
            return tracer.opaque(inputs, f"normalises axis {layer.axis}, not the last one")
        ids = tracer.channels(labels)
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            tracer.weight(getattr(layer, name), {0: ("through", ids)})
        return [per_channel(ids, labels.shape)]


layer_rule(["Conv1D", "Conv2D", "Conv3D"], Kernel("filters"))
layer_rule(["Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"], Transposed())
layer_rule(["Dense"], Kernel("units"))
layer_rule(["DepthwiseConv1D", "DepthwiseConv2D"], Depthwise())
layer_rule(["SeparableConv1D", "SeparableConv2D"], Separable())
layer_rule(["BatchNormalization", "SyncBatchNormalization"], BatchNorm())
