"""A knapsack of channels: importance against cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfgraphprune.batches import length
from tfgraphprune.cost.allocation import spent
from tfgraphprune.cost.projection import Projection
from tfgraphprune.pruning.criteria import Taylor
from tfgraphprune.search.plan_problem import PlanProblem
from tfgraphprune.search.problem import SearchProblem
from tfgraphprune.search.searcher import Searcher


@dataclass(frozen=True)
class KnapsackSettings:
    """How the cost is made separable.

    Attributes:
        rounds: how often the costs of widths are taken anew at the counts found so far.
    """

    rounds: int = 8


class KnapsackSearch(Searcher):
    """HALP (Shen et al., "Structural Pruning via Latency-Saliency Knapsack", NeurIPS 2022).

    The value of a group's n best channels is their summed first-order Taylor importance, on
    training images; their weight is what the network costs with so many, the other groups as they
    are, because latency is a staircase. As that depends on the neighbours' widths, it is taken
    anew for some rounds. The relaxed problem is solved by its Lagrange multiplier, found by
    bisection, and the projection makes the budget exact. One evaluation; each gradient is charged
    as three images.
    """

    Settings = KnapsackSettings

    @classmethod
    def needed(cls, evaluations: int, problem: SearchProblem) -> int:
        """One."""
        return min(evaluations, 1)

    def propose(self, episode: int) -> np.ndarray:
        """The action that stands for the solution."""
        assert isinstance(self.problem, PlanProblem)
        self.problem.images += gradient_images(self.problem)
        return knapsack_action(self.problem, self.settings.rounds)


def gradient_images(problem: PlanProblem) -> int:
    """What a knapsack's gradients are charged."""
    return 3 * length(problem.training[0])


def knapsack_action(problem: PlanProblem, rounds: int = KnapsackSettings().rounds) -> np.ndarray:
    """The action that stands for the knapsack's solution; float32 `[G]`."""
    batch_size = min(Taylor.batch_size, problem.evaluator.batch_size)
    importance = Taylor(problem.training, batch_size)(problem.layers)
    values = []
    for group in problem.layers.prunable_groups:
        each = np.maximum(importance[group.name], 0)
        # The channels that stay are those that the evaluator keeps.
        kept = problem.evaluator.importance[group.name]
        ranked = np.argsort(-np.asarray(kept), kind="stable")
        values.append(np.concatenate([[0], np.cumsum(each[ranked])]))
    return problem.action_of(solve(problem.projection, values, rounds).tolist())


def solve(projection: Projection, values: list[np.ndarray], rounds: int) -> np.ndarray:
    """Counts of the largest summed value within the limits.

    Args:
        projection: sizes, steps, smallest widths and limits.
        values: of keeping 0, 1, ... channels of each group.
        rounds: how often the costs of widths are taken anew.
    """
    choices = []
    for size, step, low in zip(projection.sizes, projection.steps, projection.lowest, strict=True):
        widths = np.arange(low, size + 1, step)
        choices.append(np.append(widths, size) if widths[-1] != size else widths)
    counts = projection.sizes.copy()
    costs: list[np.ndarray] = []
    for number in range(rounds):
        now = [_costs(projection, counts, group, widths) for group, widths in enumerate(choices)]
        costs = [(a + b) / 2 for a, b in zip(costs, now, strict=True)] if number else now
        span = sum(float(each[-1] - each[0]) for each in costs)
        scale = sum(float(v[-1]) for v in values) / max(span, 1e-12)
        low, high = -60.0, 60.0  # powers of e by which a cost counts
        for _ in range(60):
            middle = (low + high) / 2
            found = _at(choices, values, costs, scale * np.exp(middle))
            low, high = (low, middle) if projection.fits(found) else (middle, high)
        counts = _at(choices, values, costs, scale * np.exp(high))
    return counts


def _costs(
    projection: Projection, counts: np.ndarray, group: int, widths: np.ndarray
) -> np.ndarray:
    """What the network costs with a group at each of its widths, the others as they are."""
    trials = np.repeat(counts[None], len(widths), axis=0)
    trials[:, group] = widths
    return spent(projection, trials)


def _at(
    choices: list[np.ndarray], values: list[np.ndarray], costs: list[np.ndarray], price: float
) -> np.ndarray:
    picked = [
        widths[int(np.argmax(value[widths] - price * cost))]
        for widths, value, cost in zip(choices, values, costs, strict=True)
    ]
    return np.array(picked)
