"""What kernels read and make, at some positions of sampled activations."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.graph.reader import Call, Program

Path = tuple[str, ...]

CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D")
SEPARABLE = ("SeparableConv1D", "SeparableConv2D")


def kernel_of(layer: Any) -> Any:
    """The kernel by which a layer reads its input's channels, or `None` where it is not supported.

    Supported are convolutions without blocks, separable ones (their pointwise kernel) and dense
    layers, channels last.
    """
    kind = type(layer).__name__
    if kind == "Dense":
        return layer.kernel
    if getattr(layer, "data_format", "") != "channels_last" or getattr(layer, "groups", 1) != 1:
        return None
    if kind in CONVOLUTIONS and layer.padding in ("same", "valid"):
        return layer.kernel
    if kind in SEPARABLE and layer.padding in ("same", "valid"):
        return layer.pointwise_kernel
    return None


class PatchSampler:
    """Rows that a kernel is multiplied with, of chosen layers, in one compiled forward pass.

    Args:
        graph: of the model; its weights may change between calls.
        layers: by a name for each: layers of the model that `kernel_of` supports.
        points: positions for an example and a layer's call.
        seed: of the positions, which are the same for all models of equal image sizes.
    """

    def __init__(self, graph: LayerGraph, layers: Mapping[Path, Any], points: int, seed: int):
        self._graph = graph
        self._names = {id(layer): name for name, layer in layers.items()}
        self._points, self._seed = points, seed
        self._order: list[Path] = []
        self._compiled = tf.function(self._sample, autograph=False, reduce_retracing=True)

    def __call__(self, batches: Sequence[Any]) -> dict[Path, np.ndarray]:
        """For each layer float32 `[rows, kernel size * channels]`, over all batches and calls."""
        found: dict[Path, list[np.ndarray]] = {}
        for number, x in enumerate(batches):
            made = self._run(x, number)
            for name, rows in zip(self._order, made, strict=True):
                found.setdefault(name, []).append(rows.numpy())
        return {name: np.concatenate(rows) for name, rows in found.items()}

    def _run(self, x: Any, number: int) -> list[tf.Tensor]:
        model, dialect = self._graph.model, self._graph.program.dialect
        functional = dialect.has_layer_graph(model)
        given = dialect.model_inputs(model, x) if functional else tf.nest.flatten(x)
        return self._compiled(list(given), tf.constant(number))

    def _sample(self, given: list, number: tf.Tensor) -> list[tf.Tensor]:
        self._order = []
        rows: list[tf.Tensor] = []
        calls: Counter[Path] = Counter()

        def visit(call: Call, args: tuple, kwargs: dict) -> Any:
            inside = self._graph.inside(call.key)
            if inside is not None:
                flat = [t for t in tf.nest.flatten((args, kwargs)) if tf.is_tensor(t)]
                return run(inside, call.model_inputs(args, kwargs) if call.is_model else flat)
            name = self._names.get(id(call.layer))
            if name is not None:
                x = args[0] if args else kwargs["inputs"]
                # Not by the order of visits, which is another one where layers were cut.
                place = zlib.crc32("/".join(name).encode()) % 2**30 + 8 * calls[name]
                calls[name] += 1
                seed = tf.stack([self._seed + place, number])
                rows.append(_rows(call.layer, tf.cast(x, tf.float32), self._points, seed))
                self._order.append(name)
            return call.layer(*args, **call.in_inference(kwargs))

        def run(program: Program, inputs: Sequence) -> list:
            return program.interpret(inputs, visit)

        run(self._graph.program, given)
        return rows


def _rows(layer: Any, x: tf.Tensor, points: int, seed: tf.Tensor) -> tf.Tensor:
    """What the layer's kernel is multiplied with at random positions; `[examples * points, k]`."""
    kind = type(layer).__name__
    if kind in SEPARABLE:
        x = _depthwise(layer, x)
    if kind in CONVOLUTIONS:
        geometry = (layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding)
    else:
        ones = (1,) * (x.shape.rank - 2)
        geometry = (ones, ones, ones, "valid")
    return _windows(x, *geometry, points, seed)


def _depthwise(layer: Any, x: tf.Tensor) -> tf.Tensor:
    kernel, strides = layer.depthwise_kernel, tuple(layer.strides)
    line = x.shape.rank == 3
    if line:  # as Keras does it: one row of an image
        x, kernel, strides = x[:, None], kernel[None], strides * 2
    dilations = (1, *layer.dilation_rate) if line else layer.dilation_rate
    made = tf.nn.depthwise_conv2d(
        x, kernel, (1, *strides, 1), layer.padding.upper(), dilations=dilations
    )
    return made[:, 0] if line else made


def _windows(
    x: tf.Tensor,
    sizes: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: str,
    points: int,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Windows of `[n, *space, c]` at `points` random output positions of each example, flat."""
    count, channels = tf.shape(x)[0], tf.shape(x)[-1]
    index = tf.reshape(tf.range(count), [-1, 1, *([1] * len(sizes))])
    index = tf.broadcast_to(index, [count, points, *sizes])
    parts, pads = [index], [[0, 0]]
    for axis, (size, stride, dilation) in enumerate(zip(sizes, strides, dilations, strict=True)):
        length, reach = tf.shape(x)[axis + 1], (size - 1) * dilation + 1
        same = padding == "same"
        outputs = (length + stride - 1) // stride if same else (length - reach) // stride + 1
        pad = tf.maximum((outputs - 1) * stride + reach - length, 0) if same else 0
        pads.append([pad // 2, pad - pad // 2])
        start = tf.random.stateless_uniform(
            (count, points), seed + axis, minval=0, maxval=outputs, dtype=tf.int32
        )
        shape = [1] * len(sizes)
        shape[axis] = size
        place = tf.reshape(start * stride, [count, points, *([1] * len(sizes))])
        window = place + tf.reshape(tf.range(size) * dilation, [1, 1, *shape])
        parts.append(tf.broadcast_to(window, tf.shape(index)))
    padded = tf.pad(x, [*pads, [0, 0]])
    windows = tf.gather_nd(padded, tf.stack(parts, -1))
    return tf.reshape(windows, [count * points, int(np.prod(sizes)) * channels])
