"""What a classifier's outputs are: logits, or probabilities already."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

_PROBABILITIES = ("softmax", "sigmoid")


def gives_probabilities(model: Any) -> bool:
    """Whether the model's first output comes out of a softmax or sigmoid, nested models entered."""
    layer = model.outputs[0]._keras_history.layer
    if isinstance(layer, keras.Model):
        return gives_probabilities(layer)
    name = getattr(getattr(layer, "activation", None), "__name__", "")
    symbol = getattr(layer, "symbol", "") or ""
    return (
        name in _PROBABILITIES
        or isinstance(layer, keras.layers.Softmax)
        or symbol.split(".")[-1] in _PROBABILITIES
    )


def log_probabilities(
    outputs: tf.Tensor, probabilities: bool, temperature: float = 1.0
) -> tf.Tensor:
    """Log probabilities at a temperature, from logits or from probabilities; `[n, classes]`."""
    logits = tf.math.log(tf.maximum(outputs, 1e-7)) if probabilities else outputs
    return tf.nn.log_softmax(logits / temperature)
