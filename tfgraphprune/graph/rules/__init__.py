"""The rules of Keras' layers and TensorFlow's ops; importing the package registers them."""

from tfgraphprune.graph.rules import channelwise, shapes, weighted
from tfgraphprune.graph.rules.base import LayerRule, layer_rule, rule_for

__all__ = ["LayerRule", "channelwise", "layer_rule", "rule_for", "shapes", "weighted"]
