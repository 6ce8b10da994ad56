"""Loading Keras model files without running code that is hidden in them."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import h5py
import tf_keras as keras

from tfgraphprune.errors import UserError, first_line
from tfgraphprune.keras3 import load_keras3
from tfgraphprune.legacy_keras import serves_tf_keras

_QUANTIZED = ("QuantizeWrapper", "QuantizeWrapperV2", "QuantizeLayer")


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
    if _has_class(config, ("Lambda",)) and not allow_lambda:
        raise UserError(
            f"{path} has a Lambda layer, whose code would run on loading: pass --allow_lambda "
            "(allow_lambda=True) if you trust the file."
        )
    if version.startswith("3"):
        return load_keras3(path, allow_lambda)
    try:
        extra = {"safe_mode": not allow_lambda} if zipfile.is_zipfile(path) else {}
        with _quantize_scope() if _has_class(config, _QUANTIZED) else nullcontext():
            return keras.models.load_model(path, compile=False, **extra)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"tf_keras can't load {path} ({first_line(error)}): "
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


def _has_class(config: Any, names: Sequence[str]) -> bool:
    if isinstance(config, dict):
        own = config.get("class_name") in names
        return own or any(_has_class(each, names) for each in config.values())
    return isinstance(config, list) and any(_has_class(each, names) for each in config)


def _quantize_scope() -> Any:
    """Where the layers of tfmot's quantization-aware training are known."""
    if not serves_tf_keras():
        # Importing tfmot would set TF_USE_LEGACY_KERAS for a program that uses Keras 3.
        raise UserError("tfmot's layers need tf.keras to be tf_keras: import tfgraphprune first.")
    import tensorflow_model_optimization as tfmot

    return tfmot.quantization.keras.quantize_scope()
