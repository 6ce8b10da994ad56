"""Importance from gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfgraphprune.batches import Data, as_dataset, check
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.outputs import gives_probabilities
from tfgraphprune.pruning.criteria.weights import Importance, producer_axes


@dataclass(frozen=True, eq=False)
class Taylor:
    """First-order Taylor expansion: |sum of weight times gradient| over a channel's filters.

    Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, on the
    squared sums over each batch.

    Attributes:
        data: `(x, y)` arrays or a batched data set, with class labels.
        batch_size: examples a gradient, for arrays.
        from_logits: whether the model ends in logits; by default read off its last activation.
    """

    data: Data
    batch_size: int = 64
    from_logits: bool | None = None

    def __post_init__(self) -> None:
        check(self.data, "data")

    def __call__(self, graph: LayerGraph) -> Importance:
        """Importance of every group."""
        model = graph.model
        places = [a for group in graph.channel_groups for a in producer_axes(group)]
        # Not `model.trainable_variables`: channels of frozen layers have an importance as well.
        variables = list({id(v): v for v in (graph.variable(a) for a in places)}.values())
        index = {id(v): i for i, v in enumerate(variables)}
        # Keras 3 wraps TensorFlow's variables.
        tensors = [v if isinstance(v, tf.Variable) else v.value for v in variables]
        logits = (
            self.from_logits if self.from_logits is not None else not gives_probabilities(model)
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)

        @tf.function
        def gradients(x: tf.Tensor, y: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(tensors)
                value = loss(y, model(x, training=False))
            return tape.gradient(value, tensors, unconnected_gradients="zero")

        totals = {g.name: np.zeros(g.size) for g in graph.channel_groups}
        for x, y, *_ in as_dataset(self.data, self.batch_size):
            if y.shape.rank == 2 and y.shape[-1] > 1:
                y = tf.argmax(y, -1)
            products = [(v * g).numpy() for v, g in zip(tensors, gradients(x, y), strict=True)]
            for group in graph.channel_groups:
                batch = np.zeros(group.size)
                for axis in producer_axes(group):
                    product = products[index[id(graph.variable(axis))]]
                    rows = np.moveaxis(product, axis.axis, 0)
                    batch += rows.reshape(len(rows), -1).sum(1)[axis.positions].sum(1)
                totals[group.name] += batch**2
        return totals
