"""Searches that decide on one group after another: the state of a step, and what was played."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import policy_step, trajectory
from tf_agents.trajectories import time_step as ts

from tfgraphprune.embedding.bank import GraphBank
from tfgraphprune.embedding.encoders import check_encoder
from tfgraphprune.errors import SearchFailedError, UserError
from tfgraphprune.search.agents.stateless import StatelessReplayBuffer, stateless_seed
from tfgraphprune.search.agents.wall import SHARES, Wall
from tfgraphprune.search.determinism import deterministic_ops
from tfgraphprune.search.problem import Outcome, SearchProblem
from tfgraphprune.search.searcher import Searcher, generator

Observation = dict[str, Any]
"""What a step sees beside the graph: `ratios`, float32 `[G]`, kept of each decided group and 1
for the others; `step`, int32 `[]`, the group whose turn it is; `shares`, float32 `[3]`, those of
`Wall.shares`; `graph`, int32 `[]`, the number of the graph in the bank, here 0."""

BOUNDINGS = ("wall", "projection")

_ROLLOUT, _EPISODES, _STEPS = 16, 17, 18
"""Purposes of random draws beside those of the losses."""


def observation_spec(groups: int) -> dict[str, tf.TensorSpec]:
    """The spec of an `Observation`."""
    return {
        "ratios": tf.TensorSpec([groups], tf.float32, "ratios"),
        "step": tensor_spec.BoundedTensorSpec([], tf.int32, 0, groups, "step"),
        "shares": tf.TensorSpec([len(SHARES)], tf.float32, "shares"),
        "graph": tensor_spec.BoundedTensorSpec([], tf.int32, 0, 0, "graph"),
    }


def dynamic_columns(observation: Observation) -> tf.Tensor:
    """What changes from step to step as columns `[batch, G, 8]` for an encoder: each group's
    keep ratio so far, whether it was visited, whether it is its turn, the share of the steps
    that are done, the keep ratio of the group before, and the shares of the cost."""
    ratios, step = observation["ratios"], observation["step"][:, None]
    groups = ratios.shape[-1]
    number = tf.range(groups)[None]
    before = tf.reduce_sum(tf.where(number == step - 1, ratios, 0.0), -1, keepdims=True)
    before = tf.where(step == 0, 1.0, before)
    whole = tf.concat([tf.cast(step, tf.float32) / groups, before, observation["shares"]], -1)
    own = [ratios, tf.cast(number < step, tf.float32), tf.cast(number == step, tf.float32)]
    repeated = tf.repeat(whole[:, None], groups, axis=1)
    return tf.concat([tf.stack(own, -1), repeated], -1)


def current(values: tf.Tensor, observation: Observation) -> tf.Tensor:
    """Those of values `[batch, G, ...]` that belong to the group whose turn it is."""
    step = tf.minimum(observation["step"], values.shape[1] - 1)
    return tf.gather(values, step, axis=1, batch_dims=1)


def check_settings(settings: Any) -> None:
    """Refuse an encoder or a bounding that there is none of.

    Raises:
        UserError: there is none.
    """
    check_encoder(settings.encoder)
    if settings.bounding not in BOUNDINGS:
        raise UserError(
            f"bounding must be one of {', '.join(BOUNDINGS)}, not {settings.bounding!r}."
        )


class SequentialSearch(Searcher):
    """The groups in their order, one action a step: its keep ratio.

    An episode is rolled out without a reward. Stored is what was executed: the keep ratios of
    the counts that were rewarded, and the states that these very counts lead through. The final
    reward belongs to every step.

    The first episode is the uniform plan, random ones follow, and the last is greedy.

    The `Settings` of a subclass have `warmup`, the random episodes at the start, the uniform plan
    among them, of which at most a quarter of all are played; `memory`, the episodes that the
    replay buffer holds; `bounding`, one of `BOUNDINGS`; `steps`, training steps an episode; and
    `batch`.

    Args:
        problem: what is searched.
        evaluations: rewards that may be looked at.
        seed: of weights and draws.
        options: fields of the class's `Settings`.

    Raises:
        UserError: no such option.
    """

    reads_graph = True
    replays = False

    LOW, HIGH = 0.0, 1.0
    """Actions that stand for the keep ratios 0 and 1."""

    def __init__(
        self,
        problem: SearchProblem,
        evaluations: int,
        seed: int,
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__(problem, evaluations, seed, options)
        self._sizes = problem.projection.sizes
        self.groups = len(self._sizes)
        self.warmup = min(self.settings.warmup, evaluations // 4)
        self.wall = Wall(problem.projection, self.settings.bounding == "wall")
        time_step_spec = ts.time_step_spec(observation_spec(self.groups))
        action_spec = tensor_spec.BoundedTensorSpec([1], tf.float32, self.LOW, self.HIGH, "action")
        # TF-Agents builds networks on unseeded random inputs, which op determinism refuses.
        with deterministic_ops(False):
            self.agent = self._agent(GraphBank([problem.graph]), time_step_spec, action_spec)
        spec = {
            "ratios": tf.TensorSpec([self.groups], tf.float32),
            "shares": tf.TensorSpec([self.groups + 1, len(SHARES)], tf.float32),
            "reward": tf.TensorSpec([], tf.float32),
        }
        self.replay = StatelessReplayBuffer(
            spec, batch_size=1, max_length=min(evaluations, self.settings.memory)
        )
        self._losses: dict[str, float] = {}
        self._act = tf.function(self._actions, autograph=False)
        self._learn = tf.function(self._train_steps, autograph=False)

    def propose(self, episode: int) -> np.ndarray:
        """The action of an episode, float32 `[G]`."""
        if episode == 0:
            return np.zeros(self.groups, np.float32)
        return self.problem.action_of(self.roll_out(episode))

    def roll_out(self, episode: int) -> tuple[int, ...]:
        """The counts that the groups decide on, one after another.

        Raises:
            SearchFailedError: the training has diverged.
        """
        random = generator(self.seed, _ROLLOUT, episode)
        last = episode + 1 >= self.evaluations
        counts: list[int] = []
        for group in range(self.groups):
            if episode < self.warmup and not last:
                ratio = random.uniform()
            else:
                draw = episode * self.groups + group
                seed = stateless_seed(self.seed, _ROLLOUT, draw)
                greedy, sample = (float(a) for a in self._act(self.observation(counts), seed))
                if not math.isfinite(greedy):
                    raise SearchFailedError(
                        f"the training of the agent diverged: an action became {greedy}; scale the "
                        "reward to some tens at most, or use sac, which does that itself."
                    )
                action = greedy if last else self._explored(greedy, sample, episode, random)
                ratio = (action - self.LOW) / (self.HIGH - self.LOW)
            counts.append(self.wall.count(counts, ratio))
        return tuple(counts)

    def observe(self, episode: int, outcome: Outcome) -> None:
        """Store what was executed, and train once the random episodes are over."""
        self._store(outcome)
        self._train(episode)

    def observation(self, counts: Sequence[int]) -> Observation:
        """What the next group sees after the counts of those before it; a batch of one."""
        decided = len(counts)
        ratios = np.ones(self.groups, np.float32)
        ratios[:decided] = np.array(counts) / self._sizes[:decided]
        observation = {
            "ratios": ratios,
            "step": np.int32(decided),
            "shares": self.wall.shares(counts),
            "graph": np.int32(0),
        }
        return {name: tf.constant(value)[None] for name, value in observation.items()}

    def transitions(self, count: int, draw: int | tf.Tensor) -> trajectory.Transition:
        """`count` steps of stored episodes, drawn uniformly with replacement."""
        played = self.replay.sample(count, stateless_seed(self.seed, _EPISODES, draw))
        step = tf.random.stateless_uniform(
            [count], stateless_seed(self.seed, _STEPS, draw), maxval=self.groups, dtype=tf.int32
        )
        last = step == self.groups - 1
        nothing = tf.zeros(count)
        action = tf.gather(played["ratios"], step, batch_dims=1)[:, None]
        action = self.LOW + (self.HIGH - self.LOW) * action
        return trajectory.Transition(
            ts.TimeStep(
                tf.where(step == 0, ts.StepType.FIRST, ts.StepType.MID),
                nothing,
                nothing + 1,
                _seen(played, step),
            ),
            policy_step.PolicyStep(action, (), ()),
            ts.TimeStep(
                tf.where(last, ts.StepType.LAST, ts.StepType.MID),
                played["reward"],
                tf.where(last, 0.0, 1.0),
                _seen(played, step + 1),
            ),
        )

    def state(self) -> dict[str, Any]:
        """Networks, targets, optimizers, counters and what was played."""
        return {"agent": self.agent, "replay": self.replay}

    def scalars(self) -> dict[str, float]:
        """The last losses."""
        return self._losses

    @abstractmethod
    def _agent(self, bank: GraphBank, time_step_spec: Any, action_spec: Any) -> Any:
        """The agent, initialized and with all its variables."""

    @abstractmethod
    def _actions(self, observation: Observation, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The greedy action `[]` for a batch of one, and a sample of the policy."""

    @abstractmethod
    def _explored(
        self, greedy: float, sample: float, episode: int, random: np.random.Generator
    ) -> float:
        """The action of a step that explores."""

    @abstractmethod
    def _judged(self, rewards: tf.Tensor) -> tf.Tensor:
        """The rewards of a batch as training takes them."""

    def _store(self, outcome: Outcome) -> None:
        if not outcome.teaches:
            return
        counts = outcome.execution.counts
        item = {
            "ratios": (np.array(counts) / self._sizes).astype(np.float32),
            "shares": np.stack([self.wall.shares(counts[:t]) for t in range(self.groups + 1)]),
            "reward": np.float32(outcome.reward),
        }
        self.replay.add_batch(tf.nest.map_structure(lambda x: tf.constant(x)[None], item))

    def _train(self, episode: int) -> None:
        """Training steps, if the random episodes are over and the last one is not played yet."""
        ready = self.warmup <= episode + 1 < self.evaluations
        if ready and self.replay.num_frames():
            critic, actor = self._learn()
            self._losses = {"critic_loss": float(critic), "actor_loss": float(actor)}

    def _train_steps(self) -> tuple[tf.Tensor, tf.Tensor]:
        def step(number: tf.Tensor, critic: tf.Tensor, actor: tf.Tensor) -> tuple:
            batch = self.transitions(self.settings.batch, self.agent.train_step_counter)
            last = batch.next_time_step
            last = last._replace(reward=self._judged(last.reward))
            losses = self.agent.train(batch._replace(next_time_step=last)).extra
            return number + 1, losses.critic_loss, losses.actor_loss

        steps = self.settings.steps or self.groups
        return tf.while_loop(
            lambda number, critic, actor: number < steps,
            step,
            (tf.constant(0), tf.constant(0.0), tf.constant(0.0)),
        )[1:]


def _seen(played: dict[str, tf.Tensor], step: tf.Tensor) -> Observation:
    """The observations of steps `[batch]` in played episodes."""
    ratios = played["ratios"]
    return {
        "ratios": tf.where(tf.range(ratios.shape[-1])[None] < step[:, None], ratios, 1.0),
        "step": step,
        "shares": tf.gather(played["shares"], step, batch_dims=1),
        "graph": tf.zeros_like(step),
    }
