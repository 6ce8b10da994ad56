"""Structured lottery tickets: single weights go first, and say which channels are worth keeping."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfgraphprune.cost.counting import count_params
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.composition import counterparts
from tfgraphprune.pruning.criteria.weights import producer_axes
from tfgraphprune.pruning.masking import copy_model
from tfgraphprune.pruning.plan import PruningPlan, most_important
from tfgraphprune.pruning.surgery import prune
from tfgraphprune.pruning.tasks import compile_alike
from tfgraphprune.training.optimize.sparsity import sparsify
from tfgraphprune.training.optimize.stage import default_rate
from tfgraphprune.training.optimizers import LEARNING_RATES
from tfgraphprune.training.recoveries.base import Recovered, RecoveryCase


def refill(case: RecoveryCase) -> Recovered:
    """Prune single weights by magnitude, keep the channels with most survivors, and fill them up.

    Chen et al., "Coarsening the Granularity: Towards Structurally Sparse Lottery Tickets", ICML
    2022. tfmot's schedule takes the share of weights that the plan takes, step by step, in the
    first half of the epochs. Of each group as many channels as in the plan stay, with all of their
    weights as the dense network had them (the paper rewinds to an early epoch), and are
    fine-tuned in the second half. Of channels with equally many survivors the plan's stay; so where
    tfmot prunes none of a group's filters its choice is the plan's.
    """
    epochs = case.settings.epochs
    if not epochs:
        return Recovered(case.cut(), case.plan)
    dense = case.graph.model
    share = 1 - count_params(prune(dense, case.plan)) / count_params(dense)
    arguments = {**case.training(epochs - epochs // 2, "tickets"), "averaging": 0.0}
    if arguments["learning_rate"] is None:
        rate = default_rate(dense, arguments["optimizer"], LEARNING_RATES)
        arguments["learning_rate"] = rate
    flat = copy_model(dense, flat=True)  # tfmot does not look into layers made of layers
    compile_alike(flat, dense)
    found = sparsify(
        flat, case.train_data, sparsity=min(max(share, 0.05), 0.95),
        **arguments,
    )  # fmt: skip
    pruned = LayerGraph.from_model(found.model)
    survivors, names = surviving(pruned), counterparts(case.graph, pruned)
    chosen = {}
    for name, kept in case.plan.kept.items():
        ranks = np.zeros(case.graph.group(name).size)
        ranks[list(kept)] = 0.5  # less than one weight
        if name in names:
            ranks += survivors[names[name]]
        chosen[name] = most_important(ranks, len(kept))
    plan = PruningPlan(chosen, case.graph.fingerprint)
    return case.train(case.cut(plan=plan), epochs // 2, plan, found.history)


def surviving(graph: LayerGraph) -> Mapping[str, np.ndarray]:
    """Of every channel, how many weights are not zero in the filters that make it."""
    found = {}
    for group in graph.channel_groups:
        total = np.zeros(group.size)
        for axis in producer_axes(group):
            kernel = graph.variable(axis).numpy()
            if kernel.ndim > 1:
                lines = np.moveaxis(kernel, axis.axis, 0).reshape(kernel.shape[axis.axis], -1)
                total += (lines != 0).sum(1)[axis.positions].sum(1)
        found[group.name] = total
    return found
