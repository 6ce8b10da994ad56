"""A model's inputs and outputs by the names they have in the file, and data arranged by them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfgraphprune import batches
from tfgraphprune.errors import UserError

SIGNATURE = "serving_default"


@dataclass(frozen=True)
class ModelInput:
    """One input of a model.

    Attributes:
        name: its name in the TFLite file's signature.
        keras_name: its name in the Keras model.
        shape: the shape of one example, without the batch axis.
        dtype: the NumPy name of its type.
    """

    name: str
    keras_name: str
    shape: tuple[int, ...]
    dtype: str


def model_inputs(model: keras.Model) -> list[ModelInput]:
    """The inputs of a built tf_keras model, in its own order.

    Raises:
        UserError: not a tf_keras model, one that was never built, or one with free dimensions.
    """
    if not isinstance(model, keras.Model):
        raise UserError(
            f"A TFLite file is made from a tf_keras model, not from {type(model).__name__}: "
            "load or build it with tf_keras (TF_USE_LEGACY_KERAS=1)."
        )
    if not getattr(model, "inputs", None):
        raise UserError(
            f"The model {model.name!r} has no fixed inputs yet: "
            "build it with the functional API, or call it on one batch first."
        )
    inputs = []
    names = file_names(model.input_names)
    for name, keras_name, tensor in zip(names, model.input_names, model.inputs, strict=True):
        shape = tuple(tensor.shape[1:])
        if None in shape:
            raise UserError(
                f"Input {keras_name!r} has the shape {tuple(tensor.shape)}, but a TFLite file "
                "needs every size except the batch: build the model with a fixed input shape."
            )
        inputs.append(ModelInput(name, keras_name, shape, tf.as_dtype(tensor.dtype).name))
    return inputs


def model_outputs(model: keras.Model) -> list[str]:
    """The names of the outputs in the file's signature, in the model's own order."""
    return file_names(model.output_names)


def file_names(names: list[str]) -> list[str]:
    """Distinct names of letters, digits and underscores, as near as can be to `names`."""
    taken: list[str] = []
    for name in names:
        clean = re.sub(r"[^0-9A-Za-z_]", "_", name)
        if not clean[:1].isalpha():
            clean = f"tensor_{clean}"
        candidate, count = clean, 1
        while candidate in taken:
            candidate, count = f"{clean}_{count}", count + 1
        taken.append(candidate)
    return taken


def iterate(
    data: Any, inputs: list[ModelInput], batch_size: int, name: str
) -> Iterator[tuple[list[np.ndarray], Any]]:
    """Batches `(one array an input, labels or None)` of the data, in their given order.

    Args:
        data: `(x, y)` arrays, or a `tf.data.Dataset` of batches of `x` or `(x, y)`; with several
            inputs `x` is a list of arrays in the model's order, or a dict by input name.
        inputs: the model's inputs.
        batch_size: examples in a batch; a `tf.data.Dataset` keeps its own batches.
        name: what the caller calls the data, for messages.

    Raises:
        UserError: data of another form, or examples of another shape than the model's inputs.
    """
    if batches.is_dataset(data):
        for element in data:
            x, *rest = element if isinstance(element, tuple) else (element,)
            labels = tf.nest.map_structure(np.asarray, rest[0]) if rest else None
            yield _arrange(x, inputs, name), labels
        return
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise UserError(
            f"{name} must be a pair (x, y) of arrays or a batched tf.data.Dataset, "
            f"not {type(data).__name__}."
        )
    arrays, labels = _arrange(data[0], inputs, name), data[1]
    for start in range(0, len(arrays[0]), batch_size):
        rows = slice(start, start + batch_size)
        part = None if labels is None else tf.nest.map_structure(lambda y, r=rows: y[r], labels)
        yield [array[rows] for array in arrays], part


def _arrange(x: Any, inputs: list[ModelInput], name: str) -> list[np.ndarray]:
    if isinstance(x, Mapping):
        missing = [each.keras_name for each in inputs if each.keras_name not in x]
        if missing:
            raise UserError(
                f"{name} has the inputs {sorted(x)}, but the model also needs {missing}: "
                "name the arrays after the model's inputs."
            )
        parts = [x[each.keras_name] for each in inputs]
    else:
        parts = list(x) if isinstance(x, tuple | list) else [x]
    if len(parts) != len(inputs):
        raise UserError(
            f"{name} has {len(parts)} input arrays, but the model takes {len(inputs)}: "
            "give one array an input, in the model's order."
        )
    arrays = [np.asarray(part) for part in parts]
    for array, wanted in zip(arrays, inputs, strict=True):
        if array.shape[1:] != wanted.shape or len(array) != len(arrays[0]):
            raise UserError(
                f"{name} has an array of shape {array.shape}, but the model's input "
                f"{wanted.keras_name!r} takes batches of examples of shape {wanted.shape}."
            )
    return [array.astype(each.dtype) for array, each in zip(arrays, inputs, strict=True)]
