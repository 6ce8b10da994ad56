"""The most capacity for a cost: what to keep when only the device is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfgraphprune.cost.allocation import spent
from tfgraphprune.cost.model_cost import dense_counts, macs_cost
from tfgraphprune.cost.projection import Projection
from tfgraphprune.errors import SearchFailedError, UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.search.plan_problem import PlanProblem
from tfgraphprune.search.problem import SearchProblem
from tfgraphprune.search.rivals.knapsack import solve
from tfgraphprune.search.searcher import Searcher


@dataclass(frozen=True)
class CapacitySettings:
    """How capacity is counted.

    Attributes:
        exponent: of a group's keep ratio, above 0 to 1: at 1 capacity is MACs, and groups whose
            MACs are slow are cut to the bone; towards 0 ratios stay nearer to each other.
        rounds: how often the costs of widths are taken anew at the counts found so far.
    """

    exponent: float = 0.8
    rounds: int = 8


class CapacitySearch(Searcher):
    """A knapsack without data: the MACs of each group, weighed by what they cost.

    HALP's knapsack (Shen et al., NeurIPS 2022) with another value: of the MACs that go with a
    group, the keep ratio to the power of `exponent`. Under a budget in latency the network keeps
    its channels where the device does the most MACs in a millisecond. One evaluation.
    """

    Settings = CapacitySettings

    @classmethod
    def needed(cls, evaluations: int, problem: SearchProblem) -> int:
        """One."""
        return min(evaluations, 1)

    def propose(self, episode: int) -> np.ndarray:
        """The action that stands for the solution."""
        assert isinstance(self.problem, PlanProblem)
        settings = self.settings
        counts = capacity_counts(
            self.problem.layers, self.problem.projection, settings.exponent, settings.rounds
        )
        return self.problem.action_of(counts.tolist())


def capacity_counts(
    graph: LayerGraph,
    projection: Projection,
    exponent: float = CapacitySettings().exponent,
    rounds: int = CapacitySettings().rounds,
) -> np.ndarray:
    """Counts of the most capacity within the limits; int `[groups]`.

    Args:
        graph: of the dense network.
        projection: of its prunable groups.
        exponent: as in `CapacitySettings`.
        rounds: likewise.
    """
    try:
        macs, dense = macs_cost(graph), dense_counts(graph)
    except UserError as error:  # inputs of no fixed size
        raise SearchFailedError(str(error)) from error
    without = np.where(np.eye(len(dense), dtype=bool), 0, dense)
    shares = 1.0 - macs(without) / float(macs(dense))
    values = [
        share * (np.arange(size + 1) / size) ** exponent
        for share, size in zip(shares, dense, strict=True)
    ]
    return _filled(projection, solve(projection, values, rounds), values)


def _filled(projection: Projection, counts: np.ndarray, values: list[np.ndarray]) -> np.ndarray:
    """Single steps for what is left, the most valuable for its cost first.

    Blocks that are alike fall on one side of the multiplier together, which leaves much unspent.
    """
    steps, groups = projection.steps, np.arange(len(counts))
    while True:
        more = np.minimum(counts // steps * steps + steps, projection.sizes)
        trials = np.where(np.eye(len(counts), dtype=bool), more, counts)
        possible = (more > counts) & projection.fits(trials)
        if not possible.any():
            return counts
        gained = np.array([values[g][more[g]] - values[g][counts[g]] for g in groups])
        paid = spent(projection, trials) - spent(projection, counts)
        best = int(np.argmax(np.where(possible, gained / np.maximum(paid, 1e-12), -np.inf)))
        counts = trials[best]
