"""Rules of what treats each channel by itself: activations, pooling, padding, elementwise ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.graph.labels import Kept, Labels, per_channel
from tfgraphprune.graph.reader import Call, is_tensor, output_shapes
from tfgraphprune.graph.rules.base import LayerRule, acts_per_channel, channel_axis, layer_rule
from tfgraphprune.graph.tracer import CallTracer


class Elementwise(LayerRule):
    """One output value from the input values at the same position; several inputs unite.

    An input of size 1 that is broadcast along the channels is no channel of the result: its ids
    freeze and do not unite. Constant arrays are cut along with the channels.

    Args:
        expands: whether inputs of lower rank gain axes after the batch, as Keras' merge layers do.
    """

    takes_constants = True

    def __init__(self, expands: bool = False):
        self._expands = expands

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Unite position by position."""
        shape = output_shapes(tracer.call)[0]
        constants = _constants(tracer.call)
        if self._expands:
            inputs = [_expand(labels, len(shape)) for labels in inputs]
        wide = any(np.ndim(value) > len(shape) + 1 for value in constants.values())
        if wide or any(labels.rank != len(shape) for labels in inputs):
            return tracer.opaque(inputs, "combines tensors of different rank")
        varying = {axis for labels in inputs for axis in labels.varying(tracer.union)}
        joined: list[np.ndarray] = []
        for labels in inputs:
            if any(labels.shape[a] == 1 and shape[a] != 1 for a in varying):
                if labels.varying(tracer.union):
                    return tracer.opaque(inputs, "is broadcast along one axis of channels of two")
                tracer.freeze(labels, "is broadcast over the channels of another tensor")
            else:
                joined.append(labels.ids)
        for ids in joined[1:]:
            tracer.unite(joined[0], ids)
        ids = np.broadcast_arrays(*joined)[0]
        return [tracer.rectangular(Labels(tracer.union.find(ids), shape))]

    def arguments(
        self, call: Call, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[tuple, dict]:
        """Constant arrays lose what is cut."""
        cut = {name: _cut(value, outputs[0], kept) for name, value in _constants(call).items()}
        args = tuple(cut.get(position, value) for position, value in enumerate(call.args))
        return args, {name: cut.get(name, value) for name, value in call.kwargs.items()}


class Noise(Elementwise):
    """Dropout, whose noise may have a shape of its own."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Freeze channels whose number the configuration holds."""
        sizes = list(tracer.call.layer.noise_shape or ())[1:]
        if any(sizes[axis] not in (None, 1) for axis in inputs[0].varying(tracer.union) if sizes):
            tracer.freeze(inputs[0], "has noise of a fixed size")
        return super().trace(tracer, inputs)


class PerChannel(LayerRule):
    """Maps each channel by itself, over any window of positions."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Pass the channels' ids on."""
        axis, shape = channel_axis(tracer.call.layer), output_shapes(tracer.call)[0]
        if len(shape) > 1 and shape[axis] != inputs[0].shape[axis]:
            return tracer.opaque(inputs, "changes the number of channels")
        ids = tracer.channels(inputs[0], axis)
        return [per_channel(ids, shape, axis if len(shape) > 1 else -1)]


class Activation(LayerRule):
    """Keras' Activation layer, as long as the function is known to act value by value."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Pass on, or freeze."""
        activation = tracer.activation
        if getattr(activation, "__name__", "") == "softmax":
            return Softmax().trace(tracer, inputs)
        if not acts_per_channel(activation):
            return tracer.opaque(inputs, "its activation mixes channels or is unknown")
        return [inputs[0]]


class Softmax(LayerRule):
    """A softmax: passes on what it is not over, and freezes channels that it is over."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Freeze if the channels change along its axis."""
        call, labels = tracer.call, inputs[0]
        axes = getattr(call.layer, "axis", None)
        axes = call.argument(1, "axis") if axes is None else axes
        over = {int(a) % (labels.rank + 1) - 1 for a in np.ravel(-1 if axes is None else axes)}
        if over & set(labels.varying(tracer.union)):
            tracer.freeze(labels, "mixes channels")
        if len(inputs) > 1:
            tracer.freeze(inputs[1], "is a mask")
        return [labels]


class Reduction(LayerRule):
    """A TensorFlow reduction over positions; over channels it freezes."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Drop the axes, if the channels do not change along them."""
        call, labels = tracer.call, inputs[0]
        axis = call.argument(1, "axis")
        if axis is None:
            return tracer.opaque(inputs, "reduces the channels or the batch")
        over = {int(a) % (labels.rank + 1) - 1 for a in np.ravel(axis)}
        if -1 in over or over & set(labels.varying(tracer.union)):
            return tracer.opaque(inputs, "reduces the channels or the batch")
        ids = labels.ids
        for a in sorted(over, reverse=True):
            ids = ids.take([0], a)
            if not call.argument(2, "keepdims", False):
                ids = ids.take(0, a)
        return [Labels(ids, output_shapes(call)[0])]


def _expand(labels: Labels, rank: int) -> Labels:
    ones = (1,) * (rank - labels.rank)
    return Labels(labels.ids.reshape(ones + labels.ids.shape), (*ones, *labels.shape))


def _constants(call: Call) -> dict[Any, Any]:
    """The arguments beside the tensors that are arrays of more than one value."""
    named = {**dict(enumerate(call.args)), **call.kwargs}
    return {
        name: value
        for name, value in named.items()
        if isinstance(value, list | tuple | np.ndarray | tf.Tensor | tf.Variable)
        and not any(is_tensor(leaf) for leaf in tf.nest.flatten(value))
        and np.size(value) > 1
    }


def _cut(value: Any, labels: Labels, kept: Kept) -> np.ndarray:
    """What is left of a constant array that is broadcast against a tensor."""
    array = np.asarray(value)
    for axis in range(labels.rank):
        place = array.ndim - labels.rank + axis
        if place >= 0 and array.shape[place] > 1:
            array = array.compress(kept.along(labels, axis), place)
    return array


layer_rule("Add Subtract Multiply Average Maximum Minimum".split(), Elementwise(expands=True))
layer_rule(
    "ReLU LeakyReLU ELU ThresholdedReLU GaussianNoise GaussianDropout "
    "ActivityRegularization StochasticDepth CustomScaleLayer".split(),
    Elementwise(),
)
layer_rule(["Dropout", "AlphaDropout"], Noise())
layer_rule(
    "MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D "
    "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D "
    "GlobalMaxPooling2D GlobalMaxPooling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D "
    "Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D UpSampling3D Resizing "
    "CenterCrop SpatialDropout1D SpatialDropout2D SpatialDropout3D "
    "tf.image.resize tf.nn.max_pool2d tf.nn.max_pool tf.nn.avg_pool tf.nn.avg_pool2d".split(),
    PerChannel(),
)
layer_rule(["Activation"], Activation())
layer_rule(["Softmax", "tf.nn.softmax"], Softmax())
layer_rule(
    (
        "tf." + name
        for name in (
            "math.add math.subtract math.multiply math.divide math.truediv math.maximum "
            "math.minimum math.abs math.exp math.negative math.sigmoid math.tanh math.square "
            "math.sqrt math.rsqrt math.pow math.log math.log1p math.expm1 math.erf math.sin "
            "math.cos math.round math.floor math.ceil math.sign math.reciprocal math.softplus "
            "math.softsign math.squared_difference math.divide_no_nan math.multiply_no_nan "
            "math.mod math.floordiv math.floormod "
            "nn.relu nn.relu6 nn.elu nn.selu nn.gelu nn.silu nn.swish "
            "nn.tanh nn.sigmoid nn.softplus nn.softsign nn.leaky_relu clip_by_value cast identity "
            "convert_to_tensor stop_gradient zeros_like ones_like where "
            "__operators__.add __operators__.radd __operators__.sub __operators__.rsub "
            "__operators__.mul __operators__.rmul __operators__.truediv __operators__.rtruediv "
            "__operators__.neg __operators__.abs __operators__.pow __operators__.rpow "
            "__operators__.div __operators__.rdiv keras.activations.gelu keras.activations.relu "
            "keras.activations.swish keras.activations.sigmoid keras.activations.hard_sigmoid"
        ).split()
    ),
    Elementwise(),
)
layer_rule(
    ("tf.math.reduce_" + name for name in "mean max min sum std variance".split()),
    Reduction(),
)
