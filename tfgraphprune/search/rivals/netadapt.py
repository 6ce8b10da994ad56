"""Greedy descent: in each iteration the group whose cut costs least."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfgraphprune.cost.allocation import spent
from tfgraphprune.search.problem import Outcome, Probe, Proposal, SearchProblem
from tfgraphprune.search.searcher import Searcher


class NetAdaptSearch(Searcher):
    """NetAdapt (Yang et al., ECCV 2018, arXiv 1804.03230).

    In each iteration every group in turn is cut by as much as the iteration must save, and
    rewarded; the cut that costs least is kept. The number of iterations is what the
    evaluations allow; there is no training in between, as for all methods here. The last
    evaluation is of the network that meets the budget.

    Few evaluations make iterations that must save more than most groups have. So a group gives at
    most half of its channels at a time, and where one alone can't save enough, those are cut that
    lose least reward for what they save, until it is. Where each group can, that is the paper's.
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
        """After an iteration keep the cuts that cost least."""
        if episode >= self._iterations * len(self._counts):
            return
        failed = outcome.error is not None
        self._rewards.append(-np.inf if failed else outcome.reward)
        if len(self._rewards) < len(self._counts):
            return
        iteration = episode // len(self._counts)
        self._counts = self._cheapest(self._goal(iteration))
        self._start(iteration + 1)

    def _start(self, iteration: int = 0) -> None:
        self._rewards = []
        if iteration < self._iterations:
            goal = self._goal(iteration)
            self._trials = [
                self._cut(self._counts, group, goal) for group in range(len(self._counts))
            ]

    def _cheapest(self, goal: float) -> np.ndarray:
        """The counts with those groups cut that lose least for what they save, to the goal."""
        projection = self.problem.projection
        saved = spent(projection, self._counts) - spent(projection, np.array(self._trials))
        best = max(self._rewards)
        lost = [best - reward if reward > -np.inf else np.inf for reward in self._rewards]
        price = np.where(saved > 0, lost / np.maximum(saved, 1e-12), np.inf)
        counts = self._counts.copy()
        for group in np.argsort(price, kind="stable"):
            if spent(projection, counts) <= goal or price[group] == np.inf:
                break
            counts = self._cut(counts, int(group), goal)
        return counts

    def _goal(self, iteration: int) -> float:
        """The cost after an iteration: equal savings from all channels down to the limit."""
        dense = float(spent(self.problem.projection, self.problem.projection.sizes))
        return dense + (1 - dense) * (iteration + 1) / self._iterations

    def _cut(self, counts: np.ndarray, group: int, goal: float) -> np.ndarray:
        """The counts with one group cut to reach the goal, or as far as it goes."""
        projection = self.problem.projection
        step, now = projection.steps[group], counts[group]
        least = max(projection.lowest[group], (now // 2 + step - 1) // step * step)
        widths = np.arange(least, now + 1, step) if least < now else np.array([now])
        trials = np.repeat(counts[None], len(widths), 0)
        trials[:, group] = widths
        fitting = spent(projection, trials) <= goal + 1e-9
        return trials[int(np.flatnonzero(fitting)[-1]) if fitting.any() else 0]
