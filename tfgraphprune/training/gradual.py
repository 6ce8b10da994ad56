"""Gradual pruning with tfmot: its schedule shrinks whole channels while the network trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl, pruning_wrapper

from tfgraphprune.batches import Data
from tfgraphprune.errors import UserError
from tfgraphprune.graph.groups import ChannelGroup, GroupAxis
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.criteria import Criterion, resolve_criterion
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.pruning.rebuild import Rebuild, distributed_as
from tfgraphprune.pruning.tasks import compile_alike
from tfgraphprune.training.finetune import finetune, steps_an_epoch
from tfgraphprune.training.fit import Row

_RAMP_SHARE = 0.5
"""Share of the training in which channels go; the rest trains the network that is left."""

_UPDATES = 50
"""About how many times the masks change on the way."""


class ChannelGate:
    """The shared mask of one channel group: every kernel that reads the group follows it.

    Args:
        group: the channel group.
        kept: indices that stay at the end.
        importance: float `[size]`; of the channels that go, the least important go first.
    """

    def __init__(self, group: ChannelGroup, kept: tuple[int, ...], importance: np.ndarray):
        going = np.setdiff1d(np.arange(group.size), kept)
        going = going[np.argsort(importance[going], kind="stable")]
        place = np.full(group.size, len(going) + 1)
        place[going] = np.arange(len(going))
        self._place = tf.constant(place, tf.float32)
        self._count = len(going)

    def open(self, progress: tf.Tensor) -> tf.Tensor:
        """1 for each channel that is left at `progress` (0 to 1), else 0; float32 `[size]`."""
        return tf.cast(self._place >= tf.round(progress * self._count), tf.float32)


Gated = tuple[Any, GroupAxis, ChannelGate]
"""A weight, the axis of it that reads a group, and the group's gate."""


