"""What layers compute, as functions of weights whose channels have no fixed number."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfgraphprune.graph.reader import Call


class NotSlim(Exception):
    """A model has a layer that only masks can serve; the message says which."""


DIRECT = frozenset(
    "ReLU LeakyReLU ELU ThresholdedReLU Dropout SpatialDropout1D SpatialDropout2D Activation Add "
    "GaussianNoise GaussianDropout AlphaDropout Subtract Multiply Average Maximum Minimum "
    "MaxPooling1D MaxPooling2D AveragePooling1D AveragePooling2D GlobalAveragePooling1D "
    "GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D ZeroPadding2D Cropping2D "
    "UpSampling2D".split()
)
"""Layers without weights whose own `call` works on any number of channels."""

WHOLE = frozenset(
    "Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose Conv3DTranspose DepthwiseConv1D "
    "DepthwiseConv2D SeparableConv1D SeparableConv2D Normalization".split()
)
"""Layers with weights that give the same for what stays if what is removed is zero."""


class Weights:
    """The weights of one layer.

    Args:
        values: of all layers, by path and index.
        path: of the layer.
        count: number of its weights.
    """

    def __init__(self, values: dict, path: tuple[str, ...], count: int):
        self._path = path
        self._replaced: dict[str, tf.Tensor | None] = {}
        self.values = [values[path, index] for index in range(count)]

    def named(self, layer: Any, name: str) -> tf.Tensor | None:
        """The tensor in place of one of the layer's variables."""
        if name in self._replaced:
            return self._replaced[name]
        variable = getattr(layer, name, None)
        if variable is None:
            return None
        return self.values[[id(v) for v in layer.weights].index(id(variable))]

    def replaced(self, replaced: dict[str, tf.Tensor | None]) -> Weights:
        """The same weights, but for those that are given by name."""
        other = copy.copy(self)
        other._replaced = replaced
        return other

    def normalise(self, layer: Any, x: tf.Tensor, moments: dict | None) -> tf.Tensor:
        """BatchNorm, on moving statistics or (where `moments` collects them) on the batch's."""
        axis = layer.axis if isinstance(layer.axis, int) else next(iter(layer.axis))
        gamma, beta = self.named(layer, "gamma"), self.named(layer, "beta")
        mean, variance = (self.values[i] for i in moving_statistics(layer))
        gamma = tf.ones_like(mean) if gamma is None else gamma
        beta = tf.zeros_like(mean) if beta is None else beta
        if x.shape.rank == 4 and axis in (-1, 3):
            if moments is not None and x.dtype == tf.bfloat16:
                # oneDNN has a kernel for it, for channels in sixteens; products of matrices would
                # round the statistics.
                result, mean, variance = _normalised(x, gamma, beta, layer.epsilon)
                moments.setdefault(self._path, []).append((mean, variance))
                return result
            if moments is not None:
                mean, variance = _moments(x)
                moments.setdefault(self._path, []).append((mean, variance))
            # One kernel, which fuses with its neighbours.
            return tf.raw_ops.FusedBatchNormV3(
                x=x,
                scale=gamma,
                offset=beta,
                mean=mean,
                variance=variance,
                epsilon=layer.epsilon,
                is_training=False,
            ).y
        value = tf.cast(x, tf.float32)
        over = [a for a in range(value.shape.rank) if a != axis % value.shape.rank]
        if moments is not None:
            mean, variance = tf.nn.moments(value, over)
            moments.setdefault(self._path, []).append((mean, variance))
        scale = tf.math.rsqrt(variance + layer.epsilon) * gamma
        shape = [1] * value.shape.rank
        shape[axis] = -1
        result = value * tf.reshape(scale, shape) + tf.reshape(beta - mean * scale, shape)
        return tf.cast(result, x.dtype)


