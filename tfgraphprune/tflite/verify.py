"""A TFLite file compared with the Keras model it came from, over a whole data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfgraphprune import batches
from tfgraphprune.errors import ToleranceError, UserError
from tfgraphprune.keras3 import is_keras3_model, twin
from tfgraphprune.outputs import first_scores_classes
from tfgraphprune.tflite.differences import scaled_errors
from tfgraphprune.tflite.runtime import Runner
from tfgraphprune.tflite.signature import iterate, model_inputs, model_outputs

Metric = Callable[[Any, Any], float]
"""`metric(labels, outputs) -> float`, both as arrays over all examples."""


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
        accuracy_keras: accuracy of the Keras model, in [0, 1]; None where its first output is no
            row of class scores.
        accuracy_tflite: accuracy of the file, likewise.
        agreement: share of the examples to which both give the same class, likewise.
        max_error: largest absolute difference of an output value, in units of the standard
            deviation of the Keras model's values of that output; over all outputs.
        mean_error: mean of the same differences.
        examples: how many examples were run.
        outputs: the errors of each output, by its name in the Keras model.
        score_keras: the metric of the Keras model; None without one.
        score_tflite: the metric of the file.
    """

    accuracy_keras: float | None
    accuracy_tflite: float | None
    agreement: float | None
    max_error: float
    mean_error: float
    examples: int
    outputs: Mapping[str, OutputError] = field(default_factory=dict)
    score_keras: float | None = None
    score_tflite: float | None = None

    def check(self, *, agreement: float = 0.99, max_error: float | None = None) -> Verification:
        """Return this verification if it lies within the tolerances.

        Args:
            agreement: the least share of equal classes, where there are classes.
            max_error: the largest `max_error`, in the same units; None asks nothing.

        Raises:
            ToleranceError: a figure outside its tolerance, or one that is not a number.
            UserError: nothing is asked of a model without classes.
        """
        if self.agreement is None and max_error is None:
            raise UserError("there are no classes that could agree: give check a max_error.")
        if self.agreement is not None and not self.agreement >= agreement:
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
    metric: Metric | None = None,
) -> Verification:
    """Run a TFLite file and its Keras model over a whole data set and compare them.

    Accuracy and agreement are those of the model's first output where that is a row of class
    scores, `[batch, classes]`; errors cover every output. The data are read once, so that a data
    set that shuffles compares like with like.

    Args:
        path: the TFLite file, of any quantization; files by `export_tflite` match inputs and
            outputs by name, others by position.
        model: the model that it was made from.
        data: `(x, y)` arrays or a finite `tf.data.Dataset` of `(x, y)` batches, with or without
            weights, which are not read; for accuracies `y` are class indices or one-hot rows. With
            several inputs `x` is a list or a dict of arrays, and with several outputs the labels of
            the first are used.
        batch_size: examples in a run; a `tf.data.Dataset` keeps its own batches.
        threads: threads of LiteRT.
        metric: `metric(labels, outputs) -> float`, of all examples and in the model's own
            structure, to be measured of both.

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
    labels: list[Any] = []
    for arrays, y in iterate(data, inputs, batch_size, "data"):
        if y is None:
            raise UserError("data has no labels: the comparison needs them.")
        outputs = model.predict_on_batch(arrays if len(arrays) > 1 else arrays[0])
        expected.append([np.asarray(each) for each in tf.nest.flatten(outputs)])
        received.append(runner.run(arrays))
        labels.append(y)
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
    truth = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *labels)
    classes = first_scores_classes(model)
    found = _compare(list(model.output_names), reference, results, truth if classes else None)
    if metric is None:
        return found
    scores = [
        float(metric(truth, tf.nest.pack_sequence_as(outputs, arrays)))
        for arrays in (reference, results)
    ]
    return replace(found, score_keras=scores[0], score_tflite=scores[1])


def _check(model: keras.Model, data: Any, batch_size: int) -> None:
    if batch_size < 1:
        raise UserError(f"batch_size must be at least 1, not {batch_size!r}.")
    if batches.is_dataset(data):
        batches.check(data, "data")
    elif not isinstance(data, tuple | list) or len(data) not in (2, 3) or data[1] is None:
        raise UserError(
            "data must be a pair (x, y) of arrays or a batched tf.data.Dataset of such pairs, "
            f"not {type(data).__name__}: the comparison needs the labels."
        )


def _compare(
    names: list[str],
    reference: list[np.ndarray],
    results: list[np.ndarray],
    labels: Any | None,
) -> Verification:
    """The figures; without labels, those of the errors alone."""
    each = [scaled_errors(mine, theirs) for mine, theirs in zip(reference, results, strict=True)]
    errors = np.concatenate(each)
    shares: list[float | None] = [None, None, None]
    if labels is not None:
        right = batches.sparse_labels(tf.nest.flatten(labels)[0])
        mine, theirs = reference[0].argmax(axis=1), results[0].argmax(axis=1)
        shares = [
            float(np.mean(a == b)) for a, b in ((mine, right), (theirs, right), (mine, theirs))
        ]
    return Verification(
        accuracy_keras=shares[0],
        accuracy_tflite=shares[1],
        agreement=shares[2],
        max_error=float(errors.max()),
        mean_error=float(errors.mean()),
        examples=len(reference[0]),
        outputs={
            name: OutputError(float(own.max()), float(own.mean()))
            for name, own in zip(names, each, strict=True)
        },
    )
