"""Rules of what only moves channels: concat, reshape, transpose, stack, pad.

Where the channels go is found by running the op itself on channel ids. What is written here is
how each op's sizes and bounds change once some channels are gone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tf_keras as keras

from tfgraphprune.graph.labels import Kept, Labels, Shape
from tfgraphprune.graph.reader import Call, is_tensor, output_shapes
from tfgraphprune.graph.rules.base import LayerRule, layer_rule
from tfgraphprune.graph.tracer import CallTracer


class Moves(LayerRule):
    """An op whose arguments need no change: transpose, flatten, flip, stack, pixel shuffle."""

    several = False
    """Whether it takes several tensors."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Run the op on ids."""
        call = tracer.call
        tensors = call.inputs
        problem = "depends on the values of a tensor"
        if len(inputs) == 1 or self.several:
            problem = self.problem(tracer, inputs)
        if problem:
            return tracer.opaque(inputs, problem)
        batch = tensors[0].shape[0]

        def run(*arrays: Any) -> Any:
            args, kwargs = call.substitute(dict(zip(map(id, tensors), arrays, strict=True)))
            return call.layer(*args, **kwargs)

        outputs = tracer.run(run, inputs, output_shapes(call), batch or 1)
        if outputs is None:
            return tracer.opaque(inputs, "has an unknown size or moves values across examples")
        return outputs

    def problem(self, tracer: CallTracer, inputs: list[Labels]) -> str:
        """Why this call can't be followed, or an empty string."""
        return ""


class Stack(Moves):
    """`tf.stack`: a new axis, whose positions must stay together."""

    several = True

    def problem(self, tracer: CallTracer, inputs: list[Labels]) -> str:
        """The batch must stay first."""
        rank = inputs[0].rank + 2
        return "" if int(tracer.call.argument(1, "axis", 0)) % rank else "stacks whole examples"


class Unstack(Moves):
    """`tf.unstack` along an axis on which the channels do not change."""

    def problem(self, tracer: CallTracer, inputs: list[Labels]) -> str:
        """Taking channels apart would change the number of outputs."""
        axis = int(tracer.call.argument(2, "axis", 0)) % (inputs[0].rank + 1) - 1
        return "takes channels apart" if axis in inputs[0].varying(tracer.union) else ""


class ReshapeLayer(Moves):
    """Keras' Reshape: what stays of a block, in row-major order, is a block of the new shape."""

    def config(self, call: Call, outputs: list[Labels], kept: Kept) -> dict[str, Any]:
        """The target shape."""
        return {"target_shape": _sizes(kept.shape(outputs[0]))}


