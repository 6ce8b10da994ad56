"""Greedy allocation by how much each group alone can lose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfgraphprune.cost.allocation import excess, greedy
from tfgraphprune.search.problem import Outcome, Probe, Proposal, SearchProblem
from tfgraphprune.search.searcher import Searcher


@dataclass(frozen=True)
class SensitivitySettings:
    """What is probed.

    Attributes:
        ratios: keep ratios at which each group alone is looked at, the most telling first; as
            many as the evaluations allow, and no more than there are by default.
    """

    ratios: tuple[float, ...] = (0.5, 0.25, 0.75, 0.1)


class SensitivitySearch(Searcher):
    """Sensitivity analysis (Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017).

    One group at a time is cut, with the others whole, and rewarded. From these curves channels
    are taken where they lose least for the cost they save, until the budget holds; losses of
    groups are added. The last evaluation is of that plan. Where there are fewer evaluations than
    groups, those that save most are probed and the others count as their mean.
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
        # `needed` knows no options: the answer must come where it ends.
        last = self.needed(evaluations, problem) - 1
        self._probes = self._plan(evaluations, problem, self.settings)[:last]
        self._whole: float | None = None
        self._rewards: dict[int, dict[int, float]] = {}

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
        """Add a point to a group's curve; one that failed says nothing about it."""
        if episode >= len(self._probes) or outcome.error is not None:
            return
        group, count = self._probes[episode]
        if episode == 0:
            self._whole = outcome.reward
        else:
            self._rewards.setdefault(group, {})[count] = outcome.reward

    @staticmethod
    def _plan(
        evaluations: int, problem: SearchProblem, settings: SensitivitySettings
    ) -> list[tuple[int, int]]:
        """Group and count of each probe; the first is of the whole network."""
        projection = problem.projection
        groups, allowed = len(projection.sizes), evaluations - 2
        ratios = settings.ratios[: max(1, allowed // groups)]
        if allowed < 1 or not ratios:
            return []

        def counts_at(ratio: float) -> np.ndarray:
            counts = np.round(ratio * projection.sizes / projection.steps) * projection.steps
            return np.clip(counts.astype(int), projection.lowest, projection.sizes)

        order = np.arange(groups)
        if allowed < groups:
            cut = np.where(np.eye(groups, dtype=bool), counts_at(ratios[0]), projection.sizes)
            order = np.argsort(excess(projection, cut), kind="stable")[:allowed]
        probes = [(0, int(projection.sizes[0]))]
        for ratio in ratios:
            counts = counts_at(ratio)
            probes.extend((int(group), int(counts[group])) for group in order)
        return probes

    def _answer(self) -> np.ndarray:
        if not self._rewards:
            return np.zeros(len(self.problem.graph.names), np.float32)
        curves = self._curves()
        found = greedy(self.problem.projection, lambda group, count: curves[group](count))
        return self.problem.action_of(found.tolist())

    def _curves(self) -> list[Callable[[int], float]]:
        """The loss of each group by the channels that it keeps."""
        sizes = self.problem.projection.sizes
        seen = [reward for points in self._rewards.values() for reward in points.values()]
        whole = max(seen) if self._whole is None else self._whole
        losses = {
            group: {count: max(0.0, whole - reward) for count, reward in points.items()}
            for group, points in self._rewards.items()
        }
        bends: dict[int, float] = {}
        for group, points in losses.items():
            cut = {n: v for n, v in points.items() if n < sizes[group]}
            if cut:
                each = [v / (1 - n / sizes[group]) ** 2 for n, v in cut.items()]
                bends[group] = float(np.mean(each))
        mean = float(np.mean(list(bends.values()))) if bends else 0.0
        some = len({group for group, _ in self._probes[1:]}) < len(sizes)
        curves: list[Callable[[int], float]] = []
        for group, size in enumerate(sizes):
            if some or group not in losses:
                curves.append(_parabola(int(size), bends.get(group, mean)))
            else:
                curves.append(_line(int(size), losses[group], whole))
        return curves


def _line(size: int, losses: Mapping[int, float], whole: float) -> Callable[[int], float]:
    """A curve through the points that were probed."""
    points = {0: whole, size: 0.0, **losses}
    counts = sorted(points)
    # A smaller group never does better: noise of the reward is taken out.
    values = np.maximum.accumulate([points[c] for c in reversed(counts)])[::-1]
    return lambda count: float(np.interp(count, counts, values))


def _parabola(size: int, bend: float) -> Callable[[int], float]:
    """A curve for groups that are compared although not all were probed.

    It never has a flat stretch, on which groups that are known to matter little would be cut no
    further than those that nothing is known of.
    """
    return lambda count: max(bend, 1e-9) * (1 - count / size) ** 2
