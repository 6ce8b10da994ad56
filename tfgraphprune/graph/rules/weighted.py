"""Rules of convolutions, dense layers and embeddings: which channels are read and made."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfgraphprune.graph.labels import Kept, Labels, per_channel
from tfgraphprune.graph.reader import Call, output_shapes
from tfgraphprune.graph.rules.base import (
    LayerRule,
    acts_per_channel,
    channel_axis,
    layer_rule,
    positions_of,
    product,
    size_without,
)
from tfgraphprune.graph.tracer import CallTracer


class Weighted(LayerRule):
    """Checks that all weighted layers share; the kinds fill in `_trace`.

    Args:
        size: the setting that holds the number of output channels, where there is one.
    """

    def __init__(self, size: str = ""):
        self._size = size

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Register the weights; the output's channels are along one axis."""
        layer = tracer.call.layer
        if len(inputs) != 1:
            return tracer.opaque(inputs, "takes more than one tensor")
        if not _holds_all(layer):
            return tracer.opaque(inputs, "computes its kernel from several weights")
        axis = channel_axis(layer)
        ids = self._trace(tracer, inputs[0], axis)
        if not acts_per_channel(tracer.activation):
            tracer.freeze(ids, "its activation mixes channels or is unknown")
        if self._size:
            tracer.setting(self._size, ids)
        return [per_channel(ids, output_shapes(tracer.call)[0], axis)]

    def _trace(self, tracer: CallTracer, labels: Labels, axis: int) -> np.ndarray:
        """Register the weights and return the ids of the output's channels."""
        raise NotImplementedError


_WEIGHTS = ("kernel", "depthwise_kernel", "pointwise_kernel", "embeddings", "bias")


def _holds_all(layer: Any) -> bool:
    """Whether the layer's weights are its kernels and its bias: not so with LoRA, or in int8."""
    named = {id(v) for name in _WEIGHTS if (v := getattr(layer, name, None)) is not None}
    others = {id(v) for v in getattr(getattr(layer, "activation", None), "weights", ())}
    return named == {id(v) for v in layer.weights} - others


class Kernel(Weighted):
    """A layer with one kernel of shape `(..., channels in, channels out)` and an optional bias."""

    def _trace(self, tracer: CallTracer, labels: Labels, axis: int) -> np.ndarray:
        layer = tracer.call.layer
        read = tracer.channels(labels, axis)
        last = len(layer.kernel.shape) - 1
        made = tracer.new_ids(int(layer.kernel.shape[last]))
        uses = positions_of(tracer.call, axis)
        tracer.weight(layer.kernel, {last - 1: ("in", read), last: ("out", made)}, uses)
        tracer.weight(layer.bias, {0: ("out", made)})
        return made


