"""From graphs to numbers for each group: what policies and values are made of."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.embedding.encoder import pooled, seeded_initializers
from tfgraphprune.embedding.encoders import encoder_of


class GroupHead(keras.layers.Layer):
    """An encoder, and the same small network for each group on its embedding and the mean of all.

    Args:
        bank: the graphs.
        encoder: a name in `ENCODERS`.
        hidden: width of the embeddings and the head.
        layers: depth of the encoder.
        seed: of the initial weights.
        units: numbers a group.
    """

    def __init__(
        self, bank: GraphBank, encoder: str, hidden: int, layers: int, seed: int, units: int
    ):
        super().__init__(name="groups")
        initializers = seeded_initializers(seed)
        self._encoder = encoder_of(encoder, bank, hidden, layers, seed)
        self._hidden = keras.layers.Dense(
            hidden, activation="relu", kernel_initializer=next(initializers), name="head"
        )
        self._outputs = keras.layers.Dense(
            units, kernel_initializer=next(initializers), name="outputs"
        )

    def call(
        self, features: tf.Tensor, graph: tf.Tensor, extra: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Numbers `[batch, N, units]` for features `[batch, N, F]` of graphs `[batch]`."""
        nodes = self._encoder(features, graph=graph, extra=extra)
        whole = pooled(nodes, self._encoder.mask(graph))
        context = tf.broadcast_to(whole[:, None], tf.shape(nodes))
        return self._outputs(self._hidden(tf.concat([nodes, context], -1)))
