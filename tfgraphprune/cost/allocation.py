"""What methods share that give channels away one step after another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfgraphprune.cost.projection import Projection


def excess(projection: Projection, counts: np.ndarray) -> np.ndarray:
    """By how much counts `[..., groups]` are over the limits, as shares of them, added up."""
    over = [np.maximum(limit.cost(counts) / limit.value - 1, 0) for limit in projection.limits]
    return np.sum(over, axis=0)


def spent(projection: Projection, counts: np.ndarray) -> np.ndarray:
    """The largest cost of counts `[..., groups]` as a share of its limit."""
    return np.max([limit.cost(counts) / limit.value for limit in projection.limits], axis=0)


def one_less(projection: Projection, counts: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Counts with one group smaller by its step; int `[groups, groups]`, a row a group."""
    less = np.maximum((counts - 1) // steps * steps, projection.lowest)
    return np.where(np.eye(len(counts), dtype=bool), np.minimum(less, counts), counts)


def greedy(
    projection: Projection, loss: Callable[[int, int], float], resolution: int = 64
) -> np.ndarray:
    """From all channels down to the limits, each step where it loses least for what it saves.

    Args:
        projection: sizes, steps, smallest widths and limits.
        loss: of a group at a count, rising as the count falls.
        resolution: at most so many steps from a whole group to none.

    Returns:
        Counts, int `[groups]`, at the limits or just below.
    """
    steps = np.maximum(projection.steps, projection.sizes // resolution)
    steps = np.maximum(steps // projection.steps * projection.steps, 1)
    counts = projection.sizes.copy()
    while not projection.fits(counts):
        trials = one_less(projection, counts, steps)
        after = trials.diagonal()
        saved = excess(projection, counts) - excess(projection, trials)
        losses = np.array([loss(g, int(after[g])) - loss(g, int(n)) for g, n in enumerate(counts)])
        price = np.where(after < counts, losses / np.maximum(saved, 1e-12), np.inf)
        best = int(np.argmin(price))
        if after[best] == counts[best]:
            break
        counts[best] = after[best]
    return counts
