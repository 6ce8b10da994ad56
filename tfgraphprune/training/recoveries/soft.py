"""Soft filter pruning: channels are silenced after each epoch, and go on training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tf_keras as keras

from tfgraphprune.graph.axes import position_sums
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.composition import carried_over
from tfgraphprune.pruning.masking import copy_model
from tfgraphprune.pruning.plan import PruningPlan, most_important
from tfgraphprune.pruning.tasks import compile_alike
from tfgraphprune.training.finetune import finetune
from tfgraphprune.training.kernel_masks import KernelMasks
from tfgraphprune.training.recoveries.base import Recovered, RecoveryCase


def soft(case: RecoveryCase) -> Recovered:
    """Train the whole network, silencing the channels of least L2 norm after each epoch; then cut.

    He et al., "Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks", IJCAI
    2018, over coupled channels. How many stay is the plan's, which ones is decided anew after each
    epoch; a channel that was silenced has to grow back to win a place. The paper does so for 200
    epochs; here it is the first half of them, and the cut network is fine-tuned in the second, as
    channels do not fade away in a short training.

    The paper zeroes a channel's filter; here it is what reads the channel, in all layers of its
    group. Before a BatchNorm a filter of zeros has no variance, so that its gradients are up to
    `1 / sqrt(epsilon)` as large as others': filters came back within an epoch at up to sixteen
    times the norm of the others, which then went in their place, and training undid itself.
    """
    epochs = case.settings.epochs
    if not epochs:
        return Recovered(case.cut(), case.plan)
    whole = copy_model(case.graph.model)
    compile_alike(whole, case.graph.model)
    graph = LayerGraph.from_model(whole)
    plan = carried_over(case.plan, case.graph, graph)
    masks = SoftMasks(graph, {name: len(kept) for name, kept in plan.kept.items()})
    arguments = case.training(epochs - epochs // 2, "soft")
    rows = finetune(whole, case.train_data, callbacks=(masks,), **arguments)
    chosen = PruningPlan(masks.choose(), graph.fingerprint)
    chosen = carried_over(chosen, graph, case.graph)
    return case.train(case.cut(whole, chosen), epochs // 2, chosen, rows)


class SoftMasks(keras.callbacks.Callback):
    """Zeroes what reads the least important channels, at the end of each epoch.

    Args:
        graph: of the network in training, or what a copy of it in another precision is trained for.
        counts: channels that stay, by the group's name.
    """

    def __init__(self, graph: LayerGraph, counts: Mapping[str, int]):
        super().__init__()
        self._graph = graph
        self._counts = counts
        self._masks = KernelMasks(graph)

    def choose(self) -> dict[str, tuple[int, ...]]:
        """The channels that stay by the weights of now; those that were zeroed lack some."""
        importance = coupled_l2(self._graph)
        return {
            name: most_important(importance[name], count) for name, count in self._counts.items()
        }

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Zero what reads the channels that are not chosen."""
        whole = self._graph.model
        trained: Any = getattr(self.model, "student", self.model)
        copied = trained is not None and trained is not whole
        if copied:
            whole.set_weights(trained.get_weights())
        self._masks.set({name: np.array(kept) for name, kept in self.choose().items()})
        self._masks.apply()
        if copied:
            trained.set_weights(whole.get_weights())


def coupled_l2(graph: LayerGraph) -> dict[str, np.ndarray]:
    """Of each channel, the L2 norm of all kernels' slices that make it or read it.

    As in DepGraph (Fang et al., CVPR 2023), without its scaling.
    """
    found = {}
    for group in graph.channel_groups:
        total = np.zeros(group.size)
        for axis in group.axes:
            value = graph.variable(axis).numpy() if axis.role in ("in", "out") else np.zeros(1)
            if value.ndim > 1:
                squares = position_sums(np.square(value), axis.axis, axis.blocks)
                total += squares[axis.positions].sum(1)
        found[group.name] = np.sqrt(total)
    return found
