"""A TFLite file compared with the Keras model it came from, over a whole data set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfgraphprune import batches
from tfgraphprune.errors import ToleranceError, UserError
from tfgraphprune.keras3 import is_keras3_model, twin
from tfgraphprune.tflite.differences import scaled_errors
from tfgraphprune.tflite.runtime import Runner
from tfgraphprune.tflite.signature import iterate, model_inputs, model_outputs


@dataclass(frozen=True)
class OutputError:
    """How one output of a file differs from Keras, in standard deviations of Keras' values.

    Attributes:
        max_error: the largest absolute difference.
        mean_error: the mean of the absolute differences.
    """

    max_error: float
    mean_error: float


@dataclass(frozen=True)
class Verification:
    """How a TFLite file compares with its Keras model.

    Attributes:
        accuracy_keras: accuracy of the Keras model, in [0, 1].
        accuracy_tflite: accuracy of the file, in [0, 1].
        agreement: share of the examples to which both give the same class.
        max_error: largest absolute difference of an output value, in units of the standard
            deviation of the Keras model's values of that output; over all outputs.
        mean_error: mean of the same differences.
        examples: how many examples were run.
        outputs: the errors of each output, by its name in the Keras model.
    """

    accuracy_keras: float
    accuracy_tflite: float
    agreement: float
    max_error: float
    mean_error: float
    examples: int
    outputs: Mapping[str, OutputError] = field(default_factory=dict)

    def check(self, *, agreement: float = 0.99, max_error: float | None = None) -> Verification:
        """Return this verification if it lies within the tolerances.

        Args:
            agreement: the least share of equal classes.
            max_error: the largest `max_error`, in the same units; None asks nothing.

        Raises:
            ToleranceError: a figure outside its tolerance, or one that is not a number.
        """
        if not self.agreement >= agreement:
            raise ToleranceError(
                f"TFLite agrees with Keras on {self.agreement:.2%} of {self.examples} examples, "
                f"but at least {agreement:.2%} was asked for."
            )
        if max_error is not None and not self.max_error <= max_error:
            raise ToleranceError(
                f"TFLite's largest error is {self.max_error:.3g} standard deviations of the Keras "
                f"output, but at most {max_error:.3g} was asked for."
            )
        return self


def verify_tflite(
    path: str | os.PathLike[str],
    model: keras.Model,
    data: Any,
    *,
    batch_size: int = 64,
    threads: int = 1,
) -> Verification:
    """Run a TFLite file and its Keras model over a whole data set and compare them.

    Accuracy and agreement are those of the model's first output, logits or softmax
    `[batch, classes]`; errors cover every output. The data are read once, so that a data set that
    shuffles compares like with like.

    Args:
        path: the TFLite file, of any quantization; files by `export_tflite` match inputs and
            outputs by name, others by position.
        model: the model that it was made from.
        data: `(x, y)` arrays or a finite `tf.data.Dataset` of `(x, y)` batches; `y` are class
            indices or one-hot rows. With several inputs `x` is a list or a dict of arrays, and
            with several outputs the labels of the first are used.
        batch_size: examples in a run; a `tf.data.Dataset` keeps its own batches.
        threads: threads of LiteRT.

    Raises:
        UserError: a missing or broken file, one with other inputs or outputs than the model, or
            data or a model that cannot be compared.
    """
    model = twin(model) if is_keras3_model(model) else model
    inputs = model_inputs(model)
    _check(model, data, batch_size)
    runner = Runner(
        path,
        threads=threads,
        inputs=[each.name for each in inputs],
        outputs=model_outputs(model),
    )
    if [shape[1:] for shape in runner.shapes] != [each.shape for each in inputs]:
        raise UserError(
            f"The file {os.fspath(path)!r} takes inputs of shape {runner.shapes}, but the model "
            f"takes examples of shape {[each.shape for each in inputs]}: "
            "give the model it was made from."
        )
    expected: list[list[np.ndarray]] = []
    received: list[list[np.ndarray]] = []
    labels: list[np.ndarray] = []
    for arrays, y in iterate(data, inputs, batch_size, "data"):
        outputs = model.predict_on_batch(arrays if len(arrays) > 1 else arrays[0])
        expected.append([np.asarray(each) for each in tf.nest.flatten(outputs)])
        received.append(runner.run(arrays))
        labels.append(batches.sparse_labels(tf.nest.flatten(y)[0]))
    if not labels:
        raise UserError("data has no examples: give at least one.")
    reference = [np.concatenate(column) for column in zip(*expected, strict=True)]
    results = [np.concatenate(column) for column in zip(*received, strict=True)]
    shapes = [each.shape for each in reference], [each.shape for each in results]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"The file {os.fspath(path)!r} gives outputs of shape {shapes[1]}, but the model "
            f"gives {shapes[0]}: give the model it was made from."
        )
    return _compare(list(model.output_names), reference, results, np.concatenate(labels))


def _check(model: keras.Model, data: Any, batch_size: int) -> None:
    if batch_size < 1:
        raise UserError(f"batch_size must be at least 1, not {batch_size!r}.")
    shape = tuple(model.outputs[0].shape)
    if len(shape) != 2 or shape[1] == 1:
        raise UserError(
            f"The model's first output has the shape {shape}, but classes are compared on logits "
            "or softmax of shape (batch, classes) with two classes or more."
        )
    if batches.is_dataset(data):
        batches.check(data, "data")
    elif not isinstance(data, tuple | list) or len(data) != 2 or data[1] is None:
        raise UserError(
            "data must be a pair (x, y) of arrays or a batched tf.data.Dataset of such pairs, "
            f"not {type(data).__name__}: the comparison needs the labels."
        )


def _compare(
    names: list[str],
    reference: list[np.ndarray],
    results: list[np.ndarray],
    labels: np.ndarray,
) -> Verification:
    classes_keras, classes_tflite = reference[0].argmax(axis=1), results[0].argmax(axis=1)
    each = [scaled_errors(mine, theirs) for mine, theirs in zip(reference, results, strict=True)]
    errors = np.concatenate(each)
    return Verification(
        accuracy_keras=float(np.mean(classes_keras == labels)),
        accuracy_tflite=float(np.mean(classes_tflite == labels)),
        agreement=float(np.mean(classes_keras == classes_tflite)),
        max_error=float(errors.max()),
        mean_error=float(errors.mean()),
        examples=len(labels),
        outputs={
            name: OutputError(float(own.max()), float(own.mean()))
            for name, own in zip(names, each, strict=True)
        },
    )
