"""What makes two runs the same: settings, data and model, as a dictionary of short hashes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.batches import Data, is_dataset

_SAMPLED_ROWS = 512


def identity(
    model: Any, fingerprint: str, data: Sequence[Data | None], settings: Mapping[str, Any]
) -> dict[str, str]:
    """The key that a run's folder carries; a run resumes only under an equal key.

    Args:
        model: the model, whose weights count.
        fingerprint: of its layer graph.
        data: the data sets; of arrays up to 512 rows spread over the set count, of a
            `tf.data.Dataset` the first batch, or where that is another one in each pass, what
            its elements are and how many.
        settings: dataclasses and plain values.
    """
    return {
        "settings": _hash(json.dumps(plain(settings), sort_keys=True, default=str).encode()),
        "data": _hash(*(part for each in data for part in _data_parts(each))),
        "model": _hash(fingerprint.encode(), *(w.tobytes() for w in model.get_weights())),
    }


def named(function: Any) -> str:
    """What stands for a function or callable object in settings: the same in each process."""
    return getattr(function, "__qualname__", type(function).__qualname__)


def plain(value: Any) -> Any:
    """Dataclasses and mappings as dictionaries, tuples as lists, functions by name: for JSON.

    Policies stand as their hashes, paths as text, and NumPy's numbers as Python's.
    """
    if isinstance(getattr(value, "hash", None), str):
        return value.hash
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if callable(value):
        return named(value)
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def _data_parts(data: Data | None) -> list[bytes]:
    if data is None:
        return [b"none"]
    if is_dataset(data):
        kind = repr((data.element_spec, int(data.cardinality()))).encode()
        first, again = (
            [np.asarray(part).tobytes() for part in tf.nest.flatten(next(iter(data)))]
            for _ in range(2)
        )
        return [kind, *first] if first == again else [kind]
    parts = []
    for array in map(np.asarray, tf.nest.flatten(tuple(data))):
        step = max(1, len(array) // _SAMPLED_ROWS)
        parts += [repr((array.shape, array.dtype)).encode(), array[::step].tobytes()]
    return parts


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:16]
