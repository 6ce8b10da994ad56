"""Groups one after another: which counts of the next one lead to plans that spend the budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfgraphprune.cost.projection import Projection

SHARES = ("reduced", "rest", "gap")
"""What `Wall.shares` gives."""


class Wall:
    """The action bounding of AMC ([He et al., 2018](https://arxiv.org/abs/1802.03494)), on both
    sides.

    A count is at most such that all later groups still fit at their lowest, as in AMC, and at
    least such that the budget is used up where all later groups stay whole: with the upper bound
    alone many plans end far under the budget.

    Args:
        projection: sizes, steps, smallest widths and limits of the groups.
        bounded: whether there are bounds; else any width of a group can be had, and a plan is
            to be projected onto the budget once it is whole.
    """

    def __init__(self, projection: Projection, bounded: bool = True):
        self._projection = projection
        self._bounded = bounded
        self._widths = [
            np.unique([low, *range((low // step + 1) * step, size, step), size])
            for low, step, size in zip(
                projection.lowest.tolist(),
                projection.steps.tolist(),
                projection.sizes.tolist(),
                strict=True,
            )
        ]
        whole = projection.sizes
        self._tightest = min(
            projection.limits, key=lambda limit: limit.value / float(limit.cost(whole))
        )

    def count(self, decided: Sequence[int], ratio: float) -> int:
        """The count within the bounds of the next group that comes nearest to a keep ratio.

        Args:
            decided: counts of the groups before it.
            ratio: in [0, 1].
        """
        group = len(decided)
        widths = self._widths[group]
        if self._bounded:
            least, most = self.bounds(decided)
            widths = widths[(widths >= least) & (widths <= most)]
        distance = np.abs(widths - ratio * self._projection.sizes[group])
        return int(widths[np.argmin(distance)])

    def bounds(self, decided: Sequence[int]) -> tuple[int, int]:
        """Smallest and largest count of the next group after the counts of those before it."""
        return (
            self._largest(decided, self._projection.sizes),
            self._largest(decided, self._projection.lowest),
        )

    def shares(self, decided: Sequence[int]) -> np.ndarray:
        """Where a plan stands, as shares of the dense cost under the tightest limit.

        Args:
            decided: counts of the first groups.

        Returns:
            Float32 `[3]`: what the decided groups save, and what the later ones can still save
            at most (AMC's "reduced" and "rest"); and the gap between the budget and the cost
            with all later groups at their lowest.
        """
        projection, limit = self._projection, self._tightest
        plans = np.stack([projection.sizes, projection.sizes, projection.lowest])
        plans[1:, : len(decided)] = decided
        dense, most, least = np.asarray(limit.cost(plans), np.float64)
        shares = np.array([dense - most, most - least, limit.value - least]) / dense
        return shares.astype(np.float32)

    def _largest(self, decided: Sequence[int], later: np.ndarray) -> int:
        """The largest width of the next group that fits with these counts of the later ones; its
        smallest one where none does."""
        group = len(decided)
        widths = self._widths[group]
        counts = np.array(later)
        counts[:group] = decided
        low, high = 0, len(widths) - 1
        while low < high:
            middle = (low + high + 1) // 2
            counts[group] = widths[middle]
            low, high = (middle, high) if self._projection.fits(counts) else (low, middle - 1)
        return int(widths[low])
