"""The layer graph of a Keras model: its layer calls, tensors and channel groups."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphprune.errors import UserError
from tfgraphprune.graph.choices import choose_steps, frozen_by_user
from tfgraphprune.graph.groups import ChannelGroup, GroupAxis, Grouping, group_channels
from tfgraphprune.graph.labels import Kept, Labels
from tfgraphprune.graph.reader import Call, Program, is_tensor
from tfgraphprune.graph.trace import Trace, TracedWeight, WeightAxis
from tfgraphprune.graph.tracing import trace_model


@dataclass(frozen=True)
class LayerNode:
    """One layer call.

    Attributes:
        name: unique name of the call.
        type: the layer's class, or the op's symbol.
        path: names that lead from the model to the layer.
        inputs: names of the calls whose outputs it reads; an input layer's name for an input.
        shape: shape of its first output, without the batch.
        groups: names of the channel groups that its outputs carry.
    """

    name: str
    type: str
    path: tuple[str, ...]
    inputs: tuple[str, ...]
    shape: tuple[int | None, ...]
    groups: tuple[str, ...]


class LayerGraph:
    """A Keras model read as a graph: one node a layer call, with its channel groups.

    Follows the idea of dependency graphs (Fang et al., "DepGraph: Towards Any Structural
    Pruning", CVPR 2023); here the coupling is found by running the model on channel ids.

    Attributes:
        model: the model that was read; the graph never changes it.
        program: the model's own layer calls.
        nodes: the layer calls in topological order.
        channel_groups: the groups, prunable and frozen, in the order in which they are made.
        choices: `freeze` and `channel_multiple` that it was read with.
    """

    def __init__(
        self,
        model: Any,
        trace: Trace,
        program: Program,
        calls: Sequence[Call],
        grouping: Grouping,
        choices: tuple[Sequence[str], int | Mapping[str, int]] = ((), 1),
    ):
        self.model = model
        self.choices = choices
        self.program = program
        self._trace = trace
        self._calls = tuple(calls)
        self._grouping = grouping
        self.channel_groups = grouping.groups
        self.nodes = tuple(self._node(call) for call in calls)

    @classmethod
    def from_model(
        cls,
        model: Any,
        freeze: Sequence[str] = (),
        channel_multiple: int | Mapping[str, int] = 1,
    ) -> LayerGraph:
        """Read a tf_keras model.

        Args:
            model: a functional or Sequential model, or a subclassed one that was called on data;
                nested models and layers made of layers are entered.
            freeze: names of layers, or shell patterns such as `stem*`, whose output channels
                must stay.
            channel_multiple: every group keeps a multiple of this many channels, or all; or
                multiples by layer name or pattern, of which the largest holds for a group, and 1
                for the layers that are not named.

        Raises:
            UserError: the model has no layer graph, a pattern matches no layer, or a channel
                multiple is below 1.
        """
        trace, program, calls = trace_model(model)
        grouping = group_channels(trace)
        steps = choose_steps(trace, grouping, calls, channel_multiple)
        frozen = frozen_by_user(trace, grouping, calls, freeze)
        groups = tuple(
            replace(
                group,
                step=steps[group.name],
                prunable=group.prunable and group.name not in frozen,
                reason=group.reason or frozen.get(group.name, ""),
            )
            for group in grouping.groups
        )
        grouping = replace(grouping, groups=groups)
        return cls(model, trace, program, calls, grouping, (freeze, channel_multiple))

    def freezing(self, reasons: Mapping[str, str]) -> LayerGraph:
        """This graph with further groups frozen: by name, the reason."""
        return self._with(
            lambda group: (
                replace(group, prunable=False, reason=group.reason or reasons[group.name])
                if group.name in reasons
                else group
            )
        )

    def stepping(self, steps: Mapping[str, int]) -> LayerGraph:
        """This graph with other channel steps of some groups, by name."""
        return self._with(lambda group: replace(group, step=steps.get(group.name, group.step)))

    def _with(self, change: Callable[[ChannelGroup], ChannelGroup]) -> LayerGraph:
        grouping = replace(self._grouping, groups=tuple(map(change, self.channel_groups)))
        return LayerGraph(
            self.model, self._trace, self.program, self._calls, grouping, self.choices
        )

    @property
    def prunable_groups(self) -> tuple[ChannelGroup, ...]:
        """The groups that may be cut; a policy's actions are in this order."""
        return tuple(group for group in self.channel_groups if group.prunable)

    @property
    def weights(self) -> tuple[TracedWeight, ...]:
        """All weights with their dense shapes and multiplications for one example."""
        return tuple(self._trace.weights.values())

    def group(self, name: str) -> ChannelGroup:
        """The group with this name.

        Raises:
            UserError: there is none.
        """
        for group in self.channel_groups:
            if group.name == name:
                return group
        known = ", ".join(g.name for g in self.channel_groups)
        raise UserError(f"there is no channel group {name!r}: this model has {known}.")

    def kept(self, plan: Mapping[str, Sequence[int]]) -> Kept:
        """Which classes stay, given the kept channel indices of some groups (all of the others)."""
        mask = np.ones(len(self._trace.union), bool)
        for number, group in enumerate(self.channel_groups):
            if group.name in plan:
                stays = np.zeros(group.size, bool)
                stays[list(plan[group.name])] = True
                mine = self._grouping.group_of == number
                mask[mine] = stays[self._grouping.index_of[mine]]
        return Kept(self._trace.union, mask)

    def channels_of(self, ids: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Which groups' channels stand at an array of ids.

        Yields:
            Each group's name, channel indices, and the flat positions where those stand.
        """
        groups, indices = self._grouping.group_of[ids].ravel(), self._grouping.index_of[ids].ravel()
        for number in np.unique(groups[groups >= 0]).tolist():
            places = np.flatnonzero(groups == number)
            yield self.channel_groups[number].name, indices[places], places

    def labels(self, call: str) -> tuple[list[Labels], list[Labels]]:
        """Labels of the inputs and of the outputs of a layer call."""
        return self._trace.inputs[call], self._trace.outputs[call]

    def inputs_of(self, call: str) -> list[Labels]:
        """Labels of the tensors that a layer or a nested model is called on."""
        return self._trace.inputs[call]

    def weight_axes(self) -> tuple[WeightAxis, ...]:
        """Every axis of a weight that carries channels."""
        return tuple(axis for axis in self._trace.axes.values() if axis.path and axis.weight >= 0)

    def settings(self, path: tuple[str, ...]) -> Mapping[tuple[str, ...], np.ndarray]:
        """Entries of a layer's configuration that count channels, with the channels' ids."""
        return self._trace.settings.get(path, {})

    def inside(self, call: str) -> Program | None:
        """The layer calls in a nested model or composite layer."""
        return self._trace.insides.get(call)

    def calls_inside(self, layer: Any) -> list[Call]:
        """The calls of plain layers in a composite layer, in all places where it is called."""
        scopes = tuple(f"{key}/" for key in self._trace.opened[id(layer)])
        return [call for call in self._calls if call.key.startswith(scopes)]

    def path_of(self, layer: Any) -> tuple[str, ...]:
        """Names that lead from the model to a layer object (its first place, if it has several)."""
        return self._trace.paths[id(layer)]

    def layer(self, path: tuple[str, ...]) -> Any:
        """The layer object that `path` leads to."""
        return self._trace.layers[path]

    def variable(self, axis: WeightAxis | GroupAxis | TracedWeight) -> Any:
        """The variable of a weight."""
        return self.layer(axis.path).weights[axis.weight]

    def input_labels(self) -> list[Labels]:
        """Labels of the model's inputs."""
        return self._trace.outputs[""]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the layers' configurations, shapes and connections, not of the weights.

        Of names, only those of the groups count: Keras numbers ops and inputs anew in each build.
        """
        numbers: dict[Any, int] = {}
        for labels in self.input_labels():
            numbers[labels.source] = len(numbers)
        rows = []
        for n, call in zip(self.nodes, self._calls, strict=True):
            sources = [numbers[name] for name in n.inputs]
            numbers[n.name] = len(numbers)
            first = numbers.setdefault(n.path, numbers[n.name])
            rows.append(
                (first, n.type, sources, n.shape, _config(call.layer), call.named_arguments())
            )
        groups = [(group.name, group.size) for group in self.channel_groups]
        inputs = [labels.shape for labels in self.input_labels()]
        text = json.dumps([inputs, groups, rows], default=_plain, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Nodes and groups as plain values, for records and figures."""
        nodes = [
            {
                "name": n.name,
                "type": n.type,
                "inputs": list(n.inputs),
                "shape": list(n.shape),
                "groups": list(n.groups),
            }
            for n in self.nodes
        ]
        groups = [
            {
                "name": g.name,
                "size": g.size,
                "prunable": g.prunable,
                "reason": g.reason,
                "layers": list(g.layers),
                "step": g.step,
            }
            for g in self.channel_groups
        ]
        return {"fingerprint": self.fingerprint, "nodes": nodes, "groups": groups}

    def _node(self, call: Call) -> LayerNode:
        inputs, outputs = self.labels(call.key)
        numbers: list[int] = []
        for labels in outputs:
            numbers += np.unique(self._grouping.group_of[labels.ids]).tolist()
        groups = tuple(self.channel_groups[n].name for n in dict.fromkeys(numbers) if n >= 0)
        sources = tuple(dict.fromkeys(labels.source for labels in inputs))
        kind = getattr(call.layer, "symbol", None) or type(call.layer).__name__
        return LayerNode(call.key, kind, call.path, sources, outputs[0].shape, groups)

    def __str__(self) -> str:
        free = self.prunable_groups
        lines = [
            f"{len(self.nodes)} layer calls, {len(self.channel_groups)} channel groups "
            f"({len(free)} prunable, {sum(g.size for g in free)} channels)"
        ]
        return "\n".join([*lines, *(f"  {group}" for group in self.channel_groups)])


def _config(layer: Any) -> Any:
    try:
        config = dict(layer.get_config())
    except NotImplementedError:
        return type(layer).__name__
    for name in ("name", "trainable"):
        config.pop(name, None)
    return config


def _plain(value: Any) -> Any:
    """A value for JSON that is the same in every session."""
    if is_tensor(value):
        return "tensor"
    if isinstance(value, dict):  # Keras' tracked dictionaries are not known to json
        return dict(value)
    if isinstance(value, np.ndarray | np.generic | tf.Tensor | tf.Variable):
        return np.asarray(value).tolist()
    if isinstance(value, tf.DType):
        return value.name
    return type(value).__name__
