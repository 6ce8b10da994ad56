"""Rules of what takes some channels out: slices, splits, gathers and rolls."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfgraphprune.graph.labels import Kept, Labels
from tfgraphprune.graph.reader import Call
from tfgraphprune.graph.rules.base import layer_rule
from tfgraphprune.graph.rules.shapes import Moves
from tfgraphprune.graph.tracer import CallTracer

_WHOLE = {"start": None, "stop": None, "step": None}


class Takes(Moves):
    """An op that takes some channels of a tensor; those become groups of their own."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """Run on ids; at least one channel of each result must stay."""
        outputs = super().trace(tracer, inputs)
        for labels in outputs:
            tracer.mark(labels)
        return outputs


class Slice(Takes):
    """Basic slicing of a tensor, `x[:, ::2, ::2, :8]`, `x[:, None, None]` or `x[..., 3]`."""

    def trace(self, tracer: CallTracer, inputs: list[Labels]) -> list[Labels]:
        """A channel that is picked alone must stay."""
        items = _slice_items(tracer.call, inputs[0].rank)
        if items is not None and len(inputs) == 1:
            for axis in inputs[0].varying(tracer.union):
                item = items[_places(items)[axis + 1]]
                if isinstance(item, int):
                    tracer.pick(inputs[0], axis, item)
        return super().trace(tracer, inputs)

    def problem(self, tracer: CallTracer, inputs: list[Labels]) -> str:
        """Bounds must be constants."""
        items = _slice_items(tracer.call, inputs[0].rank)
        return "is a slice that can't be followed" if items is None else ""

    def arguments(
        self, call: Call, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[tuple, dict]:
        """The bounds along cut axes."""
        items = _slice_items(call, inputs[0].rank)
        if items is None:
            return call.args, call.kwargs
        places = _places(items)
        for axis, size in enumerate(inputs[0].shape):
            stays = kept.along(inputs[0], axis)
            item = items[places[axis + 1]]
            if size is None or stays.all():
                continue
            if isinstance(item, int):
                items[places[axis + 1]] = int(stays[: item % size].sum())
            elif item["step"] in (None, 1):
                start, stop, _ = slice(item["start"], item["stop"]).indices(size)
                first, count = int(stays[:start].sum()), int(stays[start:stop].sum())
                items[places[axis + 1]] = {"start": first, "stop": first + count, "step": None}
            else:
                items[places[axis + 1]] = dict(_WHOLE)
        return call.with_argument(1, "slice_spec", tuple(items))

    def finish(
        self, call: Call, results: Any, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> Any:
        """Slices with a step are gathered."""
        items = _slice_items(call, inputs[0].rank)
        assert items is not None
        for axis, size in enumerate(inputs[0].shape):
            stays = kept.along(inputs[0], axis)
            place = _places(items)[axis + 1]
            item = items[place]
            if size is None or stays.all() or isinstance(item, int) or item["step"] in (None, 1):
                continue
            taken = np.arange(size)[slice(item["start"], item["stop"], item["step"])]
            after = place - sum(isinstance(i, int) for i in items[:place])
            results = call.dialect.gather(results, _renumbered(taken, stays).tolist(), after)
        return results


class SliceOp(Takes):
    """`tf.slice` with constant bounds."""

    def arguments(
        self, call: Call, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[tuple, dict]:
        """Begin and size along cut axes."""
        begin = np.array(call.argument(1, "begin")).tolist()
        size = np.array(call.argument(2, "size")).tolist()
        for axis in range(inputs[0].rank):
            stays = kept.along(inputs[0], axis)
            if not stays.all():
                start = begin[axis + 1]
                begin[axis + 1] = int(stays[:start].sum())
                size[axis + 1] = int(kept.along(outputs[0], axis).sum())
        args, kwargs = call.with_argument(1, "begin", begin)
        if len(args) > 2:
            return (*args[:2], size, *args[3:]), kwargs
        return args, {**kwargs, "size": size}


class Split(Takes):
    """`tf.split`."""

    def arguments(
        self, call: Call, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[tuple, dict]:
        """The sizes of the parts."""
        axis = int(call.argument(2, "axis", 0)) % (inputs[0].rank + 1) - 1
        sizes = [kept.shape(labels)[axis] for labels in outputs]
        if None in sizes:
            return call.args, call.kwargs
        return call.with_argument(1, "num_or_size_splits", sizes)


class Gather(Takes):
    """`tf.gather` with constant indices."""

    def problem(self, tracer: CallTracer, inputs: list[Labels]) -> str:
        """One line of indices, along one axis."""
        call = tracer.call
        if np.ndim(call.argument(1, "indices")) != 1 or call.argument(4, "batch_dims", 0):
            return "gathers what can't be followed"
        return "" if self._axis(tracer.call, inputs[0]) >= 0 else "gathers examples"

    def arguments(
        self, call: Call, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[tuple, dict]:
        """The indices of what stays."""
        stays = kept.along(inputs[0], self._axis(call, inputs[0]))
        taken = np.asarray(call.argument(1, "indices"))
        return call.with_argument(1, "indices", _renumbered(taken, stays).tolist())

    @staticmethod
    def _axis(call: Call, labels: Labels) -> int:
        axis = call.argument(3, "axis")
        return (0 if axis is None else int(axis)) % (labels.rank + 1) - 1


class Roll(Moves):
    """`tf.roll`; along the channels it becomes a gather once some are cut."""

    def problem(self, tracer: CallTracer, inputs: list[Labels]) -> str:
        """Each axis once, and not all of them flat."""
        axes = tracer.call.argument(2, "axis")
        if axes is None:
            return "rolls the flat tensor"
        places = [int(a) % (inputs[0].rank + 1) for a in np.ravel(axes)]
        return "" if len(set(places)) == len(places) else "rolls an axis twice"

    def arguments(
        self, call: Call, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> tuple[tuple, dict]:
        """No shift along cut axes."""
        shifts = self._shifts(call, inputs[0])
        left = [0 if a >= 0 and not kept.along(inputs[0], a).all() else s for a, s in shifts]
        args, kwargs = call.with_argument(1, "shift", left)
        axes = [a + 1 for a, _ in shifts]
        if len(args) > 2:
            return (*args[:2], axes, *args[3:]), kwargs
        return args, {**kwargs, "axis": axes}

    def finish(
        self, call: Call, results: Any, inputs: list[Labels], outputs: list[Labels], kept: Kept
    ) -> Any:
        """The roll along cut axes."""
        for axis, shift in self._shifts(call, inputs[0]):
            stays = kept.along(inputs[0], axis) if axis >= 0 else np.ones(1, bool)
            if not stays.all():
                order = _renumbered(np.roll(np.arange(len(stays)), shift), stays)
                results = call.dialect.gather(results, order.tolist(), axis + 1)
        return results

    @staticmethod
    def _shifts(call: Call, labels: Labels) -> list[tuple[int, int]]:
        axes, shifts = np.ravel(call.argument(2, "axis")), np.ravel(call.argument(1, "shift"))
        return [(int(a) % (labels.rank + 1) - 1, int(s)) for a, s in zip(axes, shifts, strict=True)]


def _renumbered(taken: np.ndarray, stays: np.ndarray) -> np.ndarray:
    """Positions among what stays, of those taken positions that stay."""
    taken = np.where(taken < 0, taken + len(stays), taken)
    return (np.cumsum(stays) - 1)[taken[stays[taken]]]


def _slice_items(call: Call, rank: int) -> list | None:
    """One entry for each axis, batch first: a slice, an index, or `None` for a new axis.

    `None` instead of a list where the batch is sliced, or bounds are tensors.
    """
    spec = call.argument(1, "slice_spec")
    items = list(spec) if isinstance(spec, tuple | list) else [spec]
    missing = rank + 1 - sum(item is not None and item is not Ellipsis for item in items)
    rest = [dict(_WHOLE) for _ in range(missing)]
    at = next((i for i, item in enumerate(items) if item is Ellipsis), len(items))
    items[at : at + 1] = rest
    plain = all(isinstance(i, int | dict | None) and not isinstance(i, bool) for i in items)
    return items if plain and items[0] == _WHOLE else None


def _places(items: list) -> list[int]:
    """Where the entry of each input axis stands, batch first."""
    return [place for place, item in enumerate(items) if item is not None]


layer_rule(["tf.__operators__.getitem"], Slice())
layer_rule(["tf.slice"], SliceOp())
layer_rule(["tf.split"], Split())
layer_rule(["tf.gather"], Gather())
layer_rule(["tf.roll"], Roll())
