"""The network under a plan, without building it: masks and re-estimated statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.batchnorm import BatchNormEstimator
from tfgraphprune.pruning.masking import Silencer


class MaskedNetwork:
    """One copy of a model and two traced functions; a plan costs weight assignments.

    Args:
        graph: the dense model's graph.
        calibration: batches of inputs for the BatchNorm statistics.

    Attributes:
        model: the copy, as the last plan left it.
    """

    def __init__(self, graph: LayerGraph, calibration: Sequence[tf.Tensor]):
        self._silencer = Silencer(graph)
        self.model = model = self._silencer.model
        self._estimator = BatchNormEstimator(model)
        self._calibration = calibration
        self._predict = tf.function(lambda x: model(x, training=False), reduce_retracing=True)

    def apply(self, kept: Mapping[str, Sequence[int]]) -> None:
        """Silence what a plan removes and estimate the statistics of what it leaves."""
        self._silencer.apply(kept)
        self._estimator.run(self._calibration)

    def predict(self, x: tf.Tensor) -> Any:
        """Outputs for a batch; float32."""
        return tf.nest.map_structure(lambda t: np.asarray(t, np.float32), self._predict(x))