class Reshape(LayerRule):
    """`tf.reshape` and `tf.broadcast_to`; the batch's size may be read at run time."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Run the op on ids."""
        call, shapes = tracer.call, output_shapes(tracer.call)
        target = call.argument(1, "shape")
        entries = list(target) if isinstance(target, list | tuple) else [target]
        if is_tensor(target) or any(map(is_tensor, entries[1:])):
            return tracer.opaque(inputs, "depends on the values of a tensor")
        batch = 1 if is_tensor(entries[0]) else call.inputs[0].shape[0] or 1

        def run(array: Any) -> Any:
            sizes = [batch, *entries[1:]] if is_tensor(entries[0]) else target
            return call.layer(array, shape=sizes)

        outputs = tracer.run(run, inputs[:1], shapes, batch)
        if outputs is None:
            return tracer.opaque(inputs, "has an unknown size or moves values across examples")
        return outputs

    def arguments(
        self, call: Call, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[tuple, dict]:
        """The target shape; its batch entry stays."""
        target = call.argument(1, "shape")
        entries = list(target) if isinstance(target, list | tuple) else []
        if is_tensor(target) or any(map(is_tensor, entries[1:])):
            return call.args, call.kwargs
        first = target[0] if isinstance(target, list | tuple) else int(np.asarray(target)[0])
        sizes = _sizes(kept.shape(outputs[0]))
        return call.with_argument(1, "shape", [first, *sizes])


class Transpose(Moves):
    """`tf.transpose` with a permutation that leaves the batch first."""

    def problem(self, tracer: CallTracer, inputs: list[Labels]) -> str:
        """The batch must stay first."""
        perm = tracer.call.argument(1, "perm")
        return "" if perm is not None and np.asarray(perm)[0] == 0 else "moves the batch axis"


class Squeeze(Moves):
    """`tf.squeeze` of named axes."""

    def problem(self, tracer: CallTracer, inputs: list[Labels]) -> str:
        """Unnamed, an axis of channels would vanish once a single channel is left."""
        return "" if tracer.call.argument(1, "axis") is not None else "squeezes any axis"


class Pad(Moves):
    """`tf.pad` with zeros; padded channels get ids of their own, which unite like any others."""

    def problem(self, tracer: CallTracer, inputs: list[Labels]) -> str:
        """Only zeros are followed."""
        mode = str(tracer.call.argument(2, "mode", "CONSTANT")).upper()
        value = tracer.call.argument(4, "constant_values", 0)
        before = np.asarray(tracer.call.argument(1, "paddings"))
        if mode != "CONSTANT" or np.any(np.asarray(value) != 0) or before[0].any():
            return "pads with other values than zeros, or pads the batch"
        return ""

    def arguments(
        self, call: Call, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[tuple, dict]:
        """The widths along cut axes."""
        paddings = np.asarray(call.argument(1, "paddings")).tolist()
        for axis in range(outputs[0].rank):
            stays = kept.along(outputs[0], axis)
            if not stays.all():
                before, after = paddings[axis + 1]
                paddings[axis + 1] = [
                    int(stays[:before].sum()),
                    int(stays[len(stays) - after :].sum()),
                ]
        return call.with_argument(1, "paddings", paddings)


class Repeat(Moves):
    """`tf.repeat`, each entry equally often."""

    def problem(self, tracer: CallTracer, inputs: list[Labels]) -> str:
        """Repeats by entry would have to be cut."""
        call = tracer.call
        if np.size(call.argument(1, "repeats")) > 1 or call.argument(2, "axis") is None:
            return "repeats its entries unequally"
        return ""


class Sizes(LayerRule):
    """`tf.shape`: reads no values, so that nothing need stay for it."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Its entries are no channels; the size of a cut axis must not be read."""
        for labels in inputs:
            if labels.varying(tracer.union) and None in labels.shape:
                return tracer.opaque(inputs, "reads an unknown size")
        return [tracer.fresh(shape, "is a size") for shape in output_shapes(tracer.call)]


class Concat(LayerRule):
    """Concatenation along any axis but the batch; no argument changes."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Lay the ids side by side."""
        layer = tracer.call.layer
        axis = getattr(layer, "axis", None)
        axis = tracer.call.argument(1, "axis") if axis is None else axis
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

    def substitute(
        self, call: Call, config: dict, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[Any, list] | None:
        """tf_keras can't load a Concatenate of a single tensor, as YOLOV8's "box" and "class"."""
        if len(inputs) > 1 or not isinstance(call.layer, keras.layers.Concatenate):
            return None
        return keras.layers.Activation("linear", name=config["name"], dtype=config["dtype"]), []

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


def _sizes(shape: Shape) -> list[int]:
    """A shape as an argument: its one unknown size as -1."""
    return [-1 if size is None else size for size in shape]


layer_rule(
    "Flatten Permute RepeatVector Identity tf.expand_dims tf.reverse tf.tile "
    "tf.nn.depth_to_space tf.nn.space_to_depth tf.image.flip_left_right tf.image.flip_up_down "
    "tf.image.rot90".split(),
    Moves(),
)
layer_rule(["tf.squeeze"], Squeeze())
layer_rule(["tf.repeat"], Repeat())
layer_rule(["tf.shape"], Sizes())
layer_rule(["tf.stack"], Stack())
layer_rule(["tf.unstack"], Unstack())
layer_rule(["Reshape"], ReshapeLayer())
layer_rule(["tf.reshape", "tf.broadcast_to"], Reshape())
layer_rule(["tf.transpose"], Transpose())
layer_rule(["tf.pad"], Pad())
layer_rule(["Concatenate", "tf.concat"], Concat())
