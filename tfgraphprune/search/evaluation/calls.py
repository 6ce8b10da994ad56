"""What a slim network must know of layer calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.graph.reader import Call, Program


def kind_of(call: Call) -> str:
    """The layer's class, if it is Keras' own."""
    kind = type(call.layer)
    return kind.__name__ if kind.__module__.startswith("tf_keras.") else f"own {kind.__name__}"


def is_norm(call: Call) -> bool:
    """Whether it is one of BatchNorm."""
    return kind_of(call) in ("BatchNormalization", "SyncBatchNormalization")


def last_layers(graph: LayerGraph, program: Program) -> set[tuple[str, ...]]:
    """Paths of the layers that make the outputs, back to those with weights.

    Args:
        graph: that the program is of.
        program: layer calls.
    """
    makers = {id(t): call for call in program.calls for t in call.outputs}
    found = set()
    ahead = [makers[id(t)] for t in program.outputs if id(t) in makers]
    while ahead:
        call = ahead.pop()
        inside = graph.inside(call.key)
        if inside is not None:
            found |= last_layers(graph, inside)
            continue
        found.add(graph.path_of(call.layer))
        if not call.layer.weights and len(call.inputs) == 1:
            ahead += [makers[id(t)] for t in call.inputs if id(t) in makers]
    return found


def slices_other_axes(graph: LayerGraph, call: Call) -> bool:
    """Whether the last axis has all of its channels, in order, before and after."""
    inputs, outputs = graph.labels(call.key)
    if len(inputs) != 1 or len(outputs) != 1 or not (inputs[0].rank and outputs[0].rank):
        return False
    before, after = inputs[0], outputs[0]
    same = before.rank == after.rank and before.shape[-1] == after.shape[-1]
    lies = [{a for a, n in enumerate(t.ids.shape[:-1]) if n > 1} for t in (before, after)]
    return same and not any(lies) and np.array_equal(before.along(-1), after.along(-1))


def in_dtype(nest: Any, dtype: tf.DType) -> Any:
    """Tensors of float32 and bfloat16 in one of the two; anything else as it is."""
    ours = (tf.float32, tf.bfloat16)
    return tf.nest.map_structure(
        lambda x: tf.cast(x, dtype) if tf.is_tensor(x) and x.dtype in ours else x, nest
    )
