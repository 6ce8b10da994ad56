"""What every recovery is given, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tf_keras as keras

from tfgraphprune.batches import Data
from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.keras3 import is_keras3_model
from tfgraphprune.pruning.batchnorm import reestimate_batchnorm
from tfgraphprune.pruning.composition import carried_over
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.pruning.surgery import prune
from tfgraphprune.pruning.tasks import assembled
from tfgraphprune.settings import FineTune
from tfgraphprune.training.features import feature_pairs
from tfgraphprune.training.finetune import finetune
from tfgraphprune.training.fit import OnEpoch, Row
from tfgraphprune.training.widening import Widened, widened

_WIDE = "wide"
"""Folder of the checkpoints of a network that is trained wider."""

FitFn = Callable[[Any, Any], Any]
"""`fit_fn(model, teacher) -> model`: a user's own training in the place of ours.

One that returns nothing has trained the model that it was given in place.
"""


@dataclass(frozen=True, eq=False)
class Recovered:
    """What a recovery hands back.

    Attributes:
        model: the pruned model.
        plan: what stayed; of the counts that were asked for.
        rows: one for each epoch, over all trainings of the recovery.
    """

    model: Any
    plan: PruningPlan
    rows: list[Row] = field(default_factory=list)


Recovery = Callable[["RecoveryCase"], Recovered]


@dataclass(frozen=True, eq=False)
class RecoveryCase:
    """A plan, and all that is needed to carry it out and train.

    Attributes:
        graph: the model that the plan cuts; it is not changed.
        plan: what stays.
        settings: recovery, epochs, optimizer.
        train_data: what to train on.
        calibration: training examples for the BatchNorm statistics.
        dense: the network that the search began with; the teacher, where the settings want one.
        validation_data: measured after each epoch.
        fit_fn: the user's training in the place of ours.
        seed: of order, augmentation and new weights.
        checkpoint_dir: makes the training resumable.
        log_dir: for TensorBoard.
        on_epoch: called with each new row.
    """

    graph: LayerGraph
    plan: PruningPlan
    settings: FineTune
    train_data: Data
    calibration: Data
    dense: Any
    validation_data: Data | None = None
    fit_fn: FitFn | None = None
    seed: int = 0
    checkpoint_dir: Path | None = None
    log_dir: Path | None = None
    on_epoch: OnEpoch | None = None

    @property
    def teacher(self) -> Any:
        """The model whose outputs are learned from, or `None`."""
        return self.dense if self.settings.distill else None

    def cut(self, model: Any = None, plan: PruningPlan | None = None, trained: bool = False) -> Any:
        """The pruned model, its BatchNorm statistics estimated again.

        Args:
            model: by default the graph's; a copy of it, with other weights, in which layers made
                of layers may have been taken apart. The pruned one is of the class of the graph's,
                and compiled like it, all the same.
            plan: for the graph, by default the case's.
            trained: whether it was trained without the channels that go, so that its statistics,
                of all training data, are better than those of the few images for calibration.
        """
        plan = plan or self.plan
        if model is None:
            small = prune(self.graph.model, plan)
        else:
            plan = carried_over(plan, self.graph, LayerGraph.from_model(model))
            small = assembled(self.graph.model, prune(model, plan))
        if not trained:
            reestimate_batchnorm(small, self.calibration)
        return small

    def train(
        self,
        model: Any,
        epochs: int | None = None,
        plan: PruningPlan | None = None,
        before: Sequence[Row] = (),
    ) -> Recovered:
        """Fine-tune a pruned model by the settings, or by the user's own function.

        Args:
            model: trained in place.
            epochs: by default the settings'.
            plan: what stayed, where that is not the case's plan.
            before: rows of a training before this one.
        """
        plan = plan or self.plan
        if self.fit_fn is not None:
            trained = self.fit_fn(model, self.dense)
            found = model if trained is None else trained
            if not isinstance(found, keras.Model) and not is_keras3_model(found):
                raise UserError(
                    "fit_fn must return the trained model, or nothing, not "
                    f"{type(found).__name__}: end it with `return model`."
                )
            return Recovered(found, plan)
        arguments = self.training(epochs, after=len(before))
        weight = self.settings.feature_weight
        if weight and self.teacher is not None:
            pairs = feature_pairs(self.graph, plan)
            arguments = {**arguments, "feature_weight": weight, "feature_pairs": pairs}
        wide = self._widened(model, plan, arguments)
        if wide is not None and self.checkpoint_dir is not None:
            arguments["checkpoint_dir"] = self.checkpoint_dir / _WIDE
        try:
            rows = finetune(wide.model if wide else model, self.train_data, **arguments)
        finally:  # also what was restored after a failure
            if wide is not None:
                wide.hand_back(model)
        rows = [{**row, "epoch": row["epoch"] + len(before)} for row in rows]
        return Recovered(model, plan, [*before, *rows])

    def _widened(self, model: Any, plan: PruningPlan, arguments: dict[str, Any]) -> Widened | None:
        """The network to train in place of the pruned one, if there is a faster one."""
        folder = self.checkpoint_dir
        begun = folder is not None and any(folder.glob("ckpt-*"))  # at the network's own width
        if not self.settings.widen or not arguments["epochs"] or begun:
            return None
        if "feature_pairs" in arguments:
            return None
        return widened(self.graph, plan, model, self.calibration)

    def training(self, epochs: int | None = None, part: str = "", after: int = 0) -> dict[str, Any]:
        """Arguments of `finetune`.

        Args:
            epochs: by default the settings'.
            part: name of a training before the last one; it has checkpoints of its own.
            after: epochs that came before, for the numbers of rows.
        """
        settings, folder = self.settings, self.checkpoint_dir

        def numbered(row: Row) -> None:
            assert self.on_epoch is not None
            self.on_epoch({**row, "epoch": row["epoch"] + after})

        return {
            "epochs": settings.epochs if epochs is None else epochs,
            "teacher": self.teacher,
            "optimizer": settings.optimizer,
            "learning_rate": settings.learning_rate,
            "weight_decay": settings.weight_decay,
            "alpha": settings.alpha,
            "temperature": settings.temperature,
            "label_smoothing": settings.label_smoothing,
            "class_weight": settings.class_weight,
            "averaging": settings.averaging,
            "precision": settings.precision,
            "batch_size": settings.batch_size,
            "augment": settings.augment,
            "validation_data": self.validation_data,
            "seed": self.seed,
            "checkpoint_dir": folder / part if folder is not None and part else folder,
            "log_dir": self.log_dir / part if self.log_dir is not None and part else self.log_dir,
            "on_epoch": None if self.on_epoch is None else numbered,
        }
