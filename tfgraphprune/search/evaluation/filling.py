"""Plans filled up to widths that the hardware computes fast, with channels that have no effect."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tfgraphprune.graph.axes import silence
from tfgraphprune.graph.layer_graph import LayerGraph

Key = tuple[tuple[str, ...], int]
"""Path of a layer, index of its weight."""

Indices = Mapping[str, Sequence[int]]


class Filling:
    """Adds channels to a plan until each group has a multiple of some number, or all it has.

    The weights of what is added are to be zeroed on every axis: those that make it, those that
    pass it on, and those that read it. So it is computed, and read by nothing: oneDNN computes
    32 channels several times faster than 31.

    Args:
        graph: the dense model's graph.
        shapes: of all weights.
        multiple: of channels.
    """

    def __init__(self, graph: LayerGraph, shapes: Mapping[Key, Sequence[int]], multiple: int):
        self._groups = graph.prunable_groups
        self._shapes = shapes
        self._multiple = multiple

    def apply(self, kept: Indices) -> tuple[dict[str, list[int]], dict[Key, np.ndarray]]:
        """The wider plan, and the factors of ones and zeros for the dense weights.

        Args:
            kept: indices of the channels that stay; groups that are not named stay whole.
        """
        wide: dict[str, list[int]] = {}
        factors: dict[Key, np.ndarray] = {}
        for group in self._groups:
            if group.name not in kept:
                continue
            stays = np.zeros(group.size, bool)
            stays[list(kept[group.name])] = True
            unit = math.lcm(self._multiple, group.step)
            count = min(group.size, -(-int(stays.sum()) // unit) * unit)
            added = np.flatnonzero(~stays)[: count - int(stays.sum())]
            stays[added] = True
            wide[group.name] = np.flatnonzero(stays).tolist()
            for axis in group.axes if len(added) else ():
                key = axis.path, axis.weight
                if axis.weight >= 0:
                    factors[key] = silence(
                        factors.get(key), self._shapes[key], axis.axis, axis.blocks,
                        axis.positions[added].ravel(),
                    )  # fmt: skip
        return wide, factors
