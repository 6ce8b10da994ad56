"""Which layers tfmot can quantize, found out by trying, and the model with just these quantized."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras as keras

from tfgraphprune.errors import UserError, first_line
from tfgraphprune.graph.rules import is_op
from tfgraphprune.pruning.rebuild import distributed_as
from tfgraphprune.training.optimize.ranges import outputs_of, unquantized
from tfgraphprune.training.optimize.scheme import Scheme, scope
from tfgraphprune.training.optimize.stage import skipped

_TOLERANCE = 1e-3
"""Largest difference between the model and the quantization-aware one when nothing is rounded,
as a share of an output's largest value: tfmot wires some models wrongly without a word."""

quantize = tfmot.quantization.keras


def annotated(
    model: Any, x: Any, preserve: str | None = None, skip: Sequence[str] = ()
) -> tuple[Any, list[str], dict[str, str]]:
    """A quantization-aware copy of a model.

    All layers that tfmot knows are tried at once. Where that fails, or where the copy computes
    something else than the model, halves are tried, down to the single layers that fail.

    Args:
        model: plain, without nested models.
        x: some inputs.
        preserve: see `quantize_aware`.
        skip: names or patterns of layers to leave as they are.

    Returns:
        The copy, the names of the layers that are quantized, and the reasons of the others.

    Raises:
        UserError: tfmot can quantize no layer of the model.
    """
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    left_out = skipped([layer.name for layer in layers], skip)
    for layer in layers:
        if is_op(layer):
            left_out.setdefault(layer.name, "an operation outside of any layer")
    attempt = _Attempt(model, x, preserve)
    names = [layer.name for layer in layers if layer.name not in left_out]
    found, refused = attempt.quantized(names)
    while refused:  # each name goes once, so this ends
        left_out |= refused
        names = [name for name in names if name not in refused]
        found, refused = attempt.quantized(names)
    if found is None:
        names, failed = attempt.largest(names)
        left_out |= failed
        found, _ = attempt.quantized(names)
    if found is None:
        raise UserError(f"tfmot can quantize no layer of {model.name!r}: {left_out}.")
    return found, names, left_out


class _Attempt:
    """Tries to quantize some of a model's layers."""

    def __init__(self, model: Any, x: Any, preserve: str | None):
        self._model = model
        self._x = x
        self._preserve = preserve
        self._expected = outputs_of(model, x)
        self._error = ""

    def quantized(self, names: Collection[str]) -> tuple[Any, dict[str, str]]:
        """The quantization-aware model, or `None`, and the layers that tfmot would refuse."""
        if not names:
            return None, {}
        outside = {layer.name for layer in self._model.layers} - set(names)
        scheme = Scheme(self._preserve, outside)
        try:
            with (
                distributed_as(self._model),
                scope(),
                keras.utils.custom_object_scope(_own_objects(self._model)),
            ):
                found = quantize.quantize_apply(self._annotate(names), scheme)
            outputs = unquantized(found, self._x)
        except Exception as error:  # tfmot raises whatever its walk over the model runs into
            self._error = first_line(error)
            return None, {name: why for name, why in scheme.refused.items() if name in names}
        refused = {name: why for name, why in scheme.refused.items() if name in names}
        pairs = zip(outputs, self._expected, strict=True)
        right = all(np.abs(a - b).max() <= _TOLERANCE * np.abs(b).max() for a, b in pairs)
        if not right or len(refused) < len(scheme.refused):
            self._error = "tfmot's copy of the model computes something else"
            return None, refused
        return found, refused

    def largest(self, names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """Layers that can be quantized together, tried by halves, and what the others fail with.

        Where all is well without the layers of one class, only these are tried.
        """
        failed: dict[str, str] = {}

        def fits(chosen: Sequence[str]) -> bool:
            found, refused = self.quantized(chosen)
            return found is not None and not refused

        def grown(base: list[str], more: Sequence[str]) -> list[str]:
            if fits([*base, *more]):
                return [*base, *more]
            if len(more) == 1:
                failed[more[0]] = f"tfmot fails with it: {self._error}"
                return base
            half = len(more) // 2
            return grown(grown(base, more[:half]), more[half:])

        classes = {name: type(self._model.get_layer(name)) for name in names}
        for kind in dict.fromkeys(classes.values()):
            rest = [name for name in names if classes[name] is not kind]
            if rest and fits(rest):
                return grown(rest, [name for name in names if classes[name] is kind]), failed
        return (grown([], names) if names else []), failed

    def _annotate(self, names: Collection[str]) -> Any:
        """A copy of the model with annotations around the named layers."""
        copies: dict[str, Any] = {}

        def clone(layer: Any) -> Any:
            copy = copies[layer.name] = type(layer).from_config(layer.get_config())
            return quantize.quantize_annotate_layer(copy) if layer.name in names else copy

        result = keras.models.clone_model(self._model, clone_function=clone)
        for name, copy in copies.items():
            copy.set_weights(self._model.get_layer(name).get_weights())
        return result


def _own_objects(model: Any) -> dict[str, Any]:
    """The user's classes and activations, which tfmot looks up by their names."""
    found: dict[str, Any] = {}
    for layer in model.layers:
        for value in (type(layer), getattr(layer, "activation", None)):
            name = getattr(value, "__name__", None)
            if name and not getattr(value, "__module__", "").startswith("tf_keras."):
                found[name] = value
    return found
