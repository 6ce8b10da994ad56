"""What a model's outputs are: class scores, and then logits or probabilities, or something else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfgraphprune.errors import UserError

_PROBABILITIES = ("softmax", "sigmoid")

_UNITS_APART = ("binary", "sigmoid")
"""Losses, by parts of their names, that take each unit of an output for a label of its own."""

_NO_CLASSES = (
    *_UNITS_APART, "meansquared", "meanabsolute", "mse", "mae", "msle", "mape", "huber", "logcosh",
    "poisson", "cosinesimilarity",
)  # fmt: skip
"""Losses, by parts of their names, for outputs whose largest says nothing."""

_PASSING_LAYERS = (
    keras.layers.ActivityRegularization, keras.layers.Dropout, keras.layers.Flatten,
    keras.layers.Reshape,
)  # fmt: skip
_PASSING_OPS = ("cast", "identity", "reshape", "squeeze")
"""What hands values on as they are, such as a cast to float32 after a mixed-precision softmax."""


def scores_classes(model: Any) -> bool:
    """Whether the largest output is the model's answer: one row of class scores an example.

    That is one output of two or more units and, of a compiled model, no loss for several labels or
    for values.
    """
    return len(model.outputs) == 1 and first_scores_classes(model)


def first_scores_classes(model: Any) -> bool:
    """`scores_classes` of the first of any number of outputs."""
    shape, loss = tuple(model.outputs[0].shape), getattr(model, "loss", None)
    if isinstance(loss, Mapping):
        loss = loss.get(model.output_names[0])
    elif isinstance(loss, list | tuple):
        loss = loss[0]
    for_values = loss is not None and any(part in loss_name(loss) for part in _NO_CLASSES)
    return len(shape) == 2 and shape[-1] != 1 and not for_values


def loss_name(loss: Any) -> str:
    """A loss by name, letters only: `categoricalcrossentropy`."""
    function = getattr(loss, "fn", loss)
    name = loss if isinstance(loss, str) else getattr(function, "__name__", type(loss).__name__)
    return name.replace("_", "").lower()


def takes_units_apart(loss: Any) -> bool:
    """Whether a loss takes each unit of an output for a label of its own, as sigmoids are."""
    return any(part in loss_name(loss) for part in _UNITS_APART)


def units(model: Any) -> int | None:
    """The size of the last axis of a model's only output; `None` where that is not known."""
    shape = getattr(model, "output_shape", None)  # a subclass has none
    return shape[-1] if isinstance(shape, tuple) else None


def check_classifier(model: Any, teacher: Any = None) -> None:
    """Refuse a model that is no classifier of one label an example, or a teacher unlike it.

    Raises:
        UserError: several outputs, one of another rank, fewer than two classes, or a teacher with
            other classes.
    """
    shape = tuple(model.output_shape) if len(model.outputs) == 1 else ()
    if len(shape) != 2 or shape[-1] == 1:
        raise UserError(
            f"model must end in logits or softmax over two or more classes, not in outputs of "
            f"shape {model.output_shape}: give it one output a class."
        )
    if teacher is not None and tuple(teacher.output_shape) != shape:
        raise UserError(
            f"the teacher's outputs have shape {teacher.output_shape}, the model's {shape}: give a "
            "teacher with the same classes."
        )


def gives_probabilities(model: Any, number: int = 0) -> bool:
    """Whether an output of a model comes out of a softmax or sigmoid, nested models entered.

    Args:
        model: functional.
        number: of the output.
    """
    tensor = model.outputs[number]
    while True:
        outer, node, index = tensor._keras_history
        if isinstance(outer, keras.Model) and outer.outputs is not None:
            return gives_probabilities(outer, index)
        layer = outer
        while isinstance(layer, keras.layers.Wrapper):  # those of tfmot around a last layer too
            layer = layer.layer
        activation, symbol = _activation(layer), _symbol(layer)
        if activation in _PROBABILITIES or symbol in _PROBABILITIES:
            return True
        passes = isinstance(layer, _PASSING_LAYERS) or symbol in _PASSING_OPS
        if not passes and (type(layer), activation) != (keras.layers.Activation, "linear"):
            return isinstance(layer, keras.layers.Softmax)
        tensor = outer.inbound_nodes[node].keras_inputs[0]


def _activation(layer: Any) -> str:
    activation = getattr(layer, "activation", None)
    # In quantization-aware training an object that holds the function is in its place.
    return getattr(getattr(activation, "activation", activation), "__name__", "")


def _symbol(layer: Any) -> str:
    """What TensorFlow calls the operation that Keras has made a layer of: `softmax`."""
    return (getattr(layer, "symbol", "") or "").split(".")[-1]


def log_probabilities(
    outputs: tf.Tensor, probabilities: bool, temperature: float = 1.0
) -> tf.Tensor:
    """Log probabilities at a temperature, from logits or from probabilities; `[n, classes]`."""
    outputs = tf.cast(outputs, tf.float32)  # those of a model in 16 bits
    logits = tf.math.log(tf.maximum(outputs, 1e-7)) if probabilities else outputs
    return tf.nn.log_softmax(logits / temperature)
