"""Training a pruned network at widths that the hardware computes fast, with the same result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tfgraphprune.batches import Data, is_dataset, model_inputs, rows_of
from tfgraphprune.cost.counting import count_macs
from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.keras3 import is_keras3_model
from tfgraphprune.pruning.batchnorm import batchnorms
from tfgraphprune.pruning.filling import FAST_MULTIPLE, filled_up, is_large
from tfgraphprune.pruning.masking import copy_model
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.pruning.rebuild import Rebuild
from tfgraphprune.pruning.surgery import prune
from tfgraphprune.pruning.tasks import assembled

_MOST_WORK = 3.0
"""MACs of the wide network by the narrow one's above which width costs more than it gains."""

_LARGEST_NUMBER = 2**24
"""Up to here float32 tells whole numbers apart."""

_TOLERANCE = 1e-3

_TESTED_EXAMPLES = 32

_ELEMENTWISE = frozenset(
    "NoneType SGD Adam AdamW RMSprop Nadam Adagrad Adadelta Adamax Ftrl Lion".split()
)
"""Optimizers that change each element by its own gradients; without one, ours are such."""


class Widened:
    """A pruned network with channels of zeros added, up to multiples.

    All weights that make, pass on or read what was added are zero, and so are their gradients, as
    long as the channels are zero where kernels read them: gradient descent, momentum and weight
    decay leave them there, and what is left is trained as in the network itself.

    Args:
        graph: the dense model's graph.
        plan: what stays.
        narrow: the pruned network.
        multiple: of channels.

    Attributes:
        model: the wide network, with the narrow one's weights, compiled like it.

    Raises:
        UserError: nothing is added, or the weights of the two don't correspond.
    """

    def __init__(self, graph: LayerGraph, plan: PruningPlan, narrow: Any, multiple: int):
        wide = PruningPlan(filled_up(graph, plan.kept, multiple), graph.fingerprint)
        if (wide.counts(graph) == plan.counts(graph)).all():
            raise UserError("there is nothing to add.")
        self._places = _places(graph, plan, wide)
        self.model = assembled(narrow, Rebuild(graph, graph.kept(wide.kept)).model)
        values = narrow.get_weights()
        if [p.shape for p in self._places] != [value.shape for value in values]:
            raise UserError("the pruned network is not what the plan makes of the dense one.")
        self._load(values)

    def hand_back(self, narrow: Any) -> None:
        """Give the narrow network the weights as trained."""
        weights = self.model.get_weights()
        trained = {id(variable) for variable in self.model.trainable_variables}
        for variable, value, place in zip(self.model.weights, weights, self._places, strict=True):
            if id(variable) in trained and _others(value, place).any():
                logging.warning("channels that were added for speed took part in the training")
                break
        pairs = zip(weights, self._places, strict=True)
        narrow.set_weights([value.ravel()[place] for value, place in pairs])

    def is_exact(self, narrow: Any, x: Any) -> bool:
        """Whether outputs and penalties are the narrow network's, and added gradients are 0.

        Gradients are those of weights some way from the narrow network's, as zeros there hide
        them. The wide network's weights are as before afterwards.

        Args:
            narrow: the pruned network.
            x: a batch of inputs.
        """
        pairs = zip(_results(narrow, x), _results(self.model, x), strict=True)
        near = all(
            float(np.abs(a - b).max()) <= _TOLERANCE * max(float(a.std()), _TOLERANCE)
            for a, b in pairs
        )
        if not near:
            return False
        values = narrow.get_weights()
        random = np.random.default_rng(0)
        self._load(
            [
                v + random.normal(0, 0.1, v.shape).astype(v.dtype) if v.dtype.kind == "f" else v
                for v in values
            ]
        )
        with tf.GradientTape() as tape:
            loss = tf.add_n(
                [tf.reduce_mean(tf.square(t + 1)) for t in _floats(self.model, x, True)]
            )
        variables = self.model.trainable_variables
        slopes = dict(zip(map(id, variables), tape.gradient(loss, variables), strict=True))
        self._load(values)
        return not any(
            _others(tf.convert_to_tensor(slopes[id(variable)]).numpy(), place).any()
            for variable, place in zip(self.model.weights, self._places, strict=True)
            if slopes.get(id(variable)) is not None
        )

    def _load(self, narrow: Sequence[np.ndarray]) -> None:
        values = []
        for old, place, value in zip(self.model.weights, self._places, narrow, strict=True):
            wide = np.zeros(old.shape, value.dtype)
            wide.ravel()[place.ravel()] = value.ravel()
            values.append(wide)
        self.model.set_weights(values)


