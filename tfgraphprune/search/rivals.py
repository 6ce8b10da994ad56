"""The simple methods that an agent has to beat."""

from __future__ import annotations

import numpy as np

from tfgraphprune.search.searcher import Searcher


class UniformSearch(Searcher):
    """The same keep ratio for every group; one evaluation, whatever is allowed."""

    @classmethod
    def needed(cls, evaluations: int) -> int:
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


def random_action(groups: int, seed: int, episode: int) -> np.ndarray:
    """Float32 `[groups]` uniform in [-1, 1], from `(seed, episode)`."""
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, episode])))
    return random.uniform(-1, 1, groups).astype(np.float32)
