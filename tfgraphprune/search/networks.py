"""Actor and critic of the search: a graph encoder and heads that all groups share.

Because the heads are shared and the graph is a constant, the weights of a network fit any
graph: `create_actor(other_graph).set_weights(actor.get_weights())`.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as keras
from tf_agents.distributions.utils import scale_distribution_to_spec
from tf_agents.networks import network
from tf_agents.networks.utils import BatchSquash
from tf_agents.specs import distribution_spec, tensor_spec

from tfgraphprune.embedding.encoder import ENCODERS, pooled, seeded_initializers
from tfgraphprune.embedding.group_graph import GroupGraph

MEAN_BOUND = 2.5
"""Means before the squashing lie in (-2.5, 2.5), where its gradient does not vanish."""

LOG_STD_BOUNDS = (-4.0, 0.7)
LOG_STD_START = -0.5


class GroupActor(network.DistributionNetwork):
    """A squashed normal distribution over one action a group.

    Each group's mean and standard deviation come from its own embedding and the mean of all.

    Args:
        input_tensor_spec: of the node features, float32 `[G, F]`.
        output_tensor_spec: of the action, float32 `[G]`, bounded.
        graph: gives the edges.
        encoder: a name in `ENCODERS`.
        hidden: width of the embeddings and the head.
        layers: depth of the encoder.
        seed: of the initial weights.
    """

    # Plain arguments and no layers: TF-Agents copies a network by calling its constructor
    # again, and layers that came from outside would be shared with the copy.
    def __init__(
        self,
        input_tensor_spec: tf.TypeSpec,
        output_tensor_spec: tensor_spec.BoundedTensorSpec,
        graph: GroupGraph,
        encoder: str = "gcn",
        hidden: int = 32,
        layers: int = 2,
        seed: int = 0,
        name: str = "GroupActor",
    ):
        def squashed_normal(loc: tf.Tensor, scale: tf.Tensor) -> tfp.distributions.Distribution:
            normal = tfp.distributions.MultivariateNormalDiag(loc, scale)
            return scale_distribution_to_spec(normal, output_tensor_spec)

        parameter = tf.TensorSpec(output_tensor_spec.shape, tf.float32)
        super().__init__(
            input_tensor_spec=input_tensor_spec,
            state_spec=(),
            output_spec=distribution_spec.DistributionSpec(
                squashed_normal,
                {"loc": parameter, "scale": parameter},
                sample_spec=output_tensor_spec,
            ),
            name=name,
        )
        initializers = seeded_initializers(seed)
        self._encoder = ENCODERS[encoder](graph.adjacency, hidden, layers, seed)
        self._head = keras.layers.Dense(
            hidden, activation="relu", kernel_initializer=next(initializers), name="head"
        )
        self._parameters_of = keras.layers.Dense(
            2, kernel_initializer=next(initializers), name="mean_and_log_std"
        )

    def call(
        self,
        inputs: tf.Tensor,
        step_type: tf.Tensor | None = None,
        network_state: Any = (),
        training: bool = False,
    ) -> tuple[tfp.distributions.Distribution, Any]:
        """The distribution of actions for node features `[batch, (time,) G, F]`."""
        squash = BatchSquash(len(inputs.shape) - 2)
        nodes = self._encoder(squash.flatten(inputs))
        outputs = self._parameters_of(self._head(_with_context(nodes)))
        mean, log_std = tf.unstack(outputs, axis=-1)
        mean = MEAN_BOUND * tf.tanh(mean / MEAN_BOUND)
        log_std = tf.clip_by_value(log_std + LOG_STD_START, *LOG_STD_BOUNDS)
        distribution = self.output_spec.build_distribution(
            loc=squash.unflatten(mean), scale=squash.unflatten(tf.exp(log_std))
        )
        return distribution, network_state


class GroupCritic(network.Network):
    """The value of features and actions: what the groups add up to, and the graph as a whole.

    Args:
        input_tensor_spec: `(features [G, F], action [G])`.
        graph: gives the edges.
        encoder: a name in `ENCODERS`.
        hidden: width of the embeddings and the heads.
        layers: depth of the encoder.
        seed: of the initial weights.
    """

    def __init__(
        self,
        input_tensor_spec: tuple[tf.TypeSpec, tf.TypeSpec],
        graph: GroupGraph,
        encoder: str = "gcn",
        hidden: int = 32,
        layers: int = 2,
        seed: int = 0,
        name: str = "GroupCritic",
    ):
        super().__init__(input_tensor_spec=input_tensor_spec, state_spec=(), name=name)
        initializers = seeded_initializers(seed)
        self._encoder = ENCODERS[encoder](graph.adjacency, hidden, layers, seed)
        self._head = keras.layers.Dense(
            hidden, activation="relu", kernel_initializer=next(initializers), name="head"
        )
        self._value = keras.layers.Dense(1, kernel_initializer=next(initializers), name="value")

    def call(
        self,
        inputs: tuple[tf.Tensor, tf.Tensor],
        step_type: tf.Tensor | None = None,
        network_state: Any = (),
        training: bool = False,
    ) -> tuple[tf.Tensor, Any]:
        """The value `[batch, (time)]` of features `[batch, (time,) G, F]` and actions."""
        features, action = inputs
        squash = BatchSquash(len(features.shape) - 2)
        nodes = tf.concat([features, action[..., None]], axis=-1)
        nodes = self._encoder(squash.flatten(nodes))
        values = self._value(self._head(_with_context(nodes)))
        return squash.unflatten(pooled(values)[:, 0]), network_state


def _with_context(nodes: tf.Tensor) -> tf.Tensor:
    """Each node's embedding with the graph's: `[batch, G, 2 H]`."""
    graph = tf.broadcast_to(pooled(nodes)[:, None], tf.shape(nodes))
    return tf.concat([nodes, graph], axis=-1)
