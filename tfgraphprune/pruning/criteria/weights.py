"""Importance that is read off the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tfgraphprune.graph.groups import ChannelGroup, GroupAxis
from tfgraphprune.graph.layer_graph import LayerGraph

Importance: TypeAlias = Mapping[str, np.ndarray]
Criterion: TypeAlias = Callable[[LayerGraph], Importance]


def l1(graph: LayerGraph) -> Importance:
    """L1 norm of the filters that make a channel, summed over the group's layers.

    Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017.
    """
    return _over_producers(graph, lambda kernel: np.abs(kernel).sum(1))


def l2(graph: LayerGraph) -> Importance:
    """L2 norm of the filters that make a channel, over all layers of the group together.

    The criterion of GNN-RL (ICML 2022); over coupled layers as in DepGraph (CVPR 2023).
    """
    squares = _over_producers(graph, lambda kernel: np.square(kernel).sum(1))
    return {name: np.sqrt(values) for name, values in squares.items()}


def fpgm(graph: LayerGraph) -> Importance:
    """Sum of a filter's distances to all filters of its layer: what is near the median is cut.

    He et al., "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks
    Acceleration", CVPR 2019; summed over the group's layers.
    """
    return _over_producers(graph, _distances)


def batchnorm_scale(graph: LayerGraph) -> Importance:
    """Sum of |gamma| over the group's BatchNorms.

    Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017.
    Groups without a BatchNorm get their L2 norm.
    """
    fallback = l2(graph)
    result = {}
    for group in graph.channel_groups:
        total = np.zeros(group.size)
        for axis in group.axes:
            if axis.role != "through" or axis.weight < 0:
                continue
            variable = graph.variable(axis)
            if variable.name.split("/")[-1].startswith("gamma"):
                total += np.abs(variable.numpy())[axis.positions].sum(1)
        result[group.name] = total if total.any() else fallback[group.name]
    return result


@dataclass(frozen=True)
class Random:
    """Uniform random importance, the baseline; the same seed gives the same values."""

    seed: int = 0

    def __call__(self, graph: LayerGraph) -> Importance:
        """Importance of every group."""
        random = np.random.Generator(np.random.Philox(self.seed))
        return {group.name: random.random(group.size) for group in graph.channel_groups}


def producer_axes(group: ChannelGroup) -> list[GroupAxis]:
    """Where the group's channels are made."""
    return [axis for axis in group.axes if axis.role == "out"]


def _distances(filters: np.ndarray) -> np.ndarray:
    """For each row, the sum of its Euclidean distances to all rows."""
    rows = filters.astype(np.float64)
    squares = np.square(rows).sum(1)
    between = squares[:, None] + squares - 2 * rows @ rows.T
    return np.sqrt(np.maximum(between, 0)).sum(1)


def _over_producers(
    graph: LayerGraph, norm: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """Sum over a group's producing kernels (biases left out) of a norm of each channel's filter."""
    result = {}
    for group in graph.channel_groups:
        total = np.zeros(group.size)
        for axis in producer_axes(group):
            kernel = graph.variable(axis).numpy()
            if kernel.ndim > 1:
                filters = np.moveaxis(kernel, axis.axis, 0).reshape(kernel.shape[axis.axis], -1)
                total += norm(filters)[axis.positions].sum(1)
        result[group.name] = total
    return result
