"""Cutting without cutting: a removed channel is silenced in every kernel that reads it.

A channel reaches the output only through its consumers' kernels, so zeroing their slices is
exact, also for BatchNorm shifts and activations with f(0) != 0; normalizations over the channels
leave it out of their statistics. This is the reference that surgery must agree with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfgraphprune.graph.axes import silence
from tfgraphprune.graph.groups import ChannelGroup, GroupAxis
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.pruning.rebuild import Rebuild
from tfgraphprune.pruning.restricted import restricted_twin

WeightKey = tuple[tuple[str, ...], int]
"""A layer's path and an index in its `weights`."""

_READS = ("in", "norm")
"""Roles of the axes on which a channel is silenced."""


def masked(model: Any, plan: PruningPlan) -> Any:
    """A copy of the model, of unchanged shape, in which the plan's cut channels have no effect.

    Args:
        model: the model that the plan was made for; it is not changed.
        plan: what stays.

    Raises:
        UserError: the plan was made for another model, or a layer has no configuration.
    """
    graph = LayerGraph.from_model(model)
    plan.check(graph)
    cut = {name for name, kept in plan.kept.items() if len(kept) < graph.group(name).size}
    silencer = Silencer(graph, cut)
    silencer.apply(plan.kept)
    return silencer.model


class Silencer:
    """A copy of a model, to which one plan after another is applied.

    Args:
        graph: the model's graph.
        groups: names of the groups that plans cut; by default all that may be cut.

    Attributes:
        model: the copy; its weights beside consumers' kernels are those of the model.
    """

    def __init__(self, graph: LayerGraph, groups: set[str] | None = None):
        chosen = [g for g in graph.prunable_groups if groups is None or g.name in groups]
        axes = [axis for group in chosen for axis in group.axes]
        normalised = {axis.path for axis in axes if axis.role == "norm"}

        def swap(layer: Any, path: tuple[str, ...]) -> Any:
            if path not in normalised:
                return None
            return restricted_twin(layer, graph.program.dialect)

        rebuilt = Rebuild(graph, graph.kept({}), swap)
        self.model = rebuilt.model
        self._groups = {group.name: group for group in chosen}
        self._dense: dict[WeightKey, np.ndarray] = {}
        self._variables: dict[WeightKey, Any] = {}
        for axis in axes:
            if axis.role in _READS:
                layer = rebuilt.layers[axis.path]
                variable = layer.mask if axis.role == "norm" else layer.weights[axis.weight]
                self._variables[weight_key(axis)] = variable
                self._dense[weight_key(axis)] = variable.numpy()

    def apply(self, kept: Mapping[str, Sequence[int]]) -> None:
        """Silence all channels but the kept ones; groups that are not named stay whole."""
        chosen = {self._groups[name]: kept[name] for name in kept if name in self._groups}
        shapes = {key: dense.shape for key, dense in self._dense.items()}
        factors = silencing_factors(chosen, shapes)
        for key, variable in self._variables.items():
            dense = self._dense[key]
            variable.assign(dense * factors[key] if key in factors else dense)


def silencing_factors(
    kept: Mapping[ChannelGroup, Sequence[int]], shapes: Mapping[WeightKey, Sequence[int]]
) -> dict[WeightKey, np.ndarray]:
    """Factors, of ones and zeros, that silence all channels but the kept ones.

    Args:
        kept: indices of the channels that stay, by group.
        shapes: of the weights that read the groups.

    Returns:
        For each weight that reads one of the groups, what it is to be multiplied by; axes along
        which the factor does not change have length 1.
    """
    factors: dict[WeightKey, np.ndarray] = {}
    for group, indices in kept.items():
        removed = np.ones(group.size, bool)
        removed[list(indices)] = False
        for axis in group.axes:
            if axis.role in _READS:
                key = weight_key(axis)
                factors[key] = silence(
                    factors.get(key),
                    shapes[key],
                    axis.axis,
                    axis.blocks,
                    axis.positions[removed].ravel(),
                )
    return factors


def weight_key(axis: GroupAxis) -> WeightKey:
    """The weight that an axis is of."""
    return axis.path, axis.weight


def copy_model(model: Any, flat: bool = False) -> Any:
    """A copy with weights of its own, of plain layers.

    Args:
        model: it is not changed.
        flat: whether nested models, and layers made of layers, give way to the layers inside, named
            `outer.inner`.

    Raises:
        UserError: the model can't be read, or a layer has no configuration.
    """
    graph = LayerGraph.from_model(model)
    return Rebuild(graph, graph.kept({}), flat=flat).model
