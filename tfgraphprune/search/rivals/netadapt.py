"""Greedy descent: in each iteration the one group whose cut costs least."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfgraphprune.cost.allocation import spent
from tfgraphprune.search.problem import Outcome, Probe, Proposal, SearchProblem
from tfgraphprune.search.searcher import Searcher


class NetAdaptSearch(Searcher):
    """NetAdapt (Yang et al., ECCV 2018, arXiv 1804.03230).

    In each iteration every group in turn is cut by as much as the iteration must save, is
    rewarded, and the best of these networks is kept. The number of iterations is what the
    evaluations allow; there is no training in between, as for all methods here. The last
    evaluation is of the network that meets the budget.
    """

    def __init__(
        self,
        problem: SearchProblem,
        evaluations: int,
        seed: int,
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__(problem, evaluations, seed, options)
        groups = len(problem.graph.names)
        self._iterations = (evaluations - 1) // groups
        self._counts = problem.projection.sizes.copy()
        self._trials: list[np.ndarray] = []
        self._rewards: list[float] = []
        self._start()

    @classmethod
    def needed(cls, evaluations: int, problem: SearchProblem) -> int:
        """A probe for each group and iteration, and the answer."""
        groups = len(problem.graph.names)
        return (evaluations - 1) // groups * groups + 1

    def propose(self, episode: int) -> Proposal:
        """A network with one more group cut; in the end the answer."""
        if episode >= self._iterations * len(self._counts):
            if self._iterations == 0:
                return np.zeros(len(self._counts), np.float32)
            return self.problem.action_of(self._counts.tolist())
        trial = self._trials[episode % len(self._counts)]
        return Probe(tuple(int(count) for count in trial))

    def observe(self, episode: int, outcome: Outcome) -> None:
        """After an iteration keep the best network of those that save enough."""
        if episode >= self._iterations * len(self._counts):
            return
        failed = outcome.error is not None
        self._rewards.append(-np.inf if failed else outcome.reward)
        if len(self._rewards) < len(self._counts):
            return
        cost = spent(self.problem.projection, np.array(self._trials))
        goal = self._goal(episode // len(self._counts))
        enough = cost <= max(goal + 1e-9, cost.min())
        self._counts = self._trials[int(np.argmax(np.where(enough, self._rewards, -np.inf)))]
        self._start(episode // len(self._counts) + 1)

    def _start(self, iteration: int = 0) -> None:
        self._rewards = []
        if iteration < self._iterations:
            goal = self._goal(iteration)
            self._trials = [self._cut(group, goal) for group in range(len(self._counts))]

    def _goal(self, iteration: int) -> float:
        """The cost after an iteration: equal savings from all channels down to the limit."""
        dense = float(spent(self.problem.projection, self.problem.projection.sizes))
        return dense + (1 - dense) * (iteration + 1) / self._iterations

    def _cut(self, group: int, goal: float) -> np.ndarray:
        """The counts with one group cut to reach the goal, or as far as it goes."""
        projection = self.problem.projection
        step = projection.steps[group]
        widths = np.arange(projection.lowest[group], self._counts[group] + 1, step)
        trials = np.repeat(self._counts[None], len(widths), 0)
        trials[:, group] = widths
        fitting = spent(projection, trials) <= goal
        return trials[int(np.flatnonzero(fitting)[-1]) if fitting.any() else 0]
