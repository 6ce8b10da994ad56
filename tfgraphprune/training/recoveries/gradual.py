"""tfmot's schedule: channels go one after another while the network trains."""

from __future__ import annotations

from typing import Any

from tfgraphprune.keras3 import is_keras3_model, twin
from tfgraphprune.legacy_keras import serves_tf_keras
from tfgraphprune.training.fit import Row
from tfgraphprune.training.recoveries.base import Recovered, RecoveryCase
from tfgraphprune.worker import run_in_worker


def gradual(case: RecoveryCase) -> Recovered:
    """Shrink whole channel groups under tfmot's `PolynomialDecay`, then cut.

    Zhu and Gupta, "To prune, or not to prune", arXiv 1710.01878, whose cubic schedule tfmot's is;
    here for channels, see `training.gradual`.
    """
    if not case.settings.epochs:
        return Recovered(case.cut(), case.plan)
    trained, rows = _shrink(case)
    # The moving averages still remember the channels that went.
    return Recovered(case.cut(trained), case.plan, rows)


def _shrink(case: RecoveryCase) -> tuple[Any, list[Row]]:
    """In a worker process where `tf.keras` is Keras 3 in this one."""
    arguments = case.training()
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
