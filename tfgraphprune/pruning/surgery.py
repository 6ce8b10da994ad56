"""Surgery: a plain Keras model from which the cut channels are really gone."""

from __future__ import annotations

from typing import Any

from absl import logging

from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.pruning.rebuild import Rebuild
from tfgraphprune.pruning.tasks import adds_losses, assembled


def prune(model: Any, plan: PruningPlan) -> Any:
    """A smaller model that computes what `masked(model, plan)` computes.

    Args:
        model: the model that the plan was made for; it is not changed.
        plan: what stays.

    Returns:
        A functional tf_keras model with the same layer names, nested models and outputs, whose
        weights are copies. A layer made of layers, some of which are cut, is replaced by them. A
        subclass of `keras.Model` with a training step of its own, such as a KerasCV detector,
        comes back as an object of that class around the smaller network. A compiled model comes
        back compiled alike, with a fresh optimizer; a metric whose class has no `get_config` to be
        made anew from is left out, with a warning, and so are losses of the model's `add_loss`.

    Raises:
        UserError: the plan was made for another model, or a layer has no configuration.
    """
    graph = LayerGraph.from_model(model)
    plan.check(graph)
    if adds_losses(model):
        logging.warning(
            "the losses that were added to %r by add_loss are not in the smaller model: add them "
            "there.", model.name,
        )  # fmt: skip
    return assembled(model, Rebuild(graph, graph.kept(plan.kept)).model)
