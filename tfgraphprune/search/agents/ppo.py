"""Proximal policy optimization over joint actions in a few steps: GNN-RL as published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tf_agents.agents.ppo import ppo_clip_agent
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import policy_step, trajectory
from tf_agents.trajectories import time_step as ts

from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.embedding.encoders import check_encoder
from tfgraphprune.search.agents.joint_networks import JointActor, JointValue, observation_spec
from tfgraphprune.search.agents.stateless import StatelessReplayBuffer, stateless_seed
from tfgraphprune.search.determinism import deterministic_ops
from tfgraphprune.search.problem import Outcome, SearchProblem
from tfgraphprune.search.searcher import Searcher

_SAMPLE = 24
"""Purpose of the random draws."""

UPDATES = 12
"""Updates that a search shall at least have, if each may be as small as `SMALLEST_UPDATE`."""

SMALLEST_UPDATE = 10


@dataclass(frozen=True)
class PpoSettings:
    """Hyperparameters; the defaults are those of GNN-RL
    ([Yu et al., 2022](https://arxiv.org/abs/2102.03214)).

    Attributes:
        encoder: a name in `ENCODERS`.
        hidden: width of encoders and heads.
        layers: depth of the encoders.
        steps: steps an episode, at most.
        least: smallest keep ratio of a group within an episode.
        deviation: standard deviation of the actions.
        update: steps between two updates, 100 in the paper; fewer where a search would have
            less than `UPDATES` of them.
        epochs: gradient steps an update, over all that was played since the last one.
        learning_rate: Adam's.
        gamma: discount of a step.
        clip: largest change of a probability ratio that is rewarded.
        value_weight: of the value's loss.
        entropy_weight: of the entropy, which is constant with the deviation.
    """

    encoder: str = "multi_stage"
    hidden: int = 50
    layers: int = 2
    steps: int = 5
    least: float = 0.1
    deviation: float = 0.5
    update: int = 100
    epochs: int = 10
    learning_rate: float = 3e-4
    gamma: float = 0.99
    clip: float = 0.2
    value_weight: float = 0.5
    entropy_weight: float = 0.01

    def __post_init__(self) -> None:
        check_encoder(self.encoder)


class PpoSearch(Searcher):
    """TF-Agents' `PPOClipAgent` on all groups at once, a few steps an episode.

    Each step multiplies the keep ratios by `1 - action`, clipped to [0.1, 1], until the budget
    holds or the steps are over; the last ratios are then projected onto the budget, so that
    there is a reward even where GNN-RL gives -100. Steps are rewarded with 0, the last one with
    the reward less 1, top-1 - 100%. Returns are Monte-Carlo and standardised over an update, as
    in GNN-RL's public code, so that rewards of any scale serve. The state holds the ratios so
    far and differs from step to step, and every action is judged against its own state.

    Stored are the actions that were sampled, not what the projection made of the last one: an
    update compares the probabilities of samples.

    The first episode is the uniform plan, without a step, and the last is greedy. As there are
    far fewer evaluations than in the paper, an update may come after less than 100 steps.

    Args:
        problem: what is searched.
        evaluations: rewards that may be looked at.
        seed: of weights and draws.
        options: fields of `PpoSettings`.
    """

    Settings = PpoSettings
    reads_graph = True
    replays = False

    def __init__(
        self,
        problem: SearchProblem,
        evaluations: int,
        seed: int,
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__(problem, evaluations, seed, options)
        settings = self.settings
        self.groups = len(problem.graph.names)
        few = max(SMALLEST_UPDATE, evaluations * settings.steps // (2 * UPDATES))
        self.update = min(settings.update, few)
        # TF-Agents builds networks on unseeded random inputs, which op determinism refuses.
        with deterministic_ops(False):
            self.agent = self._agent(GraphBank([problem.graph]))
        self.replay = StatelessReplayBuffer(
            self.agent.training_data_spec, batch_size=1, max_length=self.update + settings.steps
        )
        self._played: list[trajectory.Trajectory] = []
        self._losses: dict[str, float] = {}
        self._act = tf.function(self._actions, autograph=False)
        self._learn = tf.function(self._train_epochs, autograph=False)

    def propose(self, episode: int) -> np.ndarray:
        """The action of an episode, float32 `[G]`."""
        self._played = []
        if episode == 0:
            return np.zeros(self.groups, np.float32)
        ratios = self.roll_out(episode, greedy=episode + 1 >= self.evaluations)
        return self.problem.action_of(self._counts(ratios))

    def roll_out(self, episode: int, greedy: bool = False) -> np.ndarray:
        """The keep ratios `[G]` at the end of an episode, whose steps are kept for `observe`."""
        settings, ratios = self.settings, np.ones(self.groups, np.float32)
        self._played = []
        for step in range(settings.steps):
            seed = stateless_seed(self.seed, _SAMPLE, episode * settings.steps + step)
            now = self.time_step(ratios, step)
            mode, action, info = self._act(now, seed)
            action = mode if greedy else action
            ratios = np.clip(ratios * (1 - action.numpy()[0]), settings.least, 1)
            last = step + 1 == settings.steps or bool(
                self.problem.projection.fits(np.array(self._counts(ratios)))
            )
            then = ts.termination if last else ts.transition
            after = then(self.time_step(ratios, step + 1).observation, tf.zeros(1))
            taken = policy_step.PolicyStep(action, (), info)
            self._played.append(trajectory.from_transition(now, taken, after))
            if last:
                break
        return ratios

    def observe(self, episode: int, outcome: Outcome) -> None:
        """Store the steps of the episode, and train once there are enough."""
        if not self._played or not outcome.teaches or episode + 1 >= self.evaluations:
            return
        gain = outcome.reward - 1
        for number, step in enumerate(self._played):
            left = len(self._played) - 1 - number
            last = tf.constant([gain if left == 0 else 0.0], tf.float32)
            seen = {
                "return": tf.constant([gain * self.settings.gamma**left], tf.float32),
                "advantage": tf.zeros(1),
            }
            info = {**step.policy_info, **seen}
            self.replay.add_batch(step.replace(reward=last, policy_info=info))
        if self.replay.num_frames() >= self.update:
            policy, value = self._learn()
            self._losses = {"policy_loss": float(policy), "value_loss": float(value)}
            self.replay.clear()

    def time_step(self, ratios: np.ndarray, step: int) -> ts.TimeStep:
        """What is seen with these ratios after so many steps; a batch of one."""
        observation = {
            "ratios": tf.constant(ratios[None], tf.float32),
            "step": tf.constant([step / self.settings.steps], tf.float32),
            "graph": tf.zeros(1, tf.int32),
        }
        if step == 0:
            return ts.restart(observation, batch_size=1)
        return ts.transition(observation, tf.zeros(1))

    def state(self) -> dict[str, Any]:
        """Networks, optimizer, counters and what was played since the last update."""
        return {"agent": self.agent, "replay": self.replay}

    def scalars(self) -> dict[str, float]:
        """The last losses."""
        return self._losses

    def _counts(self, ratios: np.ndarray) -> tuple[int, ...]:
        projection = self.problem.projection
        counts = np.round(ratios * projection.sizes).astype(int)
        return tuple(np.clip(counts, projection.lowest, projection.sizes).tolist())

    def _actions(self, time_step: ts.TimeStep, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Any]:
        step = self.agent.collect_policy.distribution(time_step)
        return step.action.mode(), step.action.sample(seed=seed), step.info

    def _train_epochs(self) -> tuple[tf.Tensor, tf.Tensor]:
        stored = tf.nest.map_structure(lambda x: x[None], self.replay.everything())
        info = stored.policy_info
        mean, variance = tf.nn.moments(info["return"], [0, 1])
        returns = (info["return"] - mean) / (tf.sqrt(variance) + 1e-5)
        advantages = returns - info["value_prediction"]
        stored = stored.replace(policy_info={**info, "return": returns, "advantage": advantages})

        def epoch(number: tf.Tensor, policy: tf.Tensor, value: tf.Tensor) -> tuple:
            losses = self.agent.train(stored).extra
            return number + 1, losses.policy_gradient_loss, losses.value_estimation_loss

        return tf.while_loop(
            lambda number, policy, value: number < self.settings.epochs,
            epoch,
            (tf.constant(0), tf.constant(0.0), tf.constant(0.0)),
        )[1:]

    def _agent(self, bank: GraphBank) -> ppo_clip_agent.PPOClipAgent:
        settings = self.settings
        spec = observation_spec(self.groups)
        action_spec = tensor_spec.BoundedTensorSpec([self.groups], tf.float32, -1.0, 1.0, "action")
        shape = (bank, settings.encoder, settings.hidden, settings.layers)
        actor_seed, value_seed = (
            int(s) for s in np.random.SeedSequence(self.seed).generate_state(2) % (2**31 - 1)
        )
        actor = JointActor(spec, action_spec, *shape, settings.deviation, actor_seed)
        value = JointValue(spec, *shape, value_seed)
        optimizer = keras.optimizers.Adam(settings.learning_rate)
        agent = ppo_clip_agent.PPOClipAgent(
            ts.time_step_spec(spec),
            action_spec,
            optimizer=optimizer,
            actor_net=actor,
            value_net=value,
            importance_ratio_clipping=settings.clip,
            discount_factor=settings.gamma,
            entropy_regularization=settings.entropy_weight,
            value_pred_loss_coef=settings.value_weight,
            # Epochs are a loop around `train`, as tracing each by itself takes long. Returns
            # and advantages are given, so that they are the same in all of them.
            num_epochs=1,
            compute_value_and_advantage_in_train=False,
            update_normalizers_in_train=False,
            normalize_rewards=False,
            normalize_observations=False,
            train_step_counter=tf.Variable(0, dtype=tf.int64, name="train_step"),
        )
        agent.initialize()
        # Made now instead of in the first step, so that a checkpoint is read in one go.
        optimizer.build(actor.trainable_variables + value.trainable_variables)
        return agent
