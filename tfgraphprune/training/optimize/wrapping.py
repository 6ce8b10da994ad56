"""Puts tfmot's wrappers around the layers that it can take, which is found out by trying."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfgraphprune.errors import first_line
from tfgraphprune.pruning.rebuild import distributed_as
from tfgraphprune.pruning.tasks import compile_alike
from tfgraphprune.training.optimize.stage import skipped

Wrap = Callable[[Any], Any]
"""Given a layer, tfmot's wrapper around it; raises where tfmot can't take the layer."""

Object = Callable[[Any], str | None]
"""Given a layer, why it is better left out, or `None`."""


def wrap_kernels(
    model: Any,
    wrap: Wrap,
    strip: Callable[[Any], Any],
    against: Object,
    skip: Sequence[str] = (),
) -> tuple[Any, list[str], dict[str, str]]:
    """A model whose layers with a kernel are wrapped; nested models are entered.

    Each kind of layer is wrapped, called and stripped once on its own before, with weights that
    are thrown away, because tfmot accepts layers that it can't call or strip.

    Args:
        model: plain; its layers are used on.
        wrap: makes the wrapper.
        strip: takes the wrappers of a model off again.
        against: further reasons.
        skip: names or patterns of layers to leave as they are.

    Returns:
        The model, compiled as before, the names of the wrapped layers and the reasons of the
        others; layers in nested models are called `model/layer`.
    """
    layers = dict(kernel_layers(model))
    left_out = skipped(list(layers), skip)
    tried: dict[tuple, str | None] = {}
    for name, layer in layers.items():
        if name in left_out:
            continue
        reason = against(layer) if layer.trainable else "it is not trainable"
        if reason is None:
            kind = (type(layer), *(w.shape.rank for w in layer.weights), len(_tensors(layer)))
            if kind not in tried:
                tried[kind] = _trial(layer, wrap, strip)
            reason = tried[kind]
        if reason is not None:
            left_out[name] = reason
    chosen = {id(layer) for name, layer in layers.items() if name not in left_out}

    def clone(layer: Any) -> Any:
        if isinstance(layer, keras.Model):
            return keras.models.clone_model(layer, clone_function=clone)
        return wrap(layer) if id(layer) in chosen else layer

    with distributed_as(model):
        wrapped = keras.models.clone_model(model, clone_function=clone)
    compile_alike(wrapped, model)
    return wrapped, [name for name in layers if name not in left_out], left_out


def kernel_layers(model: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """The layers with a weight of two axes or more, with their names; nested models are entered."""
    found = []
    for layer in model.layers:
        name = prefix + layer.name
        if isinstance(layer, keras.Model):
            found += kernel_layers(layer, name + "/")
        elif any(weight.shape.rank >= 2 for weight in layer.weights):
            found.append((name, layer))
    return found


def layer_at(model: Any, name: str) -> Any:
    """The layer that `kernel_layers` gave this name."""
    return dict(kernel_layers(model))[name]


def _tensors(layer: Any) -> list:
    node = layer._inbound_nodes[0]
    leaves = tf.nest.flatten((node.call_args, node.call_kwargs))
    return [leaf for leaf in leaves if tf.is_tensor(leaf) or keras.backend.is_keras_tensor(leaf)]


def _trial(layer: Any, wrap: Wrap, strip: Callable[[Any], Any]) -> str | None:
    """Why a copy of the layer can't be wrapped, called as the layer is, and stripped."""
    node = layer._inbound_nodes[0]
    starts = {id(t): keras.Input(t.shape[1:], dtype=t.dtype) for t in _tensors(layer)}
    args, kwargs = tf.nest.map_structure(
        lambda leaf: starts.get(id(leaf), leaf), (node.call_args, node.call_kwargs)
    )
    kwargs = {name: value for name, value in kwargs.items() if value is not None}
    try:
        copy = type(layer).from_config(layer.get_config())
        copy(*args, **kwargs)
        copy.set_weights(layer.get_weights())
        wrapper = wrap(copy)
        outputs = wrapper(*args, **kwargs)
        if not _changes(wrapper):
            return f"tfmot leaves the kernels of a {type(layer).__name__} alone"
        plain = strip(keras.Model(list(starts.values()), outputs))
        plain([np.zeros([2 if s is None else s for s in t.shape]) for t in starts.values()])
        if [w.shape for w in plain.weights] != [w.shape for w in layer.weights]:
            return f"tfmot can't strip a {type(layer).__name__} again"
    except Exception as error:  # whatever tfmot raises is the reason
        return f"tfmot can't take a {type(layer).__name__}: {first_line(error)}"
    return None


def _changes(wrapper: Any) -> bool:
    """Whether a wrapper of tfmot's has found a weight to work on."""
    return bool(
        getattr(wrapper, "pruning_vars", None) or getattr(wrapper, "cluster_centroids", None)
    )
