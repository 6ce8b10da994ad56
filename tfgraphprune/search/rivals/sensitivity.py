"""Greedy allocation by how much each group alone can lose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfgraphprune.search.problem import Outcome, Probe, Proposal, SearchProblem
from tfgraphprune.search.rivals.allocation import greedy
from tfgraphprune.search.searcher import Searcher


@dataclass(frozen=True)
class SensitivitySettings:
    """What is probed.

    Attributes:
        ratios: keep ratios at which each group alone is looked at, the most telling first; as
            many as the evaluations allow.
    """

    ratios: tuple[float, ...] = (0.5, 0.25, 0.75, 0.1)


class SensitivitySearch(Searcher):
    """Sensitivity analysis (Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017).

    One group at a time is cut, with the others whole, and rewarded. From these curves channels
    are taken where they lose least for the cost they save, until the budget holds; losses of
    groups are added. The last evaluation is of that plan.
    """

    Settings = SensitivitySettings

    def __init__(
        self,
        problem: SearchProblem,
        evaluations: int,
        seed: int,
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__(problem, evaluations, seed, options)
        self._probes = self._plan(evaluations, problem, self.settings)
        self._whole = 0.0
        self._losses: dict[int, dict[int, float]] = {}

    @classmethod
    def needed(cls, evaluations: int, problem: SearchProblem) -> int:
        """A probe of the whole network, those of the groups, and the answer."""
        return len(cls._plan(evaluations, problem, SensitivitySettings())) + 1

    def propose(self, episode: int) -> Proposal:
        """The next probe; in the end the answer."""
        if episode >= len(self._probes):
            return self._answer()
        group, count = self._probes[episode]
        counts = self.problem.projection.sizes.copy()
        counts[group] = count
        return Probe(tuple(int(c) for c in counts))

    def observe(self, episode: int, outcome: Outcome) -> None:
        """Add a point to a group's curve."""
        if episode == 0:
            self._whole = outcome.reward
        if 0 < episode < len(self._probes):
            group, count = self._probes[episode]
            self._losses.setdefault(group, {})[count] = max(0.0, self._whole - outcome.reward)

    @staticmethod
    def _plan(
        evaluations: int, problem: SearchProblem, settings: SensitivitySettings
    ) -> list[tuple[int, int]]:
        """Group and count of each probe; the first is of the whole network."""
        projection = problem.projection
        groups = len(projection.sizes)
        ratios = settings.ratios[: (evaluations - 2) // groups] if evaluations > 2 else ()
        if not ratios:
            return []
        probes = [(0, int(projection.sizes[0]))]
        for ratio in ratios:
            for group in range(groups):
                step = projection.steps[group]
                count = round(ratio * projection.sizes[group] / step) * step
                low, high = projection.lowest[group], projection.sizes[group]
                probes.append((group, int(np.clip(count, low, high))))
        return probes

    def _answer(self) -> np.ndarray:
        if not self._losses:
            return np.zeros(len(self.problem.graph.names), np.float32)
        projection = self.problem.projection
        curves = []
        for group, size in enumerate(projection.sizes):
            points = {0: self._whole, int(size): 0.0, **self._losses.get(group, {})}
            counts = sorted(points)
            # A smaller group never does better: noise of the reward is taken out.
            losses = np.maximum.accumulate([points[c] for c in reversed(counts)])[::-1]
            curves.append((counts, losses))
        found = greedy(projection, lambda group, count: float(np.interp(count, *curves[group])))
        return self.problem.action_of(found.tolist())
