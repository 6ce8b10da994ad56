"""Rules of what only moves channels: concat, reshape, transpose, slice, split, pad.

Where the channels go is found by running the op itself on channel ids. What is written here is
how each op's sizes and bounds change once some channels are gone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfgraphprune.graph.labels import Kept, Labels
from tfgraphprune.graph.reader import Call, output_shapes
from tfgraphprune.graph.rules.base import LayerRule, layer_rule
from tfgraphprune.graph.tracer import CallTracer


class Moves(LayerRule):
    """An op on one tensor whose arguments need no change: transpose, flatten, flip and the like."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Run the op on ids."""
        call = tracer.call
        if len(inputs) != 1:
            return tracer.opaque(inputs, "depends on the values of a tensor")
        problem = self.problem(tracer, inputs[0])
        if problem:
            return tracer.opaque(inputs, problem)
        batch = call.inputs[0].shape[0]

        def run(array: Any) -> Any:
            args, kwargs = call.substitute({id(call.inputs[0]): array})
            return call.layer(*args, **kwargs)

        outputs = tracer.run(run, inputs, output_shapes(call), batch or 1)
        if outputs is None:
            return tracer.opaque(inputs, "has an unknown size or moves values across examples")
        return outputs

    def problem(self, tracer: CallTracer, labels: Labels) -> str:
        """Why this call can't be followed, or an empty string."""
        return ""


class ReshapeLayer(Moves):
    """Keras' Reshape: what stays of a block, in row-major order, is a block of the new shape."""

    def config(self, call: Call, outputs: list[Labels], kept: Kept) -> dict[str, Any]:
        """The target shape."""
        return {"target_shape": kept.shape(outputs[0])}


