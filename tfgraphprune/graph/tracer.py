"""The record that layer rules write to while a model is read on channel ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.graph.constraints import Balance, Rectangle
from tfgraphprune.graph.kinds import layer_as_activation
from tfgraphprune.graph.labels import Labels, Shape, compact, per_channel
from tfgraphprune.graph.reader import Call, output_shapes
from tfgraphprune.graph.trace import NORM, PRODUCT, Role, Trace, TracedWeight, WeightAxis

_UNKNOWN_SIZE = 8
"""Stands for an unknown size while an op is run on ids."""


class CallTracer:
    """What a layer rule may do while its call is traced: read ids, make ids, couple, freeze."""

    def __init__(
        self,
        trace: Trace,
        call: Call,
        owner: Call | None = None,
        times: int | None = 1,
        within: tuple[str, ...] = (),
    ):
        self._trace = trace
        self._owner = owner or call
        self._times = times
        self._within = within
        self._path = trace.paths.setdefault(id(self._owner.layer), self._owner.path)
        trace.layers.setdefault(self._path, self._owner.layer)
        self.call = call
        self.union = trace.union

    def inner(
        self, name: str, layer: Any, shapes: list[Shape], times: int | None = 1
    ) -> CallTracer:
        """A tracer for the layer inside a wrapper such as TimeDistributed.

        Args:
            name: the entry of the wrapper's configuration that holds the layer's.
            layer: the inner layer; its weights are among the wrapper's.
            shapes: of the inner layer's outputs, without the batch.
            times: how often the wrapper calls it for one example.
        """
        call = replace(self.call, layer=layer, shapes=tuple(shapes))
        return CallTracer(self._trace, call, self._owner, times, (name, "config"))

    @property
    def wrapped(self) -> bool:
        """Whether the layer is inside a wrapper, which calls it."""
        return bool(self._within)

    @property
    def activation(self) -> Any:
        """What the call's layer applies last; `None` where a layer does, whose call is apart."""
        layer = self.call.layer
        apart = not self.wrapped and layer_as_activation(layer) is not None
        return None if apart else getattr(layer, "activation", None)

    def new_ids(self, count: int) -> np.ndarray:
        """`count` fresh channel ids; int64 `[count]`."""
        return self.union.new(count)

    def unite(self, left: np.ndarray, right: np.ndarray) -> None:
        """Make the channels at equal positions live and die together."""
        self.union.unite(left, right)

    def freeze(self, ids: np.ndarray | Labels, reason: str) -> None:
        """Say that these channels must all stay, and why."""
        array = ids.ids if isinstance(ids, Labels) else ids
        self._trace.frozen.append((np.unique(array), f"{self.call.key}: {reason}"))

    def pick(self, labels: Labels, axis: int, index: int) -> None:
        """Say that one position along an axis is read by its number: a channel there must stay."""
        reason = f"{self.call.key}: picks a single channel"
        self._trace.picks.append((labels, axis, index, reason))

    def channels(self, labels: Labels, axis: int = -1) -> np.ndarray:
        """The ids of a tensor's channels, that is along one of its axes; int64 `[channels]`.

        Several ids in one channel slot are united. Where the ids change along another axis and
        not along this one, a reader of this axis would mix them: they are frozen.
        """
        axis %= labels.rank
        varying = labels.varying(self.union)
        if varying and axis not in varying:
            self.freeze(labels, "reads another axis than the one that the channels lie on")
        lines = np.moveaxis(labels.ids, axis, -1)
        slots = lines.reshape(-1, lines.shape[-1])
        self.unite(slots, slots[:1])
        ids, size = self.union.find(slots[0]), labels.shape[axis]
        return ids if size is None else np.broadcast_to(ids, (size,)).copy()

    def rectangular(self, labels: Labels) -> Labels:
        """Ask that what a plan keeps of this tensor is a block; see `constraints.Rectangle`."""
        if len(labels.varying(self.union)) > 1:
            self._trace.constraints.append(Rectangle(labels.ids))
        return labels

    def balance(self, ids: np.ndarray) -> None:
        """Ask that equally many channels stay in each row of `ids`; int64 `[blocks, size]`."""
        self._trace.constraints.append(Balance(ids))

    def weight(
        self, variable: Any, axes: dict[int, tuple], uses: int | None = 0, blocks: int = 1
    ) -> None:
        """Register a weight of the layer; a later call of the same layer unites its ids.

        Args:
            variable: one of the layer's weights; `None` (an absent bias) is passed over.
            axes: for each axis that carries channels, its role and the ids along it.
            uses: multiplications of each element for one example of this call.
            blocks: of the axis with role `in`: see `axes`.
        """
        if variable is None:
            return
        index = next(i for i, w in enumerate(self._owner.layer.weights) if w is variable)
        self._register(index, tuple(variable.shape), axes, uses, blocks)

    def product(self, ids: np.ndarray, uses: int | None) -> None:
        """Register a product of activations that costs `uses` for each of these channels."""
        self._register(PRODUCT, (len(ids),), {0: ("through", ids)}, uses)

    def fixed_product(self, uses: int | None) -> None:
        """Register a product of activations whose cost no plan changes."""
        self._register(PRODUCT, (1,), {}, uses)

    def normalises(self, ids: np.ndarray) -> None:
        """Register that the layer's statistics are over these channels, int64 `[size]`."""
        self._axis(NORM, 0, "norm", ids)

    def _register(
        self, index: int, shape: tuple, axes: dict, uses: int | None, blocks: int = 1
    ) -> None:
        key = (self._path, index)
        found = self._trace.weights.setdefault(key, TracedWeight(self._path, index, shape))
        if uses is None or self._times is None or found.uses is None:
            found.uses = None
        else:
            found.uses += uses * self._times
        for axis, (role, ids) in axes.items():
            self._axis(index, axis, role, ids, blocks if role == "in" else 1)

    def _axis(self, index: int, axis: int, role: Role, ids: np.ndarray, blocks: int = 1) -> None:
        first = self._trace.axes.setdefault(
            (self._path, index, axis), WeightAxis(self._path, index, axis, role, ids, blocks)
        )
        self.unite(first.ids, ids)

    def setting(self, name: str, ids: np.ndarray) -> None:
        """Register an entry of the layer's configuration that counts these channels.

        They freeze if a subclass with an `__init__` of its own does not pass it on.
        """
        try:
            known = name in self.call.layer.get_config()
        except NotImplementedError:
            known = False
        if not known:
            self.freeze(ids, f"its configuration does not hold {name}")
        self._trace.settings.setdefault(self._path, {})[(*self._within, name)] = ids

    def mark(self, labels: Labels) -> None:
        """Keep at least one channel of this tensor: its classes become groups of their own."""
        key = (self.call.key, "slice", len(self._trace.axes))
        axis = WeightAxis((), NORM, 0, "slice", np.unique(self.union.find(labels.ids)))
        self._trace.axes[key] = axis

    def other_weights(self) -> None:
        """Register the layer's remaining weights, which carry no channels that can be cut."""
        for index, variable in enumerate(self._owner.layer.weights):
            key = (self._path, index)
            if key not in self._trace.weights and hasattr(variable, "shape"):  # not a vocabulary
                self._trace.weights[key] = TracedWeight(self._path, index, tuple(variable.shape))

    def fresh(self, shape: Shape, reason: str) -> Labels:
        """Labels of a tensor whose channels are new and may not be cut."""
        size = shape[-1] if shape and shape[-1] is not None else 1
        ids = self.new_ids(size)
        self.freeze(ids, reason)
        return per_channel(ids, shape) if shape else Labels(ids.reshape(()), ())

    def opaque(self, inputs: Iterable[Labels], reason: str) -> list[Labels]:
        """Give up on this call: freeze what it reads, and make fresh frozen ids for its outputs."""
        for labels in inputs:
            self.freeze(labels, reason)
        return [self.fresh(shape, reason) for shape in output_shapes(self.call)]

    def run(
        self,
        function: Callable[..., Any],
        inputs: list[Labels],
        shapes: list[Shape],
        batch: int = 1,
    ) -> list[Labels] | None:
        """Run a shape op itself on arrays of ids, to see where each channel goes.

        Args:
            function: takes a tensor for each input, batch first, and returns tensors.
            inputs: labels of the inputs.
            shapes: the expected output shapes, without the batch.
            batch: examples to run it on.

        Returns:
            Labels of the outputs; positions that the op fills with zeros get ids of their own,
            which unite like any others. `None` where the ids change along an axis of unknown
            size, or where the op moves values into or out of the batch axis.
        """
        # Id 0 is shifted away so that a zero in the result can only be padding.
        arrays = [self._full(labels) + 1 for labels in inputs]
        tensors = [tf.constant(np.broadcast_to(a, (batch, *a.shape))) for a in arrays]
        try:
            results = [np.asarray(r) for r in tf.nest.flatten(function(*tensors))]
        except (tf.errors.InvalidArgumentError, TypeError, ValueError):  # hangs on the batch
            return None
        if len(results) != len(shapes):
            return None
        outputs = []
        for result, shape in zip(results, shapes, strict=True):
            if (
                result.ndim != len(shape) + 1
                or len(result) != batch
                or (result != result[:1]).any()
            ):
                return None
            ids = result[0] - 1
            for axis, size in enumerate(shape):
                if size is None and ids.shape[axis]:
                    if (ids != ids.take([0], axis)).any():
                        return None
                    ids = ids.take([0], axis)
                elif size != ids.shape[axis]:
                    return None
            outputs.append(self._labels(ids, shape))
        return outputs

    def _full(self, labels: Labels) -> np.ndarray:
        """The classes at every position; unknown sizes are filled in."""
        shape = [_UNKNOWN_SIZE if size is None else size for size in labels.shape]
        return np.broadcast_to(self.union.find(labels.ids), shape)

    def _labels(self, ids: np.ndarray, shape: Shape) -> Labels:
        padded = compact(ids, shape).ids
        if (padded < 0).any():
            padded = padded.copy()
            hole = padded < 0
            padded[hole] = self.new_ids(int(hole.sum()))
        return self.rectangular(Labels(padded, shape))
