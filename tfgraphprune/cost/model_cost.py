"""MACs, parameters and file size as functions of the channels kept in each prunable group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.graph.trace import TracedWeight

BYTES_PER_FLOAT = 4


class Cost(Protocol):
    """Anything that prices channel counts; must not fall when a count rises."""

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """Cost of each row of counts `[..., groups]`; float64 `[...]`."""
        ...


@dataclass(frozen=True, eq=False)
class ProductCost:
    """A sum over weights of `scale * size of one axis * size of another`.

    Exact for MACs and parameters: a weight has at most two axes with channels, and the size of
    each is a sum of the counts of the groups that lie on it.

    Attributes:
        scale: float64 `[weights]`.
        axes: float64 `[2, weights, groups]`: positions along the axis for each channel kept.
        fixed: float64 `[2, weights]`: positions that no plan cuts.
    """

    scale: np.ndarray
    axes: np.ndarray
    fixed: np.ndarray

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """Cost of each row of counts `[..., groups]`."""
        return self.by_weight(counts).sum(-1)

    def by_weight(self, counts: np.ndarray) -> np.ndarray:
        """The cost of each weight; float64 `[..., weights]`."""
        counts = np.asarray(counts, np.float64)
        first, second = (counts @ a.T + f for a, f in zip(self.axes, self.fixed, strict=True))
        return self.scale * first * second


@dataclass(frozen=True, eq=False)
class ShiftedCost:
    """A cost and a constant beside it.

    Attributes:
        cost: what depends on the counts.
        constant: what does not.
    """

    cost: Cost
    constant: float

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """Cost of each row of counts `[..., groups]`."""
        return self.cost(counts) + self.constant


@dataclass(frozen=True, eq=False)
class AxisSize:
    """The size of a weight's axis as a function of counts: `counts @ slope + fixed`.

    Attributes:
        slope: float64 `[groups]`: positions for each channel kept.
        fixed: positions that no plan cuts.
    """

    slope: np.ndarray
    fixed: float


def macs_cost(graph: LayerGraph) -> ProductCost:
    """Multiply-accumulates of convolutions and dense layers for one example.

    The same count as half of TensorFlow's profiler FLOPs for these ops; biases, normalization
    and activations are not counted.

    Raises:
        UserError: a spatial size is unknown.
    """
    unknown = [w.path for w in graph.weights if w.uses is None]
    if unknown:
        raise UserError(
            f"MACs need a fixed input size, but the size at layer {'/'.join(unknown[0])!r} is "
            "unknown: build the model with a full input shape."
        )
    return _product_cost(graph, lambda weight: float(weight.uses or 0))


def params_cost(graph: LayerGraph) -> ProductCost:
    """Parameters, moving statistics included, as `model.count_params()` counts them."""
    return _product_cost(graph, lambda weight: float(weight.weight >= 0))


def weight_bytes_cost(graph: LayerGraph) -> ProductCost:
    """Bytes of the weights in a float32 TFLite file, at most.

    A BatchNorm is counted with two vectors (folding leaves one or none).
    """

    def bytes_of(weight: TracedWeight) -> float:
        if weight.weight < 0:
            return 0.0
        name = graph.variable(weight).name.split("/")[-1]
        return 0.0 if name.startswith("moving_") else BYTES_PER_FLOAT

    return _product_cost(graph, bytes_of)


def file_bytes_cost(graph: LayerGraph, overhead: float) -> Cost:
    """Upper estimate of the bytes of the float32 TFLite file.

    Of a channel that goes its kernels' parts count, and not its entries in vectors, as it is not
    sure that those of biases and normalizations leave the file: folding has merged them.

    Args:
        graph: the layer graph.
        overhead: bytes of the file that are not kernels; as measured on the dense model.
    """

    def bytes_of(weight: TracedWeight) -> float:
        return BYTES_PER_FLOAT * float(weight.weight >= 0 and len(weight.shape) > 1)

    return ShiftedCost(_product_cost(graph, bytes_of), overhead)


def dense_counts(graph: LayerGraph) -> np.ndarray:
    """The sizes of the prunable groups; int `[groups]`."""
    return np.array([group.size for group in graph.prunable_groups], int)


def axis_sizes(graph: LayerGraph) -> dict[tuple[tuple[str, ...], int, int], AxisSize]:
    """The sizes of weight axes that groups lie on, by the layer's path, the weight and the axis."""
    groups, dense = graph.prunable_groups, dense_counts(graph)
    rows: dict[tuple[tuple[str, ...], int, int], np.ndarray] = {}
    for column, group in enumerate(groups):
        for place in group.axes:
            if place.role != "norm":
                row = rows.setdefault((place.path, place.weight, place.axis), np.zeros(len(groups)))
                row[column] = place.positions.shape[1] / place.blocks
    shapes = {(w.path, w.weight): w.shape for w in graph.weights}
    return {
        (path, weight, axis): AxisSize(row, shapes[path, weight][axis] - float(row @ dense))
        for (path, weight, axis), row in rows.items()
    }


def layer_costs(graph: LayerGraph, cost: ProductCost) -> dict[str, float]:
    """The dense cost of each layer, by its path."""
    values = cost.by_weight(dense_counts(graph))
    table: dict[str, float] = {}
    for weight, value in zip(graph.weights, values, strict=True):
        name = "/".join(weight.path)
        table[name] = table.get(name, 0.0) + float(value)
    return table


def _product_cost(graph: LayerGraph, factor: Callable[[TracedWeight], float]) -> ProductCost:
    weights = graph.weights
    row = {(w.path, w.weight): i for i, w in enumerate(weights)}
    groups = graph.prunable_groups
    slots: list[list[int]] = [[] for _ in weights]
    axes = np.zeros((2, len(weights), len(groups)))
    for column, group in enumerate(groups):
        for place in group.axes:
            if place.role == "norm":
                continue
            index = row[place.path, place.weight]
            if place.axis not in slots[index]:
                slots[index].append(place.axis)
            slot = slots[index].index(place.axis)
            axes[slot, index, column] = place.positions.shape[1] / place.blocks
    sizes = dense_counts(graph)
    fixed = np.ones((2, len(weights)))
    scale = np.empty(len(weights))
    for index, weight in enumerate(weights):
        scale[index] = factor(weight) * np.prod(
            [size for axis, size in enumerate(weight.shape) if axis not in slots[index]]
        )
        for slot, axis in enumerate(slots[index]):
            fixed[slot, index] = weight.shape[axis] - axes[slot, index] @ sizes
    return ProductCost(scale, axes, fixed)