class Reshape(Moves):
    """`tf.reshape`."""

    def arguments(
        self, call: Call, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[tuple, dict]:
        """The target shape; its batch entry stays."""
        batch = int(np.asarray(_argument(call, 1, "shape"))[0])
        return _with_argument(call, 1, "shape", [batch, *kept.shape(outputs[0])])


class Transpose(Moves):
    """`tf.transpose` with a permutation that leaves the batch first."""

    def problem(self, tracer: CallTracer, labels: Labels) -> str:
        """The batch must stay first."""
        perm = _argument(tracer.call, 1, "perm")
        return "" if perm is not None and np.asarray(perm)[0] == 0 else "moves the batch axis"


class Squeeze(Moves):
    """`tf.squeeze` of named axes."""

    def problem(self, tracer: CallTracer, labels: Labels) -> str:
        """Unnamed, an axis of channels would vanish once a single channel is left."""
        return "" if _argument(tracer.call, 1, "axis") is not None else "squeezes any axis"


class Slice(Moves):
    """Basic slicing of a tensor, `x[:, ::2, ::2, :8]` or `x[:, None, None]`."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Run on ids; the slice's channels become groups of their own."""
        outputs = super().trace(tracer, inputs)
        for labels in outputs:
            tracer.mark(labels)
        return outputs

    def problem(self, tracer: CallTracer, labels: Labels) -> str:
        """Along the channels only contiguous slices are followed."""
        items = _slice_items(tracer.call, labels.rank)
        if items is None:
            return "is a slice that can't be followed"
        places = _places(items)
        for axis in labels.varying(tracer.union):
            item = items[places[axis + 1]]
            if not isinstance(item, dict):
                return "picks single channels"
            if item["step"] not in (None, 1):
                return "slices channels with a step"
        return ""

    def arguments(
        self, call: Call, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[tuple, dict]:
        """The bounds along cut axes."""
        items = _slice_items(call, inputs[0].rank)
        assert items is not None
        places = _places(items)
        for axis, size in enumerate(inputs[0].shape):
            stays = kept.along(inputs[0], axis)
            item = items[places[axis + 1]]
            if not isinstance(item, dict) or size is None or stays.all():
                continue
            start, stop, _ = slice(item["start"], item["stop"]).indices(size)
            new_start = int(stays[:start].sum())
            count = int(stays[start:stop].sum())
            items[places[axis + 1]] = {"start": new_start, "stop": new_start + count, "step": None}
        return _with_argument(call, 1, "slice_spec", tuple(items))


class Split(Moves):
    """`tf.split`; each part's channels become groups of their own."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Run on ids."""
        outputs = super().trace(tracer, inputs)
        for labels in outputs:
            tracer.mark(labels)
        return outputs

    def arguments(
        self, call: Call, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[tuple, dict]:
        """The sizes of the parts."""
        axis = int(_argument(call, 2, "axis", 0)) % (inputs[0].rank + 1) - 1
        sizes = [kept.shape(labels)[axis] for labels in outputs]
        return _with_argument(call, 1, "num_or_size_splits", sizes)


class Pad(Moves):
    """`tf.pad` with zeros; padded channels get ids of their own, which unite like any others."""

    def problem(self, tracer: CallTracer, labels: Labels) -> str:
        """Only zeros are followed."""
        mode = str(_argument(tracer.call, 2, "mode", "CONSTANT")).upper()
        value = _argument(tracer.call, 4, "constant_values", 0)
        before = np.asarray(_argument(tracer.call, 1, "paddings"))
        if mode != "CONSTANT" or np.any(np.asarray(value) != 0) or before[0].any():
            return "pads with other values than zeros, or pads the batch"
        return ""

    def arguments(
        self, call: Call, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[tuple, dict]:
        """The widths along cut axes."""
        paddings = np.asarray(_argument(call, 1, "paddings")).tolist()
        for axis in range(outputs[0].rank):
            stays = kept.along(outputs[0], axis)
            if not stays.all():
                before, after = paddings[axis + 1]
                paddings[axis + 1] = [
                    int(stays[:before].sum()),
                    int(stays[len(stays) - after :].sum()),
                ]
        return _with_argument(call, 1, "paddings", paddings)


class Concat(LayerRule):
    """Concatenation along any axis but the batch; no argument changes."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Lay the ids side by side."""
        layer = tracer.call.layer
        axis = getattr(layer, "axis", None)
        axis = _argument(tracer.call, 1, "axis") if axis is None else axis
        shape = output_shapes(tracer.call)[0]
        axis = int(axis) % (len(shape) + 1) - 1
        if axis < 0:
            return tracer.opaque(inputs, "concatenates examples")
        if any(labels.shape[axis] is None for labels in inputs):
            varies = any(labels.varying(tracer.union) == (axis,) for labels in inputs)
            if varies:
                return tracer.opaque(inputs, "concatenates channels of unknown number")
            return [self._stacked(tracer, inputs, axis, shape, sizes=[1] * len(inputs))]
        sizes = [labels.shape[axis] or 1 for labels in inputs]
        return [self._stacked(tracer, inputs, axis, shape, sizes)]

    @staticmethod
    def _stacked(
        tracer: CallTracer, inputs: list[Labels], axis: int, shape: tuple, sizes: list[int]
    ) -> Labels:
        common = np.broadcast_shapes(
            *(labels.ids.shape[:axis] + (1,) + labels.ids.shape[axis + 1 :] for labels in inputs)
        )
        parts = [
            np.broadcast_to(labels.ids, common[:axis] + (size,) + common[axis + 1 :])
            for labels, size in zip(inputs, sizes, strict=True)
        ]
        ids = np.concatenate(parts, axis)
        if shape[axis] is None:
            ids_first = ids.take([0], axis)
            tracer.unite(ids, ids_first)
            ids = ids_first
        return tracer.rectangular(Labels(ids, shape))


def _argument(call: Call, position: int, name: str, default: Any = None) -> Any:
    if len(call.args) > position:
        return call.args[position]
    return call.kwargs.get(name, default)


def _with_argument(call: Call, position: int, name: str, value: Any) -> tuple[tuple, dict]:
    args = list(call.args)
    if len(args) > position:
        args[position] = value
        return tuple(args), call.kwargs
    return call.args, {**call.kwargs, name: value}


def _slice_items(call: Call, rank: int) -> list | None:
    """One entry for each axis, batch first: a slice, an index, or `None` for a new axis.

    `None` instead of a list where the batch is sliced, or bounds are tensors.
    """
    spec = call.args[1] if len(call.args) > 1 else call.kwargs.get("slice_spec")
    items = list(spec) if isinstance(spec, tuple | list) else [spec]
    whole = {"start": None, "stop": None, "step": None}
    missing = rank + 1 - sum(item is not None and item is not Ellipsis for item in items)
    rest = [dict(whole) for _ in range(missing)]
    at = next((i for i, item in enumerate(items) if item is Ellipsis), len(items))
    items[at : at + 1] = rest
    plain = all(isinstance(i, int | dict | None) and not isinstance(i, bool) for i in items)
    return items if plain and items[0] == whole else None


def _places(items: list) -> list[int]:
    """Where the entry of each input axis stands, batch first."""
    return [place for place, item in enumerate(items) if item is not None]


layer_rule(["Flatten", "Permute", "tf.expand_dims", "tf.reverse"], Moves())
layer_rule(["tf.squeeze"], Squeeze())
layer_rule(["Reshape"], ReshapeLayer())
layer_rule(["tf.reshape"], Reshape())
layer_rule(["tf.transpose"], Transpose())
layer_rule(["tf.__operators__.getitem"], Slice())
layer_rule(["tf.split"], Split())
layer_rule(["tf.pad"], Pad())
layer_rule(["Concatenate", "tf.concat"], Concat())
