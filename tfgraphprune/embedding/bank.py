"""Several networks' graphs side by side, padded to one size: what a policy is trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from spektral.utils import gcn_filter

from tfgraphprune.embedding.group_graph import GroupGraph, Motifs
from tfgraphprune.errors import UserError


class GraphBank:
    """Graphs as constants that an encoder looks up by their number.

    A graph is no part of a policy's observation and no weight of its networks, so that weights
    go from one bank to any other.

    Args:
        graphs: of equal features and relations.

    Attributes:
        graphs: as given.
        size: groups of the largest graph, to which the others are padded.
        features: float32 `[P, N, F]`.
        guess: float32 `[P, N]`, the actions that policies depart from.
        mask: float32 `[P, N]`, 1 for groups and 0 for padding.
        adjacency: float32 `[P, R, N, N]`.
        filters: float32 `[P, R, N, N]`, `D^-1 (adjacency + I)`: a mean over the neighbours
            and the node itself keeps directed edges meaningful.
        merged: float32 `[P, N, N]`, the filter of all types of edges at once.
        motifs: the motifs of all graphs, each array with an axis `P` in front; the filters of
            the layers in place of their adjacency, and memberships with rows that sum to 1.

    Raises:
        UserError: no graph, or graphs with other features or relations.
    """

    def __init__(self, graphs: Sequence[GroupGraph]):
        self.graphs = tuple(graphs)
        if not self.graphs:
            raise UserError("a bank needs at least one graph.")
        first = self.graphs[0]
        for graph in self.graphs:
            if graph.feature_names != first.feature_names or (
                len(graph.adjacency) != len(first.adjacency)
            ):
                raise UserError("all graphs of a bank must have the same features and relations.")
        self.size = max(len(graph.names) for graph in self.graphs)
        self.features = _stack([g.features for g in self.graphs], (self.size, None))
        self.guess = _stack([g.guess for g in self.graphs], (self.size,))
        self.mask = _stack([np.ones(len(g.names)) for g in self.graphs], (self.size,))
        self.adjacency = _stack(
            [g.adjacency for g in self.graphs], (len(first.adjacency), self.size, self.size)
        )
        self.filters = _filters(self.adjacency)
        self.merged = _filters(self.adjacency.max(1, initial=0))
        self.motifs = self._motifs()

    def __len__(self) -> int:
        return len(self.graphs)

    def of(self, constant: np.ndarray, graph: tf.Tensor | None) -> tf.Tensor:
        """The rows of a constant `[P, ...]` for graph numbers `[B]`; with a batch axis of one
        where there is only one graph."""
        with tf.init_scope():
            value = tf.constant(constant)
        return value if len(self.graphs) == 1 or graph is None else tf.gather(value, graph)

    def _motifs(self) -> Motifs:
        motifs = [g.motifs or Motifs.none(len(g.names)) for g in self.graphs]
        layers = max(len(m.nodes) for m in motifs)
        nodes, statistics = np.max([m.nodes.shape[1:] for m in motifs], axis=0)
        adjacency = _stack([m.adjacency for m in motifs], (layers, nodes, nodes))
        return Motifs(
            _stack([m.nodes for m in motifs], (layers, nodes, statistics)),
            _filters(adjacency),
            _stack([m.mask for m in motifs], (layers, nodes)),
            _shares(_stack([m.makes for m in motifs], (self.size, layers))),
            _shares(_stack([m.reads for m in motifs], (self.size, layers))),
        )


def _stack(arrays: Sequence[np.ndarray], shape: tuple[int | None, ...]) -> np.ndarray:
    """Arrays one upon another, padded by zeros to a shape."""
    padded = []
    for array in arrays:
        wanted = [a if s is None else s for a, s in zip(array.shape, shape, strict=True)]
        padded.append(np.pad(array, [(0, w - a) for w, a in zip(wanted, array.shape, strict=True)]))
    return np.stack(padded).astype(np.float32)


def _filters(adjacency: np.ndarray) -> np.ndarray:
    """`D^-1 (A + I)` of each matrix in `[..., N, N]`."""
    matrices = adjacency.reshape(-1, *adjacency.shape[-2:])
    found = [gcn_filter(matrix, symmetric=False) for matrix in matrices]
    return np.asarray(found, np.float32).reshape(adjacency.shape)


def _shares(membership: np.ndarray) -> np.ndarray:
    return membership / np.maximum(membership.sum(-1, keepdims=True), 1)
