"""Costs that were measured: a table for each kernel, over the channels that it reads and makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfgraphprune.cost.model_cost import AxisSize


@dataclass(frozen=True, eq=False)
class KernelTable:
    """What a kernel costs at some sizes.

    Attributes:
        reads: channels that it reads, as a function of counts.
        makes: channels that it makes, likewise.
        inputs: float64 `[i]`, ascending: the channels read at which it was measured.
        outputs: float64 `[o]`, ascending: the channels made, likewise.
        costs: float64 `[i, o]`.
    """

    reads: AxisSize
    makes: AxisSize
    inputs: np.ndarray
    outputs: np.ndarray
    costs: np.ndarray


class TableCost:
    """The sum of tables, bilinear between their entries, and of what is linear in the counts.

    Kernels make channels in tiles: a number of them costs what the next whole tile does. Measured
    noise is smoothed where it says that more channels cost less: a cost must not fall
    when a count rises.

    Args:
        tables: of all kernels.
        slope: float64 `[groups]`: further cost of a channel of each group.
        fixed: cost that no plan changes.
        tile: channels that a kernel makes at a time.
    """

    def __init__(
        self, tables: Sequence[KernelTable], slope: np.ndarray, fixed: float, tile: int = 1
    ):
        self._tile = tile
        self._reads = np.stack([t.reads.slope for t in tables], 1)
        self._makes = np.stack([t.makes.slope for t in tables], 1)
        self._fixed = np.array([[t.reads.fixed, t.makes.fixed] for t in tables])
        self._inputs = _padded([t.inputs for t in tables])
        self._outputs = _padded([t.outputs for t in tables])
        self._costs = np.stack([self._whole(t) for t in tables])
        self._slope, self._constant = np.asarray(slope, np.float64), float(fixed)

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """Cost of each row of counts `[..., groups]`; float64 `[...]`."""
        counts = np.asarray(counts, np.float64)
        rows, row = _place(self._inputs, counts @ self._reads + self._fixed[:, 0])
        made = np.ceil((counts @ self._makes + self._fixed[:, 1]) / self._tile) * self._tile
        columns, column = _place(self._outputs, made)
        which = np.arange(len(self._costs))
        low, high = (
            (1 - column) * self._costs[which, r, columns]
            + column * self._costs[which, r, columns + 1]
            for r in (rows, rows + 1)
        )
        kernels = ((1 - row) * low + row * high).sum(-1)
        return kernels + counts @ self._slope + self._constant

    def _whole(self, table: KernelTable) -> np.ndarray:
        """The costs, rising along both axes, as large as the largest table."""
        rising = np.maximum.accumulate(np.maximum.accumulate(table.costs, 0), 1)
        missing = (
            self._inputs.shape[1] - rising.shape[0], self._outputs.shape[1] - rising.shape[1],
        )  # fmt: skip
        return np.pad(rising, ((0, missing[0]), (0, missing[1])), mode="edge")


@dataclass(frozen=True, eq=False)
class FittedCost:
    """A cost set right by measurements of whole networks: `a t + b t^2 / whole + c` for a cost t.

    The square is there because large networks leave the caches that their single kernels fit in.

    Attributes:
        base: the cost t.
        factors: a, b and c, none below 0.
        whole: the dense network's t.
    """

    base: TableCost
    factors: tuple[float, float, float]
    whole: float

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """Cost of each row of counts `[..., groups]`; float64 `[...]`."""
        return self.features(counts) @ np.asarray(self.factors)

    def features(self, counts: np.ndarray) -> np.ndarray:
        """What the factors multiply; float64 `[..., 3]`."""
        t = self.base(counts)
        return np.stack([t, t**2 / self.whole, np.ones_like(t)], -1)


def _padded(grids: Sequence[np.ndarray]) -> np.ndarray:
    """Grids of one length, at least 2, going on beyond what can occur."""
    length = max(2, *(len(grid) for grid in grids))
    rows = [
        np.concatenate([grid, grid[-1] + 1e6 * np.arange(1, length - len(grid) + 1)])
        for grid in grids
    ]
    return np.array(rows, np.float64)


def _place(grids: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the grid point below each value, and how far it is on the way to the next."""
    below = (values[..., None] >= grids).sum(-1) - 1
    below = np.clip(below, 0, grids.shape[1] - 2)
    which = np.arange(len(grids))
    start, end = grids[which, below], grids[which, below + 1]
    return below, np.clip((values - start) / (end - start), 0, 1)
