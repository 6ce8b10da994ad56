"""Rules of what treats each channel by itself: activations, pooling, padding, elementwise ops."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfgraphprune.graph.labels import Labels, per_channel
from tfgraphprune.graph.reader import Call, is_tensor, output_shapes
from tfgraphprune.graph.rules.base import LayerRule, acts_per_channel, layer_rule
from tfgraphprune.graph.tracer import CallTracer


class Elementwise(LayerRule):
    """One output value from the input values at the same position; several inputs unite.

    An input of size 1 that is broadcast along the channels is no channel of the result: its ids
    freeze and do not unite.

    Args:
        expands: whether inputs of lower rank gain axes after the batch, as Keras' merge layers do.
    """

    def __init__(self, expands: bool = False):
        self._expands = expands

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Unite position by position."""
        shape = output_shapes(tracer.call)[0]
        if _array_constants(tracer.call):
            return tracer.opaque(inputs, "combines channels with a constant array")
        if self._expands:
            inputs = [_expand(labels, len(shape)) for labels in inputs]
        if any(labels.rank != len(shape) for labels in inputs):
            return tracer.opaque(inputs, "combines tensors of different rank")
        varying = {axis for labels in inputs for axis in labels.varying(tracer.union)}
        joined: list[np.ndarray] = []
        for labels in inputs:
            stretched = [a for a in varying if labels.shape[a] == 1 and shape[a] != 1]
            if stretched:
                tracer.freeze(labels, "is broadcast over the channels of another tensor")
            else:
                joined.append(labels.ids)
        for ids in joined[1:]:
            tracer.unite(joined[0], ids)
        ids = np.broadcast_arrays(*joined)[0]
        return [tracer.rectangular(Labels(tracer.union.find(ids), shape))]


class PerChannel(LayerRule):
    """Maps each channel by itself, over any window of positions; channels are on the last axis."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Pass the channels' ids on."""
        layer = tracer.call.layer
        if getattr(layer, "data_format", "channels_last") not in ("channels_last", None):
            return tracer.opaque(inputs, "channels first is not followed yet")
        return [per_channel(tracer.channels(inputs[0]), output_shapes(tracer.call)[0])]


class Activation(LayerRule):
    """Keras' Activation layer, as long as the function is known to act value by value."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Pass on, or freeze."""
        if not acts_per_channel(tracer.call.layer.activation):
            return tracer.opaque(inputs, "its activation mixes channels or is unknown")
        return [inputs[0].made_by("")]


class Constants(LayerRule):
    """Rescaling and Normalization: elementwise, with constants that may differ by channel."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Freeze unless all constants are scalars."""
        layer = tracer.call.layer
        values = [getattr(layer, n, None) for n in ("scale", "offset", "mean", "variance")]
        if any(np.size(v) > 1 for v in values if v is not None):
            tracer.freeze(inputs[0], "has a constant for each channel")
        tracer.other_weights()
        return [inputs[0].made_by("")]


class Reduction(LayerRule):
    """A TensorFlow reduction over spatial axes; over channels it freezes."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Pass the channels' ids on where the last axis stays."""
        call, labels = tracer.call, inputs[0]
        axis = call.kwargs.get("axis", call.args[1] if len(call.args) > 1 else None)
        rank = labels.rank + 1
        if axis is None or not {int(a) % rank for a in np.ravel(axis)} <= {*range(1, rank - 1)}:
            return tracer.opaque(inputs, "reduces the channels or the batch")
        return [per_channel(tracer.channels(labels), output_shapes(call)[0])]


def _expand(labels: Labels, rank: int) -> Labels:
    ones = (1,) * (rank - labels.rank)
    return Labels(labels.ids.reshape(ones + labels.ids.shape), (*ones, *labels.shape))


def _array_constants(call: Call) -> bool:
    """Whether an argument beside the tensors is an array with more than one value."""
    values = [*call.args, *call.kwargs.values()]
    return any(
        not any(is_tensor(leaf) for leaf in tf.nest.flatten(value)) and np.size(value) > 1
        for value in values
        if value is not None and not isinstance(value, str)
    )


layer_rule("Add Subtract Multiply Average Maximum Minimum".split(), Elementwise(expands=True))
layer_rule(
    "ReLU LeakyReLU ELU ThresholdedReLU Dropout GaussianNoise GaussianDropout "
    "ActivityRegularization".split(),
    Elementwise(),
)
layer_rule(
    "MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D "
    "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D "
    "GlobalMaxPooling2D GlobalMaxPooling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D "
    "Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D UpSampling3D "
    "SpatialDropout1D SpatialDropout2D SpatialDropout3D".split(),
    PerChannel(),
)
layer_rule(["Activation"], Activation())
layer_rule(["Rescaling", "Normalization"], Constants())
layer_rule(
    (
        "tf." + name
        for name in (
            "math.add math.subtract math.multiply math.divide math.truediv math.maximum "
            "math.minimum math.abs math.exp math.negative math.sigmoid math.tanh math.square "
            "math.sqrt math.softplus nn.relu nn.relu6 nn.elu nn.selu nn.gelu nn.silu nn.swish "
            "nn.tanh nn.sigmoid nn.softplus nn.leaky_relu clip_by_value cast identity "
            "stop_gradient "
            "__operators__.add __operators__.radd __operators__.sub __operators__.rsub "
            "__operators__.mul __operators__.rmul __operators__.truediv __operators__.rtruediv"
        ).split()
    ),
    Elementwise(),
)
layer_rule(
    ["tf.math.reduce_mean", "tf.math.reduce_max", "tf.math.reduce_min", "tf.math.reduce_sum"],
    Reduction(),
)
