"""Class weights as sample weights: how much the examples of each class count in the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.batches import Data, is_dataset
from tfgraphprune.errors import UserError
from tfgraphprune.training.objectives import is_compiled, is_multi_label


def weighted(data: Data, class_weight: Mapping[int, float], model: Any) -> Data:
    """The data with each example's sample weight multiplied by its class' weight.

    As Keras' `fit(class_weight=...)` does, before anything else sees the data, so that losses of
    all kinds count the weights, and mixtures of images count each part by its own.

    Args:
        data: `(x, y)` or `(x, y, w)`; labels are class indices `[n]` or `[n, 1]`, one-hot rows, or
            soft rows, of which the likeliest class counts.
        class_weight: weights by class index; classes that it does not name weigh 1.
        model: what is trained.

    Returns:
        `(x, y, w)` arrays or batches of a data set, as came.

    Raises:
        UserError: weights or classes that can't be, several outputs, labels of another form.
    """
    if not isinstance(class_weight, Mapping):
        raise UserError(
            f"class_weight must be a mapping such as {{0: 1.0, 1: 3.0}}, not {class_weight!r}."
        )
    weights = np.ones(_classes(model), np.float32)
    for index, weight in class_weight.items():
        if not _is_class(index, len(weights)):
            raise UserError(
                f"class_weight has a class {index!r}, but the model's are the whole numbers from 0 "
                f"to {len(weights) - 1}: leave it out."
            )
        if not _is_weight(weight):
            raise UserError(
                f"the weights in class_weight must be finite numbers from 0 on, but class {index} "
                f"came with {weight!r}."
            )
        weights[index] = weight
    if is_dataset(data):
        _check_labels(data.element_spec[1])
        table = tf.constant(weights)
        return data.map(lambda *batch: _weigh(table, *batch), num_parallel_calls=tf.data.AUTOTUNE)
    x, y, *given = data
    y = np.asarray(y)
    _check_labels(y)
    chosen = y.argmax(-1) if y.ndim == 2 and y.shape[1] > 1 else np.rint(y).reshape(len(y))
    if chosen.min() < 0 or chosen.max() >= len(weights):
        raise UserError(
            f"class_weight takes labels from 0 to {len(weights) - 1}, but there are labels from "
            f"{chosen.min():g} to {chosen.max():g}: number the classes as the model does."
        )
    each = weights[chosen.astype(np.int64)]
    return x, y, each * np.asarray(given[0], np.float32) if given else each


def _weigh(table: tf.Tensor, x: Any, y: Any, given: Any = None) -> tuple:
    labels = tf.nest.flatten(y)[0]
    if labels.shape.rank == 2 and labels.shape[1] != 1:
        chosen = tf.argmax(labels, -1)
    else:
        chosen = tf.cast(tf.reshape(labels, [-1]), tf.float32)
        chosen = tf.cast(tf.round(chosen), tf.int64)
    each = tf.gather(table, chosen)
    if given is None:
        return x, y, each
    # Weights may come as a column.
    return x, y, each * tf.cast(tf.reshape(tf.nest.flatten(given)[0], [-1]), each.dtype)


def _classes(model: Any) -> int:
    """How many classes the model tells apart; a single sigmoid has two."""
    shape = tuple(model.output_shape) if len(model.outputs) == 1 else ()
    if len(shape) != 2 or (is_compiled(model) and is_multi_label(model)):
        raise UserError(
            "class_weight is for models with one output that gives one class an example, not for "
            f"outputs of shape {model.output_shape} with several labels or values: give sample "
            "weights (x, y, w)."
        )
    return max(2, shape[1])


def _check_labels(labels: Any) -> None:
    """Refuse labels that are not one class an example."""
    shapes = [tf.TensorShape(part.shape) for part in tf.nest.flatten(labels)]
    if len(shapes) == 1 and (shapes[0].rank is None or (shapes[0].rank == 2 and not shapes[0][1])):
        raise UserError(
            "class_weight takes labels whose shape says whether they are indices or rows, not "
            f"{shapes[0]}: set it, as by tf.ensure_shape in a map."
        )
    if len(shapes) != 1 or shapes[0].rank not in (1, 2):
        raise UserError(
            "class_weight takes labels as class indices [n] or rows [n, classes], not of shape "
            f"{shapes}: give sample weights (x, y, w)."
        )


def _is_class(index: Any, classes: int) -> bool:
    whole = isinstance(index, int | np.integer) and not isinstance(index, bool)
    return whole and 0 <= index < classes


def _is_weight(value: Any) -> bool:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return number and math.isfinite(value) and value >= 0
