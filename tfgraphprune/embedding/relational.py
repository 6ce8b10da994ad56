"""Encoders by Spektral's graph convolutions over typed edges, with and without a motif level."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from spektral.layers import GCNConv

from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.embedding.encoder import GraphEncoder, joined


class RelationalEncoder(GraphEncoder):
    r"""A relational residual graph convolutional network.

    Graph convolutions as in [Kipf and Welling, 2017](https://arxiv.org/abs/1609.02907), one for
    each type of edge as in [Schlichtkrull et al., 2018](https://arxiv.org/abs/1703.06103):

    `x <- dense(features)`, then `layers` times
    `x <- x + relu(sum_r gcn_r(A_r, x) + dense(x))`, `A_r = D_r^-1 (adjacency_r + I)`.
    """

    def __init__(self, bank: GraphBank, *args: Any, **kwargs: Any):
        super().__init__(bank, *args, **kwargs)

        def graph(name: str) -> GCNConv:
            initializer = next(self._initializers)
            return GCNConv(self.hidden, use_bias=False, kernel_initializer=initializer, name=name)

        self._input = self.dense(self.hidden, "input")
        self._own = [self.dense(self.hidden, f"own_{i}") for i in range(self.layers)]
        self._neighbours = [
            [graph(f"relation_{r}_{i}") for r in range(bank.filters.shape[1])]
            for i in range(self.layers)
        ]

    def call(
        self, inputs: tf.Tensor, graph: tf.Tensor | None = None, extra: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Embed the groups."""
        x = self._input(joined(inputs, extra))
        filters = [
            self.bank.of(self.bank.filters[:, r], graph) for r in range(self.bank.filters.shape[1])
        ]
        for own, neighbours in zip(self._own, self._neighbours, strict=True):
            messages = [
                convolution([x, matrix])
                for convolution, matrix in zip(neighbours, filters, strict=True)
            ]
            x = x + tf.nn.relu(tf.add_n([own(x), *messages]))
        return x


class MotifEncoder(GraphEncoder):
    """Stage 1 of GNN-RL (arXiv 2102.03214): a graph convolution over the filters of each layer,
    tanh, the mean over the filters, a linear layer.

    **Output**: for each group the mean over the layers that make it and over those that read it,
    `[batch or 1, N, 2 * hidden]`. It follows from the network's weights alone.
    """

    def __init__(self, bank: GraphBank, *args: Any, **kwargs: Any):
        super().__init__(bank, *args, **kwargs)
        self._filters = GCNConv(
            2 * self.hidden,
            activation="tanh",
            kernel_initializer=next(self._initializers),
            name="filters",
        )
        self._layer = self.dense(self.hidden, "layer")

    def call(self, graph: tf.Tensor | None = None) -> tf.Tensor:
        """Embed the layers of all graphs of the bank, and look up those of the groups."""
        motifs = self.bank.motifs
        shape = motifs.nodes.shape
        nodes = tf.constant(motifs.nodes.reshape(-1, *shape[2:]))
        ties = tf.constant(motifs.adjacency.reshape(-1, shape[2], shape[2]))
        mask = tf.constant(motifs.mask.reshape(-1, shape[2], 1))
        filters = self._filters([nodes, ties])
        # A padded layer has no filters: its mean is 0 and no group has it.
        means = tf.reduce_sum(filters * mask, 1) / tf.maximum(tf.reduce_sum(mask, 1), 1)
        layers = tf.reshape(self._layer(means), (shape[0], shape[1], self.hidden))
        groups = tf.concat(
            [tf.constant(motifs.makes) @ layers, tf.constant(motifs.reads) @ layers], -1
        )
        return groups if len(self.bank) == 1 or graph is None else tf.gather(groups, graph)


class MultiStageEncoder(RelationalEncoder):
    """GNN-RL's hierarchy (arXiv 2102.03214): motif embeddings of the filters become features of
    the groups, which a relational graph network embeds in turn."""

    _MOTIF = 8

    def __init__(self, bank: GraphBank, *args: Any, **kwargs: Any):
        super().__init__(bank, *args, **kwargs)
        seed = self.seed + 7919
        self._motifs = MotifEncoder(bank, self._MOTIF, 1, seed, name="motifs")

    def call(
        self, inputs: tf.Tensor, graph: tf.Tensor | None = None, extra: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Embed the groups."""
        motifs = self._motifs(graph)
        shape = tf.concat([tf.shape(inputs)[:2], tf.shape(motifs)[-1:]], 0)
        return super().call(joined(tf.broadcast_to(motifs, shape), inputs), graph, extra)


class FeaturesEncoder(GraphEncoder):
    """AMC's state (arXiv 1802.03494): each group's features by themselves, without edges."""

    def __init__(self, bank: GraphBank, *args: Any, **kwargs: Any):
        super().__init__(bank, *args, **kwargs)
        self._dense = [
            self.dense(self.hidden, f"dense_{i}", activation="relu") for i in range(self.layers)
        ]

    def call(
        self, inputs: tf.Tensor, graph: tf.Tensor | None = None, extra: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Embed the groups."""
        x = joined(inputs, extra)
        for dense in self._dense:
            x = dense(x)
        return x


class RandomEncoder(RelationalEncoder):
    """An ablation: random numbers in place of the features, as in GNN-RL's public code.

    The numbers depend on the place of a group only. A method that does as well with
    them as with real features doesn't need features.
    """

    def call(
        self, inputs: tf.Tensor, graph: tf.Tensor | None = None, extra: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Embed the groups."""
        noise = tf.random.stateless_normal(tf.shape(inputs)[1:], [0, 1])
        return super().call(tf.broadcast_to(noise, tf.shape(inputs)), graph, extra)
