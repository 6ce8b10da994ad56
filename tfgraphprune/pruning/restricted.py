"""Normalizations over the kept channels only, as the reference for networks that have them.

A cut channel can't be silenced in a normalization over the channels: it stays in the mean and
the variance. The masked copy of a model therefore has these layers in the place of its own.
"""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from tfgraphprune.graph.dialects import Dialect
from tfgraphprune.graph.kinds import keras_kind


def restricted_twin(layer: Any, dialect: Dialect) -> Any:
    """A layer like this normalization, whose statistics leave out where its `mask` is 0.

    Args:
        layer: a LayerNormalization or GroupNormalization, or one that computes as these do.
        dialect: the Keras that it is of.

    Returns:
        A layer with one weight more, the last: `mask`, float `[channels]`, at first all ones.
    """
    name = keras_kind(layer)
    config = getattr(dialect.keras.layers, name).get_config(layer)
    return _classes(dialect.keras)[name].from_config(config)


@functools.cache
def _classes(keras: Any) -> dict[str, Any]:
    """The restricted classes of one Keras; they compute with TensorFlow."""

    class Restricted:
        """Adds the mask as the last weight."""

        def build(self, input_shape: Any) -> None:
            """Build the normalization, then the mask."""
            super().build(input_shape)  # type: ignore[misc]
            self.mask = self.add_weight(  # type: ignore[attr-defined]
                name="mask", shape=(input_shape[-1],), initializer="ones", trainable=False
            )

    class RestrictedLayerNormalization(Restricted, keras.layers.LayerNormalization):
        """Layer normalization over the kept channels."""

        def call(self, inputs: Any) -> Any:
            """What is left out is normalised alike, but does not count."""
            rank = len(inputs.shape)
            axes = [self.axis] if isinstance(self.axis, int) else list(self.axis)
            axes = [axis % rank for axis in axes]
            wide = [n if a in axes else 1 for a, n in enumerate(inputs.shape)]
            mean, scale = _moments(inputs, self.mask, axes, self.epsilon)
            return _affine(self, (inputs - mean) * scale, wide)

    class RestrictedGroupNormalization(Restricted, keras.layers.GroupNormalization):
        """Group normalization over the kept channels of each block."""

        def call(self, inputs: Any) -> Any:
            """What is left out is normalised alike, but does not count."""
            shape, rank = tf.shape(inputs), len(inputs.shape)
            blocks = tf.reshape(inputs, tf.concat([shape[:-1], [self.groups, -1]], 0))
            mask = tf.reshape(tf.convert_to_tensor(self.mask), [self.groups, -1])
            mean, scale = _moments(blocks, mask, [*range(1, rank - 1), rank], self.epsilon)
            return _affine(self, tf.reshape((blocks - mean) * scale, shape), [-1])

    return {
        "LayerNormalization": RestrictedLayerNormalization,
        "GroupNormalization": RestrictedGroupNormalization,
    }


def _moments(x: Any, mask: Any, axes: list[int], epsilon: float) -> tuple[Any, Any]:
    """Mean and inverse deviation over the axes, of the entries where the mask is 1."""
    mask = tf.broadcast_to(tf.convert_to_tensor(mask), tf.shape(x))
    count = tf.reduce_sum(mask, axes, keepdims=True)
    mean = tf.reduce_sum(x * mask, axes, keepdims=True) / count
    variance = tf.reduce_sum(tf.square(x - mean) * mask, axes, keepdims=True) / count
    return mean, tf.math.rsqrt(variance + epsilon)


def _affine(layer: Any, x: Any, shape: list[int]) -> Any:
    """The layer's scale and offset, where it has them."""
    x = x if layer.gamma is None else x * tf.reshape(layer.gamma, shape)
    return x if layer.beta is None else x + tf.reshape(layer.beta, shape)
