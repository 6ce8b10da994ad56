"""Channel groups: the classes that occur on exactly the same weight axes, equally often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfgraphprune.graph.trace import Role, Trace, WeightAxis


@dataclass(frozen=True, eq=False)
class GroupAxis:
    """Where a group lies on one axis of one weight.

    Attributes:
        path: names that lead from the model to the layer.
        weight: index in `layer.weights`; below 0 for what is no weight: `trace.PRODUCT`,
            `trace.NORM`.
        axis: which axis of the weight.
        role: `out` where the layer makes the channels, `in` where its kernel reads them,
            `through` where each channel is passed on (BatchNorm, bias, depthwise), `norm` for
            statistics over the channels.
        positions: int `[size, k]`: the k positions of each channel along the axis.
        blocks: above 1 for the input axis of a grouped convolution; see `axes`.
    """

    path: tuple[str, ...]
    weight: int
    axis: int
    role: Role
    positions: np.ndarray
    blocks: int = 1

    @property
    def layer(self) -> str:
        """The layer's name, after those of the nested models around it."""
        return "/".join(self.path)


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels that are interchangeable for the cost, and are cut together wherever they occur.

    Attributes:
        name: the layer that makes them first (with `#2` and so on for its further groups); for
            channels that no layer makes, the layer that reads them first and `:in`.
        size: number of channels.
        prunable: whether channels may be cut.
        reason: why not; empty for a prunable group.
        step: the number kept is a multiple of this, or the whole size.
        axes: where the group lies on weights.
    """

    name: str
    size: int
    prunable: bool
    reason: str
    step: int
    axes: tuple[GroupAxis, ...]

    @property
    def producers(self) -> tuple[str, ...]:
        """Names of the layers that make the channels."""
        return self._layers("out")

    @property
    def consumers(self) -> tuple[str, ...]:
        """Names of the layers whose kernels read the channels."""
        return self._layers("in")

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of all layers with a weight that carries the channels."""
        return tuple(dict.fromkeys(axis.layer for axis in self.axes))

    def _layers(self, role: Role) -> tuple[str, ...]:
        return tuple(dict.fromkeys(axis.layer for axis in self.axes if axis.role == role))

    def __str__(self) -> str:
        state = "" if self.prunable else f"  frozen: {self.reason}"
        return f"{self.name}: {self.size} channels, layers {', '.join(self.layers)}{state}"


@dataclass(frozen=True, eq=False)
class Grouping:
    """The groups of a trace, and the group and index of every id.

    Attributes:
        groups: in the order in which their first channels are made.
        group_of: int `[ids]`: the group of each id, -1 where it lies on no weight.
        index_of: int `[ids]`: which channel of its group each id is.
    """

    groups: tuple[ChannelGroup, ...]
    group_of: np.ndarray
    index_of: np.ndarray


def group_channels(trace: Trace, step: int = 1) -> Grouping:
    """Sort the traced channels into groups.

    Args:
        trace: what reading the model found out.
        step: the channel multiple of every group.
    """
    roots = trace.union.find(np.arange(len(trace.union)))
    axes = list(trace.axes.values())
    reason_of = _reasons(trace, roots)
    signature = _signatures(axes, roots, reason_of)
    used = np.zeros(len(roots), bool)
    for axis in axes:
        if axis.role != "slice":
            used[roots[axis.ids]] = True
    classes = np.flatnonzero(used)
    _, first, inverse = np.unique(signature[classes], return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    group_of_class = rank[inverse.ravel()]
    group_of = np.full(len(roots), -1)
    index_of = np.zeros(len(roots), int)
    members = [classes[group_of_class == g] for g in range(len(first))]
    for number, ids in enumerate(members):
        group_of[ids] = number
        index_of[ids] = np.arange(len(ids))
    group_of, index_of = group_of[roots], index_of[roots]
    places = _places(axes, group_of, index_of, len(members))
    groups, names = [], dict[str, int]()
    for ids, own in zip(members, places, strict=True):
        producers = [axis.layer for axis in own if axis.role == "out"]
        base = producers[0] if producers else next((f"{axis.layer}:in" for axis in own), "input")
        names[base] = count = names.get(base, 0) + 1
        reason = reason_of.get(int(ids[0]), "") or _structural(ids, own)
        name = base if count == 1 else f"{base}#{count}"
        groups.append(ChannelGroup(name, len(ids), not reason, reason, step, tuple(own)))
    return Grouping(tuple(groups), group_of, index_of)


def _structural(ids: np.ndarray, axes: list[GroupAxis]) -> str:
    roles = {axis.role for axis in axes}
    if "out" not in roles:
        return "no layer makes these channels"
    if "in" not in roles:
        return "no kernel reads these channels"
    if len(ids) > 1:
        return ""
    single = all(axis.positions.size == 1 for axis in axes)
    return "has a single channel" if single else "its channels could only go all together"


def _reasons(trace: Trace, roots: np.ndarray) -> dict[int, str]:
    """The first reason given for each frozen class."""
    reasons: dict[int, str] = {}
    for ids, reason in trace.frozen:
        for root in np.unique(roots[ids]).tolist():
            reasons.setdefault(root, reason)
    return reasons


def _signatures(axes: list[WeightAxis], roots: np.ndarray, reason_of: dict[int, str]) -> np.ndarray:
    """A 64-bit sum for each class over the axes that it occurs on, each time that it occurs."""
    random = np.random.Generator(np.random.Philox(20210203))
    codes = random.integers(0, 2**63, len(axes), np.uint64)
    signature = np.zeros(len(roots), np.uint64)
    for axis, code in zip(axes, codes, strict=True):
        np.add.at(signature, roots[axis.ids], code)
    # Classes that differ in why they are frozen are told apart, so that a group has one reason.
    texts = {text: number for number, text in enumerate(dict.fromkeys(reason_of.values()), 1)}
    marks = random.integers(0, 2**63, len(texts) + 1, np.uint64)
    frozen = np.fromiter(reason_of, np.int64, len(reason_of))
    numbers = [texts[text] for text in reason_of.values()]
    np.add.at(signature, frozen, marks[numbers])
    return signature


def _places(
    axes: list[WeightAxis], group_of: np.ndarray, index_of: np.ndarray, count: int
) -> list[list[GroupAxis]]:
    """For each group the axes that it lies on, with its channels' positions."""
    places: list[list[GroupAxis]] = [[] for _ in range(count)]
    for axis in axes:
        if axis.role == "slice":
            continue
        groups = group_of[axis.ids]
        order = np.lexsort((index_of[axis.ids], groups))
        present, starts = np.unique(groups[order], return_index=True)
        for number, rows in zip(present, np.split(order, starts[1:]), strict=True):
            size = int(index_of[axis.ids[rows]].max()) + 1
            positions = rows.reshape(size, -1)
            places[number].append(
                GroupAxis(axis.path, axis.weight, axis.axis, axis.role, positions, axis.blocks)
            )
    return places
