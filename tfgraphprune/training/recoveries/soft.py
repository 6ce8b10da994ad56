"""Soft filter pruning: filters are zeroed after each epoch, and go on training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tf_keras as keras

from tfgraphprune.graph.axes import silence
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.composition import carried_over
from tfgraphprune.pruning.criteria import l2
from tfgraphprune.pruning.masking import copy_model
from tfgraphprune.pruning.plan import PruningPlan, most_important
from tfgraphprune.pruning.tasks import compile_alike
from tfgraphprune.training.finetune import finetune
from tfgraphprune.training.recoveries.base import Recovered, RecoveryCase


def soft(case: RecoveryCase) -> Recovered:
    """Train the whole network, zeroing the filters of least L2 norm after each epoch; then cut.

    He et al., "Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks", IJCAI
    2018, over coupled channels: a channel's filters in all layers of its group are ranked and
    zeroed together. How many stay is the plan's, which ones is decided anew after each epoch.
    The paper does so for 200 epochs; here it is the first half of them, and the cut network is
    fine-tuned in the second, as filters do not fade away in a short training.
    """
    epochs = case.settings.epochs
    if not epochs:
        return Recovered(case.cut(), case.plan)
    whole = copy_model(case.graph.model)
    compile_alike(whole, case.graph.model)
    graph = LayerGraph.from_model(whole)
    plan = carried_over(case.plan, case.graph, graph)
    zeroing = ZeroFilters(graph, {name: len(kept) for name, kept in plan.kept.items()})
    arguments = case.training(epochs - epochs // 2, "soft")
    rows = finetune(whole, case.train_data, callbacks=(zeroing,), **arguments)
    chosen = PruningPlan(zeroing.choose(), graph.fingerprint)
    chosen = carried_over(chosen, graph, case.graph)
    return case.train(case.cut(whole, chosen), epochs // 2, chosen, rows)


class ZeroFilters(keras.callbacks.Callback):
    """Zeroes the least important filters at the end of each epoch.

    Args:
        graph: of the network in training, or what a copy of it in another precision is trained for.
        counts: channels that stay, by the group's name.
    """

    def __init__(self, graph: LayerGraph, counts: Mapping[str, int]):
        super().__init__()
        self._whole = graph.model
        self._graph = graph
        self._counts = counts

    def choose(self) -> dict[str, tuple[int, ...]]:
        """The channels that stay by the weights of now; zeroed ones come last."""
        importance = l2(self._graph)
        return {
            name: most_important(importance[name], count) for name, count in self._counts.items()
        }

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Zero what is not chosen, in the kernels and biases that make the channels."""
        trained = getattr(self.model, "student", self.model)
        if trained is None or trained is self._whole:
            self._zero()
            return
        self._whole.set_weights(trained.get_weights())
        self._zero()
        trained.set_weights(self._whole.get_weights())

    def _zero(self) -> None:
        for name, kept in self.choose().items():
            group = self._graph.group(name)
            removed = np.setdiff1d(np.arange(group.size), kept)
            makers = {axis.path for axis in group.axes if axis.role == "out"}
            for axis in group.axes:
                variable = self._graph.variable(axis) if axis.weight >= 0 else None
                bias = axis.path in makers and axis.role == "through"
                if variable is None or not (axis.role == "out" or bias):
                    continue
                positions = axis.positions[removed].ravel()
                factor = silence(None, variable.shape, axis.axis, axis.blocks, positions)
                variable.assign(variable * factor)
