"""Actor and critic of the search: a graph encoder and heads that all groups share.

Because the heads are shared and the graphs are constants, the weights of a network fit any
graph: `GroupActor(..., other_bank).set_weights(actor.get_weights())`.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
from tf_agents.distributions.utils import scale_distribution_to_spec
from tf_agents.networks import network
from tf_agents.networks.utils import BatchSquash
from tf_agents.specs import distribution_spec, tensor_spec

from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.embedding.encoder import pooled
from tfgraphprune.embedding.head import GroupHead
from tfgraphprune.search.policy import bounded_mean

LOG_STD_BOUNDS = (-4.0, 0.7)
LOG_STD_START = -0.5

Observation = dict[str, Any]
"""`features`, float32 `[N, F]`, and `graph`, int32 `[]`, the graph's number in the bank."""


class GroupActor(network.DistributionNetwork):
    """A squashed normal distribution over one action a group.

    Each group's mean and standard deviation come from its own embedding and the mean of all; the
    mean is how far to depart from the graph's guess.

    Args:
        input_tensor_spec: of an `Observation`.
        output_tensor_spec: of the action, float32 `[N]`, bounded.
        bank: the graphs.
        encoder: a name in `ENCODERS`.
        hidden: width of the embeddings and the head.
        layers: depth of the encoder.
        seed: of the initial weights.
    """

    # Plain arguments and no layers: TF-Agents copies a network by calling its constructor
    # again, and layers that came from outside would be shared with the copy.
    def __init__(
        self,
        input_tensor_spec: Any,
        output_tensor_spec: tensor_spec.BoundedTensorSpec,
        bank: GraphBank,
        encoder: str = "multi_stage",
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
        self._bank = bank
        self._head = GroupHead(bank, encoder, hidden, layers, seed, units=2)

    def call(
        self,
        inputs: Observation,
        step_type: tf.Tensor | None = None,
        network_state: Any = (),
        training: bool = False,
    ) -> tuple[tfp.distributions.Distribution, Any]:
        """The distribution of actions for a batch of observations, with or without time."""
        squash = BatchSquash(len(inputs["graph"].shape))
        graph = squash.flatten(inputs["graph"])
        outputs = self._head(squash.flatten(inputs["features"]), graph)
        mean, log_std = tf.unstack(outputs, axis=-1)
        mean = bounded_mean(mean, self._bank.of(self._bank.guess, graph))
        log_std = tf.clip_by_value(log_std + LOG_STD_START, *LOG_STD_BOUNDS)
        distribution = self.output_spec.build_distribution(
            loc=squash.unflatten(mean), scale=squash.unflatten(tf.exp(log_std))
        )
        return distribution, network_state


class GroupCritic(network.Network):
    """The value of features and actions: what the groups add up to, and the graph as a whole.

    Args:
        input_tensor_spec: `(observation, action [N])`.
        bank: the graphs.
        encoder: a name in `ENCODERS`.
        hidden: width of the embeddings and the heads.
        layers: depth of the encoder.
        seed: of the initial weights.
    """

    def __init__(
        self,
        input_tensor_spec: Any,
        bank: GraphBank,
        encoder: str = "multi_stage",
        hidden: int = 32,
        layers: int = 2,
        seed: int = 0,
        name: str = "GroupCritic",
    ):
        super().__init__(input_tensor_spec=input_tensor_spec, state_spec=(), name=name)
        self._bank = bank
        self._head = GroupHead(bank, encoder, hidden, layers, seed, units=1)

    def call(
        self,
        inputs: tuple[Observation, tf.Tensor],
        step_type: tf.Tensor | None = None,
        network_state: Any = (),
        training: bool = False,
    ) -> tuple[tf.Tensor, Any]:
        """The value `[batch, (time)]` of observations and actions `[batch, (time,) N]`."""
        observation, action = inputs
        squash = BatchSquash(len(observation["graph"].shape))
        graph = squash.flatten(observation["graph"])
        # What is stored for padding must not matter.
        mask = self._bank.of(self._bank.mask[..., None], graph)
        actions = squash.flatten(action)[..., None] * mask
        values = self._head(squash.flatten(observation["features"]), graph, actions)
        return squash.unflatten(pooled(values, mask)[:, 0]), network_state
