"""Puts the object that a user handed over together again around a smaller network."""

from __future__ import annotations

import contextlib
import logging
import warnings
from typing import Any

import tf_keras as keras
from tf_keras.src.engine.functional import Functional

from tfgraphprune.graph.dialects.legacy import LegacyKeras

_LOG = logging.getLogger(__name__)


def assembled(model: Any, small: Any) -> Any:
    """The smaller network as an object of the model's class, compiled like it where possible.

    Args:
        model: what was pruned: a functional model, or a task, that is a functional model of a
            class of its own with losses and decoders, such as KerasCV's detectors.
        small: the smaller network, a functional model.
    """
    plain = (keras.Model, Functional, keras.Sequential)
    if isinstance(model, keras.Model) and type(model) not in plain:
        if LegacyKeras().has_layer_graph(model):
            small = _task(model, small)
        elif type(model).train_step is not keras.Model.train_step:
            _LOG.warning(
                "%s is a subclassed model with a training step of its own, which the pruned "
                "functional model does not have.",
                model.name,
            )
    _compile_alike(small, model)
    return small


def _task(model: Any, small: Any) -> Any:
    """An object of the model's class whose network is the smaller one.

    What the class keeps beside the network (label encoders, anchors, decoders, settings) is
    shared; attributes that hold parts of the old network are left out.
    """
    task = keras.Model.__new__(type(model))
    Functional.__init__(
        task, inputs=small._nested_inputs, outputs=small._nested_outputs, name=model.name
    )
    network = {id(layer) for layer in model._self_tracked_trackables}
    network |= {id(inner) for layer in model.layers for inner in layer._flatten_layers()}
    own = vars(task)
    for name, value in vars(model).items():
        if name in own or name.startswith("_self_"):
            continue
        if isinstance(value, keras.layers.Layer) and any(
            id(layer) in network for layer in value._flatten_layers()
        ):
            continue
        with contextlib.suppress(AttributeError):
            setattr(task, name, value)
    return task


def _compile_alike(small: Any, model: Any) -> None:
    """Compile as another model is, where that can be told from its configuration."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a loss that can't be saved is no news here
        config = model.get_compile_config()
    if config is not None:
        # A loss that is a bare function can't be looked up again: the user compiles.
        with contextlib.suppress(ValueError, TypeError):
            small.compile_from_config(config)
