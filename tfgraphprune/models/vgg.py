"""VGG-16 with BatchNorm, as it is used on CIFAR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tf_keras as keras

from tfgraphprune.models import parts

layers = keras.layers

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def vgg16_bn(
    classes: int = 10,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    hidden: Sequence[int] = (512, 512),
    dropout: float = 0.5,
    width: float = 1.0,
) -> Any:
    """VGG-16 for 32x32 images in [0, 1], which it normalises itself; ends in logits.

    Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
    ICLR 2015, configuration D: 13 3x3 convolutions in five stages of 64, 128, 256, 512 and 512
    channels, each stage followed by 2x2 max pooling. As usual on CIFAR, every convolution (with
    bias) has a BatchNorm and the hidden dense layers have 512 units in the place of 4096.

    Args:
        classes: number of outputs.
        input_shape: height, width, 3; at least 32 pixels a side.
        hidden: units of the dense layers before the last; `(512,)` for the networks with one.
        dropout: rate after each hidden dense layer.
        width: multiplies the channels of the convolutions and the hidden units.

    Raises:
        UserError: an argument that is none of these.
    """
    parts.check_classes(classes)
    parts.check_counts("hidden", hidden)
    parts.check_dropout(dropout)
    parts.check_width(width)
    image, x = parts.normalized_image(input_shape, least=32)
    for stage, (full, convolutions) in enumerate(_STAGES, 1):
        filters = _scaled(full, width)
        for number in range(1, convolutions + 1):
            name = f"stage{stage}_conv{number}"
            x = parts.conv_bn(x, filters, 3, name, activation=layers.ReLU, use_bias=True)
        x = layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    for number, units in enumerate(hidden, 1):
        x = layers.Dense(_scaled(units, width), name=f"hidden{number}")(x)
        x = layers.ReLU(name=f"hidden{number}_relu")(x)
        x = layers.Dropout(dropout, name=f"hidden{number}_dropout")(x) if dropout else x
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="vgg16_bn")


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))
