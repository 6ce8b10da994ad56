"""The reward: accuracy of the masked network after re-estimating BatchNorm statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfgraphprune.batches import Data, as_arrays, sparse_labels
from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.pruning.batchnorm import BatchNormEstimator
from tfgraphprune.pruning.criteria import Criterion, resolve_criterion
from tfgraphprune.pruning.masking import Silencer
from tfgraphprune.pruning.plan import PruningPlan, most_important


class RewardEvaluator:
    """Scores channel counts without building a network: masks, re-estimates, predicts.

    One copy of the model is made and two functions are traced; a candidate costs weight
    assignments and forward passes. Which channels stay follows from the counts by the criterion.

    Args:
        graph: the dense model's graph.
        calibration: training examples for the BatchNorm statistics.
        reward: held-out examples with class labels.
        criterion: ranks channels within a group.
        batch_size: examples a forward pass.

    Raises:
        UserError: labels that do not fit the model's output.
    """

    def __init__(
        self,
        graph: LayerGraph,
        calibration: Data,
        reward: Data,
        criterion: str | Criterion = "l2",
        batch_size: int = 128,
    ):
        self._graph = graph
        self._importance = resolve_criterion(criterion)(graph)
        self._silencer = Silencer(graph)
        self._model = model = self._silencer.model
        self._estimator = BatchNormEstimator(model)
        images, _ = as_arrays(calibration)
        self._calibration = _batches(images, batch_size)
        images, labels = as_arrays(reward)
        self._labels = sparse_labels(labels)
        classes = graph.model.output_shape[-1]
        if self._labels.min() < 0 or self._labels.max() >= classes:
            raise UserError(
                f"the reward labels must be class indices from 0 to {classes - 1}, as the model "
                f"has {classes} outputs; they run from {self._labels.min()} to "
                f"{self._labels.max()}."
            )
        self._images = _batches(images, batch_size)
        self._predict = tf.function(lambda x: model(x, training=False), reduce_retracing=True)

    def plan(self, counts: Sequence[int]) -> PruningPlan:
        """The plan that keeps the most important channels, this many of each prunable group."""
        kept = {
            group.name: most_important(self._importance[group.name], int(count))
            for group, count in zip(self._graph.prunable_groups, counts, strict=True)
        }
        return PruningPlan(kept, self._graph.fingerprint)

    def logits(self, counts: Sequence[int]) -> np.ndarray:
        """Outputs of the masked, re-estimated network on the reward images; float32 `[n, c]`."""
        self._silencer.apply(self.plan(counts).kept)
        self._estimator.run(self._calibration)
        return np.concatenate([self._predict(x).numpy() for x in self._images])

    def __call__(self, counts: Sequence[int]) -> float:
        """Accuracy, with ties broken by the margin.

        The tie-break is worth less than one image: `(accuracy * n + t) / n` with `t` in [0, 1)
        the mean probability of the true class (times 0.999), so that of two plans of equal
        accuracy the more certain one is better.
        """
        outputs = self.logits(counts)
        if not np.isfinite(outputs).all():
            return float("nan")
        right = int((outputs.argmax(-1) == self._labels).sum())
        return (right + 0.999 * float(self._true_class(outputs).mean())) / len(self._labels)

    def _true_class(self, outputs: np.ndarray) -> np.ndarray:
        """Probability that the outputs (logits or probabilities) give to the true class."""
        sums = outputs.sum(-1)
        if (outputs < 0).any() or np.abs(sums - 1).max() > 1e-3:
            outputs = np.exp(outputs - outputs.max(-1, keepdims=True))
            outputs = outputs / outputs.sum(-1, keepdims=True)
        return outputs[np.arange(len(outputs)), self._labels]


def accuracy_of(reward: float, examples: int) -> float:
    """The plain accuracy inside a reward with its tie-break."""
    return np.floor(reward * examples + 1e-9) / examples


def _batches(images: np.ndarray, batch_size: int) -> list[tf.Tensor]:
    return [
        tf.constant(images[i : i + batch_size], tf.float32)
        for i in range(0, len(images), batch_size)
    ]