def _moments(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance over all axes but the last, as products of matrices.

    On CPUs a third of the time of the training mode of `FusedBatchNormV3`.
    """
    lines = tf.reshape(x, [-1, tf.shape(x)[-1]])
    count = tf.shape(lines)[0]
    average = tf.fill([1, count], 1 / tf.cast(count, x.dtype))
    mean = tf.squeeze(average @ lines, 0)
    return mean, tf.squeeze(average @ tf.math.squared_difference(lines, mean), 0)


def _normalised(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """BatchNorm on the batch's own statistics, and these: mean and (biased) variance, float32."""
    found = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    count = tf.cast(tf.size(x) // tf.shape(x)[-1], tf.float32)
    return found.y, found.batch_mean, found.batch_variance * ((count - 1) / count)


def moving_statistics(layer: Any) -> tuple[int, int]:
    """Where a BatchNorm has its moving mean and variance among its weights."""
    places = [id(v) for v in layer.weights]
    return places.index(id(layer.moving_mean)), places.index(id(layer.moving_variance))


def scatter(x: tf.Tensor, places: tf.Tensor, size: int) -> tf.Tensor:
    """Put the channels of the last axis at their places among `size`, zeros between them."""
    inverse = tf.scatter_nd(places[:, None], tf.range(1, tf.size(places) + 1), [size])
    zero = tf.zeros_like(x[..., :1])
    return tf.gather(tf.concat([zero, x], -1), inverse, axis=-1)


class _Function:
    """A layer's function, and which of its layers it serves."""

    def __init__(
        self,
        function: Callable[[Any, Weights, tf.Tensor], tf.Tensor],
        condition: Callable[[Any], bool] = lambda layer: True,
        call_condition: Callable[[Call], bool] = lambda call: True,
    ):
        self._function = function
        self._condition = condition
        self._call_condition = call_condition

    def takes(self, call: Call) -> bool:
        """Whether it can stand for this call."""
        return self._condition(call.layer) and self._call_condition(call)

    def __call__(self, layer: Any, weights: Weights, x: tf.Tensor) -> tf.Tensor:
        return self._function(layer, weights, x)


def _convolution(layer: Any, weights: Weights, x: tf.Tensor) -> tf.Tensor:
    x = tf.nn.convolution(
        x,
        weights.named(layer, "kernel"),
        strides=list(layer.strides),
        padding=layer.padding.upper(),
        dilations=list(layer.dilation_rate),
    )
    return _finished(layer, weights, x)


def _depthwise(layer: Any, weights: Weights, x: tf.Tensor) -> tf.Tensor:
    kernel = weights.named(layer, "depthwise_kernel")
    x = tf.nn.depthwise_conv2d(
        x,
        kernel,
        strides=(1, *layer.strides, 1),
        padding=layer.padding.upper(),
        dilations=layer.dilation_rate,
    )
    return _finished(layer, weights, x)


def _dense(layer: Any, weights: Weights, x: tf.Tensor) -> tf.Tensor:
    return _finished(layer, weights, tf.tensordot(x, weights.named(layer, "kernel"), 1))


def _finished(layer: Any, weights: Weights, x: tf.Tensor) -> tf.Tensor:
    bias = weights.named(layer, "bias")
    x = x if bias is None else x + bias
    return x if layer.activation is None else layer.activation(x)


def _flatten(layer: Any, weights: Weights, x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [tf.shape(x)[0], -1])


def _concatenate(layer: Any, weights: Weights, x: Any) -> tf.Tensor:
    return tf.concat(x, layer.axis)


def _separable(layer: Any, weights: Weights, x: tf.Tensor) -> tf.Tensor:
    x = tf.nn.separable_conv2d(
        x,
        weights.named(layer, "depthwise_kernel"),
        weights.named(layer, "pointwise_kernel"),
        strides=(1, *layer.strides, 1),
        padding=layer.padding.upper(),
        dilations=list(layer.dilation_rate),
    )
    return _finished(layer, weights, x)


def _reshape(layer: Any, weights: Weights, x: tf.Tensor) -> tf.Tensor:
    shape = [tf.shape(x)[0], *layer.target_shape[:-1], tf.shape(x)[-1]]
    return tf.reshape(x, shape)


def _keeps_channels(call: Call) -> bool:
    """Whether a Reshape leaves the last axis as it is."""
    shape, target = call.inputs[0].shape, tuple(call.layer.target_shape)
    return len(target) > 0 and target[-1] == shape[-1] and -1 not in target


def _is_plain(layer: Any) -> bool:
    last = layer.data_format == "channels_last"
    return last and layer.padding in ("same", "valid") and getattr(layer, "groups", 1) == 1


FUNCTIONS: dict[str, _Function] = {
    "Conv1D": _Function(_convolution, _is_plain),
    "Conv2D": _Function(_convolution, _is_plain),
    "Conv3D": _Function(_convolution, _is_plain),
    "DepthwiseConv2D": _Function(
        _depthwise, lambda layer: _is_plain(layer) and layer.depth_multiplier == 1
    ),
    "SeparableConv2D": _Function(
        _separable, lambda layer: _is_plain(layer) and layer.depth_multiplier == 1
    ),
    "Dense": _Function(_dense),
    "Reshape": _Function(_reshape, call_condition=_keeps_channels),
    "Flatten": _Function(_flatten, lambda layer: layer.data_format == "channels_last"),
    "Concatenate": _Function(_concatenate),
}
