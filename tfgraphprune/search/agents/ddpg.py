"""Deep deterministic policy gradient, one group after another: AMC and AGMC as published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tf_agents.agents.ddpg import ddpg_agent
from tf_agents.networks import network
from tf_agents.specs import tensor_spec
from tf_agents.utils import common

from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.embedding.encoder import seeded_initializers
from tfgraphprune.embedding.encoders import encoder_of
from tfgraphprune.search.agents.sequential import (
    Observation,
    SequentialSearch,
    check_settings,
    current,
    dynamic_columns,
)
from tfgraphprune.search.problem import SearchProblem


@dataclass(frozen=True)
class DdpgSettings:
    """Hyperparameters; the defaults are those of AMC
    ([He et al., 2018](https://arxiv.org/abs/1802.03494)), with `encoder="gcn_lstm"` those of AGMC
    ([Yu et al., 2021](https://arxiv.org/abs/2011.12641)).

    Attributes:
        encoder: a name in `ENCODERS`; `features` is AMC's state itself, a row of features.
        hidden: width of the encoder's embeddings.
        layers: depth of the encoder; `features` has none.
        units: width of the two hidden layers of actor and critic.
        warmup: random episodes at the start, at most a quarter of all; 100 by default as in AMC,
            none with `gcn_lstm`.
        bounding: `"wall"` as AMC, the default, or `"projection"` after the fact as AGMC, the
            default with `gcn_lstm`.
        noise: standard deviation of the truncated normal noise after the warm-up.
        decay: factor of the noise, each episode.
        steps: training steps an episode; by default as many as there are groups.
        batch: transitions a training step.
        memory: episodes that the replay buffer holds.
        actor_learning_rate: Adam's.
        critic_learning_rate: Adam's.
        tau: share of the networks that their targets take over each step.
        gamma: discount of a step.
        baseline: share of a batch's mean reward in the moving average that is subtracted.
    """

    encoder: str = "features"
    hidden: int = 30
    layers: int = 2
    units: int = 300
    warmup: int | None = None
    bounding: str | None = None
    noise: float = 0.5
    decay: float = 0.95
    steps: int | None = None
    batch: int = 64
    memory: int = 100
    actor_learning_rate: float = 1e-4
    critic_learning_rate: float = 1e-3
    tau: float = 0.01
    gamma: float = 1.0
    baseline: float = 0.5

    def __post_init__(self) -> None:
        recurrent = self.encoder == "gcn_lstm"
        if self.warmup is None:
            object.__setattr__(self, "warmup", 0 if recurrent else 100)
        if self.bounding is None:
            object.__setattr__(self, "bounding", "projection" if recurrent else "wall")
        check_settings(self)


class DdpgSearch(SequentialSearch):
    """TF-Agents' `DdpgAgent` on one group after another, each action a keep ratio.

    The features are scaled to [0, 1] column by column. Every step gets the final reward less a
    moving average. AMC's 100 random episodes are at most a quarter of the evaluations here, as
    its 400 episodes are rarely to be had; the uniform plan is the first of them.

    Args:
        problem: what is searched.
        evaluations: rewards that may be looked at.
        seed: of weights and draws.
        options: fields of `DdpgSettings`.
    """

    Settings = DdpgSettings

    def __init__(
        self,
        problem: SearchProblem,
        evaluations: int,
        seed: int,
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__(problem, evaluations, seed, options)
        # Not a number until there is a reward.
        self._baseline = tf.Variable(np.float32(np.nan), name="baseline")

    def state(self) -> dict[str, Any]:
        """Networks, targets, optimizers, counters, what was played, and the moving average."""
        return {**super().state(), "baseline": self._baseline}

    def _agent(
        self, bank: GraphBank, time_step_spec: Any, action_spec: Any
    ) -> ddpg_agent.DdpgAgent:
        settings = self.settings
        layers = 0 if settings.encoder == "features" else settings.layers
        shape = (settings.encoder, settings.hidden, layers, settings.units)
        actor_seed, critic_seed = (
            int(s) for s in np.random.SeedSequence(self.seed).generate_state(2) % (2**31 - 1)
        )
        observation_spec = time_step_spec.observation
        actor = StepActor(observation_spec, action_spec, bank, *shape, actor_seed)
        critic = StepCritic((observation_spec, action_spec), bank, *shape, critic_seed)
        agent = ddpg_agent.DdpgAgent(
            time_step_spec,
            action_spec,
            actor_network=actor,
            critic_network=critic,
            actor_optimizer=keras.optimizers.legacy.Adam(settings.actor_learning_rate),
            critic_optimizer=keras.optimizers.legacy.Adam(settings.critic_learning_rate),
            target_update_tau=settings.tau,
            td_errors_loss_fn=common.element_wise_squared_loss,
            gamma=settings.gamma,
            train_step_counter=tf.Variable(0, dtype=tf.int64, name="train_step"),
        )
        agent.initialize()
        # Made now instead of in the first step, so that a checkpoint is read in one go.
        agent._actor_optimizer._create_all_weights(actor.trainable_variables)
        agent._critic_optimizer._create_all_weights(critic.trainable_variables)
        return agent

    def _actions(self, observation: Observation, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        action = self.agent._actor_network(observation)[0][0, 0]
        return action, action

    def _explored(
        self, greedy: float, sample: float, episode: int, random: np.random.Generator
    ) -> float:
        deviation = self.settings.noise * self.settings.decay ** (episode - self.warmup)
        while True:
            action = random.normal(greedy, deviation)
            if self.LOW <= action <= self.HIGH:
                return action

    def _judged(self, rewards: tf.Tensor) -> tf.Tensor:
        mean, before = tf.reduce_mean(rewards), self._baseline
        moved = before + self.settings.baseline * (mean - before)
        self._baseline.assign(tf.where(tf.math.is_nan(before), mean, moved))
        return rewards - self._baseline


class StepState(keras.layers.Layer):
    """The state of a step: the current group's embedding, features and dynamic columns in.

    Args:
        bank: the graph alone.
        encoder: a name in `ENCODERS`.
        hidden: width of the embeddings.
        layers: depth of the encoder.
        seed: of the initial weights.
    """

    def __init__(self, bank: GraphBank, encoder: str, hidden: int, layers: int, seed: int):
        super().__init__(name="state")
        self._encoder = encoder_of(encoder, bank, hidden, layers, seed)
        features = bank.features
        least, most = features.min(1, keepdims=True), features.max(1, keepdims=True)
        span = np.where(most > least, most - least, 1)
        self._features = ((features - least) / span).astype(np.float32)

    def call(self, observation: Observation) -> tf.Tensor:
        """The states `[batch, H]`."""
        columns = dynamic_columns(observation)
        features = tf.repeat(tf.constant(self._features), tf.shape(columns)[0], axis=0)
        nodes = self._encoder(features, graph=observation["graph"], extra=columns)
        return current(nodes, observation)


class StepActor(network.Network):
    """The keep ratio of the current group.

    Args:
        input_tensor_spec: of an `Observation`.
        output_tensor_spec: of the action, float32 `[1]` in [0, 1].
        bank: the graph alone.
        encoder: a name in `ENCODERS`.
        hidden: width of the embeddings.
        layers: depth of the encoder.
        units: width of the two hidden layers.
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
        units: int,
        seed: int,
        name: str = "StepActor",
    ):
        super().__init__(input_tensor_spec=input_tensor_spec, state_spec=(), name=name)
        self._state = StepState(bank, encoder, hidden, layers, seed)
        self._dense = _perceptron(units, "sigmoid", seed)

    def call(
        self,
        inputs: Observation,
        step_type: tf.Tensor | None = None,
        network_state: Any = (),
        training: bool = False,
    ) -> tuple[tf.Tensor, Any]:
        """The actions `[batch, 1]`."""
        return _through(self._dense, self._state(inputs)), network_state


class StepCritic(network.Network):
    """The value of a step's state and action.

    Args:
        input_tensor_spec: `(observation, action [1])`.
        bank: the graph alone.
        encoder: a name in `ENCODERS`.
        hidden: width of the embeddings.
        layers: depth of the encoder.
        units: width of the two hidden layers.
        seed: of the initial weights.
    """

    def __init__(
        self,
        input_tensor_spec: Any,
        bank: GraphBank,
        encoder: str,
        hidden: int,
        layers: int,
        units: int,
        seed: int,
        name: str = "StepCritic",
    ):
        super().__init__(input_tensor_spec=input_tensor_spec, state_spec=(), name=name)
        self._state = StepState(bank, encoder, hidden, layers, seed)
        self._dense = _perceptron(units, None, seed)

    def call(
        self,
        inputs: tuple[Observation, tf.Tensor],
        step_type: tf.Tensor | None = None,
        network_state: Any = (),
        training: bool = False,
    ) -> tuple[tf.Tensor, Any]:
        """The values `[batch]`."""
        observation, action = inputs
        state = tf.concat([self._state(observation), action], -1)
        return _through(self._dense, state)[:, 0], network_state


def _perceptron(units: int, activation: str | None, seed: int) -> list[keras.layers.Dense]:
    initializers = seeded_initializers(seed + 1)
    return [
        keras.layers.Dense(size, activation=kind, kernel_initializer=next(initializers))
        for size, kind in ((units, "relu"), (units, "relu"), (1, activation))
    ]


def _through(layers: list[keras.layers.Dense], x: tf.Tensor) -> tf.Tensor:
    for layer in layers:
        x = layer(x)
    return x
