"""What layers are made anew from: their configurations, other sizes, and what is frozen inside."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfgraphprune.errors import UserError
from tfgraphprune.graph.kinds import layer_as_activation
from tfgraphprune.graph.labels import Kept
from tfgraphprune.graph.reader import Call


def configuration(layer: Any) -> dict[str, Any]:
    """A layer's configuration, also where tf_keras leaves `synchronized` of a BatchNorm out."""
    config = layer.get_config()
    if getattr(layer, "synchronized", False):
        known = inspect.signature(type(layer).__init__).parameters
        config |= {"synchronized": True} if "synchronized" in known else {}
    return config


def trainable_alike(copy: Any, original: Any) -> None:
    """Freeze in the copy of a layer or model what is frozen inside of the original.

    The configuration of a layer made of layers doesn't say it, and the order of weights depends on
    it.
    """
    inside, known = (list(each._flatten_layers()) for each in (copy, original))
    if len(inside) != len(known):  # some are made at the first call only
        return
    for new, old in zip(inside, known, strict=True):  # outermost first, as each sets those inside
        if new.trainable != old.trainable:
            new.trainable = old.trainable


def config_of(call: Call) -> dict:
    """The configuration of the call's layer, with the activation itself for its name.

    Raises:
        UserError: it has none.
    """
    try:
        config = configuration(call.layer)
    except NotImplementedError as error:
        raise _no_config(call) from error
    activation = getattr(call.layer, "activation", None)
    if "activation" in config and callable(activation):
        # Keras may not find a function by its name; a layer is called apart.
        apart = layer_as_activation(call.layer) is not None
        config["activation"] = "linear" if apart else activation
    return config


def remade(call: Call, config: dict) -> Any:
    """The call's layer made anew from a configuration."""
    try:
        return type(call.layer).from_config(config)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise _no_config(call) from error


def _no_config(call: Call) -> UserError:
    return UserError(
        f"the layer {call.key!r} ({type(call.layer).__name__}) can't be made anew from its "
        "configuration: give it a get_config that returns the arguments of its __init__, and "
        "register custom functions with keras.saving.register_keras_serializable."
    )


def counted(config: dict, settings: Mapping[tuple[str, ...], np.ndarray], kept: Kept) -> dict:
    """A configuration whose numbers of channels are those of what is kept."""
    config = copy.deepcopy(config)
    for place, ids in settings.items():
        entry: Any = config
        for name in place[:-1]:
            entry = entry.get(name) or {}
        if place[-1] in entry:
            entry[place[-1]] = kept.count(ids)
    return config


def without_sizes(config: dict) -> dict:
    """Without what would make weights of the dense size; they are copied anyway.

    That are initial values that are arrays, and the input shapes that Keras keeps for layers in
    a wrapper.
    """
    kept = {name: value for name, value in config.items() if name != "build_config"}
    for name, value in kept.items():
        if name.endswith("_initializer"):
            kept[name] = "zeros" if _holds_array(value) else value
        elif isinstance(value, dict):
            kept[name] = without_sizes(value)
    return kept


def _holds_array(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_array, value.values()))
    return isinstance(value, list | tuple | np.ndarray)
