"""Evolutionary search over keep ratios."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfgraphprune.search.problem import Outcome, SearchProblem
from tfgraphprune.search.searcher import Searcher, generator


@dataclass(frozen=True)
class EvolutionSettings:
    """MetaPruning's numbers; the paper looks at 50 + 20 * 50 plans.

    Attributes:
        population: plans of the first generation, and of each later one: half of them by
            mutation, half by crossover. At most a tenth of the evaluations, so that there are
            about ten generations however few evaluations are allowed.
        parents: share of the population's size that becomes parents, the best plans of all so far.
        mutation: probability that a gene is drawn anew.
        levels: keep ratios that a gene can have, evenly spaced from 0.1 to 1.
    """

    population: int = 50
    parents: float = 0.2
    mutation: float = 0.1
    levels: int = 31


class EvolutionSearch(Searcher):
    """The evolutionary search of MetaPruning (Liu et al., ICCV 2019, arXiv 1903.10258).

    A gene is the keep ratio of a group. Where the paper rejects plans over the budget, all are
    projected onto it here, and the genes of a plan are those of its executed counts.
    """

    Settings = EvolutionSettings

    def __init__(
        self,
        problem: SearchProblem,
        evaluations: int,
        seed: int,
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__(problem, evaluations, seed, options)
        self._size = max(2, min(self.settings.population, evaluations // 10))
        self._seen: list[tuple[float, np.ndarray]] = []

    def propose(self, episode: int) -> np.ndarray:
        """A random plan at first, then by turns a mutation and a crossover of the best ones."""
        random = generator(self.seed, episode)
        count = len(self.problem.graph.names)
        generation, number = divmod(episode, self._size)
        fresh = self._levels()[random.integers(self.settings.levels, size=count)]
        finished = self._seen[: generation * self._size]
        ranked = sorted((pair for pair in finished if pair[0] > -np.inf), key=lambda pair: -pair[0])
        if not ranked:
            return self._action(fresh)
        parents = [
            genes for _, genes in ranked[: max(2, round(self.settings.parents * self._size))]
        ]
        one, other = (parents[random.integers(len(parents))] for _ in range(2))
        if number % 2 == 0:
            return self._action(np.where(random.random(count) < self.settings.mutation, fresh, one))
        return self._action(np.where(random.random(count) < 0.5, one, other))

    def observe(self, episode: int, outcome: Outcome) -> None:
        """Add the plan to the population; one that failed is the worst of it."""
        genes = np.array(outcome.execution.counts) / self.problem.projection.sizes
        reward = outcome.reward if outcome.error is None else -np.inf
        self._seen.append((reward, genes))

    def _levels(self) -> np.ndarray:
        return np.linspace(0.1, 1, self.settings.levels)

    def _action(self, ratios: np.ndarray) -> np.ndarray:
        return self.problem.action_of((ratios * self.problem.projection.sizes).tolist())