def widened(
    graph: LayerGraph, plan: PruningPlan, narrow: Any, data: Data, multiple: int = FAST_MULTIPLE
) -> Widened | None:
    """The wide network where it is faster and trains to the same weights; a log line says so.

    Args:
        graph: the dense model's graph.
        plan: what stays.
        narrow: the pruned network; its weights are taken over.
        data: examples, on some of which it is tested that both are the same.
        multiple: of channels.

    Returns:
        `None` for networks without BatchNorm, of fewer than 10 million MACs, or that would do three
        times the work; where there are GPUs or several replicas; for optimizers that look at more
        than one element at a time; and where the test fails.
    """
    if is_keras3_model(narrow) or not batchnorms(narrow) or tf.config.list_physical_devices("GPU"):
        return None
    optimizer = type(getattr(narrow, "optimizer", None)).__name__
    replicas = narrow.distribute_strategy.num_replicas_in_sync
    if replicas > 1 or optimizer not in _ELEMENTWISE or not is_large(graph):
        return None
    try:
        found = Widened(graph, plan, narrow, multiple)
        exact = found.is_exact(narrow, _some_inputs(data, narrow))
    except (UserError, ValueError, TypeError, tf.errors.OpError) as reason:
        logging.info("training at the network's own width, as %s", reason)
        return None
    if not exact or count_macs(found.model) > _MOST_WORK * count_macs(narrow):
        return None
    logging.info("training with channels of zeros added, up to multiples of %d", multiple)
    return found


def _some_inputs(data: Data, model: Any) -> Any:
    x = next(iter(data))[0] if is_dataset(data) else data[0]
    return model_inputs(rows_of(x, slice(_TESTED_EXAMPLES)), model)


def _results(model: Any, x: Any) -> list[np.ndarray]:
    """Outputs, and the sum of the penalties."""
    penalty = tf.add_n([tf.zeros([]), *(tf.cast(loss, tf.float32) for loss in model.losses)])
    return [t.numpy() for t in (*_floats(model, x, training=False), penalty)]


def _floats(model: Any, x: Any, training: bool) -> list[tf.Tensor]:
    """The outputs that are no whole numbers, float32."""
    outputs = tf.nest.flatten(model(x, training=training))
    return [tf.cast(t, tf.float32) for t in outputs if t.dtype.is_floating]


def _others(value: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The elements that are not at these places."""
    return np.delete(value.ravel(), place.ravel())


def _places(graph: LayerGraph, plan: PruningPlan, wide: PruningPlan) -> list[np.ndarray]:
    """For each weight of the narrow network, where its elements are in the flat wide one."""
    numbered = copy_model(graph.model)
    values = numbered.get_weights()
    if any(value.size > _LARGEST_NUMBER for value in values):
        raise UserError("a weight has more elements than float32 can number.")
    numbered.set_weights([np.arange(v.size).reshape(v.shape).astype(v.dtype) for v in values])
    fingerprint = LayerGraph.from_model(numbered).fingerprint
    cut = [prune(numbered, PruningPlan(p.kept, fingerprint)).get_weights() for p in (plan, wide)]
    places = []
    for small, large in zip(*cut, strict=True):
        order = np.argsort(large, axis=None)
        ranks = np.searchsorted(large.ravel()[order], small.ravel())
        place = order[np.minimum(ranks, order.size - 1)]
        if not np.array_equal(large.ravel()[place], small.ravel()):
            raise UserError("the two networks have other weights.")
        places.append(place.reshape(small.shape))
    return places
