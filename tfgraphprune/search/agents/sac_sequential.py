"""Soft actor-critic, one group after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tf_agents.distributions.utils import scale_distribution_to_spec
from tf_agents.networks import network
from tf_agents.specs import distribution_spec, tensor_spec

from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.embedding.head import GroupHead
from tfgraphprune.search.agents.networks import LOG_STD_BOUNDS, LOG_STD_START
from tfgraphprune.search.agents.sac_agent import RewardScale, sac_agent
from tfgraphprune.search.agents.sequential import (
    Observation,
    SequentialSearch,
    check_settings,
    current,
    dynamic_columns,
)
from tfgraphprune.search.agents.stateless import StatelessSacAgent
from tfgraphprune.search.policy import bounded_mean
from tfgraphprune.search.problem import Outcome, SearchProblem


@dataclass(frozen=True)
class SacSequentialSettings:
    """Hyperparameters of SAC ([Haarnoja et al., 2018](https://arxiv.org/abs/1812.05905)); the
    defaults were measured on CIFAR-10 ResNet-20.

    Attributes:
        encoder: a name in `ENCODERS`.
        hidden: width of encoders and heads.
        layers: depth of the encoders.
        warmup: random episodes at the start; at most a quarter of all.
        bounding: `"wall"`, AMC's (arXiv 1802.03494) on both sides, or `"projection"` after the
            fact.
        steps: training steps an episode.
        batch: transitions a training step.
        memory: episodes that the replay buffer holds.
        learning_rate: Adam's, of actor and critics.
        alpha_learning_rate: Adam's, of the entropy weight.
        alpha: the entropy weight at the start.
        tau: share of the critics that the target critics take over each step.
        gamma: discount of a step; as every step has the final reward, none of the next one's
            value is needed.
        clip: largest norm of each gradient.
    """

    encoder: str = "multi_stage"
    hidden: int = 32
    layers: int = 2
    warmup: int = 40
    bounding: str = "wall"
    steps: int = 20
    batch: int = 64
    memory: int = 1000
    learning_rate: float = 1e-3
    alpha_learning_rate: float = 3e-3
    alpha: float = 0.1
    tau: float = 0.01
    gamma: float = 0.0
    clip: float = 5.0

    def __post_init__(self) -> None:
        check_settings(self)


class SacSequentialSearch(SequentialSearch):
    """TF-Agents' `SacAgent` on one group after another, each action a keep ratio.

    Every step gets the final reward, standardised by the mean and the deviation of those of the
    random episodes, and with a discount of 0 the critics learn it for each step by itself.

    Args:
        problem: what is searched.
        evaluations: rewards that may be looked at.
        seed: of weights and draws.
        options: fields of `SacSequentialSettings`.
    """

    Settings = SacSequentialSettings

    LOW = -1.0

    def __init__(
        self,
        problem: SearchProblem,
        evaluations: int,
        seed: int,
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__(problem, evaluations, seed, options)
        self._scale = RewardScale(1)

    def observe(self, episode: int, outcome: Outcome) -> None:
        """Store what was executed; after the random episodes standardise rewards and train."""
        self._store(outcome)
        if episode + 1 == max(1, self.warmup):
            rewards = self.replay.everything()["reward"].numpy()
            self._scale.fit(rewards, np.zeros(len(rewards), int))
        self._train(episode)

    def state(self) -> dict[str, Any]:
        """Networks, targets, optimizers, entropy weight, counters, episodes and normaliser."""
        return {**super().state(), **self._scale.state()}

    def scalars(self) -> dict[str, float]:
        """The last losses and the entropy weight."""
        return {**super().scalars(), "alpha": float(self.agent.alpha)}

    def _agent(self, bank: GraphBank, time_step_spec: Any, action_spec: Any) -> StatelessSacAgent:
        settings, seen = self.settings, time_step_spec.observation
        shape = (bank, settings.encoder, settings.hidden, settings.layers)
        # A step's action is one number: its mean over the groups of the graph is itself.
        return sac_agent(
            self.seed,
            bank,
            settings,
            (time_step_spec, action_spec),
            actor=lambda seed: SquashedActor(seen, action_spec, *shape, seed=seed),
            critic=lambda seed, suffix: SquashedCritic(
                (seen, action_spec), *shape, seed=seed, name=f"SquashedCritic{suffix}"
            ),
            gamma=settings.gamma,
        )

    def _actions(self, observation: Observation, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        distribution = self.agent._actor_network(observation)[0]
        return distribution.mode()[0, 0], distribution.sample(seed=seed)[0, 0]

    def _explored(
        self, greedy: float, sample: float, episode: int, random: np.random.Generator
    ) -> float:
        return sample

    def _judged(self, rewards: tf.Tensor) -> tf.Tensor:
        return self._scale(rewards, tf.zeros_like(rewards, tf.int32))


class SquashedActor(network.DistributionNetwork):
    """A squashed normal distribution of the current group's action.

    Args:
        input_tensor_spec: of an `Observation`.
        output_tensor_spec: of the action, float32 `[1]`, bounded.
        bank: the graph alone.
        encoder: a name in `ENCODERS`.
        hidden: width of the embeddings and the head.
        layers: depth of the encoder.
        seed: of the initial weights.
    """

    # Plain arguments and no layers: TF-Agents copies a network by calling its constructor again.
    def __init__(
        self,
        input_tensor_spec: Any,
        output_tensor_spec: tensor_spec.BoundedTensorSpec,
        bank: GraphBank,
        encoder: str,
        hidden: int,
        layers: int,
        seed: int,
        name: str = "SquashedActor",
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
        """The distribution of actions for observations `[batch]`."""
        numbers = _numbers(self._head, self._bank, inputs, dynamic_columns(inputs))
        mean, log_std = tf.split(numbers, 2, axis=-1)
        mean = bounded_mean(mean, 0.0)
        log_std = tf.clip_by_value(log_std + LOG_STD_START, *LOG_STD_BOUNDS)
        distribution = self.output_spec.build_distribution(loc=mean, scale=tf.exp(log_std))
        return distribution, network_state


class SquashedCritic(network.Network):
    """The value of a step's state and action.

    Args:
        input_tensor_spec: `(observation, action [1])`.
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
        name: str = "SquashedCritic",
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
        """The values `[batch]`."""
        observation, action = inputs
        columns = dynamic_columns(observation)
        own = tf.one_hot(observation["step"], columns.shape[1]) * action
        columns = tf.concat([columns, own[..., None]], -1)
        return _numbers(self._head, self._bank, observation, columns)[:, 0], network_state


def _numbers(
    head: GroupHead, bank: GraphBank, observation: Observation, columns: tf.Tensor
) -> tf.Tensor:
    """A head's numbers `[batch, units]` for the current group."""
    features = tf.repeat(tf.constant(bank.features), tf.shape(columns)[0], axis=0)
    return current(head(features, observation["graph"], columns), observation)
