"""The rules of Keras' layers and TensorFlow's ops; importing the package registers them."""

from tfgraphprune.graph.rules import (
    attention,
    channelwise,
    keras_cv,
    norms,
    permutation,
    recurrent,
    shapes,
    slices,
    weighted,
)
from tfgraphprune.graph.rules.base import (
    LayerRule,
    is_known,
    is_op,
    layer_rule,
    register_layer_rule,
    rule_for,
)

__all__ = [
    "LayerRule",
    "attention",
    "channelwise",
    "is_known",
    "is_op",
    "keras_cv",
    "layer_rule",
    "norms",
    "permutation",
    "recurrent",
    "register_layer_rule",
    "rule_for",
    "shapes",
    "slices",
    "weighted",
]
