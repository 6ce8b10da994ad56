"""Normalizations over the kept channels only, as the reference for networks that have them.

A cut channel can't be silenced in a normalization over the channels: it stays in the mean and
the variance. The masked copy of a model therefore has these layers in the place of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras as keras


class RestrictedLayerNormalization(keras.layers.LayerNormalization):
    """Layer normalization whose statistics leave out the channels where `mask` is 0."""

    def build(self, input_shape: Any) -> None:
        """The mask, float `[channels]`, is the last weight."""
        super().build(input_shape)
        self.mask = _mask(self, input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The normalised channels; what is left out is normalised alike, but does not count."""
        axes = [axis % inputs.shape.rank for axis in self.axis]
        shape = [n if a in axes else 1 for a, n in enumerate(inputs.shape)]
        mean, variance = _moments(inputs, self.mask, axes)
        scale = tf.math.rsqrt(variance + self.epsilon)
        if self.gamma is not None:
            scale *= tf.reshape(self.gamma, shape)
        result = (inputs - mean) * scale
        return result if self.beta is None else result + tf.reshape(self.beta, shape)


class RestrictedGroupNormalization(keras.layers.GroupNormalization):
    """Group normalization whose statistics leave out the channels where `mask` is 0."""

    def build(self, input_shape: Any) -> None:
        """The mask, float `[channels]`, is the last weight."""
        super().build(input_shape)
        self.mask = _mask(self, input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The normalised channels; what is left out is normalised alike, but does not count."""
        shape = tf.shape(inputs)
        blocks = tf.reshape(inputs, tf.concat([shape[:-1], [self.groups, -1]], 0))
        axes = [*range(1, inputs.shape.rank - 1), inputs.shape.rank]
        mean, variance = _moments(blocks, tf.reshape(self.mask, [self.groups, -1]), axes)
        result = (blocks - mean) * tf.math.rsqrt(variance + self.epsilon)
        result = tf.reshape(result, shape)
        result = result if self.gamma is None else result * self.gamma
        return result if self.beta is None else result + self.beta


RESTRICTED: Mapping[str, Any] = {
    "LayerNormalization": RestrictedLayerNormalization,
    "GroupNormalization": RestrictedGroupNormalization,
}
"""The restricted twin of each normalization over channels."""


def _mask(layer: Any, input_shape: Any) -> Any:
    return layer.add_weight(
        name="mask", shape=(input_shape[-1],), initializer="ones", trainable=False
    )


def _moments(x: tf.Tensor, mask: tf.Tensor, axes: list[int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance over the axes, of the entries where the mask is 1."""
    mask = tf.broadcast_to(mask, tf.shape(x))
    count = tf.reduce_sum(mask, axes, keepdims=True)
    mean = tf.reduce_sum(x * mask, axes, keepdims=True) / count
    variance = tf.reduce_sum(tf.square(x - mean) * mask, axes, keepdims=True) / count
    return mean, variance
