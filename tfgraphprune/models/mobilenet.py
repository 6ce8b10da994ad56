"""MobileNet V1 and V2 for 32x32 images."""

from __future__ import annotations

from typing import Any

import tf_keras as keras

from tfgraphprune.models import parts

layers = keras.layers

_V1_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5) + (
    (1024, 2),
    (1024, 1),
)
_V2_STAGES = (
    # expansion, channels, blocks, stride of the first
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v1(
    width: float = 1.0,
    classes: int = 10,
    input_shape: tuple[int, int, int] = (32, 32, 3),
) -> Any:
    """MobileNet for 32x32 images in [0, 1], which it normalises itself; ends in logits.

    Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
    Applications", 2017, table 1: stem of 32 channels and 13 pairs of a 3x3 depthwise and a 1x1
    convolution, up to 1024 channels. As usual on CIFAR the stem has stride 1; the other four
    strides stay, so that the last maps are 2x2.

    Args:
        width: the width multiplier; channels are rounded to multiples of 8.
        classes: number of outputs.
        input_shape: height, width, 3.

    Raises:
        UserError: an argument that is none of these.
    """
    parts.check_width(width)
    parts.check_classes(classes)
    image, x = parts.normalized_image(input_shape)
    x = parts.conv_bn(x, parts.scaled(32 * width), 3, "stem", activation=layers.ReLU)
    for block, (filters, strides) in enumerate(_V1_BLOCKS, 1):
        name = f"block{block}"
        x = parts.depthwise_bn(x, f"{name}_depthwise", strides, activation=layers.ReLU)
        filters = parts.scaled(filters * width)
        x = parts.conv_bn(x, filters, 1, f"{name}_pointwise", activation=layers.ReLU)
    name = parts.with_width("mobilenet_v1", width)
    return keras.Model(image, parts.logits(x, classes), name=name)


def mobilenet_v2(
    width: float = 1.0,
    classes: int = 10,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    dropout: float = 0.2,
) -> Any:
    """MobileNet V2 for 32x32 images in [0, 1], which it normalises itself; ends in logits.

    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2:
    stem of 32 channels, 17 inverted residuals of 16 to 320 channels with ReLU6, 1280 features. As
    usual on CIFAR the stem and the 24-channel blocks have stride 1; the last maps are 4x4.

    Args:
        width: the width multiplier; channels are rounded to multiples of 8, and the features grow
            with it but do not shrink.
        classes: number of outputs.
        input_shape: height, width, 3.
        dropout: rate before the last layer.

    Raises:
        UserError: an argument that is none of these.
    """
    parts.check_width(width)
    parts.check_classes(classes)
    parts.check_dropout(dropout)
    image, x = parts.normalized_image(input_shape)
    x = parts.conv_bn(x, parts.scaled(32 * width), 3, "stem", activation=parts.relu6)
    for stage, (expansion, channels, blocks, strides) in enumerate(_V2_STAGES, 1):
        filters = parts.scaled(channels * width)
        for block in range(1, blocks + 1):
            step = strides if block == 1 else 1
            x = _inverted_residual(x, expansion, filters, step, f"stage{stage}_block{block}")
    features = parts.scaled(1280 * max(1.0, width))
    x = parts.conv_bn(x, features, 1, "features", activation=parts.relu6)
    name = parts.with_width("mobilenet_v2", width)
    return keras.Model(image, parts.logits(x, classes, dropout), name=name)


def _inverted_residual(x: Any, expansion: int, filters: int, strides: int, name: str) -> Any:
    channels, y = x.shape[-1], x
    if expansion > 1:
        y = parts.conv_bn(y, channels * expansion, 1, f"{name}_expand", activation=parts.relu6)
    y = parts.depthwise_bn(y, f"{name}_depthwise", strides, activation=parts.relu6)
    y = parts.conv_bn(y, filters, 1, f"{name}_project")
    return layers.Add(name=f"{name}_add")([x, y]) if (strides, channels) == (1, filters) else y
