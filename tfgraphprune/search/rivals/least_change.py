"""A plan by how much the outputs change, without rewards or labels."""

from __future__ import annotations

import numpy as np

from tfgraphprune.search.problem import SearchProblem
from tfgraphprune.search.searcher import Searcher


class LeastChangeSearch(Searcher):
    """Greedy allocation by `embedding.sensitivity.least_changing`; one evaluation.

    It is what the policies of `sac` and `pretrained` depart from: what they are worth beyond it
    is what was learned.
    """

    reads_graph = True

    @classmethod
    def needed(cls, evaluations: int, problem: SearchProblem) -> int:
        """One."""
        return min(evaluations, 1)

    def propose(self, episode: int) -> np.ndarray:
        """The graph's guess."""
        return self.problem.graph.guess
