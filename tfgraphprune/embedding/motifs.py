"""The channel level of the hierarchy: a motif graph of filters for each layer.

GNN-RL (arXiv 2102.03214) gives each convolution a motif: nodes for its input channels, nodes for
its output channels, edges between them. There the nodes' features are random; here they are
statistics of the filters, and an edge weighs as much as the kernel between its channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfgraphprune.embedding.group_graph import Motifs
from tfgraphprune.graph.groups import ChannelGroup, GroupAxis
from tfgraphprune.graph.layer_graph import LayerGraph

STATISTICS = ("is_output", "l2", "l1", "mean", "largest", "alignment", "share")
"""Of a filter: whether it is an output, its norms, mean, largest weight (relative to the layer's
means), the cosine to the layer's mean filter, and the share of the channels that the node is."""

NODES = 16
"""Nodes on each side of a motif. Where there are more channels, each node stands for as many
channels of neighbouring norms, so that a layer's motif has a bounded size."""

_SAMPLES = 4096
"""Weights of each filter, evenly spaced, that its statistics are taken from."""


def motifs_of(graph: LayerGraph, groups: Sequence[ChannelGroup]) -> Motifs:
    """The motifs of all layers with a kernel that makes or reads channels of the groups.

    Args:
        graph: the layer graph.
        groups: its groups, in the order of the rows of `makes` and `reads`.
    """
    sides = _sides(graph)
    touched = {(axis.path, axis.weight) for group in groups for axis in group.axes}
    layers = [key for key in sides if key in touched]
    count = len(layers)
    nodes = np.zeros((count, 2 * NODES, len(STATISTICS)))
    adjacency = np.zeros((count, 2 * NODES, 2 * NODES))
    mask = np.zeros((count, 2 * NODES))
    for row, key in enumerate(layers):
        nodes[row], adjacency[row], mask[row] = _motif(*sides[key])
    index = {key: row for row, key in enumerate(layers)}
    makes, reads = np.zeros((len(groups), count)), np.zeros((len(groups), count))
    for number, group in enumerate(groups):
        for axis in group.axes:
            if (axis.path, axis.weight) not in index:
                continue
            layer = index[axis.path, axis.weight]
            if axis.role in ("out", "through"):
                makes[number, layer] = 1
            if axis.role in ("in", "through"):
                reads[number, layer] = 1
    return Motifs(nodes, adjacency, mask, makes, reads)


def _sides(graph: LayerGraph) -> dict[tuple, tuple[np.ndarray, int | None, int | None]]:
    """For each kernel its value, and its axes of inputs and of outputs."""
    found: dict[tuple, dict[str, GroupAxis]] = {}
    for group in graph.channel_groups:
        for axis in group.axes:
            if axis.weight >= 0 and axis.role in ("in", "out", "through"):
                found.setdefault((axis.path, axis.weight), {})[axis.role] = axis
    sides = {}
    for key, axes in found.items():
        value = np.asarray(graph.variable(next(iter(axes.values()))))
        if value.ndim < 2:
            continue
        through = axes.get("through")
        first = axes.get("in", through)
        second = axes.get("out", through)
        sides[key] = (value, first.axis if first else None, second.axis if second else None)
    return sides


def _motif(
    kernel: np.ndarray, inputs: int | None, outputs: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes, adjacency and mask of one layer; the inputs come first."""
    nodes = np.zeros((2 * NODES, len(STATISTICS)))
    adjacency = np.zeros((2 * NODES, 2 * NODES))
    mask = np.zeros(2 * NODES)
    bins: list[np.ndarray | None] = [None, None]
    for side, axis in enumerate((inputs, outputs)):
        if axis is None:
            continue
        statistics, order = _statistics(kernel, axis)
        parts = np.array_split(order, min(NODES, len(order)))
        start = side * NODES
        for offset, part in enumerate(parts):
            nodes[start + offset, 0] = side
            nodes[start + offset, 1:-1] = statistics[part].mean(0)
            nodes[start + offset, -1] = len(part) / len(order)
            mask[start + offset] = 1
        member = np.zeros((len(parts), len(order)))
        for offset, part in enumerate(parts):
            member[offset, part] = 1 / len(part)
        bins[side] = member
    first, second = bins
    if first is not None and second is not None:
        assert inputs is not None and outputs is not None
        ties = first @ _strength(kernel, inputs, outputs) @ second.T
        ties = ties / max(ties.mean(), 1e-12)
        adjacency[: len(first), NODES : NODES + len(second)] = ties
        adjacency[NODES : NODES + len(second), : len(first)] = ties.T
    return nodes, adjacency, mask


def _statistics(kernel: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """`[channels, statistics]` without the first and last one, and the channels by norm."""
    rows = np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)
    rows = rows[:, :: max(1, rows.shape[1] // _SAMPLES)].astype(np.float64)
    l2 = np.sqrt((rows**2).mean(1))
    l1 = np.abs(rows).mean(1)
    scale = max(l2.mean(), 1e-12)
    middle = rows.mean(0)
    cosine = (
        rows @ middle / np.maximum(np.linalg.norm(rows, axis=1) * np.linalg.norm(middle), 1e-12)
    )
    columns = (
        l2 / scale,
        l1 / max(l1.mean(), 1e-12),
        rows.mean(1) / scale,
        np.log1p(np.abs(rows).max(1) / scale),
        cosine,
    )
    return np.clip(np.stack(columns, 1), -10, 10), np.argsort(l2, kind="stable")


def _strength(kernel: np.ndarray, inputs: int, outputs: int) -> np.ndarray:
    """`[inputs, outputs]`, the norm of the kernel between each pair of channels."""
    squares = kernel.astype(np.float64) ** 2
    if inputs == outputs:
        others = tuple(a for a in range(kernel.ndim) if a != inputs)
        return np.diag(np.sqrt(squares.sum(others)))
    others = tuple(a for a in range(kernel.ndim) if a not in (inputs, outputs))
    pairs = np.sqrt(squares.sum(others))
    return pairs if inputs < outputs else pairs.T
