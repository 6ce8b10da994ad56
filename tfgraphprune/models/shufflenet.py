"""ShuffleNet V1 and V2 for 32x32 images."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfgraphprune.errors import UserError
from tfgraphprune.models import parts

layers = keras.layers

_UNITS = (4, 8, 4)
# Channels of the first stage by groups; each further stage has twice as many.
_V1_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
# Channels of the stages and of the features by width.
_V2_CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}


def shufflenet_v1(
    groups: int = 3,
    width: float = 1.0,
    classes: int = 10,
    input_shape: tuple[int, int, int] = (32, 32, 3),
) -> Any:
    """ShuffleNet for 32x32 images in [0, 1], which it normalises itself; ends in logits.

    Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile
    Devices", CVPR 2018, table 1: stem of 24 channels and three stages of 4, 8 and 4 units with
    grouped 1x1 convolutions, a channel shuffle and a bottleneck of a quarter of the channels. The
    very first 1x1 convolution has one group. As usual on CIFAR the stem has stride 1 and no
    pooling behind it; the last maps are 4x4.

    Args:
        groups: of the 1x1 convolutions: 1, 2, 3, 4 or 8; the stages' channels go with it.
        width: factor of all channels, which are rounded to multiples that the groups divide.
        classes: number of outputs.
        input_shape: height, width, 3.

    Raises:
        UserError: an argument that is none of these, or a width so small that the channels of
            two stages round to the same number.
    """
    if not parts.is_count(groups) or groups not in _V1_CHANNELS:
        raise UserError(f"groups must be one of {list(_V1_CHANNELS)}, not {groups!r}.")
    parts.check_width(width)
    parts.check_classes(classes)
    image, x = parts.normalized_image(input_shape)
    stem = parts.scaled(24 * width, groups)
    x = parts.conv_bn(x, stem, 3, "stem", activation=layers.ReLU)
    for stage, units in enumerate(_UNITS, 1):
        filters = parts.scaled(_V1_CHANNELS[groups] * 2 ** (stage - 1) * width, 4 * groups)
        if filters <= x.shape[-1]:
            raise UserError(f"width {width!r} leaves stages that do not grow: give a larger one.")
        for unit in range(1, units + 1):
            first = 1 if stage == unit == 1 else groups
            x = _unit_v1(x, filters, unit == 1, first, groups, f"stage{stage}_unit{unit}")
    name = parts.with_width(f"shufflenet_v1_g{groups}", width)
    return keras.Model(image, parts.logits(x, classes), name=name)


def shufflenet_v2(
    width: float = 1.0,
    classes: int = 10,
    input_shape: tuple[int, int, int] = (32, 32, 3),
) -> Any:
    """ShuffleNet V2 for 32x32 images in [0, 1], which it normalises itself; ends in logits.

    Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", ECCV
    2018, table 5: stem of 24 channels, three stages of 4, 8 and 4 units that split, convolve one
    half, concatenate and shuffle, and 1024 features (2048 for width 2). As usual on CIFAR the
    stem has stride 1 and no pooling behind it; the last maps are 4x4.

    Args:
        width: 0.5, 1.0, 1.5 or 2.0, the widths of the paper.
        classes: number of outputs.
        input_shape: height, width, 3.

    Raises:
        UserError: an argument that is none of these.
    """
    if not parts.is_number(width) or width not in _V2_CHANNELS:
        raise UserError(f"width must be one of {list(_V2_CHANNELS)}, not {width!r}.")
    parts.check_classes(classes)
    image, x = parts.normalized_image(input_shape)
    *stages, features = _V2_CHANNELS[width]
    x = parts.conv_bn(x, 24, 3, "stem", activation=layers.ReLU)
    for stage, (filters, units) in enumerate(zip(stages, _UNITS, strict=True), 1):
        for unit in range(1, units + 1):
            x = _unit_v2(x, filters, unit == 1, f"stage{stage}_unit{unit}")
    x = parts.conv_bn(x, features, 1, "features", activation=layers.ReLU)
    name = parts.with_width("shufflenet_v2", width)
    return keras.Model(image, parts.logits(x, classes), name=name)


def _unit_v1(x: Any, filters: int, down: bool, first: int, groups: int, name: str) -> Any:
    made = filters - x.shape[-1] if down else filters
    y = parts.conv_bn(x, filters // 4, 1, f"{name}_reduce", groups=first, activation=layers.ReLU)
    y = parts.channel_shuffle(y, groups) if groups > 1 else y
    y = parts.depthwise_bn(y, f"{name}_depthwise", 2 if down else 1)
    y = parts.conv_bn(y, made, 1, f"{name}_expand", groups=groups)
    if down:
        x = layers.ZeroPadding2D(1, name=f"{name}_shortcut_pad")(x)
        x = layers.AveragePooling2D(3, strides=2, name=f"{name}_shortcut")(x)
        y = layers.Concatenate(name=f"{name}_concat")([x, y])
    else:
        y = layers.Add(name=f"{name}_add")([x, y])
    return layers.ReLU(name=f"{name}_relu")(y)


def _unit_v2(x: Any, filters: int, down: bool, name: str) -> Any:
    half, strides = filters // 2, 2 if down else 1
    if down:
        kept, y = parts.depthwise_bn(x, f"{name}_shortcut_depthwise", strides), x
        kept = parts.conv_bn(kept, half, 1, f"{name}_shortcut_pointwise", activation=layers.ReLU)
    else:
        kept, y = tf.split(x, 2, axis=-1)
    y = parts.conv_bn(y, half, 1, f"{name}_pointwise1", activation=layers.ReLU)
    y = parts.depthwise_bn(y, f"{name}_depthwise", strides)
    y = parts.conv_bn(y, half, 1, f"{name}_pointwise2", activation=layers.ReLU)
    return parts.channel_shuffle(layers.Concatenate(name=f"{name}_concat")([kept, y]), 2)
