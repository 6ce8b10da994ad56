"""Loading Keras model files without running code that is hidden in them."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import h5py
import tf_keras as keras

from tfgraphprune.errors import UserError


def load_model(path: str | os.PathLike, allow_lambda: bool = False) -> Any:
    """Load a `.keras` or `.h5` file.

    Args:
        path: the file.
        allow_lambda: load models with Lambda layers, whose Python code then runs.

    Raises:
        UserError: the file is missing, is no such file, comes from Keras 3, has a Lambda layer
            without `allow_lambda`, or holds layers that can't be found.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no model file {path}: give the path of a .keras or .h5 file.")
    config = _architecture(path)
    if _has_lambda(config) and not allow_lambda:
        raise UserError(
            f"{path} has a Lambda layer, whose code would run on loading: pass --allow_lambda "
            "(allow_lambda=True) if you trust the file."
        )
    try:
        extra = {"safe_mode": not allow_lambda} if zipfile.is_zipfile(path) else {}
        return keras.models.load_model(path, compile=False, **extra)
    except Exception as error:
        detail = str(error).strip().splitlines()
        raise UserError(
            f"tf_keras can't load {path} ({detail[0] if detail else type(error).__name__}): "
            "register custom layers with keras.saving.register_keras_serializable, and save the "
            "file with tf_keras."
        ) from error


def _architecture(path: Path) -> dict:
    """The configuration inside the file, which is only parsed."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                metadata = json.loads(archive.read("metadata.json"))
                if str(metadata.get("keras_version", "")).startswith("3"):
                    raise UserError(
                        f"{path} was saved by Keras {metadata['keras_version']}; this version "
                        "reads files of tf_keras (Keras 2): save the model with tf_keras."
                    )
                return json.loads(archive.read("config.json"))
        with h5py.File(path, "r") as file:
            config = file.attrs["model_config"]
            return json.loads(config if isinstance(config, str) else config.decode())
    except (OSError, KeyError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path} is not a whole Keras model: give a .keras or .h5 file written by model.save()."
        ) from error


def _has_lambda(config: Any) -> bool:
    if isinstance(config, dict):
        return config.get("class_name") == "Lambda" or any(map(_has_lambda, config.values()))
    return isinstance(config, list) and any(map(_has_lambda, config))
