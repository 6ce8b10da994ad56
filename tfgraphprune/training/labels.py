"""Class labels, which must be those of the classes that a model tells apart."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfgraphprune.batches import Data, is_dataset, sparse_labels
from tfgraphprune.errors import UserError


def check_labels(data: Data, name: str, classes: int) -> None:
    """Refuse arrays with labels of classes that there are not; those of a data set are not read.

    Args:
        data: `(x, y)` or `(x, y, w)` arrays, or a data set.
        name: what the caller calls it, for the message.
        classes: how many the model tells apart.

    Raises:
        UserError: there is such a label.
    """
    if is_dataset(data):
        return
    labels = sparse_labels(np.asarray(data[1]))
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(
            f"{name} must have labels from 0 to {classes - 1}, as the model tells {classes} "
            f"classes apart, but has labels from {labels.min()} to {labels.max()}: number the "
            "classes as the model does."
        )


def as_rows(labels: tf.Tensor, classes: int | tf.Tensor) -> tf.Tensor:
    """Float32 rows `[n, classes]` of class indices `[n]` or `[n, 1]`, or of rows as they are.

    Labels of unknown shape, as those of a generator, are told apart when it runs.
    """
    rank = labels.shape.rank
    if rank is None or (rank == 2 and labels.shape[-1] is None):
        rows = tf.cond(
            tf.logical_and(tf.equal(tf.rank(labels), 2), tf.not_equal(tf.shape(labels)[-1], 1)),
            lambda: tf.cast(labels, tf.float32),
            lambda: one_hot(labels, classes),
        )
        return tf.ensure_shape(rows, [None, None])
    if rank == 2 and labels.shape[-1] != 1:
        return tf.cast(labels, tf.float32)
    return one_hot(labels, classes)


def one_hot(labels: tf.Tensor, classes: int | tf.Tensor) -> tf.Tensor:
    """One-hot rows, float32 `[n, classes]`, of class indices `[n]` or `[n, 1]`.

    Raises:
        tf.errors.InvalidArgumentError: when it runs, for a label out of range.
    """
    indices = tf.cast(tf.reshape(labels, [-1]), tf.int32)
    said = "labels must be from 0 to the number of classes less one"
    tf.debugging.assert_non_negative(indices, said)
    tf.debugging.assert_less(indices, classes, said)
    return tf.one_hot(indices, classes)
