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
from tfgraphprune.keras3 import load_keras3


def load_model(path: str | os.PathLike, allow_lambda: bool = False) -> Any:
    """Load a `.keras` or `.h5` file; one that Keras 3 has written as a model of Keras 3.

    Args:
        path: the file.
        allow_lambda: load models with Lambda layers, whose Python code then runs.

    Raises:
        UserError: the file is missing, is no such file, has a Lambda layer without
            `allow_lambda`, or holds layers that can't be found.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no model file {path}: give the path of a .keras or .h5 file.")
    config, version = _architecture(path)
    if _has_lambda(config) and not allow_lambda:
        raise UserError(
            f"{path} has a Lambda layer, whose code would run on loading: pass --allow_lambda "
            "(allow_lambda=True) if you trust the file."
        )
    if version.startswith("3"):
        return load_keras3(path, allow_lambda)
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


def _architecture(path: Path) -> tuple[dict, str]:
    """The configuration inside the file, which is only parsed, and the version that wrote it."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                metadata = json.loads(archive.read("metadata.json"))
                config = json.loads(archive.read("config.json"))
            return config, str(metadata.get("keras_version", ""))
        with h5py.File(path, "r") as file:
            return json.loads(_text(file.attrs["model_config"])), _text(
                file.attrs.get("keras_version", "")
            )
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{path} is not a whole Keras model: give a .keras or .h5 file written by model.save()."
        ) from error


def _text(attribute: str | bytes) -> str:
    return attribute if isinstance(attribute, str) else attribute.decode()


def _has_lambda(config: Any) -> bool:
    if isinstance(config, dict):
        return config.get("class_name") == "Lambda" or any(map(_has_lambda, config.values()))
    return isinstance(config, list) and any(map(_has_lambda, config))
