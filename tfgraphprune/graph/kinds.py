"""Which of Keras' classes a layer computes as."""

from __future__ import annotations

from typing import Any

_HARMLESS = {"__init__", "get_config", "from_config", *vars(type("Empty", (), {}))}
"""What a subclass may define without computing anything else."""

_ACTIVATED_LAST = frozenset(
    "Activation Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose Conv3DTranspose Dense "
    "DepthwiseConv1D DepthwiseConv2D EinsumDense SeparableConv1D SeparableConv2D".split()
)
"""Layers whose `activation` is the last thing that they compute."""


def computes_otherwise(kind: type) -> bool:
    """Whether a class overrides more than how its objects are made and saved."""
    own = (getattr(kind, name) for name in vars(kind).keys() - _HARMLESS)
    return any(callable(value) or isinstance(value, property) for value in own)


def is_of_keras(kind: type) -> bool:
    """Whether a class is one of Keras' own."""
    return kind.__module__.split(".")[0] in ("tf_keras", "keras")


def keras_kind(layer: Any) -> str:
    """The name of the Keras class that a layer can't but compute as; empty where there is none."""
    for kind in type(layer).__mro__:
        if is_of_keras(kind):
            return kind.__name__
        if computes_otherwise(kind):
            return ""
    return ""


def layer_as_activation(layer: Any) -> Any:
    """The layer that a layer was given as its activation and applies last, or `None`.

    A cell calls its own at every step, a layer of a user's calls it wherever it likes.
    """
    activation = getattr(layer, "activation", None)
    is_layer = hasattr(activation, "_inbound_nodes")
    return activation if is_layer and keras_kind(layer) in _ACTIVATED_LAST else None
