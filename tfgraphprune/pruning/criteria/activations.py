"""Importance from the activations that flow to the kernels that read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.batches import Data, as_dataset, check
from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.graph.reader import Call
from tfgraphprune.pruning.criteria.weights import Importance, l2

STATISTICS = ("mean_abs", "rms", "active")


@dataclass(frozen=True, eq=False)
class Activations:
    """A statistic of each channel's activations, where consumers' kernels read them.

    `mean_abs` is the mean absolute activation (Molchanov et al., "Pruning Convolutional Neural
    Networks for Resource Efficient Inference", ICLR 2017, section 2.2), `rms` its root mean
    square, and `active` the share of positions where it is above zero, that is one minus the APoZ
    of Hu et al., "Network Trimming", arXiv 1607.03250. Of several readers the mean counts.

    Attributes:
        data: `(x, y)` arrays or a batched data set; labels are not read.
        statistic: one of `STATISTICS`.
        batch_size: examples a forward pass, for arrays.
    """

    data: Data
    statistic: str = "mean_abs"
    batch_size: int = 64

    def __post_init__(self) -> None:
        check(self.data, "data")
        if self.statistic not in STATISTICS:
            raise UserError(f"statistic must be one of {STATISTICS}, not {self.statistic!r}.")

    def __call__(self, graph: LayerGraph) -> Importance:
        """Importance of every group; groups that no tensor carries, as heads, get their L2 norm."""
        totals = {g.name: np.zeros((2, g.size)) for g in graph.channel_groups}
        for x, *_ in as_dataset(self.data, self.batch_size):
            for ids, value in self._read(graph, x):
                for name, index, entry in graph.channels_of(ids):
                    np.add.at(totals[name][0], index, value.ravel()[entry])
                    np.add.at(totals[name][1], index, 1)
        norms, importance = l2(graph), {}
        for name, (total, count) in totals.items():
            mean = total / np.maximum(count, 1)
            value = np.sqrt(mean) if self.statistic == "rms" else mean
            importance[name] = value if count.any() else norms[name]
        return importance

    def _read(self, graph: LayerGraph, x: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of every tensor that a kernel reads its channel ids, and the statistic likewise."""
        readers = {a.path for group in graph.channel_groups for a in group.axes if a.role == "in"}
        found: list[tuple[np.ndarray, np.ndarray]] = []

        def visit(call: Call, args: tuple, kwargs: dict) -> Any:
            inside = graph.inside(call.key)
            if inside is not None:
                flat = [t for t in tf.nest.flatten((args, kwargs)) if tf.is_tensor(t)]
                given = call.model_inputs(args, kwargs) if call.is_model else flat
                return inside.interpret(given, visit)
            if graph.path_of(call.layer) in readers:
                tensors = [t for t in tf.nest.flatten((args, kwargs)) if tf.is_tensor(t)]
                for tensor, labels in zip(tensors, graph.labels(call.key)[0], strict=True):
                    if tensor.dtype.is_floating and labels.ids.size > 1:
                        over = [0, *(a + 1 for a, n in enumerate(labels.ids.shape) if n == 1)]
                        found.append((labels.ids, tf.reduce_mean(self._of(tensor), over).numpy()))
            return call.layer(*args, **call.in_inference(kwargs))

        dialect, model = graph.program.dialect, graph.model
        functional = dialect.has_layer_graph(model)
        given = dialect.model_inputs(model, x) if functional else tf.nest.flatten(x)
        graph.program.interpret(given, visit)
        return found

    def _of(self, tensor: tf.Tensor) -> tf.Tensor:
        if self.statistic == "active":
            return tf.cast(tensor > 0, tf.float32)
        tensor = tf.cast(tensor, tf.float32)
        return tf.square(tensor) if self.statistic == "rms" else tf.abs(tensor)
