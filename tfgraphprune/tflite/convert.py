"""A Keras model as a TFLite file with one signature, `serving_default`, and stable names."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras

import tfgraphprune
from tfgraphprune.errors import UserError, first_line
from tfgraphprune.keras3 import is_keras3_model, twin
from tfgraphprune.tflite.int4 import check_int4, with_int4_weights
from tfgraphprune.tflite.matching import LayerNames
from tfgraphprune.tflite.metadata import check_metadata, with_metadata
from tfgraphprune.tflite.operations import (
    count_operations,
    is_stateful,
    operations_outside_xnnpack,
)
from tfgraphprune.tflite.quantizations import (
    CALIBRATED,
    check_quantization,
    configure,
    needs_data,
)
from tfgraphprune.tflite.quiet import quiet
from tfgraphprune.tflite.recurrent import is_recurrent, unrolled
from tfgraphprune.tflite.representative import RepresentativeSet, representative_set
from tfgraphprune.tflite.saved_model import save_frozen, save_with_variables
from tfgraphprune.tflite.signature import SIGNATURE, ModelInput, model_inputs
from tfgraphprune.workdir import write_atomically


@dataclass(frozen=True)
class ExportReport:
    """What `export_tflite` wrote.

    Attributes:
        path: the file.
        bytes: its size.
        quantization: one of `QUANTIZATIONS`.
        seconds: how long the conversion took.
        ops: how often each operation occurs in the file.
        outside_xnnpack: those of them that LiteRT's CPU delegate XNNPACK leaves to slower
            kernels; None where the runtime does not tell.
        stateful: whether an app has to reset the interpreter's variables before each example, as
            it must with a fused LSTM.
    """

    path: Path
    bytes: int
    quantization: str
    seconds: float
    ops: Counter[str] = field(default_factory=Counter)
    outside_xnnpack: Counter[str] | None = None
    stateful: bool = False


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    quantization: str = "float32",
    representative_data: Any = None,
    representative_examples: int = 300,
    integer_io: bool = False,
    int8_layers: Sequence[str] = (),
    batch_size: int | None = 1,
    labels: Sequence[str] | None = None,
    normalization: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write a model as a TFLite file with the one signature `serving_default`.

    The inputs and outputs in the file are named after the model's. The file appears whole or not
    at all. With int8, a model made by tfmot's quantization-aware training brings its own ranges;
    load it under `tfmot.quantization.keras.quantize_scope`.

    Args:
        model: a built model of tf_keras or Keras 3 with any number of inputs and outputs.
        path: the file to write, in a folder that exists.
        quantization: one of `QUANTIZATIONS`.
        representative_data: for int8 and int16x8, `(x, y)` arrays or a `tf.data.Dataset` of
            batches of `x` or `(x, y)`, taken from the training set: it sets the ranges of the
            activations. `"random"` makes a file that is fit for timing only.
        representative_examples: how many of them to use, from the first on, one at a time.
        integer_io: for int8 and int16x8, whether the file's inputs and outputs are integers too.
        int8_layers: for int4, names or patterns of the layers whose weights keep 8 bits.
        batch_size: the file's batch; None leaves it free, which some delegates refuse and which
            keeps recurrent layers from being fused.
        labels: names of the classes, for `tflite_metadata`.
        normalization: how pixels become the model's input, for `tflite_metadata`: `mean` and
            `std`, or `scale` and perhaps `offset`.
        overwrite: whether an existing file may be replaced.

    Raises:
        UserError: an argument that cannot be used, or a model that TFLite cannot express.
        MissingExtraError: int4 without the extra `int4`.
    """
    model = twin(model) if is_keras3_model(model) else model
    inputs = model_inputs(model)
    target = _check_path(path, overwrite)
    check_quantization(quantization, integer_io, model)
    for name, number in (
        ("batch_size", batch_size),
        ("representative_examples", representative_examples),
    ):
        if number is not None and number < 1:
            raise UserError(f"{name} must be at least 1, not {number!r}.")
    values = {
        "tfgraphprune": tfgraphprune.__version__,
        "quantization": quantization,
        **check_metadata(labels, normalization, tuple(model.outputs[0].shape)[-1]),
    }
    layers = LayerNames(model)
    check_int4(quantization, int8_layers, layers)
    if representative_data is None and needs_data(quantization, model):
        raise UserError(
            f"quantization={quantization!r} needs representative_data, which is missing: "
            "give some hundred training examples, or 'random' for a file that is only timed."
        )
    examples = None
    if representative_data is not None and quantization in CALIBRATED:
        examples = representative_set(
            representative_data, inputs, representative_examples, batch_size or 1
        )
    started = time.perf_counter()
    try:
        with quiet():
            content = _convert(model, inputs, quantization, examples, integer_io, batch_size)
            if quantization == "int4":
                content = with_int4_weights(content, int8_layers, layers)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"TFLite's converter refused the model {model.name!r} as {quantization}, because "
            f"{first_line(error).rstrip('.')}: try another quantization, or replace that layer."
        ) from error
    content = with_metadata(content, values)
    write_atomically(target, content)
    return ExportReport(
        target,
        len(content),
        quantization,
        time.perf_counter() - started,
        count_operations(content),
        operations_outside_xnnpack(content),
        is_stateful(content),
    )


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


def _convert(
    model: keras.Model,
    inputs: list[ModelInput],
    quantization: str,
    examples: RepresentativeSet | None,
    integer_io: bool,
    batch_size: int | None,
) -> bytes:
    recurrent = is_recurrent(model)
    fused = recurrent and batch_size is not None
    # A free batch has no fused operation, nor have 16-bit activations; a loop can't be calibrated.
    unroll = recurrent and not fused
    if examples is not None and fused:
        unroll = quantization == "int16x8" or _leaves_a_loop(model, inputs, batch_size)
    with tempfile.TemporaryDirectory(prefix="tfgraphprune-") as folder:
        with unrolled(model) if unroll else nullcontext():
            if fused and not unroll:
                save_with_variables(model, inputs, batch_size, folder)
                loop = False
            else:
                loop = save_frozen(model, inputs, batch_size, folder)
        if loop and examples is not None:
            raise UserError(
                f"The model {model.name!r} has a loop, in which ranges can't be measured: use "
                "quantization='dynamic_range', or write the loop's steps out one by one."
            )
        converter = _converter(folder)
        configure(converter, quantization, examples, integer_io)
        return converter.convert()


def _leaves_a_loop(model: keras.Model, inputs: list[ModelInput], batch_size: int | None) -> bool:
    """Whether a recurrent layer is not fused: a GRU, a mask, or an LSTM of unusual settings."""
    with tempfile.TemporaryDirectory(prefix="tfgraphprune-") as folder:
        save_with_variables(model, inputs, batch_size, folder)
        return count_operations(_converter(folder).convert())["WHILE"] > 0


def _converter(folder: str) -> Any:
    return tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
