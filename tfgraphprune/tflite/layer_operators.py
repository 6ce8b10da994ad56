"""The operators that a network's layers become on a device, as functions of channel counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfgraphprune.cost.model_cost import AxisSize, axis_sizes, dense_counts
from tfgraphprune.cost.table_cost import KernelTable
from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph, LayerNode
from tfgraphprune.tflite.latency_table import LatencyTable
from tfgraphprune.tflite.operators import Operator

_POINTS = 7
"""Most grid points along an axis of channels."""

_STEPS = (8, 16, 32)
_AS_GOOD = 0.03
"""Difference in waste, as a share of the time, below which two steps are as good."""

_FUSED = frozenset(
    "InputLayer Dropout SpatialDropout1D SpatialDropout2D Flatten Reshape BatchNormalization "
    "SyncBatchNormalization ReLU Rescaling Normalization ActivityRegularization GaussianNoise "
    "GaussianDropout AlphaDropout".split()
)
"""Layers that the converter folds into their neighbours, or that move no data."""

_FUSED_ACTIVATIONS = ("relu", "relu6", "linear")


@dataclass(frozen=True, eq=False)
class Kernel:
    """A layer's operator, and what its channels depend on.

    Attributes:
        layer: the layer's path, as text.
        operator: at the dense sizes.
        reads: channels that it reads; of `depthwise` always 1, as those that it makes say it.
        makes: channels that it makes.
        calls: how often it runs for one example.
    """

    layer: str
    operator: Operator
    reads: AxisSize
    makes: AxisSize
    calls: int = 1

    def at(self, inputs: int, outputs: int) -> Operator:
        """The operator at other numbers of channels."""
        if self.operator.kind == "depthwise":
            times = self.operator.outputs // self.operator.inputs
            return replace(self.operator, inputs=max(1, outputs // times), outputs=outputs)
        return replace(self.operator, inputs=inputs, outputs=outputs)


def kernels_of(graph: LayerGraph) -> list[Kernel]:
    """The convolutions and dense layers of a graph, by layer call.

    Raises:
        UserError: a spatial size is unknown.
    """
    sizes, groups = axis_sizes(graph), len(graph.prunable_groups)

    def size(path: tuple[str, ...], weight: int, axis: int, whole: int) -> AxisSize:
        return sizes.get((path, weight, axis)) or AxisSize(np.zeros(groups), float(whole))

    found: list[Kernel] = []
    for node in graph.nodes:
        layer = graph.layer(node.path)
        for index, operator in _operators(graph, node, layer):
            rank = len(layer.weights[index].shape)
            reads = size(node.path, index, rank - 2, operator.inputs // operator.blocks)
            makes = size(node.path, index, rank - 1, operator.outputs)
            if operator.blocks > 1:
                reads = AxisSize(reads.slope * operator.blocks, reads.fixed * operator.blocks)
            if operator.kind == "depthwise":  # what it reads is no second size
                times = operator.outputs // operator.inputs
                makes = AxisSize(reads.slope * times, reads.fixed * times)
                reads = AxisSize(np.zeros(groups), 1.0)
            found.append(Kernel("/".join(node.path), operator, reads, makes))
    return found


def elements_of(graph: LayerGraph) -> AxisSize:
    """Numbers that operators beside the kernels write for one example, as a function of counts.

    Merges, poolings, activations that are not fused, resizing and the like; what they read counts
    half as much again for each input after the first.
    """
    column = {group.name: i for i, group in enumerate(graph.prunable_groups)}
    slope, fixed = np.zeros(len(column)), 0.0
    for node in graph.nodes:
        layer = graph.layer(node.path)
        if _operators(graph, node, layer) or _is_fused(node, layer):
            continue
        inputs, outputs = graph.labels(node.name)
        weight = 0.5 * (1 + len(inputs))
        for labels in outputs:
            known = [n for n in labels.shape if n is not None]
            share = weight * math.prod(known) / max(1, labels.ids.size)
            free = 0
            for name, _, places in graph.channels_of(labels.ids):
                if name in column:
                    slope[column[name]] += share * len(places) / graph.group(name).size
                    free += len(places)
            fixed += share * (labels.ids.size - free)
    return AxisSize(slope, fixed)


def tables_of(
    graph: LayerGraph, kernels: Sequence[Kernel], table: LatencyTable, step: int
) -> list[KernelTable]:
    """Measured tables of kernels, on grids of multiples of `step`.

    Args:
        graph: which has the kernels.
        kernels: of the graph.
        table: of the device.
        step: channel multiple of the grid.
    """
    dense, least = dense_counts(graph), np.minimum(1, dense_counts(graph))
    grids = []
    wanted: list[Operator] = []
    for kernel in kernels:
        reads, makes = (
            _grid(float(least @ a.slope) + a.fixed, float(dense @ a.slope) + a.fixed, step,
                  _blocks(kernel.operator))
            for a in (kernel.reads, kernel.makes)
        )  # fmt: skip
        grids.append((reads, makes))
        wanted += [kernel.at(i, o) for i in reads for o in makes]
    times = iter(table.milliseconds(wanted))
    found = []
    for kernel, (reads, makes) in zip(kernels, grids, strict=True):
        costs = np.array([[next(times) for _ in makes] for _ in reads])
        found.append(
            KernelTable(
                kernel.reads, kernel.makes, np.array(reads, float), np.array(makes, float), costs
            )
        )
    return found


def channel_steps(
    graph: LayerGraph, kernels: Sequence[Kernel], table: LatencyTable
) -> dict[str, int]:
    """For each group, by name, the step that suits the device.

    Of 8, 16 and 32, up to half of the group, the one whose multiples take least time for a
    channel in the kernels that make them; the smaller of two that are as good.
    """
    made: dict[str, list[Kernel]] = {}
    for kernel in kernels:
        made.setdefault(kernel.layer, []).append(kernel)
    found: dict[str, int] = {}
    for group in graph.prunable_groups:
        makers = {k.operator: k for layer in group.producers for k in made.get(layer, ())}
        steps = [s for s in _STEPS if 2 * s <= group.size]
        if not makers or not steps:
            continue

        def spent(
            count: int, size: int = group.size, those: Sequence[Kernel] = tuple(makers.values())
        ) -> float:
            """Time of the makers with so many of the group's channels, others' being whole."""
            outputs = [(k, k.operator.outputs - size + count) for k in those]
            return sum(
                table.milliseconds([k.at(k.operator.inputs, n) for k, n in outputs if n > 0])
            )

        least, most = spent(0), spent(group.size)
        waste = {}
        for step in steps:
            counts = list(range(step, group.size, step))
            counts = counts[:: -(-len(counts) // _POINTS)]
            shares = [(spent(n) - least) / max(most - least, 1e-9) * group.size / n for n in counts]
            waste[step] = float(np.mean(shares))
        best = min(waste.values())
        found[group.name] = next(s for s in steps if waste[s] <= best + _AS_GOOD)
    return found


def _blocks(o: Operator) -> int:
    """What numbers of channels must be multiples of."""
    return o.outputs // o.inputs if o.kind == "depthwise" else o.blocks


def _grid(least: float, most: float, step: int, blocks: int) -> list[int]:
    """Multiples of the step from the least to the most channels, not too many, and the most."""
    step = math.lcm(step, blocks)
    whole = round(most)
    if round(least) >= whole:
        return [whole]
    first = max(step, round(least / step) * step)
    multiples = np.arange(first, whole + 1, step)
    if len(multiples) > _POINTS:
        # Close at the lower end, where a step is a larger share.
        places = np.geomspace(first, whole, _POINTS) / step
        multiples = np.unique(np.round(places).astype(int)) * step
    lowest = max(blocks, round(least / blocks) * blocks)
    return sorted({lowest, *(int(m) for m in multiples if m < whole), whole})


def _operators(graph: LayerGraph, node: LayerNode, layer: Any) -> list[tuple[int, Operator]]:
    """A call's operators, each with the index of its kernel in the layer's weights."""
    kind = node.type
    if kind not in ("Dense", "Conv1D", "Conv2D", "DepthwiseConv2D", "SeparableConv2D"):
        return []
    if kind != "Dense" and (
        layer.data_format != "channels_last" or layer.padding not in ("same", "valid")
    ):
        return []
    shape = [n for n in graph.labels(node.name)[0][0].shape if n is not None]
    if len(shape) < len(graph.labels(node.name)[0][0].shape):
        raise UserError(
            f"latency needs a fixed input size, but the size at layer {node.name!r} is unknown: "
            "build the model with a full input shape."
        )
    channels = shape[-1]
    if kind == "Dense":
        return [(0, Operator("dense", 1, math.prod(shape[:-1]), channels, int(layer.units)))]
    line = kind == "Conv1D"
    height, width = (1, shape[0]) if line else (shape[0], shape[1])
    window: dict[str, Any] = {
        "kernel": (1, *layer.kernel_size) if line else tuple(layer.kernel_size),
        "strides": (1, *layer.strides) if line else tuple(layer.strides),
        "dilations": (1, *layer.dilation_rate) if line else tuple(layer.dilation_rate),
        "padding": layer.padding,
    }
    if kind in ("Conv1D", "Conv2D"):
        blocks, filters = int(layer.groups), int(layer.filters)
        return [(0, Operator("conv", height, width, channels, filters, **window, blocks=blocks))]
    deep = channels * int(layer.depth_multiplier)
    first = Operator("depthwise", height, width, channels, deep, **window)
    if kind == "DepthwiseConv2D":
        return [(0, first)]
    _, height, width, _ = first.shape
    return [(0, first), (1, Operator("conv", height, width, deep, int(layer.filters)))]


def _is_fused(node: LayerNode, layer: Any) -> bool:
    if node.type in _FUSED:
        return True
    activation = getattr(getattr(layer, "activation", None), "__name__", "")
    return node.type == "Activation" and activation in _FUSED_ACTIVATIONS
