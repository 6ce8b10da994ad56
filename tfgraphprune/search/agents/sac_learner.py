"""TF-Agents' soft actor-critic on one or several search problems at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import policy_step, trajectory
from tf_agents.trajectories import time_step as ts

from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.embedding.encoders import check_encoder
from tfgraphprune.search.agents.environment import PruningEnvironment
from tfgraphprune.search.agents.networks import GroupActor, GroupCritic
from tfgraphprune.search.agents.sac_agent import RewardScale, sac_agent
from tfgraphprune.search.agents.stateless import (
    StatelessReplayBuffer,
    StatelessSacAgent,
    stateless_seed,
)
from tfgraphprune.search.determinism import deterministic_ops
from tfgraphprune.search.policy import Policy, load_policy
from tfgraphprune.search.problem import Outcome, Proposal, SearchProblem


@dataclass(frozen=True)
class SacSettings:
    """Hyperparameters; the defaults were measured on CIFAR-10 ResNet-20 and ResNet-56.

    Attributes:
        encoder: a name in `ENCODERS`.
        hidden: width of encoders and heads.
        layers: depth of the encoders.
        warmup: random episodes at the start, see `guided`; at most a quarter of all.
        steps: training steps an episode.
        batch: transitions a training step.
        learning_rate: Adam's, of actor and critics.
        alpha_learning_rate: Adam's, of the entropy weight.
        alpha: the entropy weight at the start; of the mean entropy a group, so that it serves
            networks of any size.
        tau: share of the critics that the target critics take over each step.
        clip: largest norm of each gradient.
        averaging: share of the handed back actor's weights that each episode keeps, the rest
            being the trained ones' (Polyak averaging); 0 hands back the last weights.
        guided: whether the knapsack's plan and the graph's guess are tried first and two thirds
            of the random episodes stay near them.
        policy: a `Policy`, or the folder of a saved one, to start from; encoder, hidden and
            layers are then the policy's.
    """

    encoder: str = "multi_stage"
    hidden: int = 32
    layers: int = 2
    warmup: int = 40
    steps: int = 10
    batch: int = 64
    learning_rate: float = 1e-3
    alpha_learning_rate: float = 3e-3
    alpha: float = 0.6
    tau: float = 0.01
    clip: float = 5.0
    averaging: float = 0.0
    guided: bool = True
    policy: Any = None

    def __post_init__(self) -> None:
        check_encoder(self.encoder)


_EXPLORE, _REPLAY = 8, 9
"""Purposes of random draws beside those of the losses."""


class SacLearner:
    """SAC ([Haarnoja et al., 2018](https://arxiv.org/abs/1812.05905)) over whole plans.

    The replay buffer holds executed actions, which stand for the channel counts that were
    rewarded, and raw rewards; training standardises them by a mean and a deviation for each
    problem. Log-probabilities are means over the groups of each network, without padding.

    Args:
        problems: networks with their budgets, of equal features.
        capacity: evaluations that the replay buffer holds.
        seed: of weights and draws.
        settings: hyperparameters.
    """

    def __init__(
        self, problems: Sequence[SearchProblem], capacity: int, seed: int, settings: SacSettings
    ):
        self._problems = tuple(problems)
        self._seed = seed
        start = settings.policy
        start = load_policy(start) if isinstance(start, str | os.PathLike) else start
        shape = start.shape if start else (settings.encoder, settings.hidden, settings.layers)
        self._shape: dict[str, Any] = dict(zip(("encoder", "hidden", "layers"), shape, strict=True))
        self._settings = settings
        bank = GraphBank([problem.graph for problem in problems])
        self.environment = PruningEnvironment(problems, bank)
        # TF-Agents builds networks on unseeded random inputs, which op determinism refuses.
        with deterministic_ops(False):
            self.agent = self._agent(bank)
        if start is not None:
            start.check(problems[0].graph)
            self._load(start)
        actor, _ = self._networks()
        self._averages = [tf.Variable(w, trainable=False) for w in actor.weights]
        self.replay = StatelessReplayBuffer(
            self.agent.collect_data_context.transition_spec, batch_size=1, max_length=capacity
        )
        self._scale = RewardScale(len(problems))
        self._step: ts.TimeStep = self.environment.reset()
        self._act = tf.function(self._actions, autograph=False)
        self._learn = tf.function(self._train_steps, autograph=False)

    def act(self, episode: int, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The most likely action for a problem, and one that explores; float32 `[G]` each."""
        self.environment.number = number
        start = _batched(self.environment.reset())
        groups = len(self._problems[number].graph.names)
        found = self._act(start, stateless_seed(self._seed, _EXPLORE, episode))
        greedy, exploring = (action.numpy()[0, :groups] for action in found)
        return greedy, exploring

    def play(self, proposal: Proposal, floor: float, best: float, number: int = 0) -> Outcome:
        """One episode of the environment."""
        environment = self.environment
        environment.number = number
        environment.floor_reward, environment.best_reward = floor, best
        first = environment.reset()
        last = environment.step(environment.padded(np.asarray(proposal)))
        outcome = environment.last_outcome
        if not outcome.teaches:
            return outcome
        action = policy_step.PolicyStep(environment.padded(outcome.execution.action), (), ())
        self.replay.add_batch(_batched(trajectory.Transition(first, action, last)))
        return outcome

    def standardise(self) -> None:
        """From now on, judge rewards by what each problem has given so far."""
        stored = self.replay.everything()
        self._scale.fit(
            stored.next_time_step.reward.numpy(), stored.time_step.observation["graph"].numpy()
        )

    def learn(self) -> dict[str, float]:
        """`settings.steps` training steps; the losses of the last one, none without rewards."""
        if not self.replay.num_frames():
            return {}
        critic, actor = self._learn()
        return {"critic_loss": float(critic), "actor_loss": float(actor)}

    def policy(self) -> Policy:
        """The actor's averaged and the critics' weights, apart from any graph."""
        _, critics = self._networks()
        return Policy(
            **self._shape,
            feature_names=self._problems[0].graph.feature_names,
            relations=len(self._problems[0].graph.adjacency),
            actor=[average.numpy() for average in self._averages],
            critics=[critic.get_weights() for critic in critics],
        )

    def state(self) -> dict[str, Any]:
        """Networks, targets, optimizers, entropy weight, counters, averages, replay, normaliser."""
        return {
            "agent": self.agent,
            "averages": self._averages,
            "replay": self.replay,
            **self._scale.state(),
        }

    def _networks(self) -> tuple[Any, list[Any]]:
        agent = self.agent
        return agent._actor_network, [agent._critic_network_1, agent._critic_network_2]

    def _load(self, policy: Policy) -> None:
        actor, critics = self._networks()
        actor.set_weights(policy.actor)
        for critic, weights in zip(critics, policy.critics, strict=bool(policy.critics)):
            critic.set_weights(weights)
        self.agent.initialize()  # the targets start on the critics

    def _actions(self, start: ts.TimeStep, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        distribution = self.agent.collect_policy.distribution(start).action
        return distribution.mode(), distribution.sample(seed=seed)

    def _train_steps(self) -> tuple[tf.Tensor, tf.Tensor]:
        def step(number: tf.Tensor, critic: tf.Tensor, actor: tf.Tensor) -> tuple:
            seed = stateless_seed(self._seed, _REPLAY, self.agent.train_step_counter)
            losses = self.agent.train(self._standardised(self._settings.batch, seed)).extra
            return number + 1, losses.critic_loss, losses.actor_loss

        losses = tf.while_loop(
            lambda number, critic, actor: number < self._settings.steps,
            step,
            (tf.constant(0), tf.constant(0.0), tf.constant(0.0)),
        )[1:]
        actor, _ = self._networks()
        for average, weight in zip(self._averages, actor.weights, strict=True):
            average.assign(weight + self._settings.averaging * (average - weight))
        return losses

    def _standardised(self, count: int, seed: tf.Tensor) -> trajectory.Transition:
        batch = self.replay.sample(count, seed)
        last = batch.next_time_step
        reward = self._scale(last.reward, last.observation["graph"])
        return batch._replace(next_time_step=last._replace(reward=reward))

    def _agent(self, bank: GraphBank) -> StatelessSacAgent:
        times, actions = (
            tensor_spec.from_spec(spec)
            for spec in (self.environment.time_step_spec(), self.environment.action_spec())
        )
        seen, shape = times.observation, self._shape
        return sac_agent(
            self._seed,
            bank,
            self._settings,
            (times, actions),
            actor=lambda seed: GroupActor(seen, actions, bank, **shape, seed=seed),
            critic=lambda seed, suffix: GroupCritic(
                (seen, actions), bank, **shape, seed=seed, name=f"GroupCritic{suffix}"
            ),
            gamma=0.99,
        )


def _batched(nest: Any) -> Any:
    return tf.nest.map_structure(lambda x: tf.convert_to_tensor(x)[None], nest)
