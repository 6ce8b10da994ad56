"""Rules of KerasCV's own layers that can't be opened."""

from __future__ import annotations

from tfgraphprune.graph.rules.base import layer_rule
from tfgraphprune.graph.rules.channelwise import Elementwise
from tfgraphprune.graph.rules.norms import PerChannelWeight

layer_rule(["keras_cv.DropPath", "keras_cv.StochasticDepth"], Elementwise())
layer_rule(["keras_cv.AddPositionalEmbedding"], PerChannelWeight("embed_dim"))
