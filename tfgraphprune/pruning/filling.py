"""Plans filled up to widths that hardware computes fast, with channels that have no effect.

On CPUs oneDNN has its fast kernels for channels in sixteens: 32 channels take less time than 31.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tfgraphprune.cost.model_cost import dense_counts, macs_cost
from tfgraphprune.errors import UserError
from tfgraphprune.graph.axes import silence
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.masking import WeightKey

FAST_MULTIPLE = 16
"""Channels for which oneDNN has fast kernels of convolutions and BatchNorm on x86."""

LARGE_MACS = 10e6
"""MACs of one example below which the time is not in the kernels."""

Indices = Mapping[str, Sequence[int]]


def is_large(graph: LayerGraph) -> bool:
    """Whether an example takes 10 million MACs; no where they are not known."""
    try:
        return float(macs_cost(graph)(dense_counts(graph))) >= LARGE_MACS
    except UserError:  # inputs of no fixed size
        return False


def filled_up(graph: LayerGraph, kept: Indices, multiple: int) -> dict[str, tuple[int, ...]]:
    """A plan with channels added until each group has a multiple of a number, or all it has.

    Args:
        graph: the dense model's graph.
        kept: indices of the channels that stay, by group.
        multiple: of channels; a group's own channel multiple holds too.
    """
    wide = {}
    for group in graph.prunable_groups:
        if group.name in kept:
            stays = np.zeros(group.size, bool)
            stays[list(kept[group.name])] = True
            unit, count = math.lcm(multiple, group.step), int(stays.sum())
            wanted = min(group.size, -(-count // unit) * unit)
            stays[np.flatnonzero(~stays)[: wanted - count]] = True
            wide[group.name] = tuple(np.flatnonzero(stays).tolist())
    return wide


def without_added(
    graph: LayerGraph, kept: Indices, wide: Indices, shapes: Mapping[WeightKey, Sequence[int]]
) -> dict[WeightKey, np.ndarray]:
    """Factors of ones and zeros for the dense weights, by which what was added has no effect.

    It is zeroed on every axis: in the weights that make it, that pass it on, and that read it.

    Args:
        graph: the dense model's graph.
        kept: indices of the channels that stay, by group.
        wide: the same, filled up.
        shapes: of all weights.
    """
    factors: dict[WeightKey, np.ndarray] = {}
    for group in graph.prunable_groups:
        added = sorted(set(wide.get(group.name, ())) - set(kept.get(group.name, ())))
        for axis in group.axes if added else ():
            key = axis.path, axis.weight
            if axis.weight >= 0:
                positions = axis.positions[added].ravel()
                factors[key] = silence(
                    factors.get(key), shapes[key], axis.axis, axis.blocks, positions
                )
    return factors
