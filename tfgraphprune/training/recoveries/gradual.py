"""tfmot's schedule: channels go one after another while the network trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfgraphprune.errors import UserError
from tfgraphprune.graph.kinds import is_of_keras
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.keras3 import is_keras3_model, twin
from tfgraphprune.legacy_keras import serves_tf_keras
from tfgraphprune.training.fit import Row
from tfgraphprune.training.kernel_masks import normalised
from tfgraphprune.training.recoveries.base import Recovered, RecoveryCase
from tfgraphprune.worker import run_in_worker

MASKED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("Conv1D", "Conv2D", "Conv2DTranspose", "Conv3D", "Conv3DTranspose", "Dense",
         "MultiHeadAttention"),
        ("kernel",),
    ),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), ("pointwise_kernel",)),
    **dict.fromkeys(("GRU", "LSTM", "SimpleRNN"), ("kernel", "recurrent_kernel")),
}  # fmt: skip
"""Names of the weights that tfmot masks, by the layer's class."""


def gradual(case: RecoveryCase) -> Recovered:
    """Shrink whole channel groups under tfmot's `PolynomialDecay`, or `ConstantSparsity`, then cut.

    Zhu and Gupta, "To prune, or not to prune", arXiv 1710.01878, whose cubic schedule tfmot's is;
    here for channels, see `training.gradual`.

    Raises:
        UserError: the plan cuts a group that `unmasked` names.
    """
    reasons = unmasked(case.graph)
    for name, kept in case.plan.kept.items():
        if name in reasons and len(kept) < case.graph.group(name).size:
            raise UserError(
                f"gradual can't shrink the group {name!r} ({reasons[name]}): use another recovery, "
                "or a plan that leaves it whole."
            )
    if not case.settings.epochs:
        return Recovered(case.cut(), case.plan)
    found, rows = _shrink(case)
    return Recovered(case.cut(found, trained=True), case.plan, rows)


def unmasked(graph: LayerGraph) -> dict[str, str]:
    """Groups that can't shrink while the network trains, with the reason."""
    found = dict[str, str]()
    for group in graph.prunable_groups:
        for axis in group.axes:
            if axis.role == "in" and not _is_masked(graph, axis):
                kind = type(graph.layer(axis.path)).__name__
                found.setdefault(group.name, f"tfmot can't mask what a {kind} reads")
    prunable = {group.name for group in graph.prunable_groups}
    return found | {n: why for n, why in normalised(graph).items() if n in prunable}


def _is_masked(graph: LayerGraph, axis: Any) -> bool:
    layer = graph.layer(axis.path)
    name = type(layer).__name__
    weight = graph.variable(axis).name.split("/")[-1].split(":")[0]
    return is_of_keras(type(layer)) and weight in MASKED.get(name, ())


def _shrink(case: RecoveryCase) -> tuple[Any, list[Row]]:
    """In a worker process where `tf.keras` is Keras 3 in this one."""
    arguments = {**case.training(), "schedule": case.settings.gradual_schedule}
    if serves_tf_keras():
        # Importing tfmot sets TF_USE_LEGACY_KERAS, which a program with Keras 3 would pass on.
        from tfgraphprune.training import gradual as schedule

        return schedule.train(case.graph, case.plan, case.train_data, **arguments)
    dense = twin(case.graph.model) if is_keras3_model(case.graph.model) else case.graph.model
    arguments = {**arguments, "teacher": dense if arguments["teacher"] is not None else None}
    on_epoch = arguments.pop("on_epoch")
    return run_in_worker(
        "tfgraphprune.training.gradual:train_model",
        {"model": dense, "plan": case.plan, "train_data": case.train_data, **arguments},
        {"on_epoch": on_epoch} if on_epoch else None,
        step="gradual recovery",
    )
