"""From a plan to a smaller model that has its accuracy back: the recoveries by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfgraphprune.batches import Data
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.keras3 import is_keras3_model, twin
from tfgraphprune.legacy_keras import serves_tf_keras
from tfgraphprune.pruning.batchnorm import reestimate_batchnorm
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.pruning.surgery import prune
from tfgraphprune.settings import FineTune
from tfgraphprune.training.finetune import finetune
from tfgraphprune.training.fit import OnEpoch, Row
from tfgraphprune.worker import run_in_worker

FitFn = Callable[[Any, Any], Any]


def recover(
    graph: LayerGraph,
    plan: PruningPlan,
    settings: FineTune,
    train_data: Data,
    calibration: Data,
    *,
    validation_data: Data | None = None,
    fit_fn: FitFn | None = None,
    seed: int = 0,
    checkpoint_dir: Path | None = None,
    log_dir: Path | None = None,
    on_epoch: OnEpoch | None = None,
) -> tuple[Any, list[Row]]:
    """Cut and train, in the order that `settings.recovery` says.

    Args:
        graph: the dense model's graph; the dense model is the teacher.
        plan: what stays.
        settings: recovery, epochs and optimizer.
        train_data: what to train on.
        calibration: training examples for the BatchNorm statistics.
        validation_data: measured after each epoch.
        fit_fn: replaces the training after a `one_shot` cut: `fit_fn(model, teacher) -> model`.
        seed: of order and augmentation.
        checkpoint_dir: makes the training resumable.
        log_dir: for TensorBoard.
        on_epoch: called with each new row of the training.

    Returns:
        The pruned model, and a row for each epoch.
    """
    teacher = graph.model if settings.distill else None
    arguments: dict[str, Any] = {
        "epochs": settings.epochs,
        "teacher": teacher,
        "optimizer": settings.optimizer,
        "learning_rate": settings.learning_rate,
        "batch_size": settings.batch_size,
        "augment": settings.augment,
        "validation_data": validation_data,
        "seed": seed,
        "checkpoint_dir": checkpoint_dir,
        "log_dir": log_dir,
        "on_epoch": on_epoch,
    }
    if settings.recovery == "gradual" and settings.epochs and fit_fn is None:
        trained, rows = _shrink(graph, plan, train_data, arguments)
        small = prune(trained, plan)
        # The moving averages still remember the channels that went.
        reestimate_batchnorm(small, calibration)
        return small, rows
    small = prune(graph.model, plan)
    reestimate_batchnorm(small, calibration)
    if fit_fn is not None:
        return fit_fn(small, graph.model), []
    return small, finetune(small, train_data, **arguments)


def _shrink(
    graph: LayerGraph, plan: PruningPlan, train_data: Data, arguments: dict[str, Any]
) -> tuple[Any, list[Row]]:
    """Train with tfmot's schedule: in a worker process where `tf.keras` is Keras 3 in this one."""
    if serves_tf_keras():
        # Importing tfmot sets TF_USE_LEGACY_KERAS, which a program with Keras 3 would pass on.
        from tfgraphprune.training import gradual

        return gradual.train(graph, plan, train_data, **arguments)
    dense = twin(graph.model) if is_keras3_model(graph.model) else graph.model
    arguments = {**arguments, "teacher": dense if arguments["teacher"] is not None else None}
    on_epoch = arguments.pop("on_epoch")
    return run_in_worker(
        "tfgraphprune.training.gradual:train_model",
        {"model": dense, "plan": plan, "train_data": train_data, **arguments},
        {"on_epoch": on_epoch} if on_epoch else None,
        step="gradual recovery",
    )
