"""A search problem with a known optimum that costs nothing to evaluate, and a small method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf

from tfgraphprune.cost.projection import Limit, Projection
from tfgraphprune.embedding.group_graph import GUESS, GroupGraph
from tfgraphprune.search.problem import Execution, Outcome
from tfgraphprune.search.searcher import Searcher, random_action


def chain_graph(groups: int, seed: int = 0, features: int = 6) -> GroupGraph:
    """A chain with forward and backward edges; random features."""
    random = np.random.default_rng(seed)
    forward = np.eye(groups, k=-1, dtype=np.float32)
    return GroupGraph(
        tuple(f"group_{i}" for i in range(groups)),
        random.uniform(0, 1, (groups, features)).astype(np.float32),
        np.stack([forward, forward.T]),
        tuple(f"feature_{i}" for i in range(features)),
    )


def with_guess(graph: GroupGraph, guess: Sequence[float]) -> GroupGraph:
    """The graph with a further feature: the action that policies depart from."""
    return replace(
        graph,
        features=np.concatenate([graph.features, np.array(guess)[:, None]], 1),
        feature_names=(*graph.feature_names, GUESS),
    )


class PatternProblem:
    """Groups of 32 channels of which half stay in all; the best split follows from features.

    The reward is minus the squared distance of the keep ratios to a pattern within the budget,
    so that 0 is the optimum.
    """

    SIZE = 32

    def __init__(self, groups: int = 10, seed: int = 0):
        self.graph = chain_graph(groups, seed)
        signal = np.array(self.graph.features, np.float64) @ [3.0, -3.0, 1.5, 0, 0, 0]
        signal = signal + 1.5 * np.roll(signal, 1)
        self.optimum = self._counts(1.5 * (signal - signal.mean()) / max(signal.std(), 1e-9))
        self.rewarded: list[tuple[int, ...]] = []
        sizes = np.full(groups, self.SIZE)
        half = Limit("channels", lambda counts: np.sum(counts, -1, float), sizes.sum() / 2)
        self.projection = Projection(sizes, np.ones(groups, int), (half,), 1 / self.SIZE)
        self.images = self.graph_images = 0

    def execute(self, action: np.ndarray) -> Execution:
        counts = self._counts(3.0 * np.asarray(action, np.float64))
        return Execution(counts, self.action_of(counts))

    def action_of(self, counts: Sequence[int]) -> np.ndarray:
        ratios = np.clip(np.array(counts) / self.SIZE, 0.02, 0.98)
        scores = np.log(ratios / (1 - ratios))
        return np.clip((scores - scores.mean()) / 3.0, -1, 1).astype(np.float32)

    def reward(self, counts: Sequence[int], at_least: float = -np.inf) -> float:
        self.rewarded.append(tuple(counts))
        self.images += 10
        error = (np.array(counts) - np.array(self.optimum)) / self.SIZE
        return -float(np.sum(error**2))

    def _counts(self, scores: np.ndarray) -> tuple[int, ...]:
        """Keep ratios `sigmoid(score + shift)`, the shift such that half of all channels stay."""
        low, high = -50.0, 50.0
        for _ in range(60):
            shift = (low + high) / 2
            kept = (1 / (1 + np.exp(-(scores + shift)))).mean()
            low, high = (shift, high) if kept < 0.5 else (low, shift)
        ratios = 1 / (1 + np.exp(-(scores + low)))
        return tuple(int(c) for c in np.clip(np.round(ratios * self.SIZE), 1, self.SIZE))


class Stopped(BaseException):
    """Stands for Ctrl-C or a kill."""


class StoppingProblem(PatternProblem):
    """Raises at given evaluations of this process, counted from 1."""

    def __init__(self, stop_at: int, groups: int = 4):
        super().__init__(groups)
        self._stop_at = stop_at

    def reward(self, counts: Sequence[int], at_least: float = -np.inf) -> float:
        if len(self.rewarded) + 1 == self._stop_at:
            raise Stopped
        return super().reward(counts)


class WalkSearch(Searcher):
    """A random walk from the best action so far: the smallest method with state."""

    replays = False

    def __init__(self, problem, evaluations: int, seed: int, options=None):
        super().__init__(problem, evaluations, seed, options)
        self._best = tf.Variable(tf.zeros(len(problem.graph.names)))
        self._reward = tf.Variable(-1e9)

    def propose(self, episode: int) -> np.ndarray:
        step = random_action(len(self.problem.graph.names), self.seed, episode)
        return np.clip(self._best.numpy() + 0.3 * step, -1, 1)

    def observe(self, episode: int, outcome: Outcome) -> None:
        if outcome.reward > self._reward:
            self._reward.assign(outcome.reward)
            self._best.assign(outcome.execution.action)

    def state(self):
        return {"best": self._best, "reward": self._reward}
