"""From a plan to a smaller model that has its accuracy back, as the settings say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfgraphprune.batches import Data
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.settings import FineTune
from tfgraphprune.training.fit import OnEpoch
from tfgraphprune.training.recoveries.base import FitFn, Recovered, RecoveryCase
from tfgraphprune.training.recoveries.registry import RECOVERIES, check_recovery


def recover(
    graph: LayerGraph,
    plan: PruningPlan,
    settings: FineTune,
    train_data: Data,
    calibration: Data,
    *,
    teacher: Any = None,
    validation_data: Data | None = None,
    fit_fn: FitFn | None = None,
    seed: int = 0,
    checkpoint_dir: Path | None = None,
    log_dir: Path | None = None,
    on_epoch: OnEpoch | None = None,
) -> Recovered:
    """Cut and train, in the order that `settings.recovery` says.

    Args:
        graph: the graph of the model that is cut.
        plan: what stays.
        settings: recovery, epochs and optimizer.
        train_data: what to train on.
        calibration: training examples for BatchNorm statistics and least squares.
        teacher: the model to learn from where `settings.distill` says so, and what `fit_fn` is
            given; the graph's by default.
        validation_data: measured after each epoch.
        fit_fn: replaces the training after the cut: `fit_fn(model, teacher) -> model`.
        seed: of order, augmentation and new weights.
        checkpoint_dir: makes the training resumable.
        log_dir: for TensorBoard.
        on_epoch: called with each new row of the training.

    Raises:
        UserError: what the recovery can't do with this model, plan or `fit_fn`.
    """
    check_recovery(settings, graph.model, fit_fn)
    dense = graph.model if teacher is None else teacher
    case = RecoveryCase(
        graph, plan, settings, train_data, calibration, dense, validation_data, fit_fn, seed,
        checkpoint_dir, log_dir, on_epoch,
    )  # fmt: skip
    return RECOVERIES[settings.recovery](case)
