"""Graph encoders: from node features to node embeddings, by Spektral's graph convolutions.

A new encoder is a layer with the constructor and the `call` of `GroupEncoder`, and one line in
`ENCODERS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from spektral.layers import GCNConv
from spektral.utils import gcn_filter


class GroupEncoder(keras.layers.Layer):
    r"""A relational residual graph convolutional network.

    Graph convolutions as in [Kipf and Welling, 2017](https://arxiv.org/abs/1609.02907), one for
    each type of edge as in [Schlichtkrull et al., 2018](https://arxiv.org/abs/1703.06103):

    `x <- dense(features)`, then `layers` times
    `x <- x + relu(sum_r gcn_r(A_r, x) + dense(x))`, `A_r = D_r^-1 (adjacency_r + I)`.

    The mean over the neighbours (and not the symmetric normalisation) keeps directed edges
    meaningful. The graph is a constant of the layer and no weight of it, so that weights
    go from one graph to any other: `other.set_weights(encoder.get_weights())`.

    **Input**: node features `[batch, G, F]`. **Output**: node embeddings `[batch, G, hidden]`.

    Args:
        adjacency: `[R, G, G]`, a matrix for each type of edge, rows receive from columns.
        hidden: width of the embeddings.
        layers: number of residual blocks.
        seed: of the initial weights.
    """

    def __init__(
        self,
        adjacency: np.ndarray,
        hidden: int = 32,
        layers: int = 2,
        seed: int = 0,
        name: str = "group_encoder",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.adjacency = np.asarray(adjacency, np.float32)
        self.hidden, self.layers, self.seed = hidden, layers, seed
        initializers = seeded_initializers(seed)

        def dense(name: str) -> keras.layers.Dense:
            return keras.layers.Dense(hidden, kernel_initializer=next(initializers), name=name)

        def graph(name: str) -> GCNConv:
            return GCNConv(hidden, use_bias=False, kernel_initializer=next(initializers), name=name)

        self._input = dense("input")
        self._own = [dense(f"own_{i}") for i in range(layers)]
        self._neighbours = [
            [graph(f"relation_{r}_{i}") for r in range(len(self.adjacency))] for i in range(layers)
        ]
        # A batch of one is broadcast by one matrix product; rank 2 would cost four transposes.
        filters = gcn_filter(self.adjacency, symmetric=False)
        with tf.init_scope():
            self._filters = [tf.constant(matrix[None]) for matrix in filters]

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Embed the nodes."""
        x = self._input(inputs)
        for own, neighbours in zip(self._own, self._neighbours, strict=True):
            messages = [
                convolution([x, matrix])
                for convolution, matrix in zip(neighbours, self._filters, strict=True)
            ]
            x = x + tf.nn.relu(tf.add_n([own(x), *messages]))
        return x

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "adjacency": self.adjacency.tolist(),
            "hidden": self.hidden,
            "layers": self.layers,
            "seed": self.seed,
        }


ENCODERS: dict[str, type[keras.layers.Layer]] = {"gcn": GroupEncoder}


def pooled(nodes: tf.Tensor, kind: str = "mean") -> tf.Tensor:
    """The embedding `[batch, H]` of the whole graph: `mean` or `sum` of `[batch, G, H]`.

    The mean does not grow with the network, which is what a policy that travels needs.
    """
    return {"mean": tf.reduce_mean, "sum": tf.reduce_sum}[kind](nodes, axis=-2)


def seeded_initializers(seed: int) -> Iterator[keras.initializers.Initializer]:
    """Endless Glorot-uniform initializers, each with its own seed that follows from `seed`."""
    random = np.random.default_rng(seed)
    while True:
        yield keras.initializers.GlorotUniform(seed=int(random.integers(2**31 - 1)))
