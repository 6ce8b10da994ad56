"""A small network with every common coupling, for scikit-learn's 8x8 digits."""

from __future__ import annotations

from typing import Any

import tf_keras as keras

layers = keras.layers


def digits_cnn(input_shape: tuple[int, int, int] = (8, 8, 1), classes: int = 10) -> Any:
    """Stem, residual block, strided convolution and inverted residual; ends in logits.

    Args:
        input_shape: height, width, channels.
        classes: number of outputs.
    """
    image = keras.Input(input_shape, name="image")
    x = _conv(image, 16, 3, "stem")
    y = _conv(x, 16, 3, "block_conv1")
    y = _conv(y, 16, 3, "block_conv2", activate=False)
    x = layers.Add(name="block_add")([x, y])
    x = layers.ReLU(name="block_relu")(x)
    x = _conv(x, 32, 3, "down", strides=2)
    y = _conv(x, 64, 1, "expand")
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(y)
    y = layers.BatchNormalization(name="depthwise_bn")(y)
    y = layers.ReLU(name="depthwise_relu")(y)
    y = _conv(y, 32, 1, "project", activate=False)
    x = layers.Add(name="inverted_add")([x, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="digits_cnn")


def _conv(
    x: Any, filters: int, size: int, name: str, strides: int = 1, activate: bool = True
) -> Any:
    x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if activate else x