class _ChannelPruning(pruning_impl.Pruning):
    """tfmot's pruning object with masks read off the shared gates instead of magnitudes."""

    def __init__(self, gates: list[Gated], final: float, **arguments: Any):
        super().__init__(**arguments)
        self._gates = gates
        self._final = final

    def _maybe_update_block_mask(self, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        sparsity = self._pruning_schedule(self._step_fn())[1]
        progress = tf.cast(sparsity, tf.float32) / self._final
        mask = tf.ones(weights.shape)
        for variable, axis, gate in self._gates:
            if variable is not weights:
                continue
            size, width = axis.positions.shape[0], weights.shape[axis.axis] * axis.blocks
            # Positions of other groups on the same axis read the extra entry, which is always 1.
            index = np.full(width, size)
            index[axis.positions] = np.arange(size)[:, None]
            line = tf.gather(tf.concat([gate.open(progress), [1.0]], 0), index)
            shape = [1] * len(weights.shape)
            shape[axis.axis] = weights.shape[axis.axis]
            if axis.blocks > 1:  # each block of the last axis reads other channels
                rows = tf.transpose(tf.reshape(line, [axis.blocks, -1]))
                line = tf.repeat(rows, weights.shape[-1] // axis.blocks, axis=1)
                shape[-1] = weights.shape[-1]
            mask *= tf.reshape(line, shape)
        return tf.cast(sparsity, weights.dtype), tf.cast(mask, weights.dtype)


class PruneChannels(pruning_wrapper.PruneLowMagnitude):
    """tfmot's wrapper around a layer whose kernel reads channels that are going.

    A subclass of `PruneLowMagnitude`, so that tfmot's `UpdatePruningStep`, `PruningSummaries` and
    `strip_pruning` know it.

    Args:
        layer: a Keras layer that tfmot can wrap.
        gates: where its kernels read which group.
        final: the schedule's last sparsity.
        pruning_schedule: tfmot's schedule, from 0 to `final`.
    """

    def __init__(
        self,
        layer: Any,
        gates: list[Gated],
        final: float,
        pruning_schedule: Any,
        **kwargs: Any,
    ):
        super().__init__(layer, pruning_schedule=pruning_schedule, **kwargs)
        self._gates = gates
        self._final = final

    def build(self, input_shape: Any) -> None:
        """Build tfmot's wrapper and put the shared gates in the place of its pruning object."""
        super().build(input_shape)
        masked = [weight for weight, _, _ in self.pruning_vars]
        for variable, _, _ in self._gates:
            if not any(variable is weight for weight in masked):
                raise UserError(
                    f"tfmot does not mask {variable.name!r} of {self.layer.name!r}, which reads "
                    "channels that are going: use another recovery."
                )
        self.pruning_obj = _ChannelPruning(
            self._gates,
            self._final,
            training_step_fn=lambda: self.pruning_step,
            pruning_vars=self.pruning_vars,
            pruning_schedule=self.pruning_schedule,
            block_size=self.block_size,
            block_pooling_type=self.block_pooling_type,
        )


def wrap(
    graph: LayerGraph,
    plan: PruningPlan,
    steps: int,
    criterion: str | Criterion = "l2",
    schedule: str = "polynomial",
) -> Any:
    """A copy of the graph's model whose channels go while it trains, under tfmot's callback.

    Args:
        graph: the dense model's graph.
        plan: what is left at the end.
        steps: training steps in all; by default channels go in the first half of them.
        criterion: decides which of the channels that go are the first.
        schedule: `polynomial`, or `constant` for all in the first step.
    """
    # Layers made of layers are taken apart, as with anything to be swapped: tfmot wraps plain ones.
    rebuilt = Rebuild(graph, graph.kept({}), swap=lambda layer, path: None)
    copy = rebuilt.model
    importance = resolve_criterion(criterion)(graph)
    sizes = {group.name: group.size for group in graph.channel_groups}
    total = sum(sizes[name] for name in plan.kept)
    final = 1 - sum(map(len, plan.kept.values())) / max(total, 1)
    if final <= 0:
        compile_alike(copy, graph.model)
        return copy
    end = max(1, round(steps * _RAMP_SHARE))
    if schedule == "constant":
        # Step 1 is the first that tfmot sees.
        decay = tfmot.sparsity.keras.ConstantSparsity(final, 1, -1, frequency=1)
    else:
        decay = tfmot.sparsity.keras.PolynomialDecay(
            0.0, final, begin_step=0, end_step=end, frequency=update_frequency(end)
        )
    gates = _gates_by_layer(graph, rebuilt, plan.kept, importance)

    def clone(layer: Any) -> Any:
        if isinstance(layer, keras.Model):
            return keras.models.clone_model(layer, clone_function=clone)
        if id(layer) in gates:
            return PruneChannels(layer, gates[id(layer)], final, decay)
        return layer

    with distributed_as(copy):
        wrapped = keras.models.clone_model(copy, clone_function=clone)
    compile_alike(wrapped, graph.model)
    return wrapped


def callbacks(log_dir: Path | None = None) -> list[Any]:
    """tfmot's callbacks: the pruning step, and with `log_dir` its summaries for TensorBoard."""
    result = [tfmot.sparsity.keras.UpdatePruningStep()]
    if log_dir is not None:
        result.append(tfmot.sparsity.keras.PruningSummaries(log_dir=str(log_dir)))
    return result


def strip(model: Any) -> Any:
    """The plain model inside the wrappers, with zeros where channels went."""
    return tfmot.sparsity.keras.strip_pruning(model)


def train(
    graph: LayerGraph,
    plan: PruningPlan,
    train_data: Data,
    *,
    epochs: int,
    batch_size: int,
    schedule: str = "polynomial",
    log_dir: Path | None = None,
    **arguments: Any,
) -> tuple[Any, list[Row]]:
    """Wrap, train and strip.

    Args:
        graph: the dense model's graph.
        plan: what is left at the end.
        train_data: what to train on.
        epochs: passes over it.
        batch_size: for arrays.
        schedule: see `wrap`.
        log_dir: for TensorBoard.
        arguments: further ones of `finetune`.

    Returns:
        The dense model with zeros where channels went, layers made of layers taken apart, and a row
        for each epoch.
    """
    steps = epochs * steps_an_epoch(train_data, batch_size)
    wrapped = wrap(graph, plan, steps, schedule=schedule)
    rows = finetune(
        wrapped,
        train_data,
        epochs=epochs,
        batch_size=batch_size,
        log_dir=log_dir,
        callbacks=tuple(callbacks(log_dir)),
        **arguments,
    )
    with distributed_as(graph.model):
        return strip(wrapped), rows


def train_model(model: Any, plan: PruningPlan, train_data: Data, **arguments: Any) -> Any:
    """`train` for a model that is yet to be read: what a worker process runs."""
    return train(LayerGraph.from_model(model), plan, train_data, **arguments)


def update_frequency(end: int) -> int:
    """Steps between updates: a divisor of `end`, so that the last update is the final one."""
    rough = max(1, end // _UPDATES)
    return max(step for step in range(1, rough + 1) if end % step == 0)


def _gates_by_layer(
    graph: LayerGraph,
    rebuilt: Rebuild,
    kept: Mapping[str, tuple[int, ...]],
    importance: Mapping[str, np.ndarray],
) -> dict[int, list[Gated]]:
    """For each consumer layer of the copy, where it reads which gate."""
    gates: dict[int, list[Gated]] = {}
    for group in graph.prunable_groups:
        if len(kept.get(group.name, range(group.size))) == group.size:
            continue
        gate = ChannelGate(group, kept[group.name], np.asarray(importance[group.name]))
        for axis in group.axes:
            if axis.role == "in":
                layer = rebuilt.layers[axis.path]
                gated = layer.weights[axis.weight], axis, gate
                gates.setdefault(id(layer), []).append(gated)
    return gates
