"""The ranges of a quantization-aware model, taken from data before it trains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_model_optimization.python.core.quantization.keras import (
    quantize_layer,
    quantize_wrapper,
)


def calibrate(model: Any, batches: Iterable[Any]) -> None:
    """Set every range to what the unquantized activations and weights span.

    tfmot starts all ranges at -6 to 6, from where its moving average takes thousands of steps, and
    the input's range never gets narrower. Here they start at the mean over the batches of each
    batch's smallest and largest value.

    Args:
        model: quantization-aware.
        batches: inputs.
    """
    seen = _Ranges()
    with passing(model, seen):
        for x in batches:
            model(x, training=False)
    seen.assign()
    for layer in _wrappers(model):
        for weight, quantizer, variables in layer._weight_vars:
            quantizer(weight, True, weights=variables)  # takes the range of the last value


def unquantized(model: Any, x: Any) -> list[np.ndarray]:
    """The outputs of a quantization-aware model when nothing is rounded."""
    with passing(model, _Ranges()):
        return outputs_of(model, x)


def outputs_of(model: Any, x: Any) -> list[np.ndarray]:
    """A model's outputs, one or several."""
    return [np.asarray(output) for output in tf.nest.flatten(model(x, training=False))]


@contextlib.contextmanager
def passing(model: Any, seen: _Ranges) -> Iterator[None]:
    """Has all quantizers of a model hand their inputs on, and note the ranges of activations."""
    with contextlib.ExitStack() as stack:
        for layer in model.layers:
            if isinstance(layer, quantize_layer.QuantizeLayer) and layer.quantizer is not None:
                stack.enter_context(_set(layer, "quantizer", seen))
        for layer in _wrappers(model):
            weights = [(weight, _hand_on, variables) for weight, _, variables in layer._weight_vars]
            stack.enter_context(_set(layer, "_weight_vars", weights))
            if layer._output_quantizers:
                stack.enter_context(_set(layer, "_output_quantizers", [seen]))
            for activation in layer._quantize_activations:
                stack.enter_context(_set(activation, "quantizer", seen))
        yield


class _Ranges:
    """Stands in for quantizers of activations."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[dict, list[tuple[float, float]]]] = {}

    def __call__(self, inputs: Any, training: Any, weights: dict, **_: Any) -> Any:
        """Note the range of a tensor for its quantizer's variables."""
        _, rows = self._rows.setdefault(id(weights["min_var"]), (weights, []))
        rows.append((float(tf.reduce_min(inputs)), float(tf.reduce_max(inputs))))
        return inputs

    def assign(self) -> None:
        """Write the ranges; TFLite needs 0 in each."""
        for variables, rows in self._rows.values():
            low, high = np.mean(rows, axis=0)
            low, high = min(low, 0.0), max(high, 0.0)
            if high > low:
                variables["min_var"].assign(low)
                variables["max_var"].assign(high)


def _hand_on(inputs: Any, training: Any, **_: Any) -> Any:
    return tf.identity(inputs)


def _wrappers(model: Any) -> list:
    return [layer for layer in model.layers if isinstance(layer, quantize_wrapper.QuantizeWrapper)]


@contextlib.contextmanager
def _set(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute for a while, past Keras, which would track the variables in it anew."""
    before = vars(owner)[name]
    vars(owner)[name] = value
    try:
        yield
    finally:
        vars(owner)[name] = before
