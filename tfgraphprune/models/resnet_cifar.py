"""The CIFAR ResNets of He et al., with either shortcut."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfgraphprune.errors import UserError

layers = keras.layers

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
_EPSILON = 1e-5


def resnet_cifar(
    depth: int = 20,
    shortcut: str = "A",
    classes: int = 10,
    input_shape: tuple[int, int, int] = (32, 32, 3),
) -> Any:
    """A ResNet for 32x32 images in [0, 1], which it normalises itself; ends in logits.

    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2: stem of 16,
    three stages of 16, 32 and 64 channels, `(depth - 2) / 6` blocks each.

    Args:
        depth: 20, 32, 44, 56, 110 or any other 6n + 2.
        shortcut: where a stage begins, `A` slices every second pixel and pads zero channels on
            both sides; `B` is a strided 1x1 convolution.
        classes: number of outputs.
        input_shape: height, width, channels.

    Raises:
        UserError: another depth or shortcut.
    """
    if depth < 8 or depth % 6 != 2:
        raise UserError(f"depth must be 6n + 2, such as 20 or 56, not {depth}.")
    if shortcut not in ("A", "B"):
        raise UserError(f"shortcut must be 'A' or 'B', not {shortcut!r}.")
    image = keras.Input(input_shape, name="image")
    variance = tuple(d * d for d in DEVIATION)
    x = layers.Normalization(mean=MEAN, variance=variance, name="normalize")(image)
    x = layers.ReLU(name="stem_relu")(_conv_bn(x, 16, "stem"))
    for stage, filters in enumerate((16, 32, 64), 1):
        for block in range(1, (depth - 2) // 6 + 1):
            strides = 2 if stage > 1 and block == 1 else 1
            x = _block(x, filters, strides, shortcut, f"stage{stage}_block{block}")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    name = f"resnet{depth}_{shortcut.lower()}"
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name=name)


def _block(x: Any, filters: int, strides: int, shortcut: str, name: str) -> Any:
    y = layers.ReLU(name=f"{name}_relu1")(_conv_bn(x, filters, f"{name}_conv1", strides))
    y = _conv_bn(y, filters, f"{name}_conv2")
    if strides > 1 and shortcut == "A":
        side = (filters - x.shape[-1]) // 2
        x = tf.pad(x[:, ::strides, ::strides, :], [[0, 0], [0, 0], [0, 0], [side, side]])
    elif strides > 1:
        x = layers.Conv2D(filters, 1, strides=strides, use_bias=False, name=f"{name}_shortcut")(x)
        x = layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_shortcut_bn")(x)
    return layers.ReLU(name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([x, y]))


def _conv_bn(x: Any, filters: int, name: str, strides: int = 1) -> Any:
    # Padding by one on each side differs from "same" where the stride is 2.
    x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x) if strides > 1 else x
    padding = "valid" if strides > 1 else "same"
    x = layers.Conv2D(filters, 3, strides=strides, padding=padding, use_bias=False, name=name)(x)
    return layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)
