"""Grouped convolutions train in TensorFlow's own kernels, where CPUs have them, not in XLA's."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
import tf_keras as keras
from tf_keras.src.engine.base_layer_utils import call_context

_COMPILED = "_jit_compiled_convolution_op"
"""What tf_keras calls for more than one group, from a time when TensorFlow had no such kernels."""


@contextmanager
def native_groups(model: Any) -> Iterator[list[str]]:
    """Have training steps traced here compute grouped convolutions by TensorFlow's own kernels.

    tf_keras hands each to XLA, whose gradients take many times as long on CPUs
    (docs/results/training.md). TensorFlow has gradients of its own where oneDNN is, for some ranks
    and precisions; it is tried which, and layers without stay as they are. So does inference, where
    TensorFlow fuses a convolution with what follows it, and can't do so for all there may be.

    Args:
        model: whose layers these are.

    Yields:
        Names of the layers.
    """
    found: list[Any] = []
    tried: dict[tuple[Any, ...], bool] = {}
    if not tf.config.list_physical_devices("GPU"):
        for module in model.submodules:
            if not isinstance(module, _CONVOLUTIONS) or module.groups == 1:
                continue
            kind = (type(module), module.compute_dtype, *map(module.get_config().get, _SETTINGS))
            if kind not in tried:
                tried[kind] = _has_gradient(module)
            if tried[kind]:
                found.append(module)
    for layer in found:
        setattr(layer, _COMPILED, functools.partial(_convolved, layer, getattr(layer, _COMPILED)))
    try:
        yield [layer.name for layer in found]
    finally:
        for layer in found:
            vars(layer).pop(_COMPILED, None)


_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_SETTINGS = ("groups", "kernel_size", "data_format", "padding", "strides", "dilation_rate")


def _convolved(layer: Any, compiled: Any, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    training = call_context().training
    # A frozen convolution is inference too.
    own = isinstance(training, bool | int) and training and layer.trainable
    return (layer.convolution_op if own else compiled)(inputs, kernel)


def _has_gradient(layer: Any) -> bool:
    if _COMPILED not in dir(layer) or not layer.built:
        return False
    channels = layer.kernel.shape[-2] * layer.groups
    size = [(k - 1) * d + s for k, d, s in zip(
        layer.kernel_size, layer.dilation_rate, layer.strides, strict=True
    )]  # fmt: skip
    first = layer.data_format == "channels_first"
    x = tf.zeros([1, channels, *size] if first else [1, *size, channels], layer.compute_dtype)

    @tf.function
    def gradients(x: tf.Tensor, kernel: tf.Tensor) -> Any:
        return tf.gradients(layer.convolution_op(x, kernel), [x, kernel])

    try:
        gradients(x, tf.zeros(layer.kernel.shape, layer.compute_dtype))
    except (tf.errors.OpError, ValueError):
        return False
    return True
