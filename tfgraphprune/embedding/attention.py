"""An encoder whose messages depend on the edges and are weighed by attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from spektral.layers import XENetConvBatch

from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.embedding.encoder import GraphEncoder, joined


class _SeededAttention(XENetConvBatch):
    """Spektral's layer, whose attention kernels start from the seed as well."""

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        for layer in (self.incoming_att_sigmoid, self.outgoing_att_sigmoid):
            layer.kernel_initializer = self.kernel_initializer


class AttentionEncoder(GraphEncoder):
    """XENet ([Maguire et al., 2021](https://arxiv.org/abs/2009.13851)): a message is a function
    of both nodes and of the edge's features in both directions, and attention weighs it.

    An edge's features are its types. Costs `batch * N^2` messages; meant for up to some 100
    groups.
    """

    def __init__(self, bank: GraphBank, *args: Any, **kwargs: Any):
        super().__init__(bank, *args, **kwargs)
        self._input = self.dense(self.hidden, "input")
        self._attention = [
            _SeededAttention(
                self.hidden,
                self.hidden,
                bank.adjacency.shape[1],
                attention=True,
                node_activation="relu",
                kernel_initializer=next(self._initializers),
                name=f"attention_{i}",
            )
            for i in range(self.layers)
        ]
        self._edges = np.moveaxis(bank.adjacency, 1, -1)
        self._pairs = bank.adjacency.max(1, initial=0)
        count = self._pairs.sum((-1, -2)) / np.maximum(bank.mask.sum(-1), 1)
        self._degree = np.maximum(count, 1).astype(np.float32)[:, None, None]

    def call(
        self, inputs: tf.Tensor, graph: tf.Tensor | None = None, extra: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Embed the groups."""
        x = self._input(joined(inputs, extra))
        size = tf.shape(x)[0]
        # Messages are summed: their number must not depend on the size of the network.
        pairs = self.bank.of(self._pairs / self._degree, graph)
        edges = self.bank.of(self._edges, graph)
        pairs = tf.broadcast_to(pairs, [size, *pairs.shape[1:]])
        edges = tf.broadcast_to(edges, [size, *edges.shape[1:]])
        for attention in self._attention:
            y, edges = attention([x, pairs, edges])
            x = x + y
        return x
