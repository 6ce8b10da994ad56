"""One keep ratio for all groups, and random ones."""

from __future__ import annotations

import numpy as np

from tfgraphprune.search.problem import SearchProblem
from tfgraphprune.search.searcher import Searcher, random_action


class UniformSearch(Searcher):
    """The same keep ratio for every group; one evaluation, whatever is allowed."""

    @classmethod
    def needed(cls, evaluations: int, problem: SearchProblem) -> int:
        """One."""
        return min(evaluations, 1)

    def propose(self, episode: int) -> np.ndarray:
        """Zeros: equal scores are equal keep ratios."""
        return np.zeros(len(self.problem.graph.names), np.float32)


class RandomSearch(Searcher):
    """Actions drawn uniformly from [-1, 1]^G, projected onto the budget like all others."""

    def propose(self, episode: int) -> np.ndarray:
        """A draw that depends on the seed and the episode only."""
        return random_action(len(self.problem.graph.names), self.seed, episode)
