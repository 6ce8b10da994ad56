"""How far a student's output is from a teacher's, by what a compiled loss says the output is."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.outputs import gives_probabilities, loss_name, takes_units_apart

_EPSILON = 1e-7

_MEASURED_EXAMPLES = 256
"""Of the training data, on which a teacher's outputs are looked at."""


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

    Of sigmoids (`BinaryCrossentropy`, or a single unit) it is the mean over the units too, as in
    Keras' loss. What ends in a softmax or sigmoid gives probabilities. What does not gives logits,
    unless the loss says that it takes probabilities, and neither of the two ends so.

    Args:
        loss: a crossentropy that was compiled.
        outputs: the teacher's and the student's.
        shares: whether these end in a softmax or sigmoid.
        temperature: T.
    """
    binary = takes_units_apart(loss) or outputs[1].shape[-1] == 1
    if not any(shares):
        shares = (_from_logits(loss) is False,) * 2
    logits = [
        _logits(each, binary, not share) / temperature
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


def first_outputs(model: Any, batches: Iterable[Any]) -> Iterator[list[np.ndarray]]:
    """A model's outputs, batch by batch, for the first 256 examples.

    Args:
        model: whose outputs.
        batches: `(x, ...)` tuples.
    """
    examples = 0
    for x, *_ in batches:
        outputs = [np.asarray(t, np.float32) for t in tf.nest.flatten(model(x, training=False))]
        yield outputs
        examples += len(outputs[0])
        if examples >= _MEASURED_EXAMPLES:
            break


def compares(loss: Any, outputs: np.ndarray) -> bool:
    """Whether a compiled loss also measures how far one model's outputs are from another's.

    It does where it is least for outputs that are equal to the labels, as it is tried out here.

    Args:
        loss: as Keras has it after the compile; a crossentropy does not compare, nor does `None`.
        outputs: a batch of the teacher's.
    """
    if loss is None or is_crossentropy(loss):
        return False
    step = 0.1 * (outputs.std() or 1.0)
    others = (outputs + step, outputs - step, 1.1 * outputs, 0.9 * outputs)
    try:
        least, *more = (float(tf.reduce_mean(loss(outputs, z))) for z in (outputs, *others))
    except Exception:  # whatever a user's loss may raise at labels that are not its own
        return False
    rounding = 1e-6 * max(map(abs, more))
    return math.isfinite(sum(more)) and least <= min(more) + rounding and least < max(more)


def variances(batches: Iterable[list[np.ndarray]]) -> list[float]:
    """The variance of each output; 1 where it is 0.

    Args:
        batches: the outputs of each.
    """
    sums = np.array(0.0)
    for outputs in batches:
        sums = sums + [
            (t.size, t.sum(dtype=float), np.square(t, dtype=float).sum()) for t in outputs
        ]
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
