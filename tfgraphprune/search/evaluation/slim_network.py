"""The network under a plan with its kernels cut, in one traced function for all plans.

Cheaper than masking, as nothing that is removed is computed. The functions take the cut weights
as arguments whose channels have no fixed number, so that no plan is traced again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.batches import length
from tfgraphprune.graph.axes import taken
from tfgraphprune.graph.labels import Kept
from tfgraphprune.graph.layer_graph import LayerGraph
from tfgraphprune.graph.reader import Call, Program, is_tensor
from tfgraphprune.graph.rules import is_op, rule_for
from tfgraphprune.graph.rules.channelwise import Elementwise
from tfgraphprune.pruning.filling import filled_up, without_added
from tfgraphprune.pruning.masking import WeightKey as Key
from tfgraphprune.search.evaluation.calls import (
    in_dtype,
    is_norm,
    kind_of,
    last_layers,
    slices_other_axes,
)
from tfgraphprune.search.evaluation.folding import foldable, folded
from tfgraphprune.search.evaluation.slim_layers import (
    DIRECT,
    FUNCTIONS,
    WHOLE,
    NotSlim,
    Weights,
    moving_statistics,
    scatter,
)


class SlimNetwork:
    """The counterpart of `MaskedNetwork`, for models whose layers are all known to it.

    Layers without a function of their own run whole, on tensors in which the removed channels
    are zero, if that gives the same for the channels that stay.

    Args:
        graph: the dense model's graph, of tf_keras.
        calibration: batches of inputs for the BatchNorm statistics.
        dtype: float32 or bfloat16, of activations and kernels; statistics are float32.
        multiple: channels that a plan is filled up to, see `filled_up`.

    Attributes:
        dtype: as given.

    Raises:
        NotSlim: a layer is none of those; masks, or float32, serve instead.
    """

    def __init__(
        self,
        graph: LayerGraph,
        calibration: Sequence[tf.Tensor],
        dtype: tf.DType = tf.float32,
        multiple: int = 1,
    ):
        self._graph = graph
        self._calibration = calibration
        self.dtype = dtype
        self._axes: dict[Key, list] = {}
        for axis in graph.weight_axes():
            if axis.role == "norm" or axis.weight < 0:
                if any(group.prunable for group in self._groups_on(axis.ids)):
                    raise NotSlim(f"the layer {'/'.join(axis.path)!r} reads all channels at once")
                continue
            self._axes.setdefault((axis.path, axis.weight), []).append(axis)
        self._dense: dict[Key, np.ndarray] = {}
        self._sites: dict[str, np.ndarray] = {}
        self._batch_norms: dict[tuple[str, ...], Any] = {}
        self._whole: set[tuple[str, ...]] = set()
        self._whole_kernels: list[str] = []
        self._folds: dict[str, Any] = {}
        self._folded: set[str] = set()
        self._last = last_layers(graph, graph.program)
        self._inspect(graph.program)
        if multiple > 1 and self._whole_kernels:
            # They would read the channels that a plan is filled up with.
            raise NotSlim(f"the kernel of {self._whole_kernels[0]!r} is not cut")
        self._multiple = multiple
        self._shapes = {key: value.shape for key, value in self._dense.items()}
        self._weights: dict[Key, tf.Tensor] = {}
        self._places: dict[str, tf.Tensor] = {}
        signature = (
            [self._spec(key) for key in self._dense],
            [tf.TensorSpec([None], tf.int32) for _ in self._sites],
        )
        # The inputs' own signature would fix the batch: the last batch is often smaller.
        images = [tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in graph.program.inputs]
        self._score = tf.function(
            lambda x, w, p: self._forward(x, w, p, None), input_signature=(images, *signature)
        )
        self._moments = tf.function(self._statistics, input_signature=(images, *signature))

    @property
    def detours(self) -> float:
        """The share of layers with channels that may be cut that run whole all the same."""
        whole = {name.rsplit(" ", 2)[0] for name in self._sites}
        return len(whole) / max(1, len(whole) + len(self._batch_norms))

    def apply(self, kept: Mapping[str, Sequence[int]]) -> None:
        """Cut the weights to a plan and estimate the statistics of what is left."""
        values = self._dense
        if self._multiple > 1:
            wide = filled_up(self._graph, kept, self._multiple)
            factors = without_added(self._graph, kept, wide, self._shapes)
            values = {**values, **{key: values[key] * factor for key, factor in factors.items()}}
            kept = wide
        stays = self._graph.kept(kept)
        self._weights = {key: self._cut(key, value, stays) for key, value in values.items()}
        self._places = {
            name: tf.constant(stays.positions(ids), tf.int32) for name, ids in self._sites.items()
        }
        sums: dict[Key, Any] = {}
        for x in self._calibration if self._batch_norms else ():
            for key, value in self._moments(tf.nest.flatten(x), *self._arguments()).items():
                path, index = key.rsplit("#", 1)
                found = tuple(path.split("\n")), int(index)
                sums[found] = sums.get(found, 0) + value * length(x)
        examples = sum(map(length, self._calibration))
        for key, total in sums.items():
            self._weights[key] = tf.cast(total / examples, tf.float32)

    def predict(self, x: tf.Tensor) -> Any:
        """Outputs for a batch; float32."""
        found = self._score(tf.nest.flatten(x), *self._arguments())
        return tf.nest.map_structure(lambda t: np.asarray(t, np.float32), found)

    def _arguments(self) -> tuple[list, list]:
        return list(self._weights.values()), list(self._places.values())

    def _cut(self, key: Key, value: np.ndarray, kept: Kept) -> tf.Tensor:
        if key[0] in self._whole:
            return tf.constant(value)
        for axis in sorted(self._axes.get(key, ()), key=lambda axis: -axis.blocks):
            value = taken(value, axis.axis, axis.blocks, kept.positions(axis.ids))
        return tf.constant(value, self._dtype_of(key))

    def _spec(self, key: Key) -> tf.TensorSpec:
        shape: list[int | None] = list(self._dense[key].shape)
        if key[0] not in self._whole:
            for axis in self._axes.get(key, ()):
                shape[axis.axis] = None
        return tf.TensorSpec(shape, self._dtype_of(key))

    def _dtype_of(self, key: Key) -> tf.DType:
        """What a weight is computed in: float32 ones in the network's precision."""
        own = tf.as_dtype(self._dense[key].dtype)
        exact = key[0] in self._whole or key[0] in self._batch_norms or key[0] in self._last
        return own if exact or own != tf.float32 else self.dtype

    def _groups_on(self, ids: np.ndarray) -> list:
        names = {name for name, *_ in self._graph.channels_of(ids)}
        return [group for group in self._graph.channel_groups if group.name in names]

    def _inspect(self, program: Program) -> None:
        """Note weights and places, or refuse."""
        for key, norm in foldable(program, is_norm, self._runs_cut).items():
            self._folds[key] = norm.layer
            self._folded.add(norm.key)
        for call in program.calls:
            inside = self._graph.inside(call.key)
            if inside is not None:
                self._inspect(inside)
                continue
            path = self._graph.path_of(call.layer)
            if is_norm(call):
                self._batch_norms[path] = call.layer
            elif not self._runs_cut(call):
                self._whole.add(path)
                self._note_sites(call)
            for index, value in enumerate(call.layer.get_weights()):
                self._dense[path, index] = value

    def _runs_cut(self, call: Call) -> bool:
        kind = kind_of(call)
        if kind in FUNCTIONS and FUNCTIONS[kind].takes(call):
            return True
        if is_op(call.layer):  # one without arrays that would have to be cut
            constants = [
                np.size(leaf)
                for leaf in tf.nest.flatten((call.args, call.kwargs))
                if not is_tensor(leaf)
            ]
            if kind_of(call) == "SlicingOpLambda":
                return slices_other_axes(self._graph, call)
            elementwise = isinstance(rule_for(call.layer), Elementwise)
            return elementwise and max(constants, default=1) <= 1
        return kind in DIRECT and not call.layer.weights

    def _note_sites(self, call: Call) -> None:
        kind = kind_of(call)
        if call.layer.weights and kind not in WHOLE:
            raise NotSlim(f"the layer {call.key!r} ({kind}) has no slim function")
        inputs, outputs = self._graph.labels(call.key)
        if len(outputs) != len(call.outputs):
            raise NotSlim(f"the outputs of {call.key!r} ({kind}) are not all followed")
        for side, tensors in (("in", inputs), ("out", outputs)):
            for number, labels in enumerate(tensors):
                lines = labels.ids.reshape(-1, labels.ids.shape[-1]) if labels.rank else labels.ids
                cut = [group.prunable for group in self._groups_on(labels.ids.ravel())]
                if not any(cut):
                    continue
                if labels.ids.size != lines.shape[-1] or labels.shape[-1] is None:
                    raise NotSlim(f"channels of {call.key!r} ({kind}) lie on several axes")
                self._sites[f"{call.key} {side} {number}"] = labels.along(-1)
                if call.layer.weights:
                    self._whole_kernels.append(call.key)

    def _forward(self, x: Any, weights: list, places: list, moments: dict | None) -> Any:
        """Outputs; with `moments`, BatchNorm uses the batch's own and leaves them there."""
        values = dict(zip(self._dense, weights, strict=True))
        where = dict(zip(self._sites, places, strict=True))

        def run(program: Program, inputs: Sequence) -> list:
            return program.interpret(inputs, visit)

        def visit(call: Call, args: tuple, kwargs: dict) -> Any:
            results = compute(call, args, kwargs)
            done = self._graph.inside(call.key) is not None  # by the layers inside
            if done or self._graph.path_of(call.layer) in self._last:
                return results
            return in_dtype(results, self.dtype)

        def compute(call: Call, args: tuple, kwargs: dict) -> Any:
            inside = self._graph.inside(call.key)
            if inside is not None:
                given = (
                    call.model_inputs(args, kwargs)
                    if call.is_model
                    else [t for t in tf.nest.flatten((args, kwargs)) if tf.is_tensor(t)]
                )
                return run(inside, given)
            path = self._graph.path_of(call.layer)
            exact = path in self._whole or path in self._last
            args, kwargs = in_dtype((args, kwargs), tf.float32 if exact else self.dtype)
            own = Weights(values, path, len(call.layer.weights))
            if path in self._batch_norms:
                if moments is None and call.key in self._folded:
                    return args[0]
                return own.normalise(call.layer, args[0], moments)
            if path in self._whole:
                return self._run_whole(call, args, kwargs, where)
            kind = kind_of(call)
            if kind in FUNCTIONS:
                x = args[0] if args else kwargs["inputs"]
                norm = self._folds.get(call.key) if moments is None else None
                if norm is None:
                    return FUNCTIONS[kind](call.layer, own, x)
                statistics = Weights(values, self._graph.path_of(norm), len(norm.weights))
                return folded(FUNCTIONS[kind], call.layer, own, norm, statistics, x)
            if is_op(call.layer):
                return call.layer(*args, **kwargs)
            return call.layer.call(*args, **call.in_inference(kwargs))

        outputs = run(self._graph.program, x)
        return tf.nest.pack_sequence_as(self._graph.program.nested_outputs, outputs)

    def _run_whole(self, call: Call, args: tuple, kwargs: dict, where: dict) -> list:
        number = -1

        def spread(leaf: Any) -> Any:
            nonlocal number
            if not tf.is_tensor(leaf):
                return leaf
            number += 1
            name = f"{call.key} in {number}"
            return scatter(leaf, where[name], len(self._sites[name])) if name in where else leaf

        args, kwargs = tf.nest.map_structure(spread, (args, kwargs))
        results = tf.nest.flatten(call.layer(*args, **call.in_inference(kwargs)))
        for index, result in enumerate(results):
            name = f"{call.key} out {index}"
            if name in where:
                results[index] = tf.gather(result, where[name], axis=-1)
        return results

    def _statistics(self, x: Any, weights: list, places: list) -> dict[str, tf.Tensor]:
        moments: dict[tuple, list] = {}
        self._forward(x, weights, places, moments)
        found = {}
        for path, pairs in moments.items():
            layer = self._batch_norms[path]
            for column, index in enumerate(moving_statistics(layer)):
                mean = tf.add_n([pair[column] for pair in pairs]) / len(pairs)
                found["\n".join(path) + f"#{index}"] = tf.cast(mean, tf.float64)
        return found
