"""Data as users hand it over: `(x, y)` arrays or a finite, batched `tf.data.Dataset`.

Either may carry sample weights as its third part: `(x, y, w)`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from tfgraphprune.errors import UserError

Data: TypeAlias = Any
"""`(x, y)` or `(x, y, w)` arrays of equal length, or a finite `tf.data.Dataset` of such batches."""


def is_dataset(data: Data) -> bool:
    """Whether `data` is a `tf.data.Dataset`."""
    return isinstance(data, tf.data.Dataset)


def check(data: Data, name: str) -> None:
    """Refuse data that cannot be used, before any long work starts.

    Args:
        data: `(x, y)` or `(x, y, w)` arrays, or a batched `tf.data.Dataset`.
        name: what the caller calls it, for the message.

    Raises:
        UserError: not arrays of equal, positive length, weights that are not one finite number
            from 0 on for each example, or an infinite or unbatched data set.
    """
    if is_dataset(data):
        spec = data.element_spec
        if not isinstance(spec, tuple) or len(spec) not in (2, 3):
            raise UserError(
                f"{name} must yield (x, y) or (x, y, w) batches, but its elements are {spec!r}: "
                "map it to pairs."
            )
        if data.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise UserError(f"{name} never ends: use take(n), or drop repeat().")
        rank = tf.nest.flatten(spec)[0].shape.rank
        if rank is not None and rank < 2:
            raise UserError(f"{name} is not batched (rank {rank}): call batch(n) on it.")
        return
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise UserError(
            f"{name} must be a pair (x, y) of arrays, with sample weights (x, y, w), or a batched "
            f"tf.data.Dataset, not {type(data).__name__}."
        )
    x, y = data[:2]
    if not hasattr(x, "shape") or not hasattr(y, "shape"):
        raise UserError(
            f"{name} must hold arrays, but came as ({type(x).__name__}, {type(y).__name__}): "
            "call numpy.asarray on both."
        )
    if len(x) == 0 or len(x) != len(y):
        raise UserError(
            f"{name} must hold as many labels as examples, at least one; "
            f"it has {len(x)} examples and {len(y)} labels."
        )
    if np.issubdtype(np.asarray(x).dtype, np.floating) and not np.isfinite(x).all():
        raise UserError(f"{name} has values that are not finite: clean the examples first.")
    if len(data) == 3:
        _check_weights(data[2], len(x), name)


def as_dataset(data: Data, batch_size: int) -> tf.data.Dataset:
    """Batches in their given order; a `tf.data.Dataset` is passed through as it is."""
    if is_dataset(data):
        return data
    return tf.data.Dataset.from_tensor_slices(tuple(data)).batch(batch_size)


def as_arrays(data: Data, limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The first `limit` examples (by default all) as `(x, y)` NumPy arrays, without weights."""
    if not is_dataset(data):
        x, y = data[:2]
        return np.asarray(x[:limit]), np.asarray(y[:limit])
    xs, ys, count = [], [], 0
    for x, y, *_ in data:
        xs.append(x.numpy())
        ys.append(y.numpy())
        count += len(xs[-1])
        if limit is not None and count >= limit:
            break
    return np.concatenate(xs)[:limit], np.concatenate(ys)[:limit]


def sparse_labels(y: np.ndarray) -> np.ndarray:
    """Class indices `[n]` of labels given as indices `[n]`, `[n, 1]` or one-hot rows `[n, c]`."""
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] > 1:
        return y.argmax(axis=1)
    return y.reshape(len(y)).astype(np.int64)


def _check_weights(weights: Any, count: int, name: str) -> None:
    values = np.asarray(weights)
    numbers = values.dtype.kind in "fiub"
    if values.shape != (count,) or not numbers or not np.isfinite(values).all() or values.min() < 0:
        raise UserError(
            f"the weights of {name} must be one finite number from 0 on for each of its {count} "
            f"examples, but came as {values.dtype} of shape {values.shape}"
            f"{f' from {values.min()} to {values.max()}' if numbers and values.size else ''}."
        )
