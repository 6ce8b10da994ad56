"""The policy that comes with the package: a plan for an unseen network without any search."""

from __future__ import annotations

import numpy as np

from tfgraphprune.search.policy import load_policy
from tfgraphprune.search.problem import SearchProblem
from tfgraphprune.search.searcher import Searcher


class PretrainedSearch(Searcher):
    """The most likely action of a policy that was trained on other networks; one evaluation.

    `policy.json` beside the weights lists the networks and budgets of its training.
    """

    reads_graph = True

    @classmethod
    def needed(cls, evaluations: int, problem: SearchProblem) -> int:
        """One."""
        return min(evaluations, 1)

    def propose(self, episode: int) -> np.ndarray:
        """The policy's action."""
        return load_policy("pretrained").action(self.problem.graph)
