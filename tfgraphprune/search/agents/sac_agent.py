"""What soft actor-critic over whole plans and over one group after another have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.search.agents.stateless import StatelessSacAgent


def sac_agent(
    seed: int,
    bank: GraphBank,
    settings: Any,
    specs: tuple[Any, Any],
    actor: Callable[[int], Any],
    critic: Callable[[int, str], Any],
    gamma: float,
) -> StatelessSacAgent:
    """A SAC agent whose optimizers have their variables already, so that a checkpoint is whole.

    Args:
        seed: of weights and draws.
        bank: the graphs.
        settings: with learning_rate, alpha_learning_rate, alpha, tau and clip.
        specs: of time steps and actions.
        actor: makes the actor from a seed.
        critic: makes a critic from a seed and a suffix for its name.
        gamma: discount of a step.
    """
    # Seeds of their own: the second critic is no check of the first if they start alike.
    seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(3) % (2**31 - 1)]
    critics = [critic(seeds[1], "1"), critic(seeds[2], "2")]
    optimizers = [
        keras.optimizers.legacy.Adam(rate)
        for rate in (settings.learning_rate,) * 2 + (settings.alpha_learning_rate,)
    ]
    agent = StatelessSacAgent(
        seed,
        bank,
        *specs,
        critic_network=critics[0],
        critic_network_2=critics[1],
        actor_network=actor(seeds[0]),
        actor_optimizer=optimizers[0],
        critic_optimizer=optimizers[1],
        alpha_optimizer=optimizers[2],
        # SacAgent's own defaults are no target averaging and half the usual target entropy, which
        # is of a mean over groups here.
        target_update_tau=settings.tau,
        gamma=gamma,
        target_entropy=-1.0,
        initial_log_alpha=float(np.log(settings.alpha)),
        gradient_clipping=settings.clip,
        train_step_counter=tf.Variable(0, dtype=tf.int64, name="train_step"),
    )
    agent.initialize()
    agent.create_optimizer_state()
    return agent


class RewardScale:
    """Mean and deviation of the rewards of each problem, by which others are judged.

    Args:
        problems: how many.
    """

    def __init__(self, problems: int):
        self._means = tf.Variable(tf.zeros(problems), name="reward_mean")
        self._deviations = tf.Variable(tf.ones(problems), name="reward_deviation")

    def fit(self, rewards: np.ndarray, numbers: np.ndarray) -> None:
        """Take the rewards `[n]` of problems with these numbers `[n]` for all there is."""
        for number in set(numbers.tolist()):
            own = rewards[numbers == number]
            deviation = own.std()
            self._means[number].assign(own.mean())
            self._deviations[number].assign(deviation if deviation > 1e-6 else 1.0)

    def __call__(self, rewards: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Rewards in deviations from the mean of their problem."""
        mean, deviation = tf.gather(self._means, numbers), tf.gather(self._deviations, numbers)
        return (rewards - mean) / deviation

    def state(self) -> dict[str, tf.Variable]:
        """For checkpoints."""
        return {"reward_mean": self._means, "reward_deviation": self._deviations}
