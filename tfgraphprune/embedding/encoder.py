"""What every graph encoder is: from a bank's graphs and node features to node embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfgraphprune.embedding.bank import GraphBank


class GraphEncoder(keras.layers.Layer):
    """Embeds the groups of any graph of a bank.

    **Input**: node features `[batch, N, F]`, and with `graph` int32 `[batch]` which graph of the
    bank each row is; `extra` float32 `[batch, N, E]` are features beside those of the graph,
    such as actions. **Output**: embeddings `[batch, N, hidden]`; those of padded nodes mean
    nothing and reach no other node.

    Args:
        bank: the graphs.
        hidden: width of the embeddings.
        layers: depth.
        seed: of the initial weights.
    """

    def __init__(
        self,
        bank: GraphBank,
        hidden: int = 32,
        layers: int = 2,
        seed: int = 0,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.bank = bank
        self.hidden, self.layers, self.seed = hidden, layers, seed
        self._initializers = seeded_initializers(seed)

    def dense(self, units: int, name: str, **settings: Any) -> keras.layers.Dense:
        """A dense layer with the next seed."""
        return keras.layers.Dense(
            units, kernel_initializer=next(self._initializers), name=name, **settings
        )

    def mask(self, graph: tf.Tensor | None) -> tf.Tensor:
        """1 for groups and 0 for padding, `[batch or 1, N, 1]`."""
        return self.bank.of(self.bank.mask[..., None], graph)


def joined(features: tf.Tensor, extra: tf.Tensor | None) -> tf.Tensor:
    """Features with further ones beside them."""
    return features if extra is None else tf.concat([features, extra], -1)


def pooled(nodes: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The mean `[batch, H]` of `[batch, N, H]` over the nodes of a mask `[batch or 1, N, 1]`.

    The mean does not grow with the network, which is what a policy that travels needs.
    """
    return tf.reduce_sum(nodes * mask, 1) / tf.reduce_sum(mask, 1)


def seeded_initializers(seed: int) -> Iterator[keras.initializers.Initializer]:
    """Endless Glorot-uniform initializers, each with its own seed that follows from `seed`."""
    random = np.random.default_rng(seed)
    while True:
        yield keras.initializers.GlorotUniform(seed=int(random.integers(2**31 - 1)))
