"""MACs and parameters counted without the library: off TensorFlow's graph, and layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import ops

_COUNTED = ("Conv2D", "DepthwiseConv2dNative", "MatMul", "Conv2DBackpropInput", "BatchMatMulV2")


def profiler_macs(model: Any) -> int:
    """Half of the FLOPs that TensorFlow's profiler has registered for convolutions and products.

    It knows nothing of Keras' grouped convolutions, which are calls of compiled functions.
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


def formula_macs(model: Any) -> int | None:
    """Kernel sizes times output positions, over the calls of convolutions and dense layers.

    `None` for a model with layers made of layers, whose inner sizes can't be seen.
    """
    total = 0
    for nodes in model._nodes_by_depth.values():
        for node in nodes:
            layer = node.layer
            if hasattr(layer, "_nodes_by_depth"):
                inside = formula_macs(layer)
                if inside is None:
                    return None
                total += inside
                continue
            if len(list(layer._flatten_layers())) > 1:
                return None
            shape = tf.nest.flatten(node.output_shapes)
            shape = node.output_shapes[0] if isinstance(node.output_shapes, list) else shape
            kernels = [w for w in layer.weights if w.name.split("/")[-1].endswith("kernel:0")]
            if kernels and type(layer).__name__.endswith("Transpose"):
                shape = node.input_shapes
            positions = int(np.prod(shape[1:-1]))
            total += sum(positions * int(np.prod(kernel.shape)) for kernel in kernels)
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
