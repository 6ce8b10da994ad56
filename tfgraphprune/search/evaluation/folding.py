"""BatchNorm folded into the convolution before it, for scoring: one kernel in place of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfgraphprune.graph.reader import Call, Program
from tfgraphprune.search.evaluation.slim_layers import Weights, moving_statistics

_KERNELS = {"Conv1D": ("kernel", -1), "Conv2D": ("kernel", -1), "Conv3D": ("kernel", -1),
            "DepthwiseConv2D": ("depthwise_kernel", -2)}  # fmt: skip
"""What is scaled in place of the output, and the axis with the output's channels."""


def foldable(
    program: Program, is_norm: Callable[[Call], bool], is_plain: Callable[[Call], bool]
) -> dict[str, Call]:
    """The BatchNorm calls that can be folded, by the key of the convolution's call.

    Args:
        program: the layer calls.
        is_norm: whether a call is one of BatchNorm.
        is_plain: whether a call is one of a convolution that runs by its function.
    """
    uses = Counter(id(t) for call in program.calls for t in call.inputs)
    uses.update(id(t) for t in program.outputs)
    makers = {id(call.outputs[0]): call for call in program.calls if len(call.outputs) == 1}
    found = {}
    for call in program.calls:
        maker = makers.get(id(call.inputs[0])) if len(call.inputs) == 1 else None
        if maker is None or not is_norm(call) or not is_plain(maker):
            continue
        rank = len(maker.outputs[0].shape)
        last = call.layer.axis in (-1, rank - 1, [rank - 1])
        if last and uses[id(call.inputs[0])] == 1 and _is_linear(maker.layer):
            found[maker.key] = call
    return found


def folded(
    convolve: Callable[[Any, Weights, tf.Tensor], tf.Tensor],
    layer: Any,
    weights: Weights,
    norm: Any,
    statistics: Weights,
    x: tf.Tensor,
) -> tf.Tensor:
    """A convolution and the BatchNorm behind it.

    Args:
        convolve: the convolution's function.
        layer: the convolution.
        weights: its weights.
        norm: the BatchNorm.
        statistics: its weights.
        x: the input.
    """
    name, axis = _KERNELS[type(layer).__name__]
    mean, variance = (statistics.values[i] for i in moving_statistics(norm))
    gamma, beta = statistics.named(norm, "gamma"), statistics.named(norm, "beta")
    scale = tf.math.rsqrt(variance + norm.epsilon) * (1.0 if gamma is None else gamma)
    bias = weights.named(layer, "bias")
    shift = (0.0 if beta is None else beta) - mean * scale
    if bias is not None:
        shift += tf.cast(bias, tf.float32) * scale
    kernel = weights.named(layer, name)
    assert kernel is not None
    wide = scale if axis == -1 else scale[:, None]
    scaled = tf.cast(tf.cast(kernel, tf.float32) * wide, kernel.dtype)
    result = convolve(layer, weights.replaced({name: scaled, "bias": None}), x)
    return tf.nn.bias_add(result, tf.cast(shift, result.dtype))


def _is_linear(layer: Any) -> bool:
    kind = type(layer).__name__ in _KERNELS
    return kind and getattr(layer.activation, "__name__", "") == "linear"
