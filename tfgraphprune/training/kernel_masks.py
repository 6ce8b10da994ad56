"""Masks on a model's own kernels, by which channels are switched off while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.graph.axes import used_positions
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.masking import WeightKey, silencing_factors, weight_key


def normalised(graph: LayerGraph) -> dict[str, str]:
    """Groups that masks on kernels can't silence, because a normalization over them reads zeros."""
    reason = "a normalization over its channels has statistics that zeros would change"
    return {
        group.name: reason
        for group in graph.channel_groups
        if any(axis.role == "norm" for axis in group.axes)
    }


class KernelMasks:
    """Masks of the kernels that read the prunable groups of a model, applied in one call.

    Args:
        graph: of the model whose own kernels are masked; groups that a normalization over channels
            reads are not prunable in it.
    """

    def __init__(self, graph: LayerGraph):
        self._graph = graph
        self._weights: dict[WeightKey, Any] = {
            weight_key(axis): graph.variable(axis)
            for group in graph.prunable_groups
            for axis in group.axes
            if axis.role == "in"
        }
        self._factors: dict[WeightKey, tf.Variable] = {}
        self._multiply: Any = None

    def set(self, kept: Mapping[str, np.ndarray]) -> None:
        """Let only these channels pass; groups that are not named stay whole."""
        shapes = {key: tuple(weight.shape) for key, weight in self._weights.items()}
        chosen = {self._graph.group(name): indices.tolist() for name, indices in kept.items()}
        factors = silencing_factors(chosen, shapes)
        if self._multiply is None:
            self._factors = {key: tf.Variable(f, trainable=False) for key, f in factors.items()}
            self._multiply = tf.function(self._multiplied)
        for key, factor in factors.items():
            self._factors[key].assign(factor)

    def apply(self) -> None:
        """Multiply each kernel by its mask."""
        self._multiply()

    def closed(self) -> bool:
        """Whether all weights that the masks are to hide are zero."""
        return not any(
            (np.asarray(self._weights[key]) * (1 - factor.numpy())).any()
            for key, factor in self._factors.items()
        )

    def silent(self) -> dict[str, np.ndarray]:
        """For each prunable group, which channels nothing reads: bool `[size]`."""
        read = {g.name: np.zeros(g.size, bool) for g in self._graph.prunable_groups}
        for group in self._graph.prunable_groups:
            for axis in group.axes:
                if axis.role == "in":
                    weight = np.asarray(self._weights[weight_key(axis)])
                    used = used_positions(weight, axis.axis, axis.blocks)
                    read[group.name] |= used[axis.positions].any(1)
        return {name: ~channels for name, channels in read.items()}

    def _multiplied(self) -> None:
        for key, factor in self._factors.items():
            weight = self._weights[key]
            weight.assign(weight * tf.cast(factor, weight.dtype))
