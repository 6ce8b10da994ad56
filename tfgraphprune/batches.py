"""Data as users hand it over: `(x, y)` arrays or a finite, batched `tf.data.Dataset`.

Either may carry sample weights as its third part: `(x, y, w)`. Where a model has several inputs or
outputs, `x` or `y` is a list of arrays or a dictionary of them by name, as Keras takes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
        if data.cardinality() == 0:
            raise UserError(f"{name} must hold at least one batch, but it is empty.")
        ranks = [[each.shape.rank for each in tf.nest.flatten(part)] for part in spec[:2]]
        for part, least in zip(ranks, (2, 1), strict=True):  # one of several inputs may be a number
            if None not in part and (max(part) < least or min(part) == 0):
                raise UserError(f"{name} is not batched (rank {min(part)}): call batch(n) on it.")
        return
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise UserError(
            f"{name} must be a pair (x, y) of arrays, with sample weights (x, y, w), or a batched "
            f"tf.data.Dataset, not {type(data).__name__}."
        )
    x, y = data[:2]
    examples, labels = tf.nest.flatten(x), tf.nest.flatten(y)
    if not all(hasattr(part, "shape") for part in (*examples, *labels)):
        raise UserError(
            f"{name} must hold arrays, but came as ({type(x).__name__}, {type(y).__name__}): "
            "call numpy.asarray on both."
        )
    counts = [len(part) for part in (*examples, *labels)]
    if counts[0] == 0 or len(set(counts)) > 1:
        raise UserError(
            f"{name} must hold as many labels as examples, at least one; it has "
            f"{_listed(counts[: len(examples)])} examples and {_listed(counts[len(examples) :])} "
            "labels."
        )
    for part in examples:
        if np.issubdtype(np.asarray(part).dtype, np.floating) and not np.isfinite(part).all():
            raise UserError(f"{name} has values that are not finite: clean the examples first.")
    if len(data) == 3:
        several = isinstance(data[2], Mapping | tuple) or np.asarray(data[2]).ndim > 1
        for part in tf.nest.flatten(data[2]) if several else [data[2]]:
            _check_weights(part, counts[0], name)


def as_dataset(data: Data, batch_size: int) -> tf.data.Dataset:
    """Batches in their given order; a `tf.data.Dataset` is passed through as it is."""
    if is_dataset(data):
        return data
    return tf.data.Dataset.from_tensor_slices(tuples_of(data)).batch(batch_size)


def as_arrays(data: Data, limit: int | None = None) -> tuple[Any, Any]:
    """The first `limit` examples (by default all) as `(x, y)` NumPy arrays, without weights."""
    if not is_dataset(data):
        return rows_of(tuple(data[:2]), slice(limit))
    found, count = list[tuple[Any, Any]](), 0
    for x, y, *_ in data:
        found.append(tf.nest.map_structure(np.asarray, (x, y)))
        count += length(x)
        if limit is not None and count >= limit:
            break
    whole = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *found)
    return rows_of(whole, slice(limit))


def sample(data: Data, count: int | None, seed: int, ordered: bool = False) -> tuple[Any, Any]:
    """Up to `count` examples (by default all) in random order, without weights.

    Order matters: a batch, or the first of them, should hold all classes, also where the data are
    sorted by class. Of a `tf.data.Dataset` they are the first ones, in its own order.

    Args:
        data: arrays or a data set.
        count: of examples.
        seed: of which they are, and their order.
        ordered: whether they stay in the order in which they came.
    """
    if is_dataset(data):
        return as_arrays(data, count)
    rows = _shuffled(length(data[0]), seed)[:count]
    return rows_of(tuple(data[:2]), np.sort(rows) if ordered else rows)


def input_batches(data: Data, size: int, seed: int = 0) -> Iterator[Any]:
    """Batches of the examples without labels: those of arrays in random order, as of `sample`."""
    if is_dataset(data):
        yield from (batch[0] for batch in data)
        return
    rows = _shuffled(length(data[0]), seed)
    x = tuples_of(data[0])
    for start in range(0, len(rows), size):
        yield tf.nest.map_structure(tf.constant, rows_of(x, rows[start : start + size]))


def length(x: Any) -> int:
    """How many examples there are in an array, or in each of several."""
    return int(tf.nest.flatten(x)[0].shape[0])


def rows_of(x: Any, rows: slice | np.ndarray) -> Any:
    """These examples of an array, or of each of several, as NumPy arrays."""
    return tf.nest.map_structure(lambda part: np.asarray(part)[rows], x)


def batched(x: Any, size: int) -> list[Any]:
    """An array, or each of several, as tensors of up to `size` examples."""
    return [
        tf.nest.map_structure(tf.constant, rows_of(x, slice(start, start + size)))
        for start in range(0, length(x), size)
    ]


def model_inputs(x: Any, model: Any) -> Any:
    """Examples as a model takes them: an array, or a list in its inputs' order, of their types.

    Raises:
        UserError: a dictionary without one of the inputs, or another number of arrays.
    """
    inputs = model.inputs
    if isinstance(x, Mapping):
        names = [tensor.name.split(":")[0] for tensor in inputs]
        missing = [name for name in names if name not in x]
        if missing:
            raise UserError(
                f"the examples have the inputs {sorted(x)}, but the model also needs {missing}: "
                "name the arrays after the model's inputs."
            )
        parts = [x[name] for name in names]
    else:
        parts = list(x) if isinstance(x, tuple | list) else [x]
    if len(parts) != len(inputs):
        raise UserError(
            f"the examples have {len(parts)} arrays, but the model takes {len(inputs)}: give one "
            "an input, in the model's order."
        )
    found = [
        np.asarray(part, tf.as_dtype(tensor.dtype).as_numpy_dtype)
        for part, tensor in zip(parts, inputs, strict=True)
    ]
    return found if len(found) > 1 else found[0]


def tuples_of(data: Any) -> Any:
    """The same with tuples for lists, which TensorFlow would stack into one tensor."""
    if isinstance(data, tuple | list):
        return tuple(map(tuples_of, data))
    if isinstance(data, dict):
        return {name: tuples_of(part) for name, part in data.items()}
    return data


def sparse_labels(y: np.ndarray) -> np.ndarray:
    """Class indices `[n]` of labels given as indices `[n]`, `[n, 1]` or one-hot rows `[n, c]`."""
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] > 1:
        return y.argmax(axis=1)
    return y.reshape(len(y)).astype(np.int64)


def _shuffled(count: int, seed: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox([seed, 1])).permutation(count)


def _listed(counts: list[int]) -> str:
    return ", ".join(map(str, counts))


def _check_weights(weights: Any, count: int, name: str) -> None:
    values = np.asarray(weights)
    numbers = values.dtype.kind in "fiub"
    if values.shape != (count,) or not numbers or not np.isfinite(values).all() or values.min() < 0:
        raise UserError(
            f"the weights of {name} must be one finite number from 0 on for each of its {count} "
            f"examples, but came as {values.dtype} of shape {values.shape}"
            f"{f' from {values.min()} to {values.max()}' if numbers and values.size else ''}."
        )
