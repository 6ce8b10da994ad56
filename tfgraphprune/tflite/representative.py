"""Representative data as the converter wants them, checked before any long work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tfgraphprune.errors import UserError
from tfgraphprune.tflite.signature import ModelInput, iterate

RANDOM = "random"
"""In place of data: numbers from 0 to 1, for files whose speed alone is looked at."""

RepresentativeSet = Callable[[], Iterator[dict[str, np.ndarray]]]


def representative_set(
    data: Any, inputs: list[ModelInput], limit: int, batch_size: int
) -> RepresentativeSet:
    """At most `limit` examples, the first ones, `batch_size` in a step.

    Args:
        data: `(x, y)` arrays, a `tf.data.Dataset` of batches of `x` or `(x, y)`, or `RANDOM`.
        inputs: the model's inputs.
        limit: how many examples to use.
        batch_size: examples in a step.

    Raises:
        UserError: no examples, or values that are not finite.
    """
    if isinstance(data, str):
        if data != RANDOM:
            raise UserError(
                f"representative_data must be examples or {RANDOM!r}, not {data!r}: load the file."
            )
        data = _random_examples(inputs, limit)
    chunks: list[list[np.ndarray]] = []
    count = 0
    for arrays, _ in iterate(data, inputs, limit, "representative_data"):
        chunks.append([array[: limit - count] for array in arrays])
        count += len(chunks[-1][0])
        if count >= limit:
            break
    if count == 0:
        raise UserError("representative_data has no examples: give some hundred of them.")
    columns = [np.concatenate(column) for column in zip(*chunks, strict=True)]
    for column, each in zip(columns, inputs, strict=True):
        if np.issubdtype(column.dtype, np.floating) and not np.isfinite(column).all():
            raise UserError(
                f"representative_data for the input {each.keras_name!r} has values that are not "
                "finite: clean the examples first."
            )

    def steps() -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, count, batch_size):
            # A fixed batch has to be full: the last one is filled up with the first examples.
            rows = np.arange(start, start + batch_size) % count
            yield {each.name: column[rows] for each, column in zip(inputs, columns, strict=True)}

    return steps


def _random_examples(inputs: list[ModelInput], count: int) -> Any:
    random = np.random.Generator(np.random.Philox(0))
    return [random.random((count, *each.shape)).astype(each.dtype) for each in inputs], None
