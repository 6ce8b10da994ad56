"""Operations of Keras 3's functional models (`x + y`, `keras.ops.mean(x)`) as TensorFlow ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.keras3.layers import Unsupported


def _reduce(function: Callable) -> Callable:
    return lambda op, x: function(x, axis=op.axis, keepdims=op.keepdims)


def _unary(function: Callable) -> Callable:
    return lambda op, x: function(x)


def _binary(function: Callable) -> Callable:
    """An op on two tensors, of the type that Keras 3 promotes both to."""

    def apply(op: Any, x1: Any, x2: Any) -> Any:
        dtype = op._inbound_nodes[0].outputs[0].dtype
        return function(_cast(x1, dtype), _cast(x2, dtype))

    return apply


def _cast(x: Any, dtype: str) -> Any:
    if isinstance(x, bool | int | float):
        return tf.constant(x, dtype)
    return x if x.dtype == tf.as_dtype(dtype) else tf.cast(x, dtype)


def _split(op: Any, x: Any) -> Any:
    sections = op.indices_or_sections
    if isinstance(sections, int):
        return tf.split(x, sections, axis=op.axis)
    size = x.shape[op.axis]
    if size is None:
        raise Unsupported("a split of an axis of unknown size")
    return tf.split(x, np.diff([0, *map(int, sections), size]).tolist(), axis=op.axis)


def _get_item(op: Any, x: Any, key: Any) -> Any:
    key = key if isinstance(key, tuple) else (key,)
    if ... in key:  # tf_keras can't save an ellipsis
        place = key.index(...)
        taken = sum(part is not None for part in key) - 1
        full = (slice(None),) * (len(x.shape) - taken)
        key = (*key[:place], *full, *key[place + 1 :])
    return x[key]


def _pad(op: Any, x: Any, constant_values: Any = None) -> Any:
    if op.mode not in ("constant", "reflect", "symmetric"):
        raise Unsupported(f"its mode {op.mode}")
    widths = np.broadcast_to(np.asarray(op.pad_width), (len(x.shape), 2)).tolist()
    return tf.pad(x, widths, mode=op.mode.upper(), constant_values=constant_values or 0)


def _transpose(op: Any, x: Any) -> Any:
    return tf.transpose(x, op.axes)


def _swapaxes(op: Any, x: Any) -> Any:
    order = list(range(len(x.shape)))
    order[op.axis1], order[op.axis2] = order[op.axis2], order[op.axis1]
    return tf.transpose(x, order)


def _moveaxis(op: Any, x: Any) -> Any:
    # NumPy moves the axes of an array whose sizes are the axes' numbers.
    axes = np.lib.stride_tricks.as_strided(np.zeros(1), range(len(x.shape)), [0] * len(x.shape))
    return tf.transpose(x, list(np.moveaxis(axes, op.source, op.destination).shape))


def _reshape(op: Any, x: Any) -> Any:
    return tf.reshape(x, [-1 if size is None else size for size in op.newshape])


def _expand(op: Any, x: Any) -> Any:
    axes = [op.axis] if isinstance(op.axis, int) else list(op.axis)
    rank = len(x.shape) + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = tf.expand_dims(x, axis)
    return x


def _softmax(function: Callable) -> Callable:
    def apply(op: Any, x: Any) -> Any:
        if not isinstance(op.axis, int):
            raise Unsupported(f"its axis {op.axis}")
        return function(x, axis=op.axis)

    return apply


def _pool(kind: str) -> Callable:
    def apply(op: Any, x: Any) -> Any:
        if op.data_format == "channels_first":
            raise Unsupported("its data format channels_first")
        return tf.nn.pool(
            x, op.pool_size, kind, op.strides or op.pool_size, op.padding.upper()
        )  # fmt: skip

    return apply


def _hard_sigmoid(x: Any) -> Any:
    return tf.nn.relu6(x + 3.0) * (1 / 6)


_TABLE: dict[str, Callable] = {
    "Absolute": _unary(tf.abs),
    "Abs": _unary(tf.abs),
    "Add": _binary(tf.add),
    "Amax": _reduce(tf.reduce_max),
    "Amin": _reduce(tf.reduce_min),
    "AveragePool": _pool("AVG"),
    "BroadcastTo": lambda op, x: tf.broadcast_to(x, op.shape),
    "Cast": lambda op, x: tf.cast(x, op.dtype),
    "Ceil": _unary(tf.math.ceil),
    "Clip": lambda op, x: tf.clip_by_value(x, op.x_min, op.x_max),
    "Concatenate": lambda op, xs: tf.concat(xs, axis=op.axis),
    "Cos": _unary(tf.cos),
    "DepthToSpace": lambda op, x: tf.nn.depth_to_space(x, op.block_size, _nhwc(op)),
    "Divide": _binary(tf.divide),
    "Einsum": lambda op, *xs: tf.einsum(op.subscripts, *xs),
    "Elu": lambda op, x: tf.where(x > 0, x, op.alpha * tf.math.expm1(tf.minimum(x, 0.0))),
    "Exp": _unary(tf.exp),
    "ExpandDims": _expand,
    "Flip": lambda op, x: tf.reverse(x, _axes(op.axis, x)),
    "Floor": _unary(tf.floor),
    "Gelu": lambda op, x: tf.nn.gelu(x, op.approximate),
    "GetItem": _get_item,
    "HardSigmoid": _unary(_hard_sigmoid),
    "HardSilu": _unary(lambda x: x * _hard_sigmoid(x)),
    "LeakyRelu": lambda op, x: tf.nn.leaky_relu(x, op.negative_slope),
    "Log": _unary(tf.math.log),
    "Log1p": _unary(tf.math.log1p),
    "LogSigmoid": _unary(lambda x: -tf.nn.softplus(-x)),
    "LogSoftmax": _softmax(tf.nn.log_softmax),
    "Matmul": _binary(tf.matmul),
    "Max": _reduce(tf.reduce_max),
    "MaxPool": _pool("MAX"),
    "Maximum": _binary(tf.maximum),
    "Mean": _reduce(tf.reduce_mean),
    "Min": _reduce(tf.reduce_min),
    "Minimum": _binary(tf.minimum),
    "Moveaxis": _moveaxis,
    "Multiply": _binary(tf.multiply),
    "Negative": _unary(tf.negative),
    "Pad": _pad,
    "Power": _binary(tf.pow),
    "Prod": _reduce(tf.reduce_prod),
    "Ravel": _unary(lambda x: tf.reshape(x, [-1])),
    "Reciprocal": _unary(tf.math.reciprocal),
    "Relu": _unary(tf.nn.relu),
    "Relu6": _unary(tf.nn.relu6),
    "Repeat": lambda op, x: tf.repeat(x, op.repeats, axis=op.axis),
    "Reshape": _reshape,
    "Roll": lambda op, x: tf.roll(x, op.shift, op.axis),
    "Selu": _unary(tf.nn.selu),
    "Sigmoid": _unary(tf.sigmoid),
    "Sign": _unary(tf.sign),
    "Silu": _unary(tf.nn.silu),
    "Sin": _unary(tf.sin),
    "Softmax": _softmax(tf.nn.softmax),
    "Softplus": _unary(tf.nn.softplus),
    "Softsign": _unary(tf.nn.softsign),
    "SpaceToDepth": lambda op, x: tf.nn.space_to_depth(x, op.block_size, _nhwc(op)),
    "Split": _split,
    "Sqrt": _unary(tf.sqrt),
    "Square": _unary(tf.square),
    "Squeeze": lambda op, x: tf.squeeze(x, op.axis),
    "Stack": lambda op, xs: tf.stack(xs, axis=op.axis),
    "Std": _reduce(tf.math.reduce_std),
    "StopGradient": _unary(tf.stop_gradient),
    "Subtract": _binary(tf.subtract),
    "Sum": _reduce(tf.reduce_sum),
    "Swapaxes": _swapaxes,
    "Take": lambda op, x, indices: tf.gather(x, indices, axis=op.axis),
    "Tanh": _unary(tf.tanh),
    "Tile": lambda op, x: tf.tile(x, [1] * (len(x.shape) - len(op.repeats)) + list(op.repeats)),
    "Transpose": _transpose,
    "TrueDivide": _binary(tf.divide),
    "Unstack": lambda op, x: tf.unstack(x, op.num, axis=op.axis),
    "Var": _reduce(tf.math.reduce_variance),
}
"""Of each operation's class, a function of the operation and what it is called on."""


def _nhwc(op: Any) -> str:
    if op.data_format == "channels_first":
        raise Unsupported("its data format channels_first")
    return "NHWC"


def _axes(axis: Any, x: Any) -> list[int]:
    if axis is None:
        return list(range(len(x.shape)))
    return [axis] if isinstance(axis, int) else list(axis)


def twin_operation(op: Any) -> Callable[..., Any]:
    """A function of symbolic tensors of tf_keras that computes what an operation does.

    Raises:
        Unsupported: there is none.
    """
    function = _TABLE.get(type(op).__name__)
    if function is None or not type(op).__module__.startswith("keras.src.ops."):
        raise Unsupported("")
    return lambda *args, **kwargs: function(op, *args, **kwargs)
