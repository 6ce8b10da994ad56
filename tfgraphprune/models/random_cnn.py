"""Random small networks, on which a policy learns what no single family would teach it."""

from __future__ import annotations

from typing import Any

import numpy as np
import tf_keras as keras

from tfgraphprune.errors import UserError

layers = keras.layers


def random_cnn(
    seed: int = 0, classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3)
) -> Any:
    """A random classifier of plain, residual, inverted residual and concatenating blocks.

    Two or three stages of one to three blocks each, 8 to 48 channels, half the resolution from
    stage to stage; ends in logits.

    Args:
        seed: decides the architecture, not the weights.
        classes: number of outputs.
        input_shape: height, width, channels.

    Raises:
        UserError: a seed below 0.
    """
    if seed < 0:
        raise UserError(f"seed must be a whole number from 0 on, not {seed}.")
    random = np.random.default_rng(seed)
    image = keras.Input(input_shape, name="image")
    width = int(random.choice([8, 12, 16]))
    x = _conv(image, width, 3, "stem")
    number = 0
    for stage in range(int(random.integers(2, 4))):
        width = min(48, width * (2 if stage else 1))
        x = _conv(x, width, 3, f"stage{stage}", strides=2 if stage else 1)
        for _ in range(int(random.integers(1, 4))):
            block = _BLOCKS[random.integers(len(_BLOCKS))]
            x = block(x, width, f"block{number}", float(random.choice([0.5, 1, 2])))
            number += 1
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    if random.random() < 0.5:
        x = layers.Dense(2 * width, activation="relu", name="hidden")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name=f"random_cnn_{seed}")


def _plain(x: Any, width: int, name: str, ratio: float) -> Any:
    x = _conv(x, max(4, int(ratio * width)), 3, f"{name}_a")
    return _conv(x, width, 3, f"{name}_b")


def _residual(x: Any, width: int, name: str, ratio: float) -> Any:
    y = _conv(x, max(4, int(ratio * width)), 3, f"{name}_a")
    y = _conv(y, width, 3, f"{name}_b", activate=False)
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))


def _inverted(x: Any, width: int, name: str, ratio: float) -> Any:
    y = _conv(x, int(2 * ratio * width), 1, f"{name}_expand")
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise")(y)
    y = layers.BatchNormalization(name=f"{name}_depthwise_bn")(y)
    y = layers.ReLU(name=f"{name}_depthwise_relu")(y)
    y = _conv(y, width, 1, f"{name}_project", activate=False)
    return layers.Add(name=f"{name}_add")([x, y])


def _branches(x: Any, width: int, name: str, ratio: float) -> Any:
    left = _conv(x, max(4, int(ratio * width / 2)), 1, f"{name}_left")
    right = _conv(x, max(4, int(ratio * width / 2)), 3, f"{name}_right")
    both = layers.Concatenate(name=f"{name}_concat")([left, right])
    return _conv(both, width, 1, f"{name}_join")


_BLOCKS = (_plain, _residual, _inverted, _branches)


def _conv(
    x: Any, filters: int, size: int, name: str, strides: int = 1, activate: bool = True
) -> Any:
    x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if activate else x
