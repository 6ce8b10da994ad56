"""Covariance matrix adaptation over the actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from cmaes import CMA

from tfgraphprune.errors import UserError
from tfgraphprune.search.problem import Outcome, SearchProblem
from tfgraphprune.search.searcher import Searcher


@dataclass(frozen=True)
class CmaEsSettings:
    """Where it starts; the rest are the algorithm's own defaults.

    Attributes:
        sigma: standard deviation at the start, in actions of [-1, 1]: a third of their range.
        population: plans a generation, at least 4; 0 for the default, `4 + 3 ln(groups)`.

    Raises:
        UserError: a population of 1 to 3.
    """

    sigma: float = 0.33
    population: int = 0

    def __post_init__(self) -> None:
        if 0 < self.population < 4:
            raise UserError(
                f"population must be 0 for the default, or 4 and more, not {self.population}."
            )


class CmaEsSearch(Searcher):
    """CMA-ES (Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772), by `cmaes`.

    It starts from equal keep ratios and maximises the reward over actions in [-1, 1].
    """

    Settings = CmaEsSettings

    def __init__(
        self,
        problem: SearchProblem,
        evaluations: int,
        seed: int,
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__(problem, evaluations, seed, options)
        self._groups = len(problem.graph.names)
        size = max(2, self._groups)  # it takes no problems of one dimension
        self._optimizer = CMA(
            mean=np.zeros(size),
            sigma=self.settings.sigma,
            bounds=np.tile([-1.0, 1.0], (size, 1)),
            seed=seed,
            population_size=self.settings.population or None,
        )
        self._asked: dict[int, np.ndarray] = {}
        self._told: list[tuple[np.ndarray, float]] = []

    def propose(self, episode: int) -> np.ndarray:
        """A draw from the distribution as it is now."""
        if episode not in self._asked:
            self._asked[episode] = self._optimizer.ask()
        return self._asked[episode][: self._groups].astype(np.float32)

    def observe(self, episode: int, outcome: Outcome) -> None:
        """Move the distribution once a generation is complete; it reads ranks only."""
        loss = -outcome.reward if outcome.error is None else np.inf
        self._told.append((self._asked.pop(episode), loss))
        if len(self._told) == self._optimizer.population_size:
            self._optimizer.tell(self._told)
            self._told = []
