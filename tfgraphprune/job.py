"""All that a run needs, checked before it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfgraphprune.batches import Data, check
from tfgraphprune.compression_result import SAVED
from tfgraphprune.cost.model_cost import macs_cost
from tfgraphprune.cost.projection import Projection, resolve_limits
from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.outputs import scores_classes, units
from tfgraphprune.search.checks import check_search
from tfgraphprune.search.evaluation.evaluator import Metric, Reward
from tfgraphprune.settings import Budget, FineTune, Search
from tfgraphprune.settings.checks import positive_integer
from tfgraphprune.shipping import QUANTIZATIONS
from tfgraphprune.tflite.int4 import check_int4
from tfgraphprune.tflite.matching import LayerNames
from tfgraphprune.tflite.quantizations import check_quantization
from tfgraphprune.training.augment import check_augmentation
from tfgraphprune.training.class_weights import weighted
from tfgraphprune.training.features import check_features
from tfgraphprune.training.labels import check_labels
from tfgraphprune.training.objectives import is_compiled
from tfgraphprune.training.recoveries.base import FitFn
from tfgraphprune.training.recoveries.registry import check_recovery


@dataclass(frozen=True, eq=False)
class Job:
    """All that a run needs, checked.

    Attributes:
        graph: the dense model's layer graph.
        train_data: to train on, calibrate and take int8 ranges from.
        validation_data: what the reward is measured on.
        test_data: looked at once, at the end; `None` for the validation data.
        budget: what may be spent.
        search: agent, rivals, numbers.
        finetune: recovery and its settings.
        fit_fn: the user's own training, or `None`.
        metric: what the search maximises in place of accuracy, or `None`.
        reward: a function of the network in its place, or `None`.
        seed: of everything random.
        quantizations: kinds of TFLite file.
        representative_examples: training examples that set the int8 ranges.
        train_history: rows of the dense model's training.
        settings: what `config.json` records.
    """

    graph: LayerGraph
    train_data: Data
    validation_data: Data
    test_data: Data | None
    budget: Budget
    search: Search
    finetune: FineTune
    fit_fn: FitFn | None = None
    metric: Metric | None = None
    reward: Reward | None = None
    seed: int = 0
    quantizations: Sequence[str] = QUANTIZATIONS
    representative_examples: int = 300
    train_history: Sequence[dict[str, Any]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_outputs()
        macs_cost(self.graph)  # a run's figures and files need inputs of a fixed size
        for name in ("train_data", "validation_data"):
            check(getattr(self, name), name)
        if self.test_data is not None:
            check(self.test_data, "test_data")
        check_search(self.search, self.graph.model)
        positive_integer("representative_examples", self.representative_examples)
        names = LayerNames(self.graph.model)
        for kind in self.quantizations:
            check_quantization(kind, False, self.graph.model)
            check_int4(kind, (), names)
        check_recovery(self.finetune, self.graph.model, self.fit_fn)
        if self.fit_fn is None and self.finetune.epochs:
            classes = units(self.graph.model)
            check_augmentation(self.finetune.augment, self.train_data, classes)
            if classes and scores_classes(self.graph.model) and not is_compiled(self.graph.model):
                check_labels(self.train_data, "train_data", classes)
            if self.finetune.feature_weight:
                check_features(self.graph)
            if self.finetune.class_weight:
                weighted(self.train_data, self.finetune.class_weight, self.graph.model)
        if not self.budget.limits_file and not self.budget.limits_latency:
            Projection.of(self.graph, resolve_limits(self.budget, self.graph), self.search.min_keep)

    def _check_outputs(self) -> None:
        """Refuse a model that nobody could judge, or train."""
        model = self.graph.model
        if scores_classes(model):
            return
        if self.metric is None and self.reward is None:
            raise UserError(
                "accuracy says nothing of this model, whose outputs have shape "
                f"{model.output_shape} and no loss over classes: give a metric(labels, outputs) or "
                "a reward(model)."
            )
        if self.fit_fn is None and self.finetune.epochs and not is_compiled(model):
            raise UserError(
                f"a model with outputs of shape {model.output_shape} must be compiled with its "
                "losses to be trained: compile it, or give a fit_fn."
            )

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the files that the run writes."""
        kinds = dict.fromkeys(("float32", *self.quantizations))
        tflite = ("dense_float32.tflite", *(f"model_{kind}.tflite" for kind in kinds))
        own = self.budget.limits_latency and self.budget.latency_table is None
        return (*SAVED, "config.json", *tflite, *(("latency.json",) if own else ()))
