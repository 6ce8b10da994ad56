"""Least-squares correction of the kernels that read cut channels; no training.

He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017, as used in He
et al., "AMC: AutoML for Model Compression", ECCV 2018: `min over W of |Y - X W|^2`, where Y are
the dense network's outputs of a layer at sampled positions and X what is left of its input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from absl import logging

from tfgraphprune.batches import Data, batched, check, model_inputs, sample
from tfgraphprune.errors import UserError
from tfgraphprune.graph.labels import Kept
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.patches import PatchSampler, Path, kernel_of
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.pruning.rebuild import Rebuild
from tfgraphprune.pruning.tasks import assembled

_BATCH_NORMS = ("BatchNormalization", "SyncBatchNormalization")

_MOST_PASSES = 24
"""Forward passes over the data; a deeper network has several layers corrected in each."""


@dataclass(frozen=True, eq=False)
class _Consumer:
    """A kernel that reads cut channels.

    Attributes:
        dense: its layer in the dense model.
        small: its layer in the pruned one.
        outputs: positions of the dense kernel's last axis that stay.
        norms: in the pruned model, the BatchNorms that alone read its outputs; their means take up
            a constant that is added to the outputs.
    """

    dense: Any
    small: Any
    outputs: np.ndarray
    norms: tuple[Any, ...]

    @property
    def bias(self) -> Any:
        """The variable that is added to the outputs, or `None`."""
        return getattr(self.small, "bias", None)


def reconstruct(
    model: Any,
    plan: PruningPlan,
    data: Data,
    *,
    examples: int = 1000,
    points: int = 10,
    ridge: float = 1e-3,
    batch_size: int = 100,
    seed: int = 0,
) -> Any:
    """Cut a model, and fit the kernels that lost inputs to the outputs they had.

    Layers are corrected in the order of the data's flow, each on what the corrected layers before
    it make. Convolutions (pointwise ones behind depthwise ones too), separable convolutions and
    dense layers are corrected; other consumers stay as they were cut, and the log names them.
    BatchNorm keeps the dense model's variances, which the outputs are fitted to: re-estimating
    them would scale the part that could not be fitted up again.

    Args:
        model: the dense model; it is not changed.
        plan: what stays.
        data: training examples, `(x, y)` arrays or a batched data set; labels are not read.
        examples: how many of them to use, of arrays a random choice.
        points: positions for an example and layer.
        ridge: weight that keeps a kernel near its cut values, as a share of the mean square of
            its inputs.
        batch_size: examples a forward pass.
        seed: of the examples and positions.

    Returns:
        The pruned model, as `prune` gives it.

    Raises:
        UserError: data that can't be used, a number out of range, a plan for another model.
    """
    check(data, "data")
    for name, value in (("examples", examples), ("points", points), ("batch_size", batch_size)):
        if value < 1:
            raise UserError(f"{name} must be 1 or more, not {value!r}.")
    if not ridge > 0:
        raise UserError(f"ridge must be above 0, not {ridge!r}.")
    graph = LayerGraph.from_model(model)
    plan.check(graph)
    kept = graph.kept(plan.kept)
    rebuilt = Rebuild(graph, kept)
    consumers = _consumers(graph, kept, rebuilt)
    images, _ = sample(data, examples, seed)
    batches = batched(model_inputs(images, model), batch_size)
    targets = PatchSampler(graph, {p: c.dense for p, c in consumers.items()}, points, seed)(batches)
    small = PatchSampler(
        LayerGraph.from_model(rebuilt.model), {p: c.small for p, c in consumers.items()}, points,
        seed,
    )  # fmt: skip
    order = list(consumers)
    at_a_time = max(1, -(-len(order) // _MOST_PASSES))
    for start in range(0, len(order), at_a_time):
        rows = small(batches)
        for path in order[start : start + at_a_time]:
            _correct(consumers[path], targets.pop(path), rows[path], ridge)
    return assembled(model, rebuilt.model)


def _consumers(graph: LayerGraph, kept: Kept, rebuilt: Rebuild) -> dict[Path, _Consumer]:
    """The supported layers with a cut input axis, in the order of their first calls."""
    cut: dict[Path, Any] = {}
    for axis in graph.weight_axes():
        if axis.role == "in" and len(kept.positions(axis.ids)) < len(axis.ids):
            cut[axis.path] = axis
    found, left = dict[Path, _Consumer](), []
    for node in graph.nodes:
        if node.path not in cut or node.path in found:
            continue
        layer, small = graph.layer(node.path), rebuilt.layers.get(node.path)
        kernel = kernel_of(layer)
        if kernel is None or small is None or cut[node.path].axis != len(kernel.shape) - 2:
            left.append("/".join(node.path))
            continue
        outputs = np.arange(kernel.shape[-1])
        index = [id(v) for v in layer.weights].index(id(kernel))
        for axis in graph.weight_axes():
            if (axis.path, axis.weight, axis.axis) == (node.path, index, len(kernel.shape) - 1):
                outputs = kept.positions(axis.ids)
        readers = [n for n in graph.nodes if node.name in n.inputs]
        # The constant of a layer that is called twice would have to be in both calls' BatchNorms.
        once = sum(n.path == node.path for n in graph.nodes) == 1
        # It belongs before an activation of the layer's own, so what is after that can't take it.
        once = once and getattr(layer.activation, "__name__", "") == "linear"
        normalised = all(n.type in _BATCH_NORMS and n.path in rebuilt.layers for n in readers)
        norms = tuple(rebuilt.layers[n.path] for n in readers) if once and normalised else ()
        found[node.path] = _Consumer(layer, small, outputs, norms)
    if left:
        logging.info("not corrected, as only cut: %s", ", ".join(left))
    return found


def _correct(consumer: _Consumer, dense: np.ndarray, rows: np.ndarray, ridge: float) -> None:
    """Solve for the kernel, and the bias where there is one.

    Args:
        consumer: the layer in both models.
        dense: what its kernel reads in the dense model `[n, k]`.
        rows: likewise in the pruned model, at the same positions.
        ridge: see `reconstruct`.
    """
    kernel = kernel_of(consumer.small)
    old = kernel_of(consumer.dense).numpy()[..., consumer.outputs]
    target = dense @ old.reshape(-1, old.shape[-1])
    now = kernel.numpy().reshape(-1, kernel.shape[-1]).astype(np.float64)
    error = target.astype(np.float64) - rows @ now
    x = rows.astype(np.float64)
    means = x.mean(0), error.mean(0)
    constant = consumer.bias is not None or consumer.norms
    if constant:
        x, error = x - means[0], error - means[1]
    gram = x.T @ x / len(x)
    weight = ridge * max(float(np.trace(gram)) / len(gram), 1e-12)
    change = np.linalg.solve(gram + weight * np.eye(len(gram)), x.T @ error / len(x))
    kernel.assign((now + change).reshape(kernel.shape).astype(np.float32))
    if not constant:
        return
    shift = (means[1] - means[0] @ change).astype(np.float32)
    if consumer.bias is not None:
        consumer.bias.assign_add(shift)
    else:
        for norm in consumer.norms:
            norm.moving_mean.assign_sub(shift)
