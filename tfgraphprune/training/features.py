"""Feature pairs for distillation: kept channels learn from the same channels of the teacher."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfgraphprune.errors import UserError
from tfgraphprune.graph.layer_graph import LayerGraph, LayerNode
from tfgraphprune.graph.rules import is_op
from tfgraphprune.pruning.plan import PruningPlan
from tfgraphprune.pruning.tasks import adds_losses
from tfgraphprune.training.teaching import mean

_EPSILON = 1e-7


@dataclass(frozen=True)
class FeaturePair:
    """A layer whose output is compared between a pruned network and the network that was cut.

    Attributes:
        layer: its name in both.
        axis: of the output, without the batch, along which the channels lie.
        size: positions along that axis in the network that was cut.
        kept: those of them that stayed, ascending.
    """

    layer: str
    axis: int
    size: int
    kept: tuple[int, ...]


def feature_pairs(graph: LayerGraph, plan: PruningPlan) -> list[FeaturePair]:
    """For each prunable group, the last layer whose output carries its channels as a whole.

    Layers in nested models or called more than once, those that are random in training (dropout),
    and operations outside of layers are passed over.

    Args:
        graph: of the network that is cut.
        plan: what stays.
    """
    calls = Counter(node.path for node in graph.nodes)
    kept = graph.kept(plan.kept)
    last: dict[str, FeaturePair] = {}
    sizes = {group.name: group.size for group in graph.prunable_groups}
    for node in graph.nodes:
        if calls[node.path] > 1 or not _is_comparable(graph, node):
            continue
        _, outputs = graph.labels(node.name)
        wide = [axis for axis, length in enumerate(outputs[0].ids.shape) if length > 1]
        if len(outputs) != 1 or len(wide) != 1:
            continue
        line = outputs[0].along(wide[0])
        stays = tuple(kept.positions(line).tolist())
        pair = FeaturePair(node.path[0], wide[0], len(line), stays)
        for name, channels, _ in graph.channels_of(line):
            if len(set(channels.tolist())) == sizes.get(name):
                last[name] = pair
    return list(dict.fromkeys(last.values()))


def check_features(graph: LayerGraph) -> None:
    """Refuse a network whose features can't be compared, before it is cut.

    Raises:
        UserError: it is not functional, or no layer has an output to compare.
    """
    whole = PruningPlan({}, graph.fingerprint)
    if not _is_functional(graph.model) or not feature_pairs(graph, whole):
        raise UserError(
            f"feature_weight needs a functional model with prunable channels in layers of its own, "
            f"but in {graph.model.name!r} there are none to compare: set it to 0."
        )


class FeatureMatch(keras.layers.Layer):
    """Runs a student in training, and adds a loss on its features beside the teacher's.

    Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015. They learn a regressor from the
    student's features to the teacher's; a pruned network's channels are some of the teacher's, so
    each is compared with itself. The mean squared difference, in units of the variance of the
    teacher's kept channels in the batch (of each replica), is averaged over the pairs.

    Args:
        student: a functional model that learns.
        teacher: a functional model with the same layers, never trained.
        pairs: what to compare, see `feature_pairs`.
        weight: of the loss.

    Raises:
        UserError: there are no pairs, or the models don't have these layers and channels.
    """

    def __init__(self, student: Any, teacher: Any, pairs: Sequence[FeaturePair], weight: float):
        super().__init__(autocast=False)
        if teacher is None or not pairs:
            raise UserError(
                "feature_weight compares a pruned model with the one that was cut: give that as "
                "teacher, and feature_pairs(graph, plan)."
            )
        # As functions, because Keras would list the weights of models here as the layer's own.
        self._learned = _with_features(student, pairs, [len(p.kept) for p in pairs]).__call__
        self._taught = _with_features(teacher, pairs, [p.size for p in pairs]).__call__
        self._pairs = tuple(pairs)
        self._share = weight / len(pairs)

    def call(self, inputs: Any) -> Any:
        """The student's outputs in training."""
        outputs, learned = self._learned(inputs, training=True)
        _, taught = self._taught(inputs, training=False)
        for pair, mine, theirs in zip(self._pairs, learned, taught, strict=True):
            same = tf.gather(tf.cast(theirs, tf.float32), pair.kept, axis=pair.axis + 1)
            same = tf.stop_gradient(same)
            error = mean(tf.math.squared_difference(tf.cast(mine, tf.float32), same))
            variance = mean(tf.math.squared_difference(same, mean(same)))
            self.add_loss(self._share * error / (variance + _EPSILON))
        return outputs


def _is_comparable(graph: LayerGraph, node: LayerNode) -> bool:
    layer = graph.layer(node.path)
    random = isinstance(layer, keras.__internal__.layers.BaseRandomLayer)
    return len(node.path) == 1 and not random and not is_op(layer)


def _is_functional(model: Any) -> bool:
    return bool(getattr(model, "_is_graph_network", False))


def _with_features(model: Any, pairs: Sequence[FeaturePair], sizes: Sequence[int]) -> Any:
    """The model with the outputs of the pairs' layers beside its own."""
    if not _is_functional(model):
        raise UserError(f"feature_weight needs functional models, but {model.name!r} is none.")
    layers = {layer.name: layer for layer in model.layers}
    if adds_losses(model):
        raise UserError(
            f"feature_weight can't be used with {model.name!r}, which has losses of its own by "
            "add_loss: set it to 0."
        )
    features = []
    for pair, size in zip(pairs, sizes, strict=True):
        shape = layers[pair.layer].output_shape if pair.layer in layers else ()
        if len(shape) <= pair.axis + 1 or shape[pair.axis + 1] not in (size, None):
            raise UserError(
                f"feature_weight compares {size} channels of the layer {pair.layer!r} of "
                f"{model.name!r}, whose output has shape {shape}: give the model that was cut as "
                "teacher, and pairs of its own plan."
            )
        features.append(layers[pair.layer].output)
    return keras.Model(model.input, (model.output, features))
