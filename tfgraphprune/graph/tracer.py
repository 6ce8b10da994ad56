"""The record that layer rules write to while a model is read on channel ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tfgraphprune.graph.labels import IdUnion, Labels, Shape, compact, per_channel
from tfgraphprune.graph.reader import Call, output_shapes

Role = Literal["in", "out", "through", "slice"]
"""What an axis does with channels: reads them, makes them, passes each on, or only holds them."""


@dataclass(eq=False)
class WeightAxis:
    """One axis of one weight, with the channel id at each of its positions.

    Attributes:
        path: names that lead from the model to the layer; `()` for an axis without a weight.
        weight: index in `layer.weights`; -1 for an axis without a weight.
        axis: which axis of the weight.
        role: what the layer does with the channels on it.
        ids: int64 `[size]`.
    """

    path: tuple[str, ...]
    weight: int
    axis: int
    role: Role
    ids: np.ndarray


@dataclass(eq=False)
class TracedWeight:
    """One weight: its shape and how often each element is multiplied for one example.

    Attributes:
        path: names that lead from the model to the layer.
        weight: index in `layer.weights`.
        shape: its dense shape.
        uses: multiplications of each element for one example, over all calls; `None` where a
            spatial size is unknown.
    """

    path: tuple[str, ...]
    weight: int
    shape: tuple[int, ...]
    uses: int | None = 0


@dataclass(eq=False)
class Trace:
    """All that reading a model on channel ids found out."""

    union: IdUnion = field(default_factory=IdUnion)
    axes: dict[tuple, WeightAxis] = field(default_factory=dict)
    weights: dict[tuple, TracedWeight] = field(default_factory=dict)
    frozen: list[tuple[np.ndarray, str]] = field(default_factory=list)
    inputs: dict[str, list[Labels]] = field(default_factory=dict)
    outputs: dict[str, list[Labels]] = field(default_factory=dict)
    paths: dict[int, tuple[str, ...]] = field(default_factory=dict)


class CallTracer:
    """What a layer rule may do while its call is traced: read ids, make ids, couple, freeze."""

    def __init__(self, trace: Trace, call: Call):
        self._trace = trace
        self._path = trace.paths.setdefault(id(call.layer), call.path)
        self.call = call
        self.union = trace.union

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

    def channels(self, labels: Labels) -> np.ndarray:
        """The ids of a tensor's channels, that is along its last axis; int64 `[channels]`.

        Several ids in one channel slot are united. Where the ids change along another axis and
        not along the last, a reader of the last axis would mix them: they are frozen.
        """
        last = labels.rank - 1
        varying = labels.varying(self.union)
        if varying and last not in varying:
            self.freeze(labels, "reads another axis than the one that the channels lie on")
        slots = labels.ids.reshape(-1, labels.ids.shape[-1])
        self.unite(slots, slots[:1])
        ids, size = self.union.find(slots[0]), labels.shape[last]
        return ids if size is None else np.broadcast_to(ids, (size,)).copy()

    def rectangular(self, labels: Labels) -> Labels:
        """Couple ids until at most one axis varies, so that what a plan keeps is a block.

        Of several varying axes the last one stays; ids at equal positions along it are united
        (for a channel shuffle: equal indices of all its groups).
        """
        varying = labels.varying(self.union)
        if len(varying) > 1:
            rows = np.moveaxis(labels.ids, varying[-1], -1)
            self.unite(rows, rows.reshape(-1, rows.shape[-1])[0])
        return labels

    def weight(
        self, variable: Any, axes: dict[int, tuple[Role, np.ndarray]], uses: int | None = 0
    ) -> None:
        """Register a weight of the layer; a later call of the same layer unites its ids.

        Args:
            variable: one of the layer's weights; `None` (an absent bias) is passed over.
            axes: for each axis that carries channels, its role and the ids along it.
            uses: multiplications of each element for one example of this call.
        """
        if variable is None:
            return
        index = next(i for i, w in enumerate(self.call.layer.weights) if w is variable)
        key = (self._path, index)
        found = self._trace.weights.setdefault(
            key, TracedWeight(self._path, index, tuple(variable.shape))
        )
        found.uses = None if uses is None or found.uses is None else found.uses + uses
        for axis, (role, ids) in axes.items():
            first = self._trace.axes.setdefault(
                (*key, axis), WeightAxis(self._path, index, axis, role, ids)
            )
            self.unite(first.ids, ids)

    def has_setting(self, name: str) -> bool:
        """Whether the layer's configuration, which a subclass may define, holds an entry."""
        try:
            return name in self.call.layer.get_config()
        except NotImplementedError:
            return False

    def mark(self, labels: Labels) -> None:
        """Keep at least one channel of this tensor: its classes become groups of their own."""
        key = (self.call.key, "slice", len(self._trace.axes))
        axis = WeightAxis((), -1, 0, "slice", np.unique(self.union.find(labels.ids)))
        self._trace.axes[key] = axis

    def other_weights(self) -> None:
        """Register the layer's remaining weights, which carry no channels that can be cut."""
        for index, variable in enumerate(self.call.layer.weights):
            key = (self._path, index)
            if key not in self._trace.weights:
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
            which unite like any others. `None` where a size is unknown, or where the op moves
            values into or out of the batch axis.
        """
        if any(None in labels.shape for labels in inputs) or any(None in s for s in shapes):
            return None
        # Id 0 is shifted away so that a zero in the result can only be padding.
        arrays = [self.union.find(labels.full()) + 1 for labels in inputs]
        tensors = [tf.constant(np.broadcast_to(a, (batch, *a.shape))) for a in arrays]
        try:
            results = [np.asarray(r) for r in tf.nest.flatten(function(*tensors))]
        except (tf.errors.InvalidArgumentError, ValueError):  # sizes that hang on the batch
            return None
        if [r.shape for r in results] != [(batch, *shape) for shape in shapes]:
            return None
        if any((r != r[:1]).any() for r in results):
            return None
        return [self._labels(r[0] - 1, s) for r, s in zip(results, shapes, strict=True)]

    def _labels(self, ids: np.ndarray, shape: Shape) -> Labels:
        padded = compact(ids, shape).ids
        if (padded < 0).any():
            padded = padded.copy()
            hole = padded < 0
            padded[hole] = self.new_ids(int(hole.sum()))
        return self.rectangular(Labels(padded, shape))
