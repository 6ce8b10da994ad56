"""Actor and value of joint actions that are taken in a few steps, as in GNN-RL."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
from tf_agents.networks import network
from tf_agents.networks.utils import BatchSquash
from tf_agents.specs import distribution_spec, tensor_spec

from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.embedding.encoder import pooled
from tfgraphprune.embedding.head import GroupHead

Observation = dict[str, Any]
"""`ratios`, float32 `[G]`, kept of each group so far; `step`, float32 `[]`, the share of the
steps that are done; `graph`, int32 `[]`, the number of the graph in the bank, here 0."""


def observation_spec(groups: int) -> dict[str, tf.TensorSpec]:
    """The spec of an `Observation`."""
    return {
        "ratios": tf.TensorSpec([groups], tf.float32, "ratios"),
        "step": tf.TensorSpec([], tf.float32, "step"),
        "graph": tensor_spec.BoundedTensorSpec([], tf.int32, 0, 0, "graph"),
    }


class JointActor(network.DistributionNetwork):
    """A normal distribution of one action a group, with a deviation that stays.

    Args:
        input_tensor_spec: of an `Observation`.
        output_tensor_spec: of the action, float32 `[G]`.
        bank: the graph alone.
        encoder: a name in `ENCODERS`.
        hidden: width of the embeddings and the head.
        layers: depth of the encoder.
        deviation: the standard deviation.
        seed: of the initial weights.
    """

    def __init__(
        self,
        input_tensor_spec: Any,
        output_tensor_spec: tensor_spec.BoundedTensorSpec,
        bank: GraphBank,
        encoder: str,
        hidden: int,
        layers: int,
        deviation: float,
        seed: int,
        name: str = "JointActor",
    ):
        def normal(loc: tf.Tensor, scale: tf.Tensor) -> tfp.distributions.Distribution:
            return tfp.distributions.MultivariateNormalDiag(loc, scale)

        parameter = tf.TensorSpec(output_tensor_spec.shape, tf.float32)
        super().__init__(
            input_tensor_spec=input_tensor_spec,
            state_spec=(),
            output_spec=distribution_spec.DistributionSpec(
                normal,
                {"loc": parameter, "scale": parameter},
                sample_spec=output_tensor_spec,
            ),
            name=name,
        )
        self._bank = bank
        self._deviation = deviation
        self._head = GroupHead(bank, encoder, hidden, layers, seed, units=1)

    def call(
        self,
        inputs: Observation,
        step_type: tf.Tensor | None = None,
        network_state: Any = (),
        training: bool = False,
    ) -> tuple[tfp.distributions.Distribution, Any]:
        """The distribution of actions for observations with or without time."""
        squash = BatchSquash(len(inputs["graph"].shape))
        mean = tf.tanh(_numbers(self._head, self._bank, inputs, squash)[..., 0])
        mean = squash.unflatten(mean)
        scale = tf.fill(tf.shape(mean), self._deviation)
        return self.output_spec.build_distribution(loc=mean, scale=scale), network_state


class JointValue(network.Network):
    """The value of the ratios so far: the mean over the groups.

    Args:
        input_tensor_spec: of an `Observation`.
        bank: the graph alone.
        encoder: a name in `ENCODERS`.
        hidden: width of the embeddings and the head.
        layers: depth of the encoder.
        seed: of the initial weights.
    """

    def __init__(
        self,
        input_tensor_spec: Any,
        bank: GraphBank,
        encoder: str,
        hidden: int,
        layers: int,
        seed: int,
        name: str = "JointValue",
    ):
        super().__init__(input_tensor_spec=input_tensor_spec, state_spec=(), name=name)
        self._bank = bank
        self._head = GroupHead(bank, encoder, hidden, layers, seed, units=1)

    def call(
        self,
        inputs: Observation,
        step_type: tf.Tensor | None = None,
        network_state: Any = (),
        training: bool = False,
    ) -> tuple[tf.Tensor, Any]:
        """The values `[batch, (time)]`."""
        squash = BatchSquash(len(inputs["graph"].shape))
        values = _numbers(self._head, self._bank, inputs, squash)
        mask = self._bank.of(self._bank.mask[..., None], None)
        return squash.unflatten(pooled(values, mask)[:, 0]), network_state


def _numbers(
    head: GroupHead, bank: GraphBank, inputs: Observation, squash: BatchSquash
) -> tf.Tensor:
    """A head's numbers `[batch, G, units]` for the features with the ratios and the step."""
    ratios, step = squash.flatten(inputs["ratios"]), squash.flatten(inputs["step"])
    features = tf.repeat(tf.constant(bank.features), tf.shape(ratios)[0], axis=0)
    done = tf.repeat(step[:, None], ratios.shape[-1], axis=1)
    return head(features, squash.flatten(inputs["graph"]), tf.stack([ratios, done], -1))
