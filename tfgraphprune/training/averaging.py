"""A running mean of weights over training steps."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class WeightAverage(tf.Module):
    """Exponential moving average of a model's weights, to be used in their place at the end.

    Polyak and Juditsky, SIAM J. Control and Optimization 30(4), 1992, with the decay of Tan and
    Le, "EfficientNet", ICML 2019: `average = d average + (1 - d) weight` after each step, where d
    is the smaller of `decay` and `(1 + steps) / (10 + steps)`, so that a short training is
    averaged over its end too. BatchNorm's statistics are averaged along. A `tf.train.Checkpoint`
    saves it.

    Args:
        model: whose weights.
        decay: in (0, 1).
    """

    def __init__(self, model: Any, decay: float):
        super().__init__()
        self._weights = [weight for weight in model.weights if weight.dtype.is_floating]
        self.averages = [tf.Variable(weight, trainable=False) for weight in self._weights]
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._decay = decay

    @tf.function
    def update(self) -> None:
        """Take the weights of now into the mean."""
        count = tf.cast(self.steps.assign_add(1), tf.float32)
        share = 1 - tf.minimum(self._decay, (1 + count) / (10 + count))
        for average, weight in zip(self.averages, self._weights, strict=True):
            average.assign_add(tf.cast(share, weight.dtype) * (weight - average))

    def begin(self) -> None:
        """Let the means be the weights of now, where there are none of earlier steps."""
        if not self.steps.numpy():
            for average, weight in zip(self.averages, self._weights, strict=True):
                average.assign(weight)

    def use(self) -> None:
        """Put the means in the place of the weights."""
        for average, weight in zip(self.averages, self._weights, strict=True):
            weight.assign(average)
