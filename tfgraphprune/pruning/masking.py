"""Cutting without cutting: a removed channel is silenced in every kernel that reads it.

A channel reaches the output only through its consumers' kernels, so zeroing their slices is
exact, also for BatchNorm shifts and activations with f(0) != 0. This is the reference that
surgery must agree with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tf_keras as keras

from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph, layer_at
from tfgraphprune.pruning.plan import PruningPlan

WeightKey = tuple[tuple[str, ...], int]
"""A layer's path and an index in its `weights`."""


def masked(model: Any, plan: PruningPlan) -> Any:
    """A copy of the model, of unchanged shape, in which the plan's cut channels have no effect.

    Args:
        model: the model that the plan was made for; it is not changed.
        plan: what stays.

    Raises:
        UserError: the plan was made for another model.
    """
    graph = LayerGraph.from_model(model)
    plan.check(graph)
    copy = copy_model(model)
    silencer = Silencer(graph, copy)
    silencer.apply(plan.kept)
    return copy


def copy_model(model: Any) -> Any:
    """A copy with weights of its own.

    Raises:
        UserError: Keras can't copy a layer, or how layers are shared.
    """
    try:
        copy = keras.models.clone_model(model)
    except (NotImplementedError, TypeError, ValueError) as error:
        detail = str(error).strip().splitlines()
        raise UserError(
            f"Keras can't copy the model {model.name!r} ({detail[0] if detail else 'no get_config'}"
            "): give custom layers a get_config that returns the arguments of their __init__, and "
            "register custom functions with keras.saving.register_keras_serializable."
        ) from error
    if len(copy.weights) != len(model.weights):
        raise UserError(
            f"the model {model.name!r} can't be copied: it shares a layer between a nested model "
            "and what is around it, which Keras does not keep; call the nested model instead."
        )
    copy.set_weights(model.get_weights())
    return copy


class Silencer:
    """Applies one plan after another to a copy of the model, by assigning consumers' kernels.

    Args:
        graph: the dense model's graph.
        copy: a copy of the graph's model, whose consumer kernels are assigned.
    """

    def __init__(self, graph: LayerGraph, copy: Any):
        self._reads: dict[str, list[tuple[WeightKey, int, np.ndarray]]] = {}
        self._sizes = {group.name: group.size for group in graph.prunable_groups}
        self._dense: dict[WeightKey, np.ndarray] = {}
        self._variables: dict[WeightKey, Any] = {}
        for group in graph.prunable_groups:
            reads = self._reads[group.name] = []
            for axis in group.axes:
                if axis.role == "in":
                    key = (axis.path, axis.weight)
                    reads.append((key, axis.axis, axis.positions))
                    if key not in self._dense:
                        self._variables[key] = layer_at(copy, axis.path).weights[axis.weight]
                        self._dense[key] = self._variables[key].numpy()

    def apply(self, kept: Mapping[str, Sequence[int]]) -> None:
        """Silence all channels but the kept ones; groups that are not named stay whole."""
        factors: dict[WeightKey, np.ndarray] = {}
        for name, indices in kept.items():
            if name not in self._reads:
                continue
            removed = np.ones(self._sizes[name], bool)
            removed[list(indices)] = False
            for key, axis, positions in self._reads[name]:
                dense = self._dense[key]
                if key not in factors:
                    shape = [1] * dense.ndim
                    shape[axis] = dense.shape[axis]
                    factors[key] = np.ones(shape, dense.dtype)
                np.moveaxis(factors[key], axis, 0)[positions[removed]] = 0
        for key, variable in self._variables.items():
            dense = self._dense[key]
            variable.assign(dense * factors[key] if key in factors else dense)
