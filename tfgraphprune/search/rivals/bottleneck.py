"""Trainable gates: which channels a loss can do without."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfgraphprune.batches import length, model_inputs, rows_of, sparse_labels
from tfgraphprune.graph.groups import GroupAxis
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.outputs import gives_probabilities
from tfgraphprune.pruning.batchnorm import BatchNormEstimator
from tfgraphprune.pruning.rebuild import Rebuild
from tfgraphprune.search.plan_problem import PlanProblem
from tfgraphprune.search.problem import SearchProblem
from tfgraphprune.search.searcher import Searcher, generator


@dataclass(frozen=True)
class BottleneckSettings:
    """AutoBot's numbers on CIFAR.

    Attributes:
        batches: steps.
        batch: images a step.
        beta: weight of the cost's distance to its target.
        gamma: weight of the gates' distance to 0 and 1.
        learning_rate: Adam's.
    """

    batches: int = 200
    batch: int = 64
    beta: float = 6.0
    gamma: float = 0.4
    learning_rate: float = 0.6


class BottleneckSearch(Searcher):
    """AutoBot (arXiv 2111.09635): a gate `sigmoid(alpha)` a channel, trained with frozen weights.

    The loss is `cross-entropy + beta g + gamma h`, where g is the distance of the gated cost to
    the budget and h that of the gates to 0 and 1; BatchNorm takes the statistics of the batch.
    A gate scales what its channel's readers read. The widths are the sums of the gates; which
    channels stay is up to the common criterion, as for all methods here. One evaluation; each
    image of training is charged as three.
    """

    Settings = BottleneckSettings

    @classmethod
    def needed(cls, evaluations: int, problem: SearchProblem) -> int:
        """One."""
        return min(evaluations, 1)

    def propose(self, episode: int) -> np.ndarray:
        """The action that stands for the trained gates' widths."""
        problem, settings = self.problem, self.settings
        assert isinstance(problem, PlanProblem)
        gated = _GatedModel(problem.layers)
        images = model_inputs(problem.training[0], problem.layers.model)
        labels = sparse_labels(problem.training[1])
        alphas = [np.full(g.size, 3.0) for g in problem.layers.prunable_groups]
        adam = _Adam(alphas, settings.learning_rate)
        for step in range(settings.batches):
            rows = generator(self.seed, step).integers(length(images), size=settings.batch)
            gates = [1 / (1 + np.exp(-alpha)) for alpha in alphas]
            slopes = gated.slopes(gates, rows_of(images, rows), labels[rows])
            widths = np.array([gate.sum() for gate in gates])
            per_width = settings.beta * self._cost_slope(widths)
            total = sum(len(gate) for gate in gates)
            gradients = []
            for gate, slope, price in zip(gates, slopes, per_width, strict=True):
                # h is the mean distance to the nearer of 0 and 1.
                rounding = settings.gamma * np.where(gate < 0.5, 1.0, -1.0) / total
                gradients.append((slope + price + rounding) * gate * (1 - gate))
            adam.step(gradients)
        problem.images += 3 * settings.batches * settings.batch
        gates = [1 / (1 + np.exp(-alpha)) for alpha in alphas]
        return self.problem.action_of([round(float(gate.sum())) for gate in gates])

    def _cost_slope(self, widths: np.ndarray) -> np.ndarray:
        """The derivative of g by each group's width, for the limit that is tightest now."""
        projection = self.problem.projection
        limit = max(projection.limits, key=lambda each: float(each.cost(widths)) / each.value)
        now, whole = float(limit.cost(widths)), float(limit.cost(projection.sizes))
        scale = max(whole - limit.value, 1e-9) if now > limit.value else -limit.value
        rows = np.eye(len(widths)) / 2
        return (limit.cost(widths + rows) - limit.cost(widths - rows)) / scale


class _GatedModel:
    """A copy of a model whose readers' kernels are scaled by gates.

    The gradient by a gate follows from those by the scaled kernels: with `w = gate * w0`, it is
    the sum of `gradient * w0` over the slices that read the channel.
    """

    def __init__(self, graph: LayerGraph):
        rebuilt = Rebuild(graph, graph.kept({}))
        self._model = rebuilt.model
        self._estimator = BatchNormEstimator(self._model)
        self._readers: list[list[tuple[int, GroupAxis]]] = []
        self._variables: list[tf.Variable] = []
        self._dense: list[np.ndarray] = []
        places: dict[tuple, int] = {}
        for group in graph.prunable_groups:
            readers = []
            for axis in group.axes:
                if axis.role != "in":
                    continue
                key = (axis.path, axis.weight)
                if key not in places:
                    places[key] = len(self._variables)
                    variable = rebuilt.layers[axis.path].weights[axis.weight]
                    self._variables.append(variable)
                    self._dense.append(variable.numpy())
                readers.append((places[key], axis))
            self._readers.append(readers)
        logits = not gives_probabilities(graph.model)
        self._loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
        self._gradients = tf.function(self._gradients_of)

    def slopes(
        self, gates: list[np.ndarray], images: np.ndarray, labels: np.ndarray
    ) -> list[np.ndarray]:
        """The derivative of the cross-entropy by each gate; float64 `[size]` a group."""
        factors = [np.ones_like(value) for value in self._dense]
        for gate, readers in zip(gates, self._readers, strict=True):
            for place, axis in readers:
                lines = _lines(factors[place], axis)
                wide = gate.reshape(-1, *[1] * (lines.ndim - 1))
                lines[_places(axis, factors[place])] *= wide.astype(np.float32)
        for variable, value, factor in zip(self._variables, self._dense, factors, strict=True):
            variable.assign(value * factor)
        found = [np.asarray(g, np.float64) for g in self._gradients(images, labels)]
        slopes = []
        for gate, readers in zip(gates, self._readers, strict=True):
            slope = np.zeros(len(gate))
            for place, axis in readers:
                product = found[place] * self._dense[place] * factors[place]
                lines = _lines(product, axis)
                lines = lines.reshape(*lines.shape[:2], -1).sum(-1)
                slope += lines[_places(axis, product)].sum(1) / gate
            slopes.append(slope)
        return slopes

    def _gradients_of(self, images: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = self._loss(labels, self._estimator.outputs(images))
        return tape.gradient(loss, self._variables, unconnected_gradients="zero")


def _lines(value: np.ndarray, axis: GroupAxis) -> np.ndarray:
    """A view `[length, blocks, ...]` of a weight: what each block reads at each position."""
    parts = value.reshape(*value.shape[:-1], axis.blocks, -1) if axis.blocks > 1 else value[None]
    if axis.blocks > 1:
        return np.moveaxis(parts, (axis.axis, -2), (0, 1))
    return np.moveaxis(parts, axis.axis + 1, 0)


def _places(axis: GroupAxis, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position and block of each channel, int `[size, k]` each."""
    block, row = np.divmod(axis.positions, value.shape[axis.axis])
    return row, block


class _Adam:
    """Adam on arrays that it changes in place."""

    def __init__(self, values: list[np.ndarray], rate: float):
        self._values, self._rate, self._steps = values, rate, 0
        self._first = [np.zeros_like(value) for value in values]
        self._second = [np.zeros_like(value) for value in values]

    def step(self, gradients: list[np.ndarray]) -> None:
        self._steps += 1
        for value, first, second, slope in zip(
            self._values, self._first, self._second, gradients, strict=True
        ):
            first += 0.1 * (slope - first)
            second += 0.001 * (slope**2 - second)
            mean = first / (1 - 0.9**self._steps)
            spread = np.sqrt(second / (1 - 0.999**self._steps))
            value -= self._rate * mean / (spread + 1e-8)
