"""Arguments and results of a worker process, packed into a folder."""

from __future__ import annotations

import pickle
import types
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfgraphprune.errors import UserError, first_line
from tfgraphprune.keras3 import is_keras3_model, load_keras3

_CONTENT = "content.pickle"

_MOST_BYTES = 16 << 30
"""Largest data set that is written to disk for a worker."""

_INSTEAD = "import tfgraphprune before tf.keras is first used, so that no worker process is needed."


def pack(value: Any, folder: Path, step: str) -> None:
    """Write a value into a new folder.

    Plain values, paths, importable functions and dataclasses are pickled; NumPy arrays and models
    of tf_keras and Keras 3 become files of their own; of a data set one pass is written, with its
    batches.

    Args:
        value: built of these.
        folder: does not exist yet.
        step: what the value is for, for messages.

    Raises:
        UserError: something can't be sent, such as a lambda or a function of the main program.
    """
    folder.mkdir()
    with (folder / _CONTENT).open("wb") as file:
        try:
            _Packer(file, folder, step).dump(value)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UserError(
                f"something can't be sent to the worker process of {step} ({error}): {_INSTEAD}"
            ) from error


def unpack(folder: Path) -> Any:
    """Read what `pack` wrote.

    Raises:
        UserError: a model's layers can't be found in this process.
    """
    with (folder / _CONTENT).open("rb") as file:
        return _Unpacker(file, folder).load()


class _Packer(pickle.Pickler):
    def __init__(self, file: Any, folder: Path, step: str):
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._folder = folder
        self._step = step
        self._names: dict[int, tuple[str, str]] = {}
        self._alive: list[Any] = []

    def persistent_id(self, obj: Any) -> tuple[str, str] | None:
        """A file's kind and name for what gets a file of its own; `None` for the rest."""
        if isinstance(obj, types.FunctionType | type) and obj.__module__ == "__main__":
            raise UserError(
                f"{obj.__qualname__} is defined in the main program and can't be sent to the "
                f"worker process of {self._step}: {_INSTEAD}"
            )
        kind = _kind(obj)
        if kind is None:
            return None
        if id(obj) not in self._names:
            name = f"{len(self._names)}.{'npy' if kind == 'array' else 'keras'}"
            self._write(kind, obj, self._folder / name)
            self._names[id(obj)] = kind, name
            self._alive.append(obj)
        return self._names[id(obj)]

    def _write(self, kind: str, obj: Any, path: Path) -> None:
        if kind == "array":
            np.save(path, obj, allow_pickle=False)
        elif kind == "dataset":
            self._check_size(obj)
            obj.save(str(path))
        else:
            try:
                obj.save(path)
            except Exception as error:
                raise UserError(
                    f"the model {obj.name!r} can't be sent to the worker process of {self._step} "
                    f"({error}): {_INSTEAD}"
                ) from error

    def _check_size(self, data: Any) -> None:
        size = 0
        for element in data:
            size += sum(t.dtype.size * int(tf.size(t)) for t in tf.nest.flatten(element))
            if size > _MOST_BYTES:
                raise UserError(
                    f"a data set of more than {_MOST_BYTES >> 30} GiB can't be sent to the worker "
                    f"process of {self._step}: {_INSTEAD}"
                )


def _kind(obj: Any) -> str | None:
    if type(obj) is np.ndarray:
        return None if obj.dtype.hasobject else "array"
    if isinstance(obj, tf.data.Dataset):
        return "dataset"
    if isinstance(obj, keras.Model):
        return "tf_keras"
    return "keras3" if is_keras3_model(obj) else None


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: Any, folder: Path):
        super().__init__(file)
        self._folder = folder
        self._loaded: dict[str, Any] = {}

    def persistent_load(self, pid: tuple[str, str]) -> Any:
        """The object in a file of its own."""
        kind, name = pid
        if name not in self._loaded:
            self._loaded[name] = _read(kind, self._folder / name)
        return self._loaded[name]


def _read(kind: str, path: Path) -> Any:
    if kind == "array":
        return np.load(path)
    if kind == "dataset":
        return tf.data.Dataset.load(str(path))
    if kind == "keras3":
        return load_keras3(path, allow_lambda=True)
    try:
        return keras.models.load_model(path, compile=False, safe_mode=False)
    except Exception as error:
        raise UserError(
            f"a worker process can't load the model ({first_line(error)}): put custom layers into "
            f"a module that can be imported, or {_INSTEAD}"
        ) from error
