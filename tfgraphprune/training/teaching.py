"""How far a student's output is from a teacher's, by what a compiled loss says the output is."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.outputs import gives_probabilities, loss_name

_EPSILON = 1e-7

_MEASURED_EXAMPLES = 256
"""Of the training data, over which the variance of a teacher's outputs is taken."""


def mean(values: tf.Tensor) -> tf.Tensor:
    """The mean of all elements; 0 of none, as a replica may have in the last batch."""
    return tf.math.divide_no_nan(tf.reduce_sum(values), tf.cast(tf.size(values), values.dtype))


def is_crossentropy(loss: Any) -> bool:
    """Whether a compiled loss takes an output for probabilities or their logits."""
    return "crossentropy" in loss_name(loss)


def class_divergence(
    loss: Any, outputs: tuple[tf.Tensor, tf.Tensor], shares: tuple[bool, bool], temperature: float
) -> tf.Tensor:
    """The mean divergence of the student's distributions from the teacher's, times T squared.

    Of sigmoids (`BinaryCrossentropy`) it is the mean over the units too, as in Keras' loss.

    Args:
        loss: a crossentropy that was compiled.
        outputs: the teacher's and the student's.
        shares: whether these end in a softmax or sigmoid, for losses that don't say.
        temperature: T.
    """
    binary = "binary" in loss_name(loss)
    from_logits = _from_logits(loss)
    logits = [
        _logits(each, binary, not share if from_logits is None else from_logits) / temperature
        for each, share in zip(outputs, shares, strict=True)
    ]
    if binary:
        taught = tf.sigmoid(logits[0])
        crossed = tf.nn.sigmoid_cross_entropy_with_logits(taught, logits[1])
        least = tf.nn.sigmoid_cross_entropy_with_logits(taught, logits[0])
        return temperature**2 * mean(crossed - least)
    logs = [tf.nn.log_softmax(each) for each in logits]
    return temperature**2 * mean(tf.reduce_sum(tf.exp(logs[0]) * (logs[0] - logs[1]), -1))


def probabilities(model: Any) -> list[bool]:
    """`gives_probabilities` of each of a functional model's outputs."""
    return [gives_probabilities(model, number) for number in range(len(model.outputs))]


def variances(model: Any, batches: Iterable[Any]) -> list[float]:
    """The variance of each of a model's outputs over the first 256 examples; 1 where it is 0.

    Args:
        model: whose outputs.
        batches: `(x, ...)` tuples.
    """
    sums = np.zeros((len(model.outputs), 3))
    examples = 0
    for x, *_ in batches:
        outputs = [np.asarray(t, float) for t in tf.nest.flatten(model(x, training=False))]
        sums += [(t.size, t.sum(), np.square(t).sum()) for t in outputs]
        examples += len(outputs[0])
        if examples >= _MEASURED_EXAMPLES:
            break
    count, first, second = sums.T
    square = second / count
    found = square - np.square(first / count)
    return np.where(found > _EPSILON * square, found, 1.0).tolist()


def _from_logits(loss: Any) -> bool | None:
    """Whether a loss says that it takes logits; `None` where it doesn't say."""
    said = getattr(loss, "_fn_kwargs", {}).get("from_logits", getattr(loss, "from_logits", None))
    if said is None and hasattr(loss, "fn"):
        setting = inspect.signature(loss.fn).parameters.get("from_logits")
        said = setting.default if setting is not None else None
    return said if isinstance(said, bool) else None


def _logits(outputs: tf.Tensor, binary: bool, are_logits: bool) -> tf.Tensor:
    if are_logits:
        return outputs
    share = tf.clip_by_value(outputs, _EPSILON, 1 - _EPSILON)
    return tf.math.log(share) - tf.math.log1p(-share) if binary else tf.math.log(share)
