"""TF-Agents' SAC and replay buffer with stateless randomness.

What they draw follows from a seed and the number of training steps only, so that a search that
was killed and resumed takes the very steps of one that was left alone.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
from tf_agents.agents import tf_agent
from tf_agents.agents.sac import sac_agent
from tf_agents.replay_buffers import tf_uniform_replay_buffer
from tf_agents.trajectories import time_step as ts

from tfgraphprune.embedding.bank import GraphBank


def stateless_seed(seed: int, purpose: int, step: int | tf.Tensor) -> tf.Tensor:
    """The seed, int32 `[2]`, of one draw; `purpose` (below 64) keeps the draws of a step apart."""
    first = tf.constant((seed * 64 + purpose) % (2**31 - 1), tf.int32)
    return tf.stack([first, tf.cast(step, tf.int32)])


class StatelessSacAgent(sac_agent.SacAgent):
    """`SacAgent` whose losses sample from `(seed, training step, loss)`.

    Log-probabilities are the mean over a network's groups, and padding counts as nothing: one
    entropy weight and a target entropy of -1 serve networks of any size.

    Args:
        seed: of the samples.
        bank: the graphs, whose mask tells groups from padding.
        *args: of `SacAgent`.
        **kwargs: of `SacAgent`.
    """

    def __init__(self, seed: int, bank: GraphBank, *args: Any, **kwargs: Any):
        self._seed = seed
        self._bank = bank
        self._draws = 0
        super().__init__(*args, **kwargs)

    @property
    def alpha(self) -> tf.Tensor:
        """The entropy weight."""
        return tf.exp(self._log_alpha)

    def create_optimizer_state(self) -> None:
        """Make the optimizers' variables now instead of in the first step.

        A checkpoint is then read, and found whole or damaged, in one go.
        """
        critics = (
            self._critic_network_1.trainable_variables + self._critic_network_2.trainable_variables
        )
        self._critic_optimizer._create_all_weights(critics)
        self._actor_optimizer._create_all_weights(self._actor_network.trainable_variables)
        self._alpha_optimizer._create_all_weights([self._log_alpha])

    def _train(self, experience: Any, weights: Any) -> tf_agent.LossInfo:
        # Counted while tracing: critic, actor and alpha loss are 0, 1, 2 in every trace.
        self._draws = 0
        return super()._train(experience, weights)

    def _actions_and_log_probs(
        self, time_steps: ts.TimeStep, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        policy = self._train_policy if training else self._policy
        # The normal distribution before the squashing by tanh.
        normal = policy.distribution(time_steps, policy_state=()).action.input_distribution
        seed = stateless_seed(self._seed, self._draws, self.train_step_counter)
        self._draws += 1
        raw = normal.sample(seed=seed)
        each = tfp.distributions.Normal(normal.loc, normal.stddev()).log_prob(raw)
        each -= 2 * (math.log(2.0) - raw - tf.nn.softplus(-2 * raw))
        mask = self._bank.of(self._bank.mask, time_steps.observation["graph"])
        return tf.tanh(raw), tf.reduce_sum(each * mask, -1) / tf.reduce_sum(mask, -1)


class StatelessReplayBuffer(tf_uniform_replay_buffer.TFUniformReplayBuffer):
    """`TFUniformReplayBuffer` with draws that a seed determines."""

    def everything(self) -> Any:
        """All items, oldest first, as long as the buffer has not wrapped."""
        return self._data_table.read(tf.range(self.num_frames()))

    def sample(self, count: int, seed: tf.Tensor) -> Any:
        """`count` items, drawn uniformly with replacement by a stateless seed, int32 `[2]`."""
        rows = tf.random.stateless_uniform([count], seed, maxval=self.num_frames(), dtype=tf.int64)
        return self._data_table.read(rows)
