"""What the networks share: the image, convolutions with BatchNorm, shuffles, checked arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfgraphprune.errors import UserError
from tfgraphprune.models.resnet_cifar import DEVIATION, MEAN

layers = keras.layers

EPSILON = 1e-5


def normalized_image(input_shape: Sequence[int], least: int = 1) -> tuple[Any, Any]:
    """The input of a network and the same image normalised.

    Args:
        input_shape: height, width, 3.
        least: the smallest height and width that the network can take.

    Raises:
        UserError: another shape.
    """
    shape = tuple(input_shape) if isinstance(input_shape, Sequence) else ()
    counts = len(shape) == 3 and all(map(is_count, shape))
    if not counts or shape[2] != 3 or min(shape[:2]) < least:
        raise UserError(
            f"input_shape must be (height, width, 3) with at least {least} pixels a side, "
            f"such as (32, 32, 3), not {input_shape!r}."
        )
    image = keras.Input(shape, name="image")
    variance = tuple(d * d for d in DEVIATION)
    return image, layers.Normalization(mean=MEAN, variance=variance, name="normalize")(image)


def conv_bn(
    x: Any,
    filters: int,
    size: int,
    name: str,
    strides: int = 1,
    groups: int = 1,
    activation: Any = None,
    use_bias: bool = False,
) -> Any:
    """A convolution, its BatchNorm and, where `activation` is a layer class, `activation`."""
    x, padding = _padded(x, size, strides, name)
    x = layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding=padding,
        groups=groups,
        use_bias=use_bias,
        name=name,
    )(x)
    return _bn(x, name, activation)


def depthwise_bn(x: Any, name: str, strides: int = 1, activation: Any = None) -> Any:
    """A 3x3 depthwise convolution, its BatchNorm and, where given, `activation`."""
    x, padding = _padded(x, 3, strides, name)
    x = layers.DepthwiseConv2D(3, strides=strides, padding=padding, use_bias=False, name=name)(x)
    return _bn(x, name, activation)


def relu6(name: str) -> Any:
    """A ReLU that ends at 6."""
    return layers.ReLU(6.0, name=name)


def channel_shuffle(x: Any, groups: int) -> Any:
    """Channels `[batch, height, width, channels]` dealt out: one of each of `groups` in turn.

    Zhang et al., "ShuffleNet", CVPR 2018, figure 1: channels as `(groups, n)`, transposed, flat.
    """
    height, width, channels = x.shape[1:]
    x = tf.reshape(x, [-1, height, width, groups, channels // groups])
    x = tf.transpose(x, [0, 1, 2, 4, 3])
    return tf.reshape(x, [-1, height, width, channels])


def logits(x: Any, classes: int, dropout: float = 0.0) -> Any:
    """Global average pooling, dropout where there is some, and the last dense layer."""
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(dropout, name="dropout")(x) if dropout else x
    return layers.Dense(classes, name="logits")(x)


def scaled(channels: float, multiple: int = 8) -> int:
    """The multiple next to `channels`, at least one of it and never below 90% of `channels`."""
    nearest = max(multiple, math.floor(channels / multiple + 0.5) * multiple)
    return nearest + multiple if nearest < 0.9 * channels else nearest


def check_classes(classes: int) -> None:
    """UserError where `classes` is not a number of outputs."""
    if not is_count(classes):
        raise UserError(f"classes must be a whole number of at least 1, not {classes!r}.")


def check_width(width: float) -> None:
    """UserError where `width` is not a positive number."""
    if not is_number(width) or width <= 0:
        raise UserError(f"width must be a positive number, such as 1.0 or 0.5, not {width!r}.")


def check_dropout(dropout: float) -> None:
    """UserError where `dropout` is not a rate."""
    if not is_number(dropout) or not 0 <= dropout < 1:
        raise UserError(f"dropout must be at least 0 and below 1, not {dropout!r}.")


def check_counts(name: str, counts: Sequence[int]) -> None:
    """UserError where `counts` is not a sequence of positive whole numbers; it may be empty."""
    if not isinstance(counts, Sequence) or not all(map(is_count, counts)):
        raise UserError(f"{name} must be whole numbers of at least 1, not {counts!r}.")


def is_count(value: Any) -> bool:
    """Whether a value is a whole number of at least 1, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def is_number(value: Any) -> bool:
    """Whether a value is a finite real number, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(float(value))


def with_width(name: str, width: float) -> str:
    """The name of a network of some width, as in `mobilenet_v1_x0_5`."""
    return f"{name}_x{float(width)}".replace(".", "_")


def _padded(x: Any, size: int, strides: int, name: str) -> tuple[Any, str]:
    # Padding by one on each side differs from "same" where the stride is 2.
    if strides == 1 or size == 1:
        return x, "same"
    return layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x), "valid"


def _bn(x: Any, name: str, activation: Any) -> Any:
    x = layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(x)
    return activation(name=f"{name}_relu")(x) if activation else x
