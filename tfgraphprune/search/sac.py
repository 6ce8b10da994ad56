"""Soft actor-critic over whole plans: one action a group, one step an episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tf_agents.policies import greedy_policy
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import policy_step, trajectory

from tfgraphprune.search.determinism import deterministic_ops
from tfgraphprune.search.environment import PruningEnvironment
from tfgraphprune.search.networks import GroupActor, GroupCritic
from tfgraphprune.search.problem import Outcome, SearchProblem
from tfgraphprune.search.rivals import random_action
from tfgraphprune.search.searcher import Searcher
from tfgraphprune.search.stateless import (
    StatelessReplayBuffer,
    StatelessSacAgent,
    stateless_seed,
)


@dataclass(frozen=True)
class SacSettings:
    """Hyperparameters; the defaults were measured on CIFAR-10 ResNet-20 and ResNet-56.

    Attributes:
        encoder: a name in `ENCODERS`.
        hidden: width of encoders and heads.
        layers: residual blocks of the encoders.
        warmup: uniformly random episodes at the start; at most a quarter of all.
        steps: training steps an episode.
        batch: transitions a training step.
        learning_rate: Adam's, of actor and critics.
        alpha_learning_rate: Adam's, of the entropy weight.
        alpha: the entropy weight at the start.
        tau: share of the critics that the target critics take over each step.
        clip: largest norm of each gradient.
    """

    encoder: str = "gcn"
    hidden: int = 32
    layers: int = 2
    warmup: int = 40
    steps: int = 20
    batch: int = 64
    learning_rate: float = 1e-3
    alpha_learning_rate: float = 3e-3
    alpha: float = 0.1
    tau: float = 0.01
    clip: float = 5.0


_EXPLORE, _REPLAY = 8, 9
"""Purposes of random draws beside those of the losses."""


class SacSearch(Searcher):
    """TF-Agents' SAC ([Haarnoja et al., 2018](https://arxiv.org/abs/1812.05905)) on a problem.

    Episodes: the uniform plan, random actions, then the exploring policy with training in
    between; the last one is the policy's most likely action. The replay buffer holds executed
    actions, which stand for the channel counts that were rewarded, and raw rewards, which
    training standardises by the mean and deviation of the random episodes.

    Args:
        problem: what is searched.
        evaluations: rewards that may be looked at.
        seed: of weights and draws.
        settings: hyperparameters.
    """

    def __init__(
        self,
        problem: SearchProblem,
        evaluations: int,
        seed: int,
        settings: SacSettings | None = None,
    ):
        super().__init__(problem, evaluations, seed)
        self._settings = settings or SacSettings()
        self._warmup = max(1, min(self._settings.warmup, evaluations // 4))
        self.environment = PruningEnvironment(problem)
        # TF-Agents builds networks on unseeded random inputs, which op determinism refuses.
        with deterministic_ops(False):
            self.agent = _agent(problem, self.environment, seed, self._settings)
        self.replay = StatelessReplayBuffer(
            self.agent.collect_data_context.transition_spec, batch_size=1, max_length=evaluations
        )
        self.policy = greedy_policy.GreedyPolicy(self.agent.policy)
        self._reward_mean = tf.Variable(0.0, name="reward_mean")
        self._reward_deviation = tf.Variable(1.0, name="reward_deviation")
        self._losses: dict[str, float] = {}
        self._steps = (self.environment.reset(), self.environment.reset())
        self._start = _batched(self.environment.reset())
        self._act = tf.function(self._actions, autograph=False)
        self._train = tf.function(self._train_steps, autograph=False)

    def propose(self, episode: int) -> np.ndarray:
        """The action of an episode, float32 `[G]`."""
        groups = len(self.problem.graph.names)
        if episode == 0:
            return np.zeros(groups, np.float32)
        if episode < self._warmup and episode + 1 < self.evaluations:
            return random_action(groups, self.seed, episode)
        greedy, exploring = self._act(stateless_seed(self.seed, _EXPLORE, episode))
        return (greedy if episode + 1 == self.evaluations else exploring).numpy()[0]

    def play(self, action: np.ndarray, floor: float) -> Outcome:
        """One episode of the environment."""
        self.environment.floor_reward = floor
        self._steps = (self.environment.reset(), self.environment.step(action))
        return self.environment.last_outcome

    def observe(self, episode: int, outcome: Outcome) -> None:
        """Store the executed action; train once the random episodes are over."""
        first, last = self._steps
        action = policy_step.PolicyStep(outcome.execution.action, (), ())
        self.replay.add_batch(_batched(trajectory.Transition(first, action, last)))
        if episode + 1 == self._warmup:
            rewards = self.replay.everything().next_time_step.reward
            deviation = float(tf.math.reduce_std(rewards))
            self._reward_mean.assign(tf.reduce_mean(rewards))
            self._reward_deviation.assign(deviation if deviation > 1e-6 else 1.0)
        if self._warmup <= episode + 1 < self.evaluations:
            critic, actor = self._train()
            self._losses = {"critic_loss": float(critic), "actor_loss": float(actor)}

    def state(self) -> dict[str, Any]:
        """Networks, targets, optimizers, entropy weight, counters, replay, normaliser."""
        return {
            "agent": self.agent,
            "replay": self.replay,
            "reward_mean": self._reward_mean,
            "reward_deviation": self._reward_deviation,
        }

    def scalars(self) -> dict[str, float]:
        """The last losses and the entropy weight."""
        return {**self._losses, "alpha": float(self.agent.alpha)}

    def _actions(self, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        distribution = self.agent.collect_policy.distribution(self._start).action
        return distribution.mode(), distribution.sample(seed=seed)

    def _train_steps(self) -> tuple[tf.Tensor, tf.Tensor]:
        """`settings.steps` training steps in one call; the losses of the last one."""

        def step(number: tf.Tensor, critic: tf.Tensor, actor: tf.Tensor) -> tuple:
            seed = stateless_seed(self.seed, _REPLAY, self.agent.train_step_counter)
            losses = self.agent.train(self._standardised(self._settings.batch, seed)).extra
            return number + 1, losses.critic_loss, losses.actor_loss

        return tf.while_loop(
            lambda number, critic, actor: number < self._settings.steps,
            step,
            (tf.constant(0), tf.constant(0.0), tf.constant(0.0)),
        )[1:]

    def _standardised(self, count: int, seed: tf.Tensor) -> trajectory.Transition:
        batch = self.replay.sample(count, seed)
        last = batch.next_time_step
        reward = (last.reward - self._reward_mean) / self._reward_deviation
        return batch._replace(next_time_step=last._replace(reward=reward))


def _agent(
    problem: SearchProblem, environment: PruningEnvironment, seed: int, settings: SacSettings
) -> StatelessSacAgent:
    time_step_spec = tensor_spec.from_spec(environment.time_step_spec())
    action_spec = tensor_spec.from_spec(environment.action_spec())
    observation_spec = time_step_spec.observation
    shared = (problem.graph, settings.encoder, settings.hidden, settings.layers)
    # Seeds of their own: the second critic is no check of the first if they start alike.
    seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(3) % (2**31 - 1)]
    critics = [
        GroupCritic((observation_spec, action_spec), *shared, seed=s, name=f"GroupCritic{i}")
        for i, s in enumerate(seeds[1:], 1)
    ]
    optimizers = [
        keras.optimizers.legacy.Adam(rate)
        for rate in (settings.learning_rate,) * 2 + (settings.alpha_learning_rate,)
    ]
    agent = StatelessSacAgent(
        seed,
        time_step_spec,
        action_spec,
        critic_network=critics[0],
        critic_network_2=critics[1],
        actor_network=GroupActor(observation_spec, action_spec, *shared, seed=seeds[0]),
        actor_optimizer=optimizers[0],
        critic_optimizer=optimizers[1],
        alpha_optimizer=optimizers[2],
        # SacAgent's own defaults are no target averaging and half the usual target entropy.
        target_update_tau=settings.tau,
        gamma=0.99,
        target_entropy=-float(len(problem.graph.names)),
        initial_log_alpha=float(np.log(settings.alpha)),
        gradient_clipping=settings.clip,
        train_step_counter=tf.Variable(0, dtype=tf.int64, name="train_step"),
    )
    agent.initialize()
    agent.create_optimizer_state()
    return agent


def _batched(nest: Any) -> Any:
    return tf.nest.map_structure(lambda x: tf.convert_to_tensor(x)[None], nest)
