"""An encoder that decodes the groups one after another."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras
from spektral.layers import GCNConv

from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.embedding.encoder import GraphEncoder, joined, pooled


class RecurrentEncoder(GraphEncoder):
    """AGMC (arXiv 2011.12641): graph convolutions, their mean as the network's embedding, and an
    LSTM that decodes a state for each group, in the order of the groups.

    The convolutions (ReLU) are over all types of edges at once, as AGMC has only one.
    """

    def __init__(self, bank: GraphBank, *args: Any, **kwargs: Any):
        super().__init__(bank, *args, **kwargs)
        self._convolutions = [
            GCNConv(
                self.hidden,
                activation="relu",
                kernel_initializer=next(self._initializers),
                name=f"graph_{i}",
            )
            for i in range(self.layers)
        ]
        self._whole = self.dense(self.hidden, "whole", activation="tanh")
        self._decoder = keras.layers.LSTM(
            self.hidden,
            return_sequences=True,
            kernel_initializer=next(self._initializers),
            recurrent_initializer=keras.initializers.Orthogonal(seed=self.seed),
            name="decoder",
        )

    def call(
        self, inputs: tf.Tensor, graph: tf.Tensor | None = None, extra: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Embed the groups."""
        x = joined(inputs, extra)
        matrix = self.bank.of(self.bank.merged, graph)
        for convolution in self._convolutions:
            x = convolution([x, matrix])
        whole = self._whole(pooled(x, self.mask(graph)))
        return self._decoder(x, initial_state=[whole, whole])
