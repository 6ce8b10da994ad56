"""The networks of this package by name, as configs give them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tfgraphprune.errors import UserError
from tfgraphprune.models.digits import digits_cnn
from tfgraphprune.models.mobilenet import mobilenet_v1, mobilenet_v2
from tfgraphprune.models.random_cnn import random_cnn
from tfgraphprune.models.resnet_cifar import resnet_cifar
from tfgraphprune.models.shufflenet import shufflenet_v1, shufflenet_v2
from tfgraphprune.models.vgg import vgg16_bn

_WITH_WIDTH: dict[str, Callable[..., Any]] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "shufflenet_v1": shufflenet_v1,
    "shufflenet_v2": shufflenet_v2,
    "vgg16_bn": vgg16_bn,
}

NAMES = (
    "digits_cnn, resnet20 (any depth of 6n + 2; resnet20B for option-B shortcuts), "
    "random_cnn:SEED, " + ", ".join(f"{name}:WIDTH" for name in _WITH_WIDTH)
)


def network_by_name(name: str, classes: int, input_shape: tuple[int, int, int]) -> Any:
    """A network: `digits_cnn`, `resnet20`, `resnet20B`, `random_cnn:3`, `mobilenet_v2:0.5` ...

    Args:
        name: a family, and for most a width or seed after a colon; width 1 by default.
        classes: number of outputs.
        input_shape: height, width, channels.

    Raises:
        UserError: no such network, or one that can't take these images.
    """
    family, _, number = name.partition(":")
    sizes: dict[str, Any] = {"classes": classes, "input_shape": input_shape}
    resnet = re.fullmatch(r"resnet(\d+)([AB]?)", name)
    if resnet:
        return resnet_cifar(int(resnet[1]), resnet[2] or "A", **sizes)
    if name == "digits_cnn":
        return digits_cnn(**sizes)
    try:
        if family == "random_cnn":
            return random_cnn(int(number), **sizes)
        if family in _WITH_WIDTH:
            return _WITH_WIDTH[family](width=float(number or 1), **sizes)
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"after the colon of {name!r} must come a number.") from error
    raise UserError(f"the network must be one of {NAMES}, not {name!r}.")
