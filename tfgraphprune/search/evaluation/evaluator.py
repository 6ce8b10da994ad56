"""The reward: how good the masked network is after re-estimating its BatchNorm statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.batches import (
    Data,
    as_arrays,
    batched,
    length,
    model_inputs,
    rows_of,
    sparse_labels,
)
from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.outputs import scores_classes
from tfgraphprune.pruning.criteria import Criterion, resolve_criterion
from tfgraphprune.pruning.plan import PruningPlan, most_important
from tfgraphprune.search.determinism import deterministic_ops
from tfgraphprune.search.evaluation.masked_network import MaskedNetwork
from tfgraphprune.search.evaluation.precision import evaluation_network

Metric = Callable[[Any, Any], float]
"""`metric(labels, outputs) -> float`, higher is better; both as arrays over all examples."""

Reward = Callable[[Any], float]
"""`reward(model) -> float`, higher is better, of a Keras model that must not be changed."""

_SURE = 2.5
"""Standard errors below the best reward at which a first look is enough."""


class RewardEvaluator:
    """Scores channel counts without building a network: cuts or masks, re-estimates, predicts.

    Which channels stay follows from the counts by the criterion.

    Args:
        graph: the dense model's graph.
        calibration: training examples for the BatchNorm statistics.
        reward: held-out examples with labels; class labels unless `metric` reads them. Or a
            function of the network, which looks at examples of its own.
        criterion: ranks channels within a group.
        batch_size: examples a forward pass.
        metric: in place of accuracy.
        first_look: examples after which a plan that is clearly worse than the best so far is
            given up, with the accuracy on them as its reward; by default all are looked at.
        precision: of the evaluation, see `evaluation_network`.

    Attributes:
        importance: of every channel, by the group's name.
        batch_size: as given.

    Raises:
        UserError: labels that do not fit the model's output.
    """

    def __init__(
        self,
        graph: LayerGraph,
        calibration: Data,
        reward: Data | Reward,
        criterion: str | Criterion = "l2",
        batch_size: int = 128,
        metric: Metric | None = None,
        first_look: int | None = None,
        precision: str = "float32",
    ):
        self._graph = graph
        self.batch_size = batch_size
        self.importance = resolve_criterion(criterion)(graph)
        images = model_inputs(as_arrays(calibration)[0], graph.model)
        self._metric, self._judge = metric, reward if callable(reward) else None
        batches = batched(images, batch_size)
        self._calibration = length(images)
        self._network = evaluation_network(graph, batches, precision, whole=bool(self._judge))
        self._images: list[list[tf.Tensor]] = []
        if self._judge is not None:
            return
        images, labels = as_arrays(reward)
        images = model_inputs(images, graph.model)
        self._examples = length(images)
        self._labels = labels if metric else _class_labels(labels, graph)
        first = self._examples if metric else min(first_look or self._examples, self._examples)
        self._first = first
        for rows in (slice(first), slice(first, None)):
            self._images.append(batched(rows_of(images, rows), batch_size))

    @property
    def precision(self) -> str:
        """What rewards are computed in: float32 or bfloat16."""
        return getattr(self._network, "dtype", tf.float32).name

    @property
    def is_accuracy(self) -> bool:
        """Whether the reward is the accuracy on class labels."""
        return self._metric is None and self._judge is None

    def plan(self, counts: Sequence[int]) -> PruningPlan:
        """The plan that keeps the most important channels, this many of each prunable group."""
        kept = {
            group.name: most_important(self.importance[group.name], int(count))
            for group, count in zip(self._graph.prunable_groups, counts, strict=True)
        }
        return PruningPlan(kept, self._graph.fingerprint)

    def logits(self, counts: Sequence[int]) -> np.ndarray:
        """Outputs of the masked, re-estimated network on the reward images; float32 `[n, c]`."""
        self._network.apply(self.plan(counts).kept)
        return np.concatenate([self._outputs(0), self._outputs(1)])

    def __call__(self, counts: Sequence[int]) -> float:
        """The reward, measured on all examples."""
        return self.reward(counts)[0]

    def reward(self, counts: Sequence[int], at_least: float = -math.inf) -> tuple[float, int]:
        """The reward, and the images that went through the network for it.

        Accuracy has its ties broken by the margin. The tie-break is worth less than one image:
        `(accuracy * n + t) / n` with `t` in [0, 1) the mean probability of the true class
        (times 0.999), so that of two plans of equal accuracy the more certain one is better.

        Args:
            counts: channels kept of each prunable group.
            at_least: the best reward so far; a plan whose first examples put it clearly below
                is not looked at any longer.
        """
        self._network.apply(self.plan(counts).kept)
        if self._judge is not None:
            assert isinstance(self._network, MaskedNetwork)
            with deterministic_ops(False):  # which refuses much of what a user may call
                return float(self._judge(self._network.model)), self._calibration
        outputs = self._outputs(0)
        seen = self._calibration + self._first
        if self._images[1]:
            value = self._accuracy(outputs)
            share = min(max(value, 0.01), 0.99)
            if value + _SURE * math.sqrt(share * (1 - share) / self._first) < at_least:
                return value, seen
            outputs = tf.nest.map_structure(
                lambda a, b: np.concatenate([a, b]), outputs, self._outputs(1)
            )
            seen = self._calibration + self._examples
        if self._metric is not None:
            with deterministic_ops(False):
                return float(self._metric(self._labels, outputs)), seen
        return self._accuracy(outputs), seen

    def _outputs(self, part: int) -> Any:
        found = [self._network.predict(x) for x in self._images[part]]
        if not found:
            return np.empty((0, *self._graph.model.output_shape[1:]), np.float32)
        return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *found)

    def _accuracy(self, outputs: np.ndarray) -> float:
        if not np.isfinite(outputs).all():
            return float("nan")
        labels = self._labels[: len(outputs)]
        right = int((outputs.argmax(-1) == labels).sum())
        sure = float(_true_class(outputs, labels).mean())
        return (right + 0.999 * sure) / len(labels)


def accuracy_of(reward: float, examples: int) -> float:
    """The plain accuracy inside a reward with its tie-break."""
    return np.floor(reward * examples + 1e-9) / examples


def _class_labels(labels: Any, graph: LayerGraph) -> np.ndarray:
    shape = graph.model.output_shape
    if not scores_classes(graph.model):
        raise UserError(
            "the accuracy of a search needs a model with one output of class scores and a loss "
            f"over classes, but its output shape is {shape} and its loss "
            f"{getattr(graph.model, 'loss', None)!r}: give search_plan a metric or a reward "
            "function."
        )
    found = sparse_labels(labels)
    if found.min() < 0 or found.max() >= shape[-1]:
        raise UserError(
            f"the reward labels must be class indices from 0 to {shape[-1] - 1}, as the model "
            f"has {shape[-1]} outputs; they run from {found.min()} to {found.max()}."
        )
    return found


def _true_class(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Probability that the outputs (logits or probabilities) give to the true class."""
    sums = outputs.sum(-1)
    if (outputs < 0).any() or np.abs(sums - 1).max() > 1e-3:
        outputs = np.exp(outputs - outputs.max(-1, keepdims=True))
        outputs = outputs / outputs.sum(-1, keepdims=True)
    return outputs[np.arange(len(outputs)), labels]
