"""A tf_keras model as a TFLite file with one signature, `serving_default`, and stable names."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tfgraphprune.errors import UserError
from tfgraphprune.keras3 import is_keras3_model, twin
from tfgraphprune.tflite.quiet import quiet
from tfgraphprune.tflite.signature import (
    SIGNATURE,
    ModelInput,
    iterate,
    model_inputs,
    model_outputs,
)

QUANTIZATIONS = ("float32", "float16", "dynamic_range", "int8")
"""float32: as trained; float16: weights halved; dynamic_range: int8 weights, float activations;
int8: int8 weights and activations, scaled on representative data."""

RepresentativeSet = Callable[[], Iterator[dict[str, np.ndarray]]]


@dataclass(frozen=True)
class ExportReport:
    """What `export_tflite` wrote.

    Attributes:
        path: the file.
        bytes: its size.
        quantization: one of `QUANTIZATIONS`.
        seconds: how long the conversion took.
    """

    path: Path
    bytes: int
    quantization: str
    seconds: float


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    quantization: str = "float32",
    representative_data: Any = None,
    representative_examples: int = 300,
    integer_io: bool = False,
    batch_size: int | None = 1,
    overwrite: bool = False,
) -> ExportReport:
    """Write a model as a TFLite file with the one signature `serving_default`.

    The inputs and outputs in the file are named after the model's. The file appears whole or not
    at all.

    Args:
        model: a built model of tf_keras or Keras 3 with any number of inputs and outputs.
        path: the file to write, in a folder that exists.
        quantization: one of `QUANTIZATIONS`.
        representative_data: for int8, `(x, y)` arrays or a `tf.data.Dataset` of batches of `x` or
            `(x, y)`, taken from the training set: it sets the ranges of the activations.
        representative_examples: how many of them to use, from the first on, one at a time.
        integer_io: for int8, whether the file's inputs and outputs are int8 too, not float32.
        batch_size: the file's batch; None leaves it free, which some delegates refuse.
        overwrite: whether an existing file may be replaced.

    Raises:
        UserError: an argument that cannot be used, or a model that TFLite cannot express.
    """
    model = twin(model) if is_keras3_model(model) else model
    inputs = model_inputs(model)
    target = _check_path(path, overwrite)
    if quantization not in QUANTIZATIONS:
        raise UserError(
            f"quantization must be one of {', '.join(QUANTIZATIONS)}, not {quantization!r}."
        )
    if integer_io and quantization != "int8":
        raise UserError(
            f"integer_io needs quantization='int8', not {quantization!r}: change one of the two."
        )
    for name, number in (
        ("batch_size", batch_size),
        ("representative_examples", representative_examples),
    ):
        if number is not None and number < 1:
            raise UserError(f"{name} must be at least 1, not {number!r}.")
    examples = None
    if quantization == "int8":
        if representative_data is None:
            raise UserError(
                "quantization='int8' needs representative_data, which is missing: "
                "give some hundred training examples."
            )
        examples = _representative_set(
            representative_data, inputs, representative_examples, batch_size or 1
        )
    started = time.perf_counter()
    try:
        with quiet():
            content = _convert(model, inputs, quantization, examples, integer_io, batch_size)
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise UserError(
            f"The model {model.name!r} could not be converted to TFLite ({quantization}): "
            f"{reason.strip()}"
        ) from error
    _write(target, content)
    return ExportReport(target, len(content), quantization, time.perf_counter() - started)


def _check_path(path: str | os.PathLike[str], overwrite: bool) -> Path:
    target = Path(path)
    if not target.parent.is_dir():
        raise UserError(f"The folder {str(target.parent)!r} does not exist: create it first.")
    if target.is_dir():
        raise UserError(f"{str(target)!r} is a folder: give the path of a file.")
    if target.exists() and not overwrite:
        raise UserError(
            f"The file {str(target)!r} exists already: choose another path or set overwrite=True."
        )
    return target


def _representative_set(
    data: Any, inputs: list[ModelInput], limit: int, batch_size: int
) -> RepresentativeSet:
    """At most `limit` examples as the converter wants them, `batch_size` in a step."""
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


def _convert(
    model: keras.Model,
    inputs: list[ModelInput],
    quantization: str,
    examples: RepresentativeSet | None,
    integer_io: bool,
    batch_size: int | None,
) -> bytes:
    with tempfile.TemporaryDirectory(prefix="tfgraphprune-") as folder:
        _save_frozen(model, inputs, batch_size, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        if quantization != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantization == "int8":
            converter.representative_dataset = examples
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            if integer_io:
                converter.inference_input_type = tf.int8
                converter.inference_output_type = tf.int8
        return converter.convert()


def _save_frozen(
    model: keras.Model, inputs: list[ModelInput], batch_size: int | None, folder: str
) -> None:
    """A SavedModel of constants only.

    Tracing the Keras model once and saving the frozen function converts several times faster than
    `from_keras_model`, which traces it again and again, and, unlike `from_concrete_functions`,
    keeps the signature.
    """
    specs = {
        each.name: tf.TensorSpec((batch_size, *each.shape), each.dtype, name=each.name)
        for each in inputs
    }

    def call(*tensors: tf.Tensor) -> list[tf.Tensor]:
        arguments = list(tensors) if len(tensors) > 1 else tensors[0]
        return tf.nest.flatten(model(arguments, training=False))

    frozen = convert_variables_to_constants_v2(
        tf.function(call).get_concrete_function(*specs.values())
    )
    outputs = model_outputs(model)

    def serve(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        results = tf.nest.flatten(frozen(*(tensors[each.name] for each in inputs)))
        # An output that is an input handed through must still be a tensor of its own.
        return {name: tf.identity(y) for name, y in zip(outputs, results, strict=True)}

    module = tf.Module()
    module.serve = tf.function(serve)
    tf.saved_model.save(
        module,
        folder,
        signatures={SIGNATURE: module.serve.get_concrete_function(**specs)},
        options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
    )


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
