"""READ: a functional Keras model as a layer graph, and which channels live and die together."""

from tfgraphprune.graph.groups import ChannelGroup, GroupAxis
from tfgraphprune.graph.layer_graph import LayerGraph, LayerNode

__all__ = ["ChannelGroup", "GroupAxis", "LayerGraph", "LayerNode"]
