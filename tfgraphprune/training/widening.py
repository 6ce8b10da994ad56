"""Training a pruned network at widths that the hardware computes fast, with the same result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tfgraphprune.cost.counting import count_macs
from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.keras3 import is_keras3_model
from tfgraphprune.pruning.batchnorm import batchnorms
from tfgraphprune.pruning.filling import FAST_MULTIPLE, LARGE_MACS, filled_up
from tfgraphprune.pruning.masking import copy_model
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.pruning.surgery import prune

_MOST_WORK = 3.0
"""MACs of the wide network by the narrow one's above which width costs more than it gains."""

_LARGEST_NUMBER = 2**24
"""Up to here float32 tells whole numbers apart."""

_TOLERANCE = 1e-3


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
        model: the wide network, with the narrow one's weights.

    Raises:
        UserError: the weights of the two don't correspond.
    """

    def __init__(self, graph: LayerGraph, plan: PruningPlan, narrow: Any, multiple: int):
        wide = PruningPlan(filled_up(graph, plan.kept, multiple), graph.fingerprint)
        self.model = prune(graph.model, wide)
        self._places = _places(graph, plan, wide)
        pairs = zip(self.model.get_weights(), self._places, narrow.get_weights(), strict=True)
        if any(place.shape != value.shape for _, place, value in pairs):
            raise UserError("the pruned network is not what the plan makes of the dense one.")
        self._load(narrow)

    def hand_back(self, narrow: Any) -> None:
        """Give the narrow network the weights as trained."""
        weights = self.model.get_weights()
        if any(self._added(value, place).any() for value, place in self._trained(weights)):
            logging.warning("channels that were added for speed have taken part in the training")
        narrow.set_weights(
            [value.ravel()[place] for value, place in zip(weights, self._places, strict=True)]
        )

    def is_exact(self, narrow: Any, x: Any) -> bool:
        """Whether outputs are the narrow network's, and gradients of what was added are 0.

        Args:
            narrow: the pruned network.
            x: a batch of inputs.
        """
        pairs = [
            (np.asarray(a), np.asarray(b))
            for a, b in zip(_outputs(narrow, x), _outputs(self.model, x), strict=True)
        ]
        if any(np.abs(a - b).max() > _TOLERANCE * max(a.std(), 1e-6) for a, b in pairs):
            return False
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(self.model(x, training=True))
            loss = tf.add_n([tf.reduce_mean(tf.square(t + 1)) for t in outputs])
        before = self.model.trainable_variables
        slopes = {id(v): g for v, g in zip(before, tape.gradient(loss, before), strict=True)}
        found = [slopes.get(id(variable)) for variable in self.model.weights]
        return not any(
            self._added(tf.convert_to_tensor(slope).numpy(), place).any()
            for slope, place in zip(found, self._places, strict=True)
            if slope is not None
        )

    def _load(self, narrow: Any) -> None:
        values = []
        old = zip(self.model.get_weights(), self._places, narrow.get_weights(), strict=True)
        for shape, place, value in ((w.shape, p, v) for w, p, v in old):
            wide = np.zeros(shape, value.dtype)
            wide.ravel()[place.ravel()] = value.ravel()
            values.append(wide)
        self.model.set_weights(values)

    def _trained(self, weights: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weights that training changes by gradients, with their places."""
        ours = {id(variable) for variable in self.model.trainable_variables}
        triples = zip(self.model.weights, weights, self._places, strict=True)
        return [(value, place) for variable, value, place in triples if id(variable) in ours]

    @staticmethod
    def _added(value: np.ndarray, place: np.ndarray) -> np.ndarray:
        return np.delete(value.ravel(), place.ravel())


def widened(
    graph: LayerGraph, plan: PruningPlan, narrow: Any, x: Any, multiple: int = FAST_MULTIPLE
) -> Widened | None:
    """The wide network where it is faster and trains to the same weights; a log line says so.

    Args:
        graph: the dense model's graph.
        plan: what stays.
        narrow: the pruned network; its weights are taken over.
        x: a batch of inputs, on which it is tested that both are the same.
        multiple: of channels.

    Returns:
        `None` for networks without BatchNorm, of fewer than 10 million MACs, that would do three
        times the work, where there are GPUs or several replicas, or where the test fails.
    """
    if is_keras3_model(narrow) or not batchnorms(narrow) or tf.config.list_physical_devices("GPU"):
        return None
    if narrow.distribute_strategy.num_replicas_in_sync > 1:
        return None
    if not count_macs(graph.model) >= LARGE_MACS:
        return None
    try:
        found = Widened(graph, plan, narrow, multiple)
    except (UserError, ValueError) as reason:
        logging.info("training at the network's own width, as %s", reason)
        return None
    if count_macs(found.model) > _MOST_WORK * count_macs(narrow) or not found.is_exact(narrow, x):
        return None
    logging.info("training with channels in multiples of %d, of which some are zero", multiple)
    return found


def _outputs(model: Any, x: Any) -> list[Any]:
    return tf.nest.flatten(model(x, training=False))


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
