"""Importance criteria: how much each channel of a group matters.

A criterion is a callable `criterion(graph) -> {group name: float [size]}`; larger stays longer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfgraphprune.batches import Data, as_dataset, check
from tfgraphprune.errors import UserError
from tfgraphprune.graph.groups import ChannelGroup, GroupAxis
from tfgraphprune.graph.layer_graph import LayerGraph, layer_at
from tfgraphprune.outputs import gives_probabilities

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
            variable = _variable(graph, axis)
            if axis.role == "through" and variable.name.split("/")[-1].startswith("gamma"):
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


@dataclass(frozen=True, eq=False)
class Taylor:
    """First-order Taylor expansion: |sum of weight times gradient| over a channel's filters.

    Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, on the
    squared sums over each batch.

    Attributes:
        data: `(x, y)` arrays or a batched data set, with class labels.
        batch_size: examples a gradient, for arrays.
        from_logits: whether the model ends in logits; by default read off its last activation.
    """

    data: Data
    batch_size: int = 64
    from_logits: bool | None = None

    def __post_init__(self) -> None:
        check(self.data, "data")

    def __call__(self, graph: LayerGraph) -> Importance:
        """Importance of every group."""
        model = graph.model
        places = [a for group in graph.channel_groups for a in _producer_axes(group)]
        # Not `model.trainable_variables`: channels of frozen layers have an importance as well.
        variables = list({id(v): v for v in (_variable(graph, a) for a in places)}.values())
        index = {id(v): i for i, v in enumerate(variables)}
        logits = (
            self.from_logits if self.from_logits is not None else not gives_probabilities(model)
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)

        @tf.function
        def gradients(x: tf.Tensor, y: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                value = loss(y, model(x, training=False))
            return tape.gradient(value, variables, unconnected_gradients="zero")

        totals = {g.name: np.zeros(g.size) for g in graph.channel_groups}
        for x, y, *_ in as_dataset(self.data, self.batch_size):
            if y.shape.rank == 2 and y.shape[-1] > 1:
                y = tf.argmax(y, -1)
            products = [(v * g).numpy() for v, g in zip(variables, gradients(x, y), strict=True)]
            for group in graph.channel_groups:
                batch = np.zeros(group.size)
                for axis in _producer_axes(group):
                    product = products[index[id(_variable(graph, axis))]]
                    rows = np.moveaxis(product, axis.axis, 0)
                    batch += rows.reshape(len(rows), -1).sum(1)[axis.positions].sum(1)
                totals[group.name] += batch**2
        return totals


CRITERIA: Mapping[str, Criterion] = {
    "l1": l1,
    "l2": l2,
    "batchnorm_scale": batchnorm_scale,
    "random": Random(),
}


def resolve_criterion(criterion: str | Criterion) -> Criterion:
    """The criterion with this name, or the object itself.

    Raises:
        UserError: neither a known name nor callable.
    """
    if callable(criterion):
        return criterion
    if criterion not in CRITERIA:
        raise UserError(
            f"criterion must be one of {', '.join(CRITERIA)} or an object such as "
            f"criteria.Taylor(data), not {criterion!r}."
        )
    return CRITERIA[criterion]


def _producer_axes(group: ChannelGroup) -> list[GroupAxis]:
    return [axis for axis in group.axes if axis.role == "out"]


def _over_producers(
    graph: LayerGraph, norm: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """Sum over a group's producing kernels (biases left out) of a norm of each channel's filter."""
    result = {}
    for group in graph.channel_groups:
        total = np.zeros(group.size)
        for axis in _producer_axes(group):
            kernel = _variable(graph, axis).numpy()
            if kernel.ndim > 1:
                filters = np.moveaxis(kernel, axis.axis, 0).reshape(kernel.shape[axis.axis], -1)
                total += norm(filters)[axis.positions].sum(1)
        result[group.name] = total
    return result


def _variable(graph: LayerGraph, axis: GroupAxis) -> Any:
    return layer_at(graph.model, axis.path).weights[axis.weight]
