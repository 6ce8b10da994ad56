"""Rules of KerasCV's own layers that can't be opened."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfgraphprune.graph.labels import Kept, Labels, per_channel
from tfgraphprune.graph.reader import Call, output_shapes
from tfgraphprune.graph.rules.base import LayerRule, layer_rule, product
from tfgraphprune.graph.rules.channelwise import Elementwise, PerChannel
from tfgraphprune.graph.rules.norms import PerChannelWeight
from tfgraphprune.graph.tracer import CallTracer


class RelativeAttention(LayerRule):
    """ViTDet's attention over an image: whole heads are cut.

    The layer merges the heads into the batch, where ids can't follow, and takes as many channels
    as its heads have together. Cut, it is replaced by a model of plain layers.
    """

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """One projection makes queries, keys and values, each head by head; another reads them."""
        layer, (height, width, channels) = tracer.call.layer, inputs[0].shape
        if height is None or width is None or channels is None:
            return tracer.opaque(inputs, "attends over an image of unknown size")
        steps = height * width
        heads = tracer.new_ids(layer.num_heads)
        each = np.repeat(heads, layer.key_dim)
        read, made = tracer.channels(inputs[0]), tracer.new_ids(channels)
        for dense, source, result in (
            (layer.qkv, read, np.tile(each, 3)),
            (layer.projection, each, made),
        ):
            tracer.weight(dense.kernel, {0: ("in", source), 1: ("out", result)}, steps)
            tracer.weight(dense.bias, {0: ("out", result)})
        positions = height + width if layer.use_rel_pos else 0
        tracer.product(heads, steps * (2 * steps + positions) * layer.key_dim)
        tracer.setting("num_heads", heads)
        return [per_channel(made, output_shapes(tracer.call)[0])]

    def substitute(
        self, call: Call, config: dict, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[Any, list] | None:
        """The same attention as a functional model, with the heads on an axis of their own."""
        from keras_cv.src.backend import keras, ops  # of the Keras that the layer is of

        layer, heads, size = call.layer, config["num_heads"], call.layer.key_dim
        if heads == layer.num_heads and kept.all_of([*inputs, *outputs]):
            return None
        height, width, channels = kept.shape(inputs[0])
        assert height is not None and width is not None
        steps = height * width
        start = keras.layers.Input((height, width, channels), dtype=call.inputs[0].dtype)
        qkv = _remade(layer.qkv, units=3 * heads * size)
        projection = _remade(layer.projection, units=kept.shape(outputs[0])[-1])
        x = keras.layers.Reshape((steps, 3, heads, size))(qkv(start))
        queries, keys, values = (
            keras.layers.Permute(order)(x[:, :, part])
            for part, order in enumerate([(2, 1, 3), (2, 3, 1), (2, 1, 3)])
        )
        scores = (queries * layer.scale) @ keys
        variables = []
        if layer.use_rel_pos:
            position = _remade(layer.add_decomposed_reative_pe, name="position")
            variables = position.weights
            scores = position(
                ops.reshape(scores, (-1, steps, steps)),
                queries=ops.reshape(queries, (-1, steps, size)),
                query_size=(height, width),
                key_size=(height, width),
            )
            scores = ops.reshape(scores, (-1, heads, steps, steps))
        x = keras.layers.Permute((2, 1, 3))(keras.layers.Softmax()(scores) @ values)
        x = projection(keras.layers.Reshape((height, width, heads * size))(x))
        model = keras.Model(start, x, name=config["name"])
        return model, [*qkv.weights, *projection.weights, *variables]


class RelativePositions(LayerRule):
    """What such an attention adds to its scores; heads are merged into the batch here."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Products of queries and positions, whose number depends on the heads around."""
        height, width = tracer.call.named_arguments()["key_size"]
        steps, size = inputs[0].shape[0], tracer.call.layer.key_dim
        tracer.fixed_product(product([steps, height + width, size]))
        return tracer.opaque(inputs, "adds relative positions")


def _remade(layer: Any, **changed: Any) -> Any:
    return type(layer).from_config({**layer.get_config(), **changed})


layer_rule(["keras_cv.DropPath", "keras_cv.StochasticDepth"], Elementwise())
layer_rule(["keras_cv.DropBlock2D"], PerChannel())
layer_rule(["keras_cv.AddPositionalEmbedding"], PerChannelWeight("embed_dim"))
layer_rule(["keras_cv.AddRelativePositionalEmbedding"], RelativePositions())
layer_rule(["keras_cv.MultiHeadAttentionWithRelativePE"], RelativeAttention())
