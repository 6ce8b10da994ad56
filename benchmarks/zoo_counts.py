"""MACs counted without the library: off TensorFlow's graph, and by layers in a forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tensorflow.python.framework import ops

_COUNTED = ("Conv2D", "DepthwiseConv2dNative", "MatMul", "Conv2DBackpropInput", "BatchMatMulV2")


def profiler_macs(model: Any) -> int:
    """Half of the FLOPs that TensorFlow's profiler has registered for convolutions and products.

    Right where `profiler_knows` says so.
    """
    specs = [tf.TensorSpec((1, *t.shape[1:]), t.dtype) for t in model.inputs]
    given = tf.nest.pack_sequence_as(model._nested_inputs, specs)
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(given)
    total = 0
    for operation in function.graph.get_operations():
        if operation.type in _COUNTED:
            flops = ops.get_stats_for_node_def(function.graph, operation.node_def, "flops").value
            total += int(flops or 0)
    return total // 2


def formula_macs(model: Any) -> int:
    """Kernel sizes times positions, over all calls of layers with kernels in a forward pass.

    Calls inside layers made of layers are seen too; products of activations are not counted.
    """
    total = 0
    plain = keras.layers.Layer.__call__

    def counted(layer: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal total
        result = plain(layer, *args, **kwargs)
        own = layer._trainable_weights + layer._non_trainable_weights
        for kernel in (w for w in own if w.name.split("/")[-1].endswith("kernel:0")):
            # Separable convolutions and the like stride in their first kernel, before the others.
            given = tf.nest.flatten((args, kwargs))[0]
            total += _macs(layer, tuple(kernel.shape), tuple(given.shape), tuple(result.shape))
        return result

    images = [tf.zeros((1, *t.shape[1:]), t.dtype) for t in model.inputs]
    keras.layers.Layer.__call__ = counted
    try:
        model(tf.nest.pack_sequence_as(model._nested_inputs, images), training=False)
    finally:
        keras.layers.Layer.__call__ = plain
    return total


def profiler_knows(model: Any) -> bool:
    """Whether the profiler is right: no convolution is grouped or dilated.

    TensorFlow dilates by moving positions into the batch, whose size the profiler doesn't know.
    """
    for layer in model._flatten_layers():
        if "Depthwise" in type(layer).__name__:
            continue
        if getattr(layer, "groups", 1) > 1 or np.max(getattr(layer, "dilation_rate", 1)) > 1:
            return False
    return True


def _macs(layer: Any, kernel: tuple, given: tuple, result: tuple) -> int:
    if hasattr(layer, "equation"):
        read, rest = layer.equation.replace("...", "").split(",")
        sizes = dict(zip(reversed(read), reversed(given), strict=False))
        sizes |= dict(zip(rest.split("->")[0], kernel, strict=True))
        return int(np.prod(list(sizes.values())))
    shape = given if type(layer).__name__.endswith("Transpose") else result
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return int(np.prod(shape)) // shape[1 if first else -1] * int(np.prod(kernel))