class Convolution(Kernel):
    """A convolution; of a grouped one, equally many channels stay in each block.

    With one input channel a block it is a depthwise convolution by another name: blocks go with
    their channels.
    """

    def _trace(self, tracer: CallTracer, labels: Labels, axis: int) -> np.ndarray:
        layer = tracer.call.layer
        blocks = layer.groups
        if blocks == 1:
            return super()._trace(tracer, labels, axis)
        read = tracer.channels(labels, axis)
        last = len(layer.kernel.shape) - 1
        uses = positions_of(tracer.call, axis)
        filters = int(layer.kernel.shape[last])
        if len(read) == blocks:
            made = np.repeat(read, filters // blocks)
            tracer.setting("groups", read)
            tracer.weight(layer.kernel, {last: ("through", made)}, uses)
            tracer.weight(layer.bias, {0: ("through", made)})
            return made
        made = tracer.new_ids(filters)
        tracer.balance(read.reshape(blocks, -1))
        tracer.balance(made.reshape(blocks, -1))
        tracer.weight(
            layer.kernel, {last - 1: ("in", read), last: ("out", made)}, uses, blocks=blocks
        )
        tracer.weight(layer.bias, {0: ("out", made)})
        return made


class Transposed(Kernel):
    """A transposed convolution: its kernel has the shape `(..., channels out, channels in)`."""

    def _trace(self, tracer: CallTracer, labels: Labels, axis: int) -> np.ndarray:
        layer = tracer.call.layer
        read = tracer.channels(labels, axis)
        last = len(layer.kernel.shape) - 1
        made = tracer.new_ids(int(layer.kernel.shape[last - 1]))
        uses = size_without(labels.shape, axis)  # each input position meets the whole kernel
        tracer.weight(layer.kernel, {last - 1: ("out", made), last: ("in", read)}, uses)
        tracer.weight(layer.bias, {0: ("out", made)})
        return made


class Depthwise(Weighted):
    """A depthwise convolution: each input channel makes `depth_multiplier` outputs of its own."""

    def _trace(self, tracer: CallTracer, labels: Labels, axis: int) -> np.ndarray:
        layer = tracer.call.layer
        kernel = getattr(layer, "depthwise_kernel", None)
        kernel = layer.kernel if kernel is None else kernel  # as Keras 3 calls it
        read = tracer.channels(labels, axis)
        made = np.repeat(read, int(kernel.shape[-1]))
        place = len(kernel.shape) - 2
        tracer.weight(kernel, {place: ("through", read)}, positions_of(tracer.call, axis))
        tracer.weight(layer.bias, {0: ("through", made)})
        return made


class Separable(Weighted):
    """A depthwise convolution followed by a pointwise one, in one layer."""

    def _trace(self, tracer: CallTracer, labels: Labels, axis: int) -> np.ndarray:
        layer = tracer.call.layer
        depthwise, pointwise = layer.depthwise_kernel, layer.pointwise_kernel
        read = tracer.channels(labels, axis)
        between = np.repeat(read, int(depthwise.shape[-1]))
        last = len(pointwise.shape) - 1
        made = tracer.new_ids(int(pointwise.shape[last]))
        uses = positions_of(tracer.call, axis)
        tracer.weight(depthwise, {last - 1: ("through", read)}, uses)
        tracer.weight(pointwise, {last - 1: ("in", between), last: ("out", made)}, uses)
        tracer.weight(layer.bias, {0: ("out", made)})
        return made


class Embedding(Weighted):
    """A table with a row for each token; its columns are the channels."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Its input is no tensor of channels but of indices."""
        tracer.freeze(inputs[0], "is an index")
        return super().trace(tracer, inputs)

    def _trace(self, tracer: CallTracer, labels: Labels, axis: int) -> np.ndarray:
        layer = tracer.call.layer
        made = tracer.new_ids(int(layer.embeddings.shape[1]))
        tracer.weight(layer.embeddings, {1: ("out", made)})
        return made


class Einsum(LayerRule):
    """Keras' EinsumDense, as long as the channels lie on one axis that its kernel reads."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Axes are named by the letters of the equation."""
        layer, labels, shape = tracer.call.layer, inputs[0], output_shapes(tracer.call)[0]
        source, kernel, result = _letters(layer.equation, labels.rank + 1)
        varying = [source[axis + 1] for axis in labels.varying(tracer.union)]
        if len(varying) > 1 or any(v in result or v not in kernel for v in varying):
            return tracer.opaque(inputs, "reads another axis than the one that the channels lie on")
        if (
            not acts_per_channel(tracer.activation)
            or result[-1] not in kernel
            or result[-1] in source
        ):
            return tracer.opaque(inputs, "makes no axis of channels that can be followed")
        made = tracer.new_ids(int(layer.kernel.shape[kernel.index(result[-1])]))
        axes: dict[int, tuple] = {kernel.index(result[-1]): ("out", made)}
        for letter in varying:
            axes[kernel.index(letter)] = ("in", tracer.channels(labels, source.index(letter) - 1))
        others = [n for n, letter in zip(shape, result[1:], strict=True) if letter not in kernel]
        tracer.weight(layer.kernel, axes, product(others))
        if layer.bias is not None and result[-1] in layer.bias_axes:
            tracer.weight(layer.bias, {len(layer.bias.shape) - 1: ("out", made)})
        return [per_channel(made, shape)]

    def config(self, call: Call, outputs: list[Labels], kept: Kept) -> dict[str, Any]:
        """The size of the last output axis."""
        sizes = call.layer.get_config()["output_shape"]
        sizes = [sizes] if isinstance(sizes, int) else list(sizes)
        return {"output_shape": (*sizes[:-1], kept.shape(outputs[0])[-1])}


def _letters(equation: str, rank: int) -> tuple[str, str, str]:
    """The letters of an equation's input, kernel and result, an ellipsis written out."""
    terms, result = equation.replace(" ", "").split("->")
    source, kernel = terms.split(",")
    hidden = rank - len(source.replace("...", ""))
    letters = "ABCDEFGHIJ"[:hidden]
    if "..." not in source:  # an equation without a batch axis to be named
        return source, kernel, result
    return source.replace("...", letters), kernel, result.replace("...", letters)


layer_rule(["Conv1D", "Conv2D", "Conv3D"], Convolution("filters"))
layer_rule(["Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"], Transposed("filters"))
layer_rule(["Dense"], Kernel("units"))
layer_rule(["DepthwiseConv1D", "DepthwiseConv2D"], Depthwise())
layer_rule(["SeparableConv1D", "SeparableConv2D"], Separable("filters"))
layer_rule(["EinsumDense"], Einsum())
layer_rule(["Embedding"], Embedding("output_dim"))
